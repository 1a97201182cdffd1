// Clone, fill and retouch: paint a mask, drag the source, see the exact solution, and copy the command that makes it.

import { quoted } from "./address.js";
import { request, send } from "./api.js";
import { asFile, clear, show, size, stroke } from "./brush.js";
import { catalog, loadCatalog } from "./catalog.js";
import { copy } from "./copying.js";
import { $, arrowOf, download, make } from "./dom.js";
import { changes, choose, fillSelects, panes } from "./panes.js";
import { layout, Point, scale, setTool, toPixel, toUnitSquare, viewer } from "./stage.js";
import { sideAt } from "./wipe.js";

const TINT = "rgb(255 176 0 / .55)";

let target = null; // the entry that is edited; null while the tool is closed
let picture = null; // the source, to be dragged
let isHidden = false; // whether the solution is on the stage, without the mask
let isPainted = false;
let isSolving = false;
let isOutdated = false;

const value = (name) => document.querySelector(`input[name=${name}]:checked`).value;
const operation = () => value("operation");
const isClone = () => operation() === "clone";
const entryNamed = (name) => catalog.entries.find((entry) => entry.name === name);
const source = () => entryNamed($("source").value);
const offset = () => (isClone() ? new Point(...["offset-x", "offset-y"].map((id) => Math.round($(id).valueAsNumber || 0))) : new Point(0, 0));
const needsMask = () => operation() !== "retouch";

export function toggleEdit() {
  if (target) return setTool(null);
  if (!panes.left.sheet || $("edit").hidden) return;
  setTool("edit");
}

viewer.addHandler("tool", ({ tool }) => {
  const isOpen = tool === "edit";
  target = isOpen ? panes.left.choice.entry : null;
  $("edit-tool").hidden = !isOpen;
  $("edit").setAttribute("aria-pressed", isOpen);
  if (isOpen) start();
  place();
});

function start() {
  const others = catalog.entries.filter((entry) => entry.name !== target.name);
  $("source").replaceChildren(...[...others, target].map(({ name }) => make("option", { value: name, textContent: name })));
  $("edit-title").textContent = `Edit ${target.name}`;
  choose("right", null); // the whole stage shows the result
  reset();
}

// Begin again, with an empty mask.
async function reset() {
  const { width, height } = isClone() ? source() : target;
  clear(width, height);
  isPainted = isHidden = false;
  for (const part of document.querySelectorAll("#edit-tool [data-for]")) part.hidden = !part.dataset.for.split(" ").includes(operation());
  if (!isClone() && value("brush") === "move") document.querySelector("input[name=brush][value=paint]").checked = true;
  $("edit-status").textContent = needsMask() ? "Paint over the part to change." : "";
  picture = isClone() ? await pictureOf(source()).catch(() => null) : null;
  describe();
  place();
  if (!needsMask()) solve();
}

async function pictureOf(entry) {
  const layer = entry.layers.find(({ name }) => name === "original") ?? entry.layers[0];
  return createImageBitmap(await (await request(`${layer.iiif}/full/!1024,1024/0/default.png`)).blob());
}

function options() {
  if (isClone()) {
    const { x, y } = offset();
    return { operation: "clone", source: source().name, x, y, mode: $("mode").value };
  }
  if (operation() === "fill") return { operation: "fill", method: $("method").value };
  return { operation: $("change").value, factor: $("factor").valueAsNumber || 1 };
}

async function solve() {
  describe();
  if (!target || (needsMask() && !isPainted)) return;
  isOutdated = isSolving;
  if (isSolving) return;
  isSolving = true;
  try {
    $("edit-status").textContent = "Solving.";
    const body = needsMask() ? await asFile() : undefined;
    const { layer, seconds, notes } = await (await send("/api/workbench/edit", { entry: target.name, ...options() }, body)).json();
    await present(layer);
    const sentences = notes.map((note) => `${note[0].toUpperCase()}${note.slice(1)}.`);
    $("edit-status").textContent = [`Exact solution at full size, in ${seconds.toFixed(2)} s.`, ...sentences].join(" ");
  } catch (error) {
    $("edit-status").textContent = error.message;
  } finally {
    isSolving = false;
  }
  if (isOutdated) solve();
}

// Show the solution on the left.
async function present(name) {
  await loadCatalog();
  const entry = target && entryNamed(target.name);
  const layer = entry?.layers.find((other) => other.name === name);
  if (!layer) return;
  target = entry;
  fillSelects();
  isHidden = !isOutdated;
  place();
  await choose("left", { entry, layer });
}

function describe() {
  if (!target) return;
  $("factor").parentElement.hidden = operation() !== "retouch" || $("change").value !== "boost-detail";
  const output = `-o ${quoted(`${target.name}-${operation()}.png`)}`;
  const mask = `--mask ${quoted(maskName())}`;
  const { x, y } = offset();
  const mode = $("mode").value === "import" ? "" : ` --mode ${$("mode").value}`;
  const method = $("method").value === "membrane" ? "" : ` --method ${$("method").value}`;
  const change = $("change").value === "boost-detail" ? `boost-detail ${$("factor").valueAsNumber || 1}` : $("change").value;
  const operands = isClone() ? [source(), target] : [target];
  const words = {
    clone: `${mask} --offset=${x},${y}${mode} ${output}`,
    fill: `${mask}${method} ${output}`,
    retouch: `--${change} ${output}`,
  };
  const isKnown = operands.every((entry) => entry.operand);
  $("edit-command").value = isKnown ? `eoren ${operation()} ${operands.map((entry) => quoted(entry.operand)).join(" ")} ${words[operation()]}` : "";
  $("copy-edit").disabled = !isKnown;
}

const maskName = () => `${target.name}-mask.png`;

// On the stage

const pixelSize = () => scale() / target.width; // of the image, on the stage

// A position on the stage in pixels of the image of the mask.
function inMask(pixel) {
  const { x, y } = toUnitSquare(target, pixel, sideAt(pixel.x));
  return new Point(x * target.width, y * target.height).minus(offset());
}

function paint(from, to) {
  stroke(inMask(from), inMask(to), $("brush-size").valueAsNumber / pixelSize(), value("brush") === "erase");
  isPainted ||= value("brush") === "paint";
  isHidden = false;
  place();
}

function moveSource(by) {
  const { x, y } = offset().plus(by);
  [$("offset-x").value, $("offset-y").value] = [Math.round(x), Math.round(y)];
  isHidden = false;
  place();
}

let at = null; // the brush
let pressed = null; // { pixel, offset } where a drag began

function place() {
  const canvas = $("mask");
  const ratio = devicePixelRatio;
  [canvas.width, canvas.height] = target ? [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * ratio)) : [0, 0];
  const isBrush = target && needsMask() && ["paint", "erase"].includes(value("brush"));
  $("brush").toggleAttribute("hidden", !isBrush);
  layout.isPainting = Boolean(target && needsMask() && value("brush") !== "pan");
  if (!target) return;
  if (isBrush) {
    at ??= new Point($("stage").clientWidth / 2, $("stage").clientHeight / 2);
    $("brush").setAttribute("transform", `translate(${at.x} ${at.y})`);
    for (const circle of $("brush").children) circle.setAttribute("r", $("brush-size").valueAsNumber / 2);
  }
  if (isHidden || !needsMask()) return;
  const draw = canvas.getContext("2d");
  const origin = toPixel(target, 0, 0);
  const { x, y } = offset();
  const unit = ratio * pixelSize();
  draw.setTransform(unit, 0, 0, unit, ratio * origin.x + x * unit, ratio * origin.y + y * unit);
  const isMoved = isPainted && value("brush") === "move";
  show(draw, isMoved ? { picture } : { tint: TINT });
  if (!picture || isMoved) return;
  draw.globalAlpha = 0.6;
  draw.drawImage(picture, 0, 0, ...size());
}

viewer.addHandler("canvas-press", ({ position }) => {
  if (layout.isPainting) pressed = { pixel: position.clone(), offset: offset() };
});
viewer.addHandler("canvas-drag", (event) => {
  if (!layout.isPainting || !pressed) return;
  event.preventDefaultAction = true;
  at = event.position.clone();
  if (value("brush") === "move") {
    moveSource(at.minus(pressed.pixel).divide(pixelSize()).plus(pressed.offset).minus(offset()));
    return;
  }
  paint(pressed.pixel, at);
  pressed.pixel = at;
});
viewer.addHandler("canvas-drag-end", (event) => {
  if (!layout.isPainting) return;
  event.preventDefaultAction = true; // no flick
  pressed = null;
  solve();
});
viewer.addHandler("canvas-click", ({ quick, position }) => {
  if (!quick || !layout.isPainting || value("brush") === "move") return;
  at = position.clone();
  paint(at, at);
  solve();
});
viewer.addHandler("canvas-double-click", (event) => (event.preventDefaultAction ||= layout.isPainting));

new OpenSeadragon.MouseTracker({
  element: $("viewer"),
  moveHandler: ({ position, pointerType }) => {
    if (!layout.isPainting || pointerType === "touch") return;
    at = position.clone();
    $("brush").setAttribute("transform", `translate(${at.x} ${at.y})`);
  },
});

// The brush by keys
$("brush").addEventListener("keydown", (event) => {
  const step = arrowOf(event);
  if (step) {
    const by = event.shiftKey ? 30 : 5;
    at = at.plus(new Point(by * step[0], by * step[1]));
    place();
  } else if (event.key === " " || event.key === "Enter") {
    paint(at, at);
    solve();
  } else return;
  event.preventDefault();
});

// The panel
const on = (ids, type, act) => ids.forEach((id) => $(id).addEventListener(type, act));
$("edit").addEventListener("click", toggleEdit);
$("close-edit").addEventListener("click", toggleEdit);
for (const input of document.querySelectorAll("input[name=operation]")) input.addEventListener("change", reset);
for (const input of document.querySelectorAll("input[name=brush]"))
  input.addEventListener("change", () => {
    isHidden = false;
    place();
  });
$("source").addEventListener("change", reset);
$("clear-mask").addEventListener("click", reset);
on(["mode", "method", "change", "factor"], "change", solve);
on(["offset-x", "offset-y"], "input", () => {
  isHidden = false;
  place();
  solve();
});
$("brush-size").addEventListener("input", place);
$("copy-edit").addEventListener("click", () => copy($("edit-command").value, "Command"));
$("save-mask").addEventListener("click", async () => download(await asFile(), maskName()));
viewer.addHandler("viewport-change", place);
viewer.addHandler("resize", () => requestAnimationFrame(place));
changes.addEventListener("choice", () => {
  // Another image on the left ends the edit.
  if (target && panes.left.choice?.entry.name !== target.name) setTool(null);
});
