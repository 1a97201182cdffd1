// The line between left and right: what lies on which side, and moving it; or two panes beside each other.

import { isOfImage, labelOf } from "./catalog.js";
import { $ } from "./dom.js";
import { wake } from "./pace.js";
import { changes, drawing, isOutdated, panes, sides } from "./panes.js";
import { clip, shift } from "./sheet.js";
import { layout, leftOf, paneWidth, Point, scale, split, viewer } from "./stage.js";

const DIMMED = 0.35;

export const isDivided = () => Boolean(panes.right.choice);

// Position of the line on the stage, in CSS pixels.
export function dividerAt() {
  if (layout.isSplit) return paneWidth();
  const range = $("wipe");
  return thumb() / 2 + (range.value / range.max) * ($("stage").clientWidth - thumb());
}

const thumb = () => 2.5 * parseFloat(getComputedStyle(document.documentElement).fontSize);

export const sideAt = (x) => (isDivided() && x >= dividerAt() ? "right" : "left");

let wantsPanes = false; // whether the sides are to be beside each other

export const arePanes = () => wantsPanes;

export function showPanes(wanted) {
  wantsPanes = wanted;
  $("split").setAttribute("aria-pressed", wanted);
  split(wanted && isDivided());
  changes.dispatchEvent(new Event("sheet"));
}

$("split").addEventListener("click", () => {
  showPanes(!wantsPanes);
  changes.dispatchEvent(new Event("shown"));
});

// Place the items of the right side before OpenSeadragon looks for their tiles.
const updateWorld = viewer.world.update.bind(viewer.world);
viewer.world.update = (isChanged) => {
  for (const side of sides) for (const item of panes[side].sheet?.items ?? []) shift(item, leftOf(side) / scale());
  return updateWorld(isChanged);
};

export const wipePosition = () => $("wipe").value / $("wipe").max;

export function moveWipe(position) {
  $("wipe").value = Math.round(position * $("wipe").max);
  $("wipe").dispatchEvent(new Event("input"));
}

function update() {
  wake();
  $("divider").hidden = !isDivided() || !panes.left.sheet;
  $("wipe").hidden = $("divider").hidden || layout.isSplit;
  $("divider").classList.toggle("fixed", layout.isSplit);
  const at = dividerAt();
  $("divider").style.left = `${at}px`;
  const percent = Math.round(100 * wipePosition());
  $("wipe").setAttribute("aria-valuetext", `${percent} % ${labelOf(panes.left.choice)}, ${100 - percent} % ${labelOf(panes.right.choice)}`);
  const cut = viewer.viewport.pointFromPixel(new Point(at, 0), true).x; // in panes also the left end of the right one
  for (const side of sides) {
    const pane = panes[side];
    const [from, to] = !isDivided() ? [-1, 2] : side === "left" ? [-1, cut] : [cut, Infinity];
    const { sheet } = pane;
    for (const item of sheet?.items ?? []) shift(item, leftOf(side) / scale());
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
    split(wantsPanes && isDivided());
    $("split").disabled = !isDivided();
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
