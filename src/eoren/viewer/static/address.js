// The view as an address: position, layers and wipe or panes are the fragment of the URL,
// #xywh=...&left=...&right=...&wipe=... or &view=panes.
// A choice of layers is a new entry of the history, so that Back leads to the one before; a movement is not.

import { find, keyOf, labelOf } from "./catalog.js";
import { $ } from "./dom.js";
import { notify, withdraw } from "./notices.js";
import { changes, choose, panes, sides } from "./panes.js";
import { isHome, Rect, regionInView, rememberHome, scale, viewer } from "./stage.js";
import { arePanes, moveWipe, showPanes, wipePosition } from "./wipe.js";

let written = ""; // the last fragment
let isRestored = false; // whether the position of the address that was opened is in view

function describe() {
  const parts = [];
  const { entry } = panes.left.choice;
  const { x, y, width, height } = viewer.viewport.getBoundsNoRotate();
  // The part in view, in pixels of the field on the left. Without it, a page shows the whole image.
  if (!isHome()) parts.push(`xywh=${[x, y, width, height].map((side) => Number((side * entry.width).toFixed(3)))}`);
  for (const side of sides) parts.push(`${side}=${encodeURIComponent(keyOf(panes[side].choice))}`);
  if (arePanes()) parts.push("view=panes");
  else if (wipePosition() !== 0.5) parts.push(`wipe=${wipePosition()}`);
  return parts.join("&");
}

// Results of editing replace each other.
const layersOf = (fragment) => sides.map((side) => new URLSearchParams(fragment).get(side)?.replace(/~edited-\d+$/, "~edited")).join(" ");

function write() {
  if (!isRestored || !panes.left.sheet) return;
  const fragment = describe();
  if (fragment === written) return;
  const isNew = written && layersOf(fragment) !== layersOf(written);
  history[isNew ? "pushState" : "replaceState"](null, "", `#${fragment}`);
  written = fragment;
}

// The choices of the address, with those given where it names none.
export function choicesOfAddress(others) {
  const parameters = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(sides.map((side) => {
    const choice = choiceOf(side, parameters);
    return [side, choice === undefined ? others[side] : choice];
  }));
}

// The choice of a side: null for nothing on the right, undefined if the address names none that is open.

function choiceOf(side, parameters) {
  const key = parameters.get(side);
  if (key === null || (key === "" && side === "left")) return undefined;
  const choice = find(key);
  if (key && !choice) notify("address", `The address names ${key}, which is not open here.`);
  return key && !choice ? undefined : choice;
}

function restorePosition() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const numbers = (parameters.get("xywh") ?? "").split(",").map(Number);
  showPanes(parameters.get("view") === "panes");
  const isRegion = numbers.length === 4 && numbers.every(Number.isFinite) && numbers[2] > 0 && numbers[3] > 0;
  if (isRegion) viewer.viewport.fitBounds(new Rect(...numbers.map((side) => side / panes.left.choice.entry.width)), true);
  else viewer.viewport.goHome(true);
  rememberHome();
  if (parameters.has("xywh") && !isRegion) notify("address", "xywh of the address must be four numbers: x, y, width, height in pixels.");
  const wipe = parameters.get("wipe");
  moveWipe(wipe !== null && wipe >= 0 && wipe <= 1 ? Number(wipe) : 0.5);
}

changes.addEventListener("shown", () => {
  if (!isRestored && panes.left.sheet) {
    restorePosition();
    isRestored = true;
  }
  write();
});
viewer.addHandler("animation-finish", write);
let timer = 0;
$("wipe").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(write, 200); // browsers limit how often the address changes
});

addEventListener("popstate", () => {
  if (!panes.left.sheet) return;
  withdraw("address");
  written = location.hash.slice(1);
  const wanted = choicesOfAddress(Object.fromEntries(sides.map((side) => [side, panes[side].choice])));
  for (const side of sides) if (keyOf(wanted[side]) !== keyOf(panes[side].choice)) choose(side, wanted[side]);
  restorePosition();
});

const SHOWS = { color: "", gradient: " --show gradient", laplacian: " --show laplacian" };

export const quoted = (path) => (/^[\w./-]+$/.test(path) && !path.startsWith("-") ? path : `'${path.replaceAll("'", "'\\''")}'`);

// The command that renders the part in view as the left side shows it, or null: a command does not draw all layers.
export function renderCommand() {
  const { entry, layer } = panes.left.choice;
  const region = regionInView(entry, false);
  if (!(layer.name in SHOWS) || !region || !entry.file) return null;
  const [x0, y0, x1, y1] = region;
  const pixels = scale(false) * devicePixelRatio;
  const size = [(x1 - x0) * pixels, ((y1 - y0) * pixels * entry.height) / entry.width].map((side) => Math.max(1, Math.round(side)));
  const crop = region.map((side) => Number(side.toFixed(6)));
  return `eoren render ${quoted(entry.file)} -o ${quoted(`${entry.name}-view.png`)} --crop ${crop} --size ${size.join("x")}${SHOWS[layer.name]}`;
}

// A name for a file of what the stage shows.
export const viewName = () => [panes.left, panes.right].filter(({ choice }) => choice).map(({ choice }) => labelOf(choice)).join(" - ");
