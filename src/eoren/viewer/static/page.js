// The page: two layers side by side in one deep-zooming picture, values under the pointer, and a fit while it runs.
// Pictures come as IIIF images; what else it needs, from /api. No framework.
"use strict";

const $ = (id) => document.getElementById(id);
const sides = ["left", "right"];
const { Point, Rect } = OpenSeadragon;

let gallery = { exhibits: [], live: false };
const shown = { left: null, right: null }; // what is chosen: { exhibit, layer }, or null
const items = { left: null, right: null }; // what OpenSeadragon draws of it
const stale = { left: [], right: [] }; // and what that is about to replace
const turns = { left: 0, right: 0 }; // how often that was begun: only the last one counts
let opened = false;

// OpenSeadragon draws at every frame for ever. While nothing moves or arrives, a few a second do: the processor is for
// the fit that is watched, and for the battery.
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
  // Between tiles that end within a pixel the page would shine through: edges that no picture has.
  subPixelRoundingForTransparency: OpenSeadragon.SUBPIXEL_ROUNDING_OCCURRENCES.ALWAYS,
  immediateRender: true, // the zoom that is needed, not all the coarser ones before it
});
viewer.world.addHandler("add-item", () => wake());
for (const type of ["animation", "tile-loaded", "tile-load-failed"]) viewer.addHandler(type, () => wake());

// Which layers.

function choices() {
  return gallery.exhibits.flatMap((exhibit) => exhibit.layers.map((layer) => ({ exhibit, layer })));
}

function keyOf(choice) {
  // Of a fit the newest field stands for all; others may share their titles.
  return choice ? `${gallery.live ? choice.exhibit.title : choice.exhibit.name} ${choice.layer.name}` : "";
}

function fillSelects() {
  for (const side of sides) {
    const select = $(side);
    const groups = gallery.exhibits.map((exhibit) => {
      const options = exhibit.layers.map((layer) => new Option(layer.label, keyOf({ exhibit, layer })));
      if (gallery.exhibits.length === 1) return options;
      const group = document.createElement("optgroup");
      group.label = exhibit.name;
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
  return gallery.exhibits.length > 1 ? `${choice.exhibit.name}: ${choice.layer.label}` : choice.layer.label;
}

function choose(side, choice) {
  const before = shown[side];
  shown[side] = choice;
  $(side).value = keyOf(choice);
  const two = Boolean(shown.right);
  $("left-name").textContent = labelOf(shown.left);
  $("right-name").textContent = labelOf(shown.right);
  $("wipe").hidden = $("divider").hidden = $("swap").disabled = !two;
  if (!before || !choice || before.layer.iiif !== choice.layer.iiif) show(side, choice);
  wipe();
}

function show(side, choice) {
  const turn = ++turns[side];
  if (items[side]) stale[side].push(items[side]);
  items[side] = null;
  if (!choice) return sweep(side);
  viewer.addTiledImage({
    tileSource: `${choice.layer.iiif}/info.json`,
    width: 1,
    success: ({ item }) => {
      if (turn !== turns[side]) return viewer.world.removeItem(item);
      items[side] = item;
      $("waiting").hidden = true;
      if (!opened) viewer.viewport.goHome(true);
      opened = true;
      wipe();
      // What was there stays until the new picture is whole, so that nothing flickers.
      item.addHandler("fully-loaded-change", () => item.getFullyLoaded() && items[side] === item && sweep(side));
      setTimeout(() => items[side] === item && sweep(side), 4000);
    },
    error: ({ message }) => turn === turns[side] && say(`The picture cannot be shown: ${message}`),
  });
}

function sweep(side) {
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

// What is under the pointer.

let probe = null; // { x, y } of the unit square
let asking = false;

function unit(pixel) {
  const item = items.left || items.right;
  if (!item) return null;
  const point = item.viewportToImageCoordinates(viewer.viewport.pointFromPixel(pixel, true));
  const size = item.getContentSize();
  const at = { x: point.x / size.x, y: point.y / size.y };
  return at.x >= 0 && at.y >= 0 && at.x <= 1 && at.y <= 1 ? at : null;
}

async function ask(speak = false) {
  if (asking || !probe) return;
  asking = true;
  const at = probe;
  try {
    const { exhibit } = shown.left;
    const answer = await fetch(`/api/at/${encodeURIComponent(exhibit.name)}?x=${at.x}&y=${at.y}`);
    if (answer.ok) tell(await answer.json(), at, speak);
  } catch {
    // The server may have ended; what waits for the gallery or the fit says so.
  } finally {
    asking = false;
    if (probe !== at) ask(speak);
  }
}

const number = (value) => (value < 0 ? "−" : "\u2007") + Math.abs(value).toFixed(3);
const colour = (values) => values.map((value) => value.toFixed(3)).join("  ");

function tell(said, at, speak) {
  if (!probe) return;
  // Of the brightness: the mean over colours, alpha left out.
  const colours = said.gradient.slice(0, said.gradient.length < 3 ? 1 : 3);
  const [dx, dy] = [0, 1].map((axis) => colours.reduce((sum, each) => sum + each[axis], 0) / colours.length);
  const rows = [
    ["pixel", said.pixel.join(", ")],
    ["field", colour(said.color), said.color],
    ["gradient per pixel", `${number(dx)}  ${number(dy)}`],
    ["Laplacian", number(said.laplacian.slice(0, colours.length).reduce((a, b) => a + b, 0) / colours.length)],
  ];
  if (said.picture) rows.splice(2, 0, ["picture", colour(said.picture), said.picture], ["spline", colour(said.spline), said.spline]);
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
  if (speak) $("spoken").textContent = `Pixel ${said.pixel.join(", ")}: ${colour(said.color)}, gradient ${dx.toFixed(3)} right, ${dy.toFixed(3)} down per pixel`;
}

// From the point towards where it gets brighter; its length grows with the root, so that faint edges show too.
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
  probe = unit(pixel);
  probe ? ask(speak) : stopProbing();
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
  // What OpenSeadragon would turn or mirror here, the wipe would not follow.
  if (/^[rf]$/i.test(event.originalEvent.key)) event.preventDefaultAction = true;
});
viewer.addHandler("animation-finish", () => {
  if (byKey) probeCentre();
  else if (probe) ask();
  byKey = false;
});

// Controls.

for (const side of sides) {
  $(side).addEventListener("change", () => choose(side, choices().find((each) => keyOf(each) === $(side).value) || null));
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
  const onPicture = $("viewer").contains(event.target); // OpenSeadragon has keys of its own there
  const range = $("wipe");
  if (event.key === "[" || event.key === "]") {
    range.value = Number(range.value) + (event.key === "]" ? 25 : -25);
    wipe();
  } else if (/^Digit[1-9]$/.test(event.code)) {
    const side = event.altKey ? "right" : "left";
    const own = (shown[side] || shown.left)?.exhibit;
    const layer = own?.layers[event.code.slice(5) - 1];
    if (layer) choose(side, { exhibit: own, layer });
  } else if (event.key === "x" && !$("swap").disabled) $("swap").click();
  else if (event.key === "?") about();
  else if (!onPicture && (event.key === "+" || event.key === "=")) zoom(2);
  else if (!onPicture && event.key === "-") zoom(0.5);
  else if (!onPicture && event.key === "0") viewer.viewport.goHome();
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
  const { exhibit } = choice;
  const link = document.createElement("a");
  link.href = link.textContent = `${location.origin}/iiif/${encodeURIComponent(exhibit.name)}/info.json`;
  const decibels = (value) => (value == null ? "unknown" : `${value.toFixed(2)} dB`);
  pairs($("facts"), [
    ["field", exhibit.title],
    ["picture", `${exhibit.width} × ${exhibit.height}, ${exhibit.channels} channels`],
    ["numbers", exhibit.parameters.toLocaleString("en")],
    ["PSNR", decibels(exhibit.metrics.psnr)],
    ["gradient PSNR", decibels(exhibit.metrics.gradient_psnr)],
    ["IIIF", link],
  ]);
  pairs($("keys-of-layers"), exhibit.layers.map((layer) => [layer.label, layer.key]));
  $("panel").showModal();
}

// A fit that runs.

let live = null;

async function follow() {
  try {
    const answer = await fetch("/api/live");
    live = await answer.json();
    if (live.exhibit && live.exhibit !== gallery.exhibits[0]?.name) await refresh();
  } catch {
    $("standing").textContent = "The fit's program has ended.";
    return;
  }
  const db = (value) => (value == null ? "–" : `${value.toFixed(1)} dB`);
  const left = live.seconds_left == null ? "" : `, ${Math.ceil(live.seconds_left)} s left`;
  const where = live.ended ? ({ budget: "Done", target: "Done, on target", interrupted: "Interrupted" })[live.ended] : live.done >= 1 ? "Measuring" : `${Math.floor(live.seconds)} s${left}`;
  $("standing").textContent = `${where}. Step ${live.steps.toLocaleString("en")}. PSNR ${db(live.psnr)}, gradient ${db(live.gradient_psnr)}.`;
  $("done").value = live.ended ? 1 : live.done;
  $("curves").innerHTML = live.curves;
  $("legend").hidden = !live.curves;
  $("show-tiles").parentElement.hidden = Boolean(live.ended) || live.tiles.length < 2;
  drawTiles();
  $("fit").dataset.ended = live.ended || "";
  if (!live.ended) setTimeout(follow, (document.hidden ? 2000 : 1000) * live.again);
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
  const scale = item.getContentSize().x / shown.left.exhibit.width;
  const place = (x, y) => viewer.viewport.pixelFromPoint(item.imageToViewportCoordinates(x * scale, y * scale), true);
  draw.strokeStyle = "#ffb000";
  live.tiles.forEach(([x0, y0, x1, y1], index) => {
    const [from, to] = [place(x0, y0), place(x1, y1)];
    draw.globalAlpha = 0.8 * live.busy[index] ** 2;
    draw.strokeRect(from.x + 1.5, from.y + 1.5, to.x - from.x - 3, to.y - from.y - 3);
  });
}

// Opening.

function say(text) {
  $("waiting").hidden = false;
  $("waiting").textContent = text;
}

async function refresh() {
  const answer = await fetch("/api/gallery");
  gallery = await answer.json();
  // A fit's newest field stands for those before it.
  if (gallery.live) gallery.exhibits = gallery.exhibits.slice(-1);
  if (!gallery.exhibits.length) return say("The fit has not begun to make steps yet.");
  const all = choices();
  const find = (choice) => all.find((each) => keyOf(each) === keyOf(choice)) || null;
  const first = !shown.left;
  const next = first
    ? { left: all[0], right: all.find((each) => each.layer.name === (gallery.live || all.length < 5 ? "gradient" : "original")) }
    : { left: find(shown.left) || all[0], right: find(shown.right) };
  if (first && gallery.exhibits.length > 1) next.right = all.find((each) => each.exhibit === gallery.exhibits[1]);
  document.title = `${gallery.exhibits.map((each) => each.title).join(", ")} – EoREN`;
  $("title").textContent = gallery.exhibits.map((each) => each.title).join(", ");
  fillSelects();
  for (const side of sides) choose(side, next[side]);
}

refresh()
  .then(() => {
    $("fit").hidden = !gallery.live;
    if (gallery.live) follow();
  })
  .catch(() => say("The server does not answer; start eoren view again."));
