// Values under the pointer, of the field on its side of the wipe, and an arrow along the gradient.

import { catalog } from "./catalog.js";
import { $, make } from "./dom.js";
import { notify, withdraw } from "./notices.js";
import { changes, panes } from "./panes.js";
import { centre, isInside, layout, toPixel, toUnitSquare, viewer } from "./stage.js";
import { evaluate, numbers, signed, swatch } from "./values.js";
import { sideAt } from "./wipe.js";

// Where values are read: { pixel } on the stage, { side, entry, x, y }, and later { values }. Null: nowhere.
let probe = null;
let isRequesting = false;

export const currentProbe = () => probe;

// The place { pixel, side, entry, x, y } below a position on the stage, or null.
export function placeAt(pixel) {
  const side = sideAt(pixel.x);
  const entry = panes[side].sheet && panes[side].choice.entry;
  const place = entry && toUnitSquare(entry, pixel, side);
  return place && isInside(place) ? { pixel, side, entry, ...place } : null;
}

export function probeAt(pixel, { speak = false } = {}) {
  const place = placeAt(pixel);
  if (!place) return stopProbing();
  probe = { ...place, speak };
  requestValues();
}

export const probeCentre = () => probeAt(centre(), { speak: true });

export function stopProbing() {
  probe = null;
  $("readout").replaceChildren();
  $("pointer").setAttribute("hidden", "");
  $("pin").hidden = true;
  $("hint").hidden = false;
}

async function requestValues() {
  if (isRequesting) return;
  isRequesting = true;
  const asked = probe;
  try {
    asked.values = await evaluate(asked);
    withdraw("values");
    if (probe && probe.entry === asked.entry) show(asked);
  } catch (error) {
    notify("values", `Values cannot be read. ${error.message}`, () => probe && requestValues());
    if (probe === asked) stopProbing();
  } finally {
    isRequesting = false;
  }
  if (probe && probe !== asked) requestValues();
}

function show({ side, entry, x, y, values, speak }) {
  const rows = [
    ["place", `${values.x.toFixed(2)}, ${values.y.toFixed(2)}`],
    ["field", swatch(values.color), numbers(values.color)],
    ["gradient per pixel", `${signed(values.dx)}  ${signed(values.dy)}`],
    ["Laplacian", signed(values.laplacian)],
  ];
  if (catalog.entries.length > 1) rows.unshift([`file on the ${side}`, entry.name]);
  if (values.image) {
    const below = rows.findIndex(([name]) => name === "field") + 1;
    rows.splice(below, 0, ["image", swatch(values.image), numbers(values.image)], ["spline", swatch(values.spline), numbers(values.spline)]);
  }
  const row = ([name, ...details]) => make("div", {}, make("dt", { textContent: name }), make("dd", {}, ...details));
  $("readout").replaceChildren(...rows.map(row));
  $("hint").hidden = true;
  $("pin").hidden = false;
  drawArrow(toPixel(entry, x, y, side), values);
  if (speak) {
    const { pixel, color, dx, dy } = values;
    $("spoken").textContent = `Pixel ${pixel.join(", ")}: ${numbers(color)}, gradient ${dx.toFixed(3)} right, ${dy.toFixed(3)} down per pixel`;
  }
}

// An arrow in the direction of increasing brightness. Its length grows with the square root of the gradient, so that
// faint edges show too.
function drawArrow(from, { dx, dy }) {
  const length = Math.min(110, 180 * Math.sqrt(Math.hypot(dx, dy)));
  const head = Math.min(14, length * 0.45);
  const turn = (Math.atan2(dy, dx) * 180) / Math.PI;
  $("shaft").setAttribute("d", `M0 -2H${length - head}V${-head / 2}L${length} 0L${length - head} ${head / 2}V2H0Z`);
  $("shaft").setAttribute("transform", `rotate(${turn})`);
  $("pointer").setAttribute("transform", `translate(${from.x} ${from.y})`);
  $("pointer").removeAttribute("hidden");
}

new OpenSeadragon.MouseTracker({
  element: $("viewer"),
  moveHandler: (event) => event.pointerType !== "touch" && !layout.isPainting && probeAt(event.position),
  leaveHandler: (event) => event.pointerType !== "touch" && stopProbing(),
});
viewer.addHandler("canvas-click", (event) => event.quick && !layout.isPainting && probeAt(event.position));
viewer.addHandler("tool", stopProbing);
viewer.addHandler("viewport-change", () => $("pointer").setAttribute("hidden", ""));
let byKey = false;
viewer.addHandler("canvas-key", () => (byKey = true));
viewer.addHandler("animation-finish", () => {
  // Another place is under the pointer now.
  if (byKey) probeCentre();
  else if (probe) probeAt(probe.pixel);
  byKey = false;
});
changes.addEventListener("sheet", () => probe && panes[probe.side].choice?.entry !== probe.entry && probeAt(probe.pixel));
