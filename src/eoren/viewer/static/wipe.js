// The line between left and right: what lies on which side, and moving it.

import { isOfImage, labelOf } from "./catalog.js";
import { $ } from "./dom.js";
import { wake } from "./pace.js";
import { changes, drawing, isOutdated, panes, sides } from "./panes.js";
import { Point, viewer } from "./stage.js";
import { clip } from "./sheet.js";

const DIMMED = 0.35;

export const isDivided = () => Boolean(panes.right.choice);

// Position of the line on the stage, in CSS pixels.
export function dividerAt() {
  const range = $("wipe");
  return thumb() / 2 + (range.value / range.max) * ($("stage").clientWidth - thumb());
}

const thumb = () => 2.5 * parseFloat(getComputedStyle(document.documentElement).fontSize);

export const sideAt = (x) => (isDivided() && x >= dividerAt() ? "right" : "left");

export const wipePosition = () => $("wipe").value / $("wipe").max;

export function moveWipe(position) {
  $("wipe").value = Math.round(position * $("wipe").max);
  $("wipe").dispatchEvent(new Event("input"));
}

function update() {
  wake();
  $("wipe").hidden = $("divider").hidden = !isDivided() || !panes.left.sheet;
  const at = dividerAt();
  $("divider").style.left = `${at}px`;
  const percent = Math.round(100 * wipePosition());
  $("wipe").setAttribute("aria-valuetext", `${percent} % ${labelOf(panes.left.choice)}, ${100 - percent} % ${labelOf(panes.right.choice)}`);
  const cut = viewer.viewport.pointFromPixel(new Point(at, 0), true).x;
  for (const side of sides) {
    const pane = panes[side];
    const [from, to] = !isDivided() ? [-1, 2] : side === "left" ? [-1, cut] : [cut, 2];
    const { sheet } = pane;
    for (const item of sheet?.items ?? []) clip(item, from, to, item === sheet.whole && sheet.isCovered ? 0 : isOutdated(pane) ? DIMMED : 1);
  }
}

// The label of a side; while a fit runs, with the step of the image that is shown.
function caption({ choice, sheet }) {
  const isVersion = choice && sheet && !drawing.tiled && !isOfImage(choice);
  return isVersion ? `${labelOf(choice)}, as of step ${sheet.choice.entry.steps.toLocaleString("en")}` : labelOf(choice);
}

for (const type of ["choice", "sheet"]) {
  changes.addEventListener(type, () => {
    for (const side of sides) $(`${side}-name`).textContent = caption(panes[side]);
    update();
  });
}
viewer.addHandler("viewport-change", update);
viewer.addHandler("resize", () => requestAnimationFrame(update));
$("wipe").addEventListener("input", update);

// The whole line can be dragged, not only its handle.
$("divider").addEventListener("pointerdown", (event) => {
  event.preventDefault();
  $("divider").setPointerCapture(event.pointerId);
  $("wipe").focus();
});
$("divider").addEventListener("pointermove", (event) => {
  if (!$("divider").hasPointerCapture(event.pointerId)) return;
  const { left, width } = $("stage").getBoundingClientRect();
  moveWipe((event.clientX - left - thumb() / 2) / (width - thumb()));
});
