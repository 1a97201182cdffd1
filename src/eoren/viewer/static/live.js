// Progress of a running fit: numbers, curves, the tiles being trained, stopping it and going on.

import { requestJson, send } from "./api.js";
import { catalog } from "./catalog.js";
import { $ } from "./dom.js";
import { notify, withdraw } from "./notices.js";
import { panes } from "./panes.js";
import { toPixel, viewer } from "./stage.js";

export const fit = { status: null }; // what the server says about the fit

let timer = 0;
let poll = () => {}; // now

// Show the progress of a fit until it ends; ``refresh`` shows a new version of its field.
export async function follow(refresh) {
  clearTimeout(timer);
  poll = () => follow(refresh);
  try {
    fit.status = await requestJson("/api/live");
    const isOver = catalog.workbench && Boolean(fit.status.ended); // its field is one of many now
    if (isOver || (fit.status.entry && fit.status.entry !== catalog.entries[0]?.name)) await refresh();
    withdraw("fit");
    if (isOver && fit.status.message) notify("fit", `${fit.status.message}.`);
  } catch {
    $("status").textContent = "The program that runs the fit has ended.";
    $("stop").hidden = $("go-on").hidden = true;
    return notify("fit", "The program that runs the fit has ended or does not answer.", () => follow(refresh));
  }
  show(fit.status);
  const mayGoOn = fit.status.ended === "stopped" && !catalog.workbench;
  if (!fit.status.ended || mayGoOn) timer = setTimeout(poll, (document.hidden ? 2000 : 1000) * fit.status.poll_after);
}

const STOPPED = { true: "Stopped", false: "Stopped, the file is written" }; // whether the workbench runs the fit
const ENDED = { budget: "Done", target: "Done, target reached" };

function show(status) {
  const db = (value) => (value == null ? "–" : `${value.toFixed(1)} dB`);
  const left = status.seconds_left == null ? "" : `, ${Math.ceil(status.seconds_left)} s left`;
  const running = status.stopping ? "Stopping" : status.done >= 1 ? "Measuring" : status.steps ? `${Math.floor(status.seconds)} s${left}` : "Preparing";
  const numbers = status.steps ? ` Step ${status.steps.toLocaleString("en")}. PSNR ${db(status.psnr)}, gradient ${db(status.gradient_psnr)}.` : "";
  const ended = status.message || ENDED[status.ended] || STOPPED[catalog.workbench];
  $("status").textContent = `${status.ended ? ended : running}.${numbers}`;
  $("stop").textContent = catalog.workbench ? "Stop" : "Stop and write";
  $("done").value = ["budget", "target"].includes(status.ended) ? 1 : status.done;
  $("curves").innerHTML = status.curves;
  $("legend").hidden = !status.curves;
  $("show-tiles").parentElement.hidden = Boolean(status.ended) || status.tiles.length < 2;
  $("stop").hidden = Boolean(status.ended);
  $("stop").disabled = status.stopping || !status.steps || status.done >= 1;
  $("go-on").hidden = !status.can_go_on;
  $("fit").dataset.ended = status.ended || "";
  drawTiles();
}

const post = (action) => send(`/api/live/${action}`).catch((error) => notify("fit", error.message, () => post(action)));

$("stop").addEventListener("click", async () => {
  $("stop").disabled = true;
  await post("stop");
  poll();
});
$("go-on").addEventListener("click", async () => {
  $("go-on").hidden = true;
  await post("go-on");
  poll();
});

function drawTiles() {
  const canvas = $("tiles");
  const ratio = devicePixelRatio;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const draw = canvas.getContext("2d");
  draw.setTransform(ratio, 0, 0, ratio, 0, 0);
  draw.clearRect(0, 0, width, height);
  const { status } = fit;
  const entry = panes.left.sheet?.choice.entry;
  if (!status || status.ended || !entry || !$("show-tiles").checked || status.tiles.length < 2) return;
  draw.strokeStyle = "#ffb000";
  status.tiles.forEach(([x0, y0, x1, y1], index) => {
    const [from, to] = [[x0, y0], [x1, y1]].map(([x, y]) => toPixel(entry, x / entry.width, y / entry.height));
    draw.globalAlpha = 0.8 * status.activity[index] ** 2;
    draw.strokeRect(from.x + 1.5, from.y + 1.5, to.x - from.x - 3, to.y - from.y - 3);
  });
}

$("show-tiles").addEventListener("change", drawTiles);
viewer.addHandler("viewport-change", drawTiles);
viewer.addHandler("resize", () => requestAnimationFrame(drawTiles));
