// Pinned points: marks on the stage, and a table of what lies there.

import { copy } from "./copying.js";
import { $, make } from "./dom.js";
import { notify } from "./notices.js";
import { changes } from "./panes.js";
import { currentProbe, placeAt } from "./probe.js";
import { layout, leftOf, paneWidth, toPixel, viewer } from "./stage.js";
import { differences, evaluate, inBytes, inHex, numbers, signed, swatch } from "./values.js";

const SVG = "http://www.w3.org/2000/svg";
const points = []; // { entry, side, x, y, values, mark, card }
let count = 0;

export async function pin(place = currentProbe()) {
  if (!place) return;
  const { entry, side, x, y } = place;
  const values = await evaluate(place).catch((error) => notify("values", `The point cannot be pinned. ${error.message}`, () => pin(place)));
  if (!values) return;
  const point = { number: ++count, entry, side, x, y, values };
  point.mark = mark(point.number);
  point.card = card(point);
  points.push(point);
  $("points").append(point.card);
  update();
}

function remove(point) {
  points.splice(points.indexOf(point), 1);
  point.mark.remove();
  point.card.remove();
  if (!points.length) count = 0;
  update();
}

function update() {
  $("pinned").hidden = !points.length;
  place();
}

function place() {
  for (const { entry, side, x, y, mark } of points) {
    const at = toPixel(entry, x, y, side);
    mark.toggleAttribute("hidden", at.x < leftOf(side) || at.x > leftOf(side) + paneWidth());
    mark.setAttribute("transform", `translate(${at.x} ${at.y})`);
  }
}

function mark(number) {
  const group = document.createElementNS(SVG, "g");
  group.classList.add("mark");
  group.innerHTML = `<path d="M-7 0H-2M2 0H7M0 -7V-2M0 2V7"/><text x="7" y="-6">${number}</text>`;
  $("overlay").append(group);
  return group;
}

// What is known about a point, as names and text.
function describe({ entry, values }) {
  const rows = [
    ["place", `${values.x.toFixed(2)}, ${values.y.toFixed(2)}`],
    ["field", numbers(values.color)],
    ["8 bits", inBytes(values.color)],
    ["hex", inHex(values.color)],
  ];
  if (values.image) {
    rows.push(["image, 8 bits", inBytes(values.image)], ["image, hex", inHex(values.image)]);
    rows.push(["field − image", differences(values.color.map((value, channel) => value - values.image[channel]))]);
  }
  rows.push(["d/dx", signed(values.dx, 4)], ["d/dy", signed(values.dy, 4)], ["Laplacian", signed(values.laplacian, 4)]);
  return [["file", entry.name], ...rows];
}

function card(point) {
  const { number, values } = point;
  const button = make("button", { type: "button", textContent: "Remove", ariaLabel: `Remove point ${number}` });
  button.addEventListener("click", () => remove(point));
  const rows = describe(point).flatMap(([name, text]) => [make("dt", { textContent: name }), make("dd", { textContent: text })]);
  const title = make("h3", {}, swatch(values.color), `Point ${number}`);
  return make("li", {}, make("div", { className: "title" }, title, button), make("dl", { className: "values" }, ...rows));
}

// A table with a row for each point, as spreadsheets take it.
function asText() {
  const tables = points.map((point) => [["point", String(point.number)], ...describe(point)]);
  const names = [...new Set(tables.flat().map(([name]) => name))];
  const plain = (text = "") => text.replaceAll("\u2007", "").replaceAll("−", "-").replaceAll("  ", " ").trim();
  const rows = tables.map((table) => names.map((name) => plain(Object.fromEntries(table)[name])));
  return [names.map(plain), ...rows].map((row) => row.join("\t")).join("\n");
}

$("pin").addEventListener("click", () => pin());
$("copy-points").addEventListener("click", () => copy(asText(), "Points"));
$("remove-points").addEventListener("click", () => [...points].forEach(remove));

// A click pins, unless it is the first of two, which zoom. A tap only reads: there is a button to pin.
let click = 0;
viewer.addHandler("canvas-click", ({ quick, position, originalEvent }) => {
  clearTimeout(click);
  if (!quick || originalEvent.pointerType === "touch" || layout.isPainting) return;
  const place = placeAt(position);
  click = setTimeout(() => pin(place), 300);
});
viewer.addHandler("canvas-double-click", () => clearTimeout(click));
viewer.addHandler("viewport-change", place);
viewer.addHandler("resize", () => requestAnimationFrame(place));
changes.addEventListener("sheet", place);
