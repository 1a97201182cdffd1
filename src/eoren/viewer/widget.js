// The widget of notebooks. The view is a centre, in pixels of the image, and a scale, in CSS pixels for one of them.
// The kernel draws the part in view at the pixels of the screen; until it arrives, what was drawn before is moved.

const MOST = 64; // screen pixels for one of the image
const PAUSE = 60; // ms without a movement, after which the part in view is requested

const make = (name, properties, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

const decode = (bytes) => createImageBitmap(new Blob([bytes], { type: "image/png" }));

function render({ model, el }) {
  const [width, height] = model.get("size");
  const layers = model.get("layers");
  const canvas = make("canvas", { className: "eoren-stage", tabIndex: 0, role: "application" });
  const select = make(
    "select",
    { ariaLabel: "Layer" },
    ...layers.map(({ name, label }) => make("option", { value: name, textContent: label })),
  );
  const button = (text, label, act) => make("button", { type: "button", textContent: text, ariaLabel: label, title: label, onclick: act });
  const scaleText = make("output", { className: "eoren-scale" });
  const meaning = make("p", { className: "eoren-meaning" });
  const bar = make(
    "div",
    { className: "eoren-bar" },
    select,
    button("+", "Zoom in (+)", () => zoomBy(2)),
    button("−", "Zoom out (-)", () => zoomBy(0.5)),
    button("Whole", "Show the whole image (0)", () => showWhole()),
    scaleText,
  );
  const root = make("div", { className: "eoren-field" }, bar, canvas, meaning);
  root.dataset.lmSuppressShortcuts = "true"; // otherwise JupyterLab takes the keys
  canvas.ariaLabel = `Field of ${width} x ${height} pixels: arrow keys pan, plus and minus zoom, 0 shows the whole image, 1 to ${layers.length} choose the layer`;
  el.replaceChildren(root);

  const context = canvas.getContext("2d");
  const view = { x: width / 2, y: height / 2, scale: 0 };
  const drawn = {}; // by layer: the whole and the part in view, each with its bitmap and box in the unit square
  let isWhole = true;
  let last = Math.floor(Math.random() * 2 ** 40); // number of the newest request; answers go to all views of the widget
  const waiting = {}; // requests under way, by number: what they are for
  let timer = 0;

  const fitting = () => Math.min(canvas.clientWidth / width, canvas.clientHeight / height);
  const layer = () => model.get("layer");

  function draw() {
    const ratio = devicePixelRatio;
    const { clientWidth, clientHeight } = canvas;
    canvas.width = Math.round(clientWidth * ratio);
    canvas.height = Math.round(clientHeight * ratio);
    const scale = view.scale * ratio;
    const sheets = drawn[layer()] ?? drawn[canvas.dataset.layer] ?? {};
    for (const sheet of [sheets.whole, sheets.part]) {
      if (!sheet) continue;
      const [x0, y0, x1, y1] = sheet.box;
      const left = (x0 * width - view.x) * scale + canvas.width / 2;
      const top = (y0 * height - view.y) * scale + canvas.height / 2;
      context.drawImage(sheet.bitmap, left, top, (x1 - x0) * width * scale, (y1 - y0) * height * scale);
    }
    if (drawn[layer()]) canvas.dataset.layer = layer();
    const factor = view.scale * ratio;
    scaleText.textContent = `${factor < 9.95 ? factor.toFixed(1) : Math.round(factor)}×`;
  }

  function request(name, box, size, purpose) {
    last += 1;
    waiting[last] = purpose;
    model.send({ id: last, layer: name, box, size });
  }

  function requestView() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (Object.keys(waiting).length) return; // the answer requests again
      const name = layer();
      const ratio = devicePixelRatio;
      if (!drawn[name]?.whole) {
        const small = Math.min(1, 512 / Math.max(width, height));
        request(name, [0, 0, 1, 1], [width, height].map((side) => Math.max(1, Math.round(side * small))), "whole");
        return;
      }
      const [across, down] = [canvas.clientWidth / view.scale / 2, canvas.clientHeight / view.scale / 2];
      const clamp = (value) => Math.min(1, Math.max(0, value));
      const box = [(view.x - across) / width, (view.y - down) / height, (view.x + across) / width, (view.y + down) / height].map(clamp);
      const size = [(box[2] - box[0]) * width, (box[3] - box[1]) * height].map((side) => Math.max(1, Math.round(side * view.scale * ratio)));
      const key = JSON.stringify([box, size]);
      if (drawn[name].part?.key === key) return;
      request(name, box, size, key);
    }, PAUSE);
  }

  function changed() {
    view.scale = Math.min(MOST / devicePixelRatio, Math.max(fitting(), view.scale));
    // The image stays in the middle where it is smaller than the stage, and has no gap at its sides elsewhere.
    for (const [axis, size, length] of [["x", width, canvas.clientWidth], ["y", height, canvas.clientHeight]]) {
      const half = length / view.scale / 2;
      view[axis] = 2 * half >= size ? size / 2 : Math.min(size - half, Math.max(half, view[axis]));
    }
    isWhole = view.scale <= fitting() * 1.0001;
    draw();
    requestView();
  }

  function zoomBy(factor, at = { x: canvas.clientWidth / 2, y: canvas.clientHeight / 2 }) {
    const [dx, dy] = [at.x - canvas.clientWidth / 2, at.y - canvas.clientHeight / 2];
    const before = view.scale;
    view.scale = Math.min(MOST / devicePixelRatio, Math.max(fitting(), before * factor));
    view.x += dx / before - dx / view.scale;
    view.y += dy / before - dy / view.scale;
    changed();
  }

  function showWhole() {
    view.scale = 0;
    changed();
  }

  const panBy = (dx, dy) => {
    view.x -= dx / view.scale;
    view.y -= dy / view.scale;
    changed();
  };

  const step = () => canvas.clientWidth / 8;
  const keys = {
    ArrowLeft: () => panBy(step(), 0),
    ArrowRight: () => panBy(-step(), 0),
    ArrowUp: () => panBy(0, step()),
    ArrowDown: () => panBy(0, -step()),
    "+": () => zoomBy(2),
    "=": () => zoomBy(2),
    "-": () => zoomBy(0.5),
    0: showWhole,
  };
  layers.forEach(({ name }, number) => (keys[number + 1] = () => choose(name)));

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    keys[event.key]();
    event.preventDefault();
    event.stopPropagation();
  });

  followGestures(canvas, {
    pan: panBy,
    zoom: (factor, [x, y]) => zoomBy(factor, { x, y }),
    // Without the focus the wheel scrolls the notebook.
    takesWheel: () => document.activeElement === canvas || canvas.getRootNode().activeElement === canvas,
  });

  function choose(name) {
    model.set("layer", name);
    model.save_changes();
  }

  function showLayer() {
    select.value = layer();
    meaning.textContent = layers.find(({ name }) => name === layer()).meaning;
    draw();
    requestView();
  }

  select.addEventListener("change", () => choose(select.value));

  async function receive({ id, layer: name, box }, buffers) {
    if (!(id in waiting)) return; // of another view of the same widget
    const purpose = waiting[id];
    delete waiting[id];
    const buffer = buffers[0];
    if (!buffer) return; // it could not be drawn; the next movement requests it again
    const bitmap = await decode(buffer.buffer ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength) : buffer);
    const sheets = (drawn[name] ??= {});
    if (purpose === "whole") sheets.whole = { bitmap, box };
    else sheets.part = { bitmap, box, key: purpose };
    draw();
    requestView();
  }

  model.on("msg:custom", receive);
  model.on("change:layer", showLayer);
  const observer = new ResizeObserver(() => {
    if (isWhole) view.scale = 0; // the whole image stays in view
    if (canvas.clientWidth) changed();
  });
  canvas.style.aspectRatio = `${width} / ${height}`;
  observer.observe(canvas);
  const overview = model.get("overview");
  decode(new Uint8Array(overview.buffer ?? overview, overview.byteOffset ?? 0, overview.byteLength)).then((bitmap) => {
    drawn.color = { ...drawn.color, whole: { bitmap, box: [0, 0, 1, 1] } };
    showLayer();
  });

  return () => {
    clearTimeout(timer);
    observer.disconnect();
    model.off("msg:custom", receive);
    model.off("change:layer", showLayer);
  };
}

export default { render };
