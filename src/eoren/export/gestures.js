// Pointers, wheel and double clicks that move what a canvas shows. Positions are in CSS pixels from its upper left.

/**
 * Pan by one pointer, pan and zoom by two, zoom by the wheel, a pinch on a touchpad, and double clicks.
 * takesWheel says whether a turn of the wheel belongs to the canvas rather than to the page around it.
 */
function followGestures(canvas, { pan, zoom, takesWheel = () => true }) {
  const pointers = new Map(); // those that are down
  const place = (event) => [event.offsetX, event.offsetY];
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = place(event);
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    pointers.set(event.pointerId, now);
    if (!other) return pan(now[0] - before[0], now[1] - before[1]);
    const middle = (point) => [(point[0] + other[0]) / 2, (point[1] + other[1]) / 2];
    const apart = (point) => Math.max(1, Math.hypot(point[0] - other[0], point[1] - other[1]));
    pan(middle(now)[0] - middle(before)[0], middle(now)[1] - middle(before)[1]);
    zoom(apart(now) / apart(before), middle(now));
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !takesWheel()) return;
    event.preventDefault();
    const pixels = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY : event.deltaY * 16;
    // Browsers report a pinch on a touchpad as a wheel event with ctrl, in smaller steps.
    zoom(Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.002)), place(event));
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => zoom(event.shiftKey ? 0.5 : 2, place(event)));
}
