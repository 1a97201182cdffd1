// The two sides of the stage: the choice of each, and its sheet. The sheet of the last choice stays, dimmed, until the
// one of the new choice is drawn; if that fails, the choice goes back.

import { catalog, find, isOfImage, keyOf, labelOf } from "./catalog.js";
import { $, make } from "./dom.js";
import { notify, withdraw } from "./notices.js";
import { wake } from "./pace.js";
import { Sheet } from "./sheet.js";
import { shapeNavigator, viewer } from "./stage.js";

export const sides = ["left", "right"];
export const panes = Object.fromEntries(sides.map((side) => [side, { choice: null, sheet: null, next: null }]));
// "choice": another layer is chosen; "sheet": what the stage shows has changed; "shown": a chosen layer is on the stage.
export const changes = new EventTarget();
const announce = (type) => changes.dispatchEvent(new Event(type));

// A running fit draws one image at a time; tiles would take longer.
export const drawing = { tiled: true };

export async function choose(side, choice) {
  const pane = panes[side];
  const { tiled } = drawing;
  pane.choice = choice;
  announce("choice");
  withdraw(side);
  pane.next?.close();
  pane.next = null;
  if (!choice) {
    pane.sheet?.close();
    pane.sheet = null;
    announce("sheet");
    return announce("shown");
  }
  const shown = pane.sheet;
  const isSame = shown && (shown.choice.layer.iiif === choice.layer.iiif || (isOfImage(choice) && keyOf(shown.choice) === keyOf(choice)));
  if (isSame && shown.tiled === tiled) {
    shown.choice = choice;
    announce("sheet");
    return announce("shown");
  }
  const sheet = (pane.next = new Sheet(choice, tiled));
  announce("sheet");
  try {
    await sheet.open(() => announce("sheet"));
  } catch (error) {
    sheet.close();
    if (pane.next !== sheet) return; // another choice was made
    pane.next = null;
    if (pane.sheet) pane.choice = pane.sheet.choice;
    notify(side, `${labelOf(choice)} cannot be shown. ${error.message}`, () => choose(side, choice));
    announce("choice");
    return announce("sheet");
  }
  if (pane.next !== sheet) return sheet.close();
  pane.next = null;
  pane.sheet?.close();
  pane.sheet = sheet;
  if (side === "left") shapeNavigator(choice.entry);
  withdraw(`tiles ${side}`);
  announce("sheet");
  announce("shown");
}

// Whether a side still shows another layer than the chosen one.
export const isOutdated = ({ sheet, choice }) => Boolean(sheet) && keyOf(sheet.choice) !== keyOf(choice);

export function fillSelects() {
  for (const side of sides) {
    const groups = catalog.entries.map((entry) => {
      const options = entry.layers.map((layer) => new Option(labelOf({ entry, layer }), keyOf({ entry, layer })));
      return catalog.entries.length === 1 ? options : [make("optgroup", { label: entry.name }, ...options)];
    });
    $(side).replaceChildren(...groups.flat());
    if (side === "right") $(side).append(new Option("Nothing", ""));
  }
  announce("choice");
}

export const chooseByKey = (side, key) => choose(side, find(key));

changes.addEventListener("choice", () => {
  for (const side of sides) $(side).value = keyOf(panes[side].choice);
  $("swap").disabled = !panes.right.choice;
});
for (const side of sides) $(side).addEventListener("change", () => chooseByKey(side, $(side).value));

export function swap() {
  [panes.left, panes.right] = [panes.right, panes.left];
  announce("choice");
  announce("sheet");
  announce("shown");
}

function loadTilesAgain() {
  for (const side of sides) {
    withdraw(`tiles ${side}`);
    panes[side].sheet?.reload();
  }
  wake();
}

viewer.addHandler("tile-load-failed", ({ tiledImage }) => {
  const side = sides.find((name) => panes[name].sheet?.items.includes(tiledImage));
  if (!side) return;
  notify(`tiles ${side}`, `Parts of ${labelOf(panes[side].choice)} cannot be loaded; coarser ones are shown.`, loadTilesAgain);
});

async function refine(side) {
  try {
    await panes[side].sheet?.refine(() => announce("sheet"));
  } catch (error) {
    if (error.name === "AbortError") return; // a newer sheet is on the stage
    notify(side, `The part in view cannot be shown in detail. ${error.message}`, () => refine(side));
  }
}

viewer.addHandler("animation-finish", () => {
  for (const side of sides) refine(side);
});
