// Two layers side by side in one deep-zoom view, values under the pointer, and the progress of a running fit.
// Layers are IIIF images; everything else comes from /api. No framework.
"use strict";

const $ = (id) => document.getElementById(id);
const sides = ["left", "right"];
const { Point, Rect } = OpenSeadragon;

let catalog = { entries: [], live: false };
const shown = { left: null, right: null }; // chosen { entry, layer }, or null
const items = { left: null, right: null }; // the OpenSeadragon item of each
const stale = { left: [], right: [] }; // items to remove once the new one is loaded
const requests = { left: 0, right: 0 }; // number of requests so far: only the latest counts
let opened = false;

// OpenSeadragon draws every frame, always. While nothing moves or loads, limit it to four frames a second, to leave the
// processor to a running fit and to save battery.
const nextFrame = OpenSeadragon.requestAnimationFrame;
const pace = { awakeUntil: 0, waiting: [], timer: 0 };

OpenSeadragon.requestAnimationFrame = (draw) => {
  if (performance.now() < pace.awakeUntil) return nextFrame(draw);
  if (!pace.waiting.length) pace.timer = setTimeout(() => wake(0), 250);
  pace.waiting.push(draw);
};

function wake(milliseconds = 500) {
  pace.awakeUntil = Math.max(pace.awakeUntil, performance.now() + milliseconds);
  clearTimeout(pace.timer);
  pace.waiting.splice(0).forEach((draw) => nextFrame(draw));
}

for (const type of ["pointerdown", "pointermove", "wheel", "keydown", "resize"]) addEventListener(type, () => wake(), { capture: true, passive: true });

const viewer = OpenSeadragon({
  element: $("viewer"),
  drawer: "canvas",
  showNavigationControl: false,
  gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
  gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true, pinchRotate: false },
  maxZoomPixelRatio: 4,
  minZoomImageRatio: 0.5,
  visibilityRatio: 0.4,
  animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.5,
  preserveViewport: true,
  crossOriginPolicy: false,
  imageLoaderLimit: 6,
  // Otherwise the page shows through between tiles that end within a screen pixel: edges that are not in the image.
  subPixelRoundingForTransparency: OpenSeadragon.SUBPIXEL_ROUNDING_OCCURRENCES.ALWAYS,
  immediateRender: true, // load the zoom level in view, without the coarser ones before it
});
viewer.world.addHandler("add-item", () => wake());
for (const type of ["animation", "tile-loaded", "tile-load-failed"]) viewer.addHandler(type, () => wake());

// Choice of layers.

function choices() {
  return catalog.entries.flatMap((entry) => entry.layers.map((layer) => ({ entry, layer })));
}

function keyOf(choice) {
  // While a fit runs, each new version of its field has a new name but the same title. Otherwise titles may repeat.
  return choice ? `${catalog.live ? choice.entry.title : choice.entry.name} ${choice.layer.name}` : "";
}

function fillSelects() {
  for (const side of sides) {
    const select = $(side);
    const groups = catalog.entries.map((entry) => {
      const options = entry.layers.map((layer) => new Option(layer.label, keyOf({ entry, layer })));
      if (catalog.entries.length === 1) return options;
      const group = document.createElement("optgroup");
      group.label = entry.name;
      group.append(...options);
      return group;
    });
    select.replaceChildren(...groups.flat());
    if (side === "right") select.append(new Option("Nothing", ""));
    select.value = keyOf(shown[side]);
  }
}

function labelOf(choice) {
  if (!choice) return "";
  return catalog.entries.length > 1 ? `${choice.entry.name}: ${choice.layer.label}` : choice.layer.label;
}

function choose(side, choice) {
  const previous = shown[side];
  shown[side] = choice;
  $(side).value = keyOf(choice);
  const two = Boolean(shown.right);
  $("left-name").textContent = labelOf(shown.left);
  $("right-name").textContent = labelOf(shown.right);
  $("wipe").hidden = $("divider").hidden = $("swap").disabled = !two;
  if (!previous || !choice || previous.layer.iiif !== choice.layer.iiif) show(side, choice);
  wipe();
}

function show(side, choice) {
  const request = ++requests[side];
  if (items[side]) stale[side].push(items[side]);
  items[side] = null;
  if (!choice) return removeStale(side);
  viewer.addTiledImage({
    tileSource: `${choice.layer.iiif}/info.json`,
    width: 1,
    success: ({ item }) => {
      if (request !== requests[side]) return viewer.world.removeItem(item);
      items[side] = item;
      $("waiting").hidden = true;
      if (!opened) viewer.viewport.goHome(true);
      opened = true;
      wipe();
      // The old item stays until the new one is complete, so that nothing flickers.
      item.addHandler("fully-loaded-change", () => item.getFullyLoaded() && items[side] === item && removeStale(side));
      setTimeout(() => items[side] === item && removeStale(side), 4000);
    },
    error: ({ message }) => request === requests[side] && showMessage(`The image cannot be loaded: ${message}`),
  });
}

function removeStale(side) {
  for (const item of stale[side].splice(0)) viewer.world.removeItem(item);
}

// The wipe.

function dividerAt() {
  const range = $("wipe");
  const thumb = 2.5 * parseFloat(getComputedStyle(document.documentElement).fontSize);
  return thumb / 2 + (range.value / range.max) * ($("stage").clientWidth - thumb);
}

function wipe() {
  wake();
  const at = dividerAt();
  $("divider").style.left = `${at}px`;
  const two = Boolean(shown.right);
  for (const side of sides) {
    for (const item of [...stale[side], items[side]].filter(Boolean)) {
      const { x: width, y: height } = item.getContentSize();
      const cut = item.viewportToImageCoordinates(viewer.viewport.pointFromPixel(new Point(at, 0), true)).x;
      const [from, to] = !two ? [0, width] : side === "left" ? [0, Math.min(width, cut)] : [Math.max(0, cut), width];
      const visible = to > from;
      item.setOpacity(visible ? 1 : 0);
      if (visible) item.setClip(two ? new Rect(from, 0, to - from, height) : null);
    }
  }
  drawTiles();
}

// Values under the pointer.

let probe = null; // { x, y } in the unit square
let requesting = false;

function toUnitSquare(pixel) {
  const item = items.left || items.right;
  if (!item) return null;
  const point = item.viewportToImageCoordinates(viewer.viewport.pointFromPixel(pixel, true));
  const size = item.getContentSize();
  const at = { x: point.x / size.x, y: point.y / size.y };
  return at.x >= 0 && at.y >= 0 && at.x <= 1 && at.y <= 1 ? at : null;
}

async function requestValues(speak = false) {
  if (requesting || !probe) return;
  requesting = true;
  const at = probe;
  try {
    const { entry } = shown.left;
    const response = await fetch(`/api/probe/${encodeURIComponent(entry.name)}?x=${at.x}&y=${at.y}`);
    if (response.ok) showValues(await response.json(), at, speak);
  } catch {
    // The server may have ended; the requests for the catalog or the fit report that.
  } finally {
    requesting = false;
    if (probe !== at) requestValues(speak);
  }
}

const number = (value) => (value < 0 ? "−" : "\u2007") + Math.abs(value).toFixed(3);
const colour = (channels) => channels.map((value) => value.toFixed(3)).join("  ");

function showValues(values, at, speak) {
  if (!probe) return;
  // Gradient of the brightness: the mean over the colour channels, without alpha.
  const colours = values.gradient.slice(0, values.gradient.length < 3 ? 1 : 3);
  const [dx, dy] = [0, 1].map((axis) => colours.reduce((sum, gradient) => sum + gradient[axis], 0) / colours.length);
  const rows = [
    ["pixel", values.pixel.join(", ")],
    ["field", colour(values.color), values.color],
    ["gradient per pixel", `${number(dx)}  ${number(dy)}`],
    ["Laplacian", number(values.laplacian.slice(0, colours.length).reduce((a, b) => a + b, 0) / colours.length)],
  ];
  if (values.image) rows.splice(2, 0, ["image", colour(values.image), values.image], ["spline", colour(values.spline), values.spline]);
  $("readout").replaceChildren(
    ...rows.map(([name, value, swatch]) => {
      const row = document.createElement("div");
      const [term, detail] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      if (swatch) {
        const box = document.createElement("span");
        box.className = "swatch";
        const [r, g, b] = (swatch.length < 3 ? [swatch[0], swatch[0], swatch[0]] : swatch).map((v) => Math.round(255 * Math.min(1, Math.max(0, v))));
        box.style.background = `rgb(${r} ${g} ${b})`;
        detail.append(box);
      }
      detail.append(value);
      row.append(term, detail);
      return row;
    }),
  );
  $("hint").hidden = true;
  drawArrow(at, dx, dy);
  if (speak) $("spoken").textContent = `Pixel ${values.pixel.join(", ")}: ${colour(values.color)}, gradient ${dx.toFixed(3)} right, ${dy.toFixed(3)} down per pixel`;
}

// An arrow in the direction of increasing brightness. Its length grows with the square root of the gradient, so that
// faint edges show too.
function drawArrow(at, dx, dy) {
  const item = items.left || items.right;
  if (!item) return;
  const size = item.getContentSize();
  const from = viewer.viewport.pixelFromPoint(item.imageToViewportCoordinates(at.x * size.x, at.y * size.y), true);
  const length = Math.min(110, 180 * Math.sqrt(Math.hypot(dx, dy)));
  const head = Math.min(14, length * 0.45);
  const turn = (Math.atan2(dy, dx) * 180) / Math.PI;
  $("shaft").setAttribute("d", `M0 -2H${length - head}V${-head / 2}L${length} 0L${length - head} ${head / 2}V2H0Z`);
  $("shaft").setAttribute("transform", `rotate(${turn})`);
  $("pointer").setAttribute("transform", `translate(${from.x} ${from.y})`);
  $("pointer").removeAttribute("hidden");
}

function stopProbing() {
  probe = null;
  $("pointer").setAttribute("hidden", "");
}

function probeAt(pixel, speak) {
  probe = toUnitSquare(pixel);
  probe ? requestValues(speak) : stopProbing();
}

function probeCentre() {
  probeAt(new Point($("stage").clientWidth / 2, $("stage").clientHeight / 2), true);
}

new OpenSeadragon.MouseTracker({
  element: $("viewer"),
  moveHandler: (event) => event.pointerType !== "touch" && probeAt(event.position),
  leaveHandler: (event) => event.pointerType !== "touch" && stopProbing(),
});
viewer.addHandler("canvas-click", (event) => event.quick && probeAt(event.position));
viewer.addHandler("viewport-change", () => {
  wipe();
  $("pointer").setAttribute("hidden", "");
});
viewer.addHandler("resize", () => requestAnimationFrame(wipe));
let byKey = false;
viewer.addHandler("canvas-key", (event) => {
  byKey = true;
  // OpenSeadragon would rotate or mirror the view here, which the wipe does not support.
  if (/^[rf]$/i.test(event.originalEvent.key)) event.preventDefaultAction = true;
});
viewer.addHandler("animation-finish", () => {
  if (byKey) probeCentre();
  else if (probe) requestValues();
  byKey = false;
});

// Controls.

for (const side of sides) {
  $(side).addEventListener("change", () => choose(side, choices().find((choice) => keyOf(choice) === $(side).value) || null));
}
$("wipe").addEventListener("input", wipe);
$("swap").addEventListener("click", () => {
  const { left, right } = shown;
  choose("left", right);
  choose("right", left);
});
$("in").addEventListener("click", () => zoom(2));
$("out").addEventListener("click", () => zoom(0.5));
$("home").addEventListener("click", () => viewer.viewport.goHome());
$("about").addEventListener("click", about);
$("show-tiles").addEventListener("change", drawTiles);

function zoom(by) {
  viewer.viewport.zoomBy(by);
  viewer.viewport.applyConstraints();
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || $("panel").open) return;
  const inViewer = $("viewer").contains(event.target); // where OpenSeadragon handles these keys
  const range = $("wipe");
  if (event.key === "[" || event.key === "]") {
    range.value = Number(range.value) + (event.key === "]" ? 25 : -25);
    wipe();
  } else if (/^Digit[1-9]$/.test(event.code)) {
    const side = event.altKey ? "right" : "left";
    const entry = (shown[side] || shown.left)?.entry;
    const layer = entry?.layers[event.code.slice(5) - 1];
    if (layer) choose(side, { entry, layer });
  } else if (event.key === "x" && !$("swap").disabled) $("swap").click();
  else if (event.key === "?") about();
  else if (!inViewer && (event.key === "+" || event.key === "=")) zoom(2);
  else if (!inViewer && event.key === "-") zoom(0.5);
  else if (!inViewer && event.key === "0") viewer.viewport.goHome();
  else return;
  event.preventDefault();
});

function pairs(list, rows) {
  list.replaceChildren(
    ...rows.flatMap(([name, value]) => {
      const [term, detail] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      detail.append(value);
      return [term, detail];
    }),
  );
}

function about() {
  const choice = shown.left;
  if (!choice) return;
  const { entry } = choice;
  const link = document.createElement("a");
  link.href = link.textContent = `${location.origin}/iiif/${encodeURIComponent(entry.name)}/info.json`;
  const decibels = (value) => (value == null ? "unknown" : `${value.toFixed(2)} dB`);
  pairs($("facts"), [
    ["field", entry.title],
    ["image", `${entry.width} × ${entry.height}, ${entry.channels} channels`],
    ["parameters", entry.parameters.toLocaleString("en")],
    ["PSNR", decibels(entry.metrics.psnr)],
    ["gradient PSNR", decibels(entry.metrics.gradient_psnr)],
    ["IIIF", link],
  ]);
  pairs($("layer-descriptions"), entry.layers.map((layer) => [layer.label, layer.description]));
  $("panel").showModal();
}

// Progress of a running fit.

let live = null;

async function pollFit() {
  try {
    live = await (await fetch("/api/live")).json();
    if (live.entry && live.entry !== catalog.entries[0]?.name) await refresh();
  } catch {
    $("status").textContent = "The program that runs the fit has ended.";
    return;
  }
  const db = (value) => (value == null ? "–" : `${value.toFixed(1)} dB`);
  const left = live.seconds_left == null ? "" : `, ${Math.ceil(live.seconds_left)} s left`;
  const state = live.ended ? ({ budget: "Done", target: "Done, target reached", interrupted: "Interrupted" })[live.ended] : live.done >= 1 ? "Measuring" : `${Math.floor(live.seconds)} s${left}`;
  $("status").textContent = `${state}. Step ${live.steps.toLocaleString("en")}. PSNR ${db(live.psnr)}, gradient ${db(live.gradient_psnr)}.`;
  $("done").value = live.ended ? 1 : live.done;
  $("curves").innerHTML = live.curves;
  $("legend").hidden = !live.curves;
  $("show-tiles").parentElement.hidden = Boolean(live.ended) || live.tiles.length < 2;
  drawTiles();
  $("fit").dataset.ended = live.ended || "";
  if (!live.ended) setTimeout(pollFit, (document.hidden ? 2000 : 1000) * live.poll_after);
}

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
  const item = items.left;
  if (!live || live.ended || !item || !$("show-tiles").checked || live.tiles.length < 2) return;
  const scale = item.getContentSize().x / shown.left.entry.width;
  const toScreen = (x, y) => viewer.viewport.pixelFromPoint(item.imageToViewportCoordinates(x * scale, y * scale), true);
  draw.strokeStyle = "#ffb000";
  live.tiles.forEach(([x0, y0, x1, y1], index) => {
    const [from, to] = [toScreen(x0, y0), toScreen(x1, y1)];
    draw.globalAlpha = 0.8 * live.activity[index] ** 2;
    draw.strokeRect(from.x + 1.5, from.y + 1.5, to.x - from.x - 3, to.y - from.y - 3);
  });
}

// Start.

function showMessage(text) {
  $("waiting").hidden = false;
  $("waiting").textContent = text;
}

async function refresh() {
  catalog = await (await fetch("/api/catalog")).json();
  // While a fit runs, only the newest version of its field is of interest.
  if (catalog.live) catalog.entries = catalog.entries.slice(-1);
  if (!catalog.entries.length) return showMessage("The fit has not made a step yet.");
  const all = choices();
  const find = (choice) => all.find((other) => keyOf(other) === keyOf(choice)) || null;
  const first = !shown.left;
  const next = first
    ? { left: all[0], right: all.find((choice) => choice.layer.name === (catalog.live || all.length < 5 ? "gradient" : "original")) }
    : { left: find(shown.left) || all[0], right: find(shown.right) };
  if (first && catalog.entries.length > 1) next.right = all.find((choice) => choice.entry === catalog.entries[1]);
  document.title = `${catalog.entries.map((entry) => entry.title).join(", ")} – EoREN`;
  $("title").textContent = catalog.entries.map((entry) => entry.title).join(", ");
  fillSelects();
  for (const side of sides) choose(side, next[side]);
}

refresh()
  .then(() => {
    $("fit").hidden = !catalog.live;
    if (catalog.live) pollFit();
  })
  .catch(() => showMessage("The server does not answer; start eoren view again."));
