// The edge tool: a line over the stage; field, spline and pixels along it; and where exactly the edge lies.

import { requestJson } from "./api.js";
import { copy } from "./copying.js";
import { $, arrowOf, pairs } from "./dom.js";
import { notify, withdraw } from "./notices.js";
import { changes, panes } from "./panes.js";
import { plot } from "./plot.js";
import { paneWidth, Point, regionInView, setTool, toPixel, toUnitSquare, viewer } from "./stage.js";
import { sideAt } from "./wipe.js";

const ENDS = ["from", "to"];
const CURVES = ["pixels", "spline", "field"]; // later ones cover earlier ones

let line = null; // { side, from: { x, y }, to: { x, y } } in the unit square of the side's field
let profile = null; // of the line, as the server describes it
let isRequesting = false;

const entryOf = ({ side }) => (panes[side].choice ?? panes.left.choice).entry;

export function toggleEdgeTool() {
  if (line || !panes.left.sheet) return close();
  setTool("edge");
  // Across the middle of the view, above the handle of the wipe.
  const side = sideAt(paneWidth() / 2 - 1);
  const region = regionInView(panes[side].choice.entry);
  if (!region) return;
  const [x0, y0, x1, y1] = region;
  const y = y0 + 0.35 * (y1 - y0);
  line = { side, from: { x: x0 + 0.35 * (x1 - x0), y }, to: { x: x0 + 0.65 * (x1 - x0), y } };
  $("edge").setAttribute("aria-pressed", "true");
  $("edge-tool").hidden = false;
  update();
}

function close() {
  line = profile = null;
  $("edge").setAttribute("aria-pressed", "false");
  $("edge-tool").hidden = true;
  place();
}

function update() {
  place();
  if (line) requestProfile();
}

async function requestProfile() {
  if (isRequesting) return;
  isRequesting = true;
  const asked = line;
  const { from, to } = asked;
  try {
    const query = new URLSearchParams({ x0: from.x, y0: from.y, x1: to.x, y1: to.y });
    const received = await requestJson(`/api/profile/${encodeURIComponent(entryOf(asked).name)}?${query}`);
    withdraw("edge");
    if (line) show((profile = received));
  } catch (error) {
    notify("edge", `The line cannot be read. ${error.message}`, () => line && requestProfile());
  } finally {
    isRequesting = false;
  }
  if (line && line !== asked) requestProfile();
}

function show({ s, curves, edges, length }) {
  const styles = CURVES.filter((name) => curves[name]);
  const panel = (label, quantity) => ({
    label,
    curves: styles.filter((name) => curves[name][quantity]).map((name) => ({ style: name, x: s, y: curves[name][quantity] })),
  });
  const found = Object.entries(edges).filter(([, edge]) => edge);
  const marks = found.map(([style, { s: x }]) => ({ style, x }));
  const description = found.map(([name, edge]) => `edge of the ${name} at ${edge.s.toFixed(2)} pixels`).join(", ") || "no edge";
  $("edge-plot").innerHTML = plot([panel("brightness", "value"), panel("derivative per pixel", "slope")], marks, { label: "px", description });
  for (const item of $("edge-legend").children) item.hidden = !curves[item.dataset.curve];
  const rows = [["line", `${length.toFixed(2)} px, ${entryOf(line).name}`]];
  for (const [name, edge] of Object.entries(edges)) {
    rows.push([`edge of the ${name}`, edge ? `x ${edge.x.toFixed(2)}, y ${edge.y.toFixed(2)}; ${edge.slope.toFixed(3).replace("-", "−")} per px` : "none between the ends"]);
  }
  if (edges.field && edges.spline) rows.push(["field − spline", `${(edges.field.s - edges.spline.s).toFixed(2).replace("-", "−")} px along the line`]);
  pairs($("edge-values"), rows);
  placeEdges();
}

// What the server sent, a row for each position.
function asCsv() {
  const { s, x, y, curves } = profile;
  const columns = [["s_px", s], ["x_px", x], ["y_px", y]];
  for (const [name, { channels, slope }] of Object.entries(curves)) {
    channels[0].forEach((_, channel) => columns.push([`${name}_${channel}`, channels.map((values) => values[channel])]));
    if (slope) columns.push([`${name}_derivative_per_px`, slope]);
  }
  const rows = s.map((_, row) => columns.map(([, values]) => values[row]));
  return [columns.map(([name]) => name), ...rows].map((row) => row.join(",")).join("\n");
}

// Drawing on the stage.

function place() {
  $("ruler").toggleAttribute("hidden", !line);
  if (!line) return;
  const [from, to] = ENDS.map((end) => toPixel(entryOf(line), line[end].x, line[end].y, line.side));
  for (const id of ["ruler-line", "ruler-halo"]) $(id).setAttribute("d", `M${from.x} ${from.y}L${to.x} ${to.y}`);
  $("ruler-from").setAttribute("transform", `translate(${from.x} ${from.y})`);
  $("ruler-to").setAttribute("transform", `translate(${to.x} ${to.y})`);
  placeEdges();
}

function placeEdges() {
  const entry = entryOf(line);
  const turn = (Math.atan2((line.to.y - line.from.y) * entry.height, (line.to.x - line.from.x) * entry.width) * 180) / Math.PI;
  for (const name of ["field", "spline"]) {
    const edge = profile?.edges[name];
    $(`ruler-${name}`).toggleAttribute("hidden", !edge);
    if (!edge) continue;
    const at = toPixel(entry, edge.x / entry.width, edge.y / entry.height, line.side);
    $(`ruler-${name}`).setAttribute("transform", `translate(${at.x} ${at.y}) rotate(${turn})`);
  }
}

// Set an end to a position on the stage, within the image.
function moveEnd(end, pixel) {
  const { x, y } = toUnitSquare(entryOf(line), pixel, line.side);
  const clamp = (value) => Math.min(1, Math.max(0, value));
  line = { ...line, [end]: { x: clamp(x), y: clamp(y) } };
  update();
}

function positionOf(event) {
  const { left, top } = $("stage").getBoundingClientRect();
  return new Point(event.clientX - left, event.clientY - top);
}

for (const end of ENDS) {
  const handle = $(`ruler-${end}`);
  handle.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
    handle.focus();
  });
  handle.addEventListener("pointermove", (event) => handle.hasPointerCapture(event.pointerId) && moveEnd(end, positionOf(event)));
  handle.addEventListener("keydown", (event) => {
    const step = arrowOf(event);
    if (!step) return;
    const at = toPixel(entryOf(line), line[end].x, line[end].y, line.side);
    const by = event.shiftKey ? 10 : 1;
    moveEnd(end, new Point(at.x + by * step[0], at.y + by * step[1]));
    event.preventDefault();
  });
}

// With the tool, dragging over the stage draws a new line instead of moving the image.
let start = null;
viewer.addHandler("canvas-press", ({ position }) => (start = position));
viewer.addHandler("canvas-drag", (event) => {
  if (!line || !start) return;
  event.preventDefaultAction = true;
  line = { ...line, side: sideAt(start.x) };
  moveEnd("from", start);
  moveEnd("to", event.position);
});
viewer.addHandler("canvas-drag-end", (event) => {
  if (line) event.preventDefaultAction = true; // no flick
});

viewer.addHandler("tool", ({ tool }) => tool === "edge" || close());
$("edge").addEventListener("click", toggleEdgeTool);
$("close-edge").addEventListener("click", close);
$("copy-edge").addEventListener("click", () => profile && copy(asCsv(), "Table"));
viewer.addHandler("viewport-change", place);
viewer.addHandler("resize", () => requestAnimationFrame(place));
changes.addEventListener("sheet", update);
