// Draws the field by its shader, coarse first, then finer, a few rows a frame, so that the page always answers.
const field = JSON.parse(document.getElementById("field").textContent);
const canvas = document.querySelector("canvas");
const gl = canvas.getContext("webgl2", { antialias: false, alpha: true, premultipliedAlpha: true });
const COARSE_TO_FINE = [8, 4, 2, 1]; // screen pixels to a sample, each way
const STRIP = 50; // milliseconds of drawing between two looks at the pointer
const FEWEST = 2048; // samples of a strip, which any device draws in that time
const DEEPEST = 20000; // screen pixels to a pixel

function fail(message) {
  const said = document.getElementById("failure");
  said.textContent = message;
  said.hidden = false;
  canvas.setAttribute("aria-busy", "false");
  throw new Error(message);
}

// ---- Numbers and programs go to the GPU

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}

/** Whole numbers times the scale of their unit, biases between them: what 8-bit files hold. */
function widened(weights, units, rows) {
  const numbers = new Float32Array(weights);
  for (let at = 0, unit = 0; unit < units.length; )
    for (const [groups, inputs] of rows)
      for (let group = 0; group < groups; group++, unit += 8) {
        for (let k = 0; k < 4; k++) numbers[at++] = units[unit + k];
        for (let k = 0; k < 4 * inputs; k++) numbers[at++] *= units[unit + 4 + (k & 3)];
      }
  return numbers;
}

function dataTexture(unit, numbers) {
  const half = numbers instanceof Uint16Array;
  const rows = Math.ceil(numbers.length / (4 * field.textureWidth));
  if (rows > gl.getParameter(gl.MAX_TEXTURE_SIZE)) fail("This field is too large for this device's graphics memory.");
  const filled = new numbers.constructor(rows * 4 * field.textureWidth);
  filled.set(numbers);
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texStorage2D(gl.TEXTURE_2D, 1, half ? gl.RGBA16F : gl.RGBA32F, field.textureWidth, rows);
  // Without this, float textures are incomplete and read as zero.
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, field.textureWidth, rows, gl.RGBA, half ? gl.HALF_FLOAT : gl.FLOAT, filled);
}

/** A program and its uniforms by name. */
function program(vertex, fragment) {
  const made = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source.trim());
    gl.compileShader(shader);
    gl.attachShader(made, shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost())
      fail("This device cannot draw the field: " + gl.getShaderInfoLog(shader));
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS) && !gl.isContextLost())
    fail("This device cannot draw the field: " + gl.getProgramInfoLog(made));
  const at = {};
  for (let k = 0; k < gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS); k++) {
    const { name } = gl.getActiveUniform(made, k);
    at[name] = gl.getUniformLocation(made, name);
  }
  return { made, at };
}

if (!gl) fail("This page needs WebGL 2, which this browser or device does not offer.");
canvas.addEventListener("webglcontextlost", () => fail("The graphics device gave up. Reload the page to try again."));

const EVERYTHING = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }`;
const sampler = program(EVERYTHING, document.getElementById("shader").textContent);
// An image drawn for one view, seen from another; transparent beyond the picture, chequered behind transparent parts.
const presenter = program(EVERYTHING, `#version 300 es
precision highp float;
uniform sampler2D u_image;
uniform vec2 u_canvas, u_shift, u_used; // canvas in pixels; image = shift + zoom * canvas, as shares of the image
uniform vec2 u_zoom;
uniform vec4 u_picture; // left, top, right, bottom of the picture on the canvas
out vec4 o_color;
void main() {
    vec2 at = vec2(gl_FragCoord.x, u_canvas.y - gl_FragCoord.y);
    vec2 uv = u_shift + u_zoom * at;
    if (any(lessThan(at, u_picture.xy)) || any(greaterThan(at, u_picture.zw))) discard;
    if (any(lessThan(uv, vec2(0.0))) || any(greaterThan(uv, u_used))) discard;
    vec4 color = texture(u_image, uv);
    vec2 square = floor(at / 8.0);
    vec3 behind = vec3(mod(square.x + square.y, 2.0) < 0.5 ? 0.8 : 0.6);
    o_color = vec4(mix(behind, color.rgb, color.a), 1.0);
}`);

const tiles = new Float32Array(bytes(field.tiles));
const stored = bytes(field.networks);
dataTexture(0, tiles);
if (field.bits === 16) dataTexture(1, new Uint16Array(stored));
else if (field.bits === 32) dataTexture(1, new Float32Array(stored));
else dataTexture(1, widened(new Int8Array(stored), new Float32Array(bytes(field.units)), field.rows));
gl.bindVertexArray(gl.createVertexArray());
gl.useProgram(sampler.made);
gl.uniform1i(sampler.at.eoren_tiles, 0);
gl.uniform1i(sampler.at.eoren_networks, 1);
gl.useProgram(presenter.made);
gl.uniform1i(presenter.at.u_image, 2);
gl.activeTexture(gl.TEXTURE2);

// ---- What is seen: the pixel in the middle of the canvas, and screen pixels to a pixel

let view = { x: field.width / 2, y: field.height / 2, scale: 1 };
let layer = 0;
let fitted = true;
let images = []; // drawn so far, coarse to fine, the last perhaps not to its end
let waiting = null; // the rows that the GPU is at
let samples = FEWEST; // of the next strip

const fitScale = () => Math.min(canvas.width / field.width, canvas.height / field.height) * 0.96;
const clamped = (scale) => Math.min(Math.max(scale, Math.min(1, fitScale()) / 4), DEEPEST);

function look(next) {
  view = {
    x: Math.min(Math.max(next.x, 0), field.width),
    y: Math.min(Math.max(next.y, 0), field.height),
    scale: clamped(next.scale),
  };
  restart();
}

function fit() {
  fitted = true;
  look({ x: field.width / 2, y: field.height / 2, scale: fitScale() });
}

/** Zoom, so that the place under a point of the canvas stays there. */
function zoom(factor, at = [canvas.width / 2, canvas.height / 2]) {
  fitted = false;
  const scale = clamped(view.scale * factor);
  const [dx, dy] = [at[0] - canvas.width / 2, at[1] - canvas.height / 2];
  look({ x: view.x + dx / view.scale - dx / scale, y: view.y + dy / view.scale - dy / scale, scale });
}

/** Every pixel of the picture on one of the screen. */
function pixelForPixel() {
  fitted = false;
  const [x, y] = [canvas.width / 2, canvas.height / 2];
  look({ x: Math.round(view.x - x) + x, y: Math.round(view.y - y) + y, scale: 1 });
}

function pan(dx, dy) {
  fitted = false;
  look({ ...view, x: view.x - dx / view.scale, y: view.y - dy / view.scale });
}

// ---- Drawing

function newImage(coarseness) {
  const [width, height] = [Math.ceil(canvas.width / coarseness), Math.ceil(canvas.height / coarseness)];
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, width, height);
  for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
  const target = gl.createFramebuffer();
  gl.bindFramebuffer(gl.FRAMEBUFFER, target);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  const corner = [view.x - canvas.width / 2 / view.scale, view.y - canvas.height / 2 / view.scale];
  return { coarseness, width, height, texture, target, corner, step: coarseness / view.scale, layer, done: 0 };
}

function forget(image) {
  gl.deleteFramebuffer(image.target);
  gl.deleteTexture(image.texture);
}

function restart() {
  // What there is stays on the screen, moved, until something better is drawn.
  const whole = images.filter((image) => image.done === image.height && image.layer === layer);
  images.forEach((image) => { if (image !== whole.at(-1)) forget(image); });
  images = whole.slice(-1);
  images.push(newImage(COARSE_TO_FINE[0]));
  canvas.setAttribute("aria-busy", "true");
  describe();
  schedule();
}

/** The next rows of the finest image. */
function draw() {
  const image = images.at(-1);
  const base = image.corner.map(Math.floor);
  gl.useProgram(sampler.made);
  gl.uniform2i(sampler.at.u_base, ...base);
  gl.uniform2f(sampler.at.u_offset, image.corner[0] - base[0], image.corner[1] - base[1]);
  gl.uniform2f(sampler.at.u_step, image.step, image.step);
  gl.uniform1i(sampler.at.u_layer, image.layer);
  gl.bindFramebuffer(gl.FRAMEBUFFER, image.target);
  gl.viewport(0, 0, image.width, image.height);
  // Only what shows the picture.
  const first = Math.max(0, Math.floor(-image.corner[0] / image.step));
  const last = Math.min(image.width, Math.ceil((field.width - image.corner[0]) / image.step));
  const count = Math.min(Math.ceil(samples / image.width), image.height - image.done);
  gl.enable(gl.SCISSOR_TEST);
  gl.scissor(first, image.done, Math.max(0, last - first), count);
  gl.drawArrays(gl.TRIANGLES, 0, 3);
  gl.disable(gl.SCISSOR_TEST);
  waiting = { image, until: image.done + count, since: performance.now(), fence: gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0) };
}

function present() {
  gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  gl.viewport(0, 0, canvas.width, canvas.height);
  gl.clearColor(0, 0, 0, 0);
  gl.clear(gl.COLOR_BUFFER_BIT);
  gl.useProgram(presenter.made);
  const corner = [view.x - canvas.width / 2 / view.scale, view.y - canvas.height / 2 / view.scale];
  gl.uniform2f(presenter.at.u_canvas, canvas.width, canvas.height);
  gl.uniform4f(presenter.at.u_picture, -corner[0] * view.scale, -corner[1] * view.scale,
    (field.width - corner[0]) * view.scale, (field.height - corner[1]) * view.scale);
  for (const image of images) {
    const size = [image.width * image.step, image.height * image.step];
    gl.bindTexture(gl.TEXTURE_2D, image.texture);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, image.coarseness === 1 && image.step * view.scale === 1 ? gl.NEAREST : gl.LINEAR);
    gl.uniform2f(presenter.at.u_shift, (corner[0] - image.corner[0]) / size[0], (corner[1] - image.corner[1]) / size[1]);
    gl.uniform2f(presenter.at.u_zoom, 1 / view.scale / size[0], 1 / view.scale / size[1]);
    gl.uniform2f(presenter.at.u_used, 1, image.done / image.height);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}

let scheduled = false;
function schedule() {
  if (!scheduled) requestAnimationFrame(frame);
  scheduled = true;
}

function frame(now) {
  scheduled = false;
  if (gl.isContextLost()) return;
  if (waiting) {
    const state = gl.clientWaitSync(waiting.fence, gl.SYNC_FLUSH_COMMANDS_BIT, 0);
    if (state === gl.TIMEOUT_EXPIRED) return schedule();
    const took = performance.now() - waiting.since;
    samples = Math.max(FEWEST, samples * Math.min(2, STRIP / took));
    gl.deleteSync(waiting.fence);
    waiting.image.done = waiting.until;
    waiting = null;
  }
  let image = images.at(-1);
  if (image.done === image.height) {
    images.slice(0, -1).forEach(forget);
    images = [image];
    const finer = COARSE_TO_FINE[COARSE_TO_FINE.indexOf(image.coarseness) + 1];
    if (!finer) {
      present();
      canvas.setAttribute("aria-busy", "false");
      return;
    }
    images.push(newImage(finer));
  }
  present();
  draw();
  schedule();
}

// ---- What people do

function describe() {
  const [scale, more] = [view.scale / devicePixelRatio, Math.max(0, Math.ceil(Math.log10(view.scale)))];
  document.querySelector("output").textContent =
    `${scale >= 10 ? scale.toFixed(0) : scale.toPrecision(2)}× at ${view.x.toFixed(more)}, ${view.y.toFixed(more)}`;
}

const touching = new Map();
const place = (event) => [event.offsetX * devicePixelRatio, event.offsetY * devicePixelRatio];

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  touching.set(event.pointerId, place(event));
});
canvas.addEventListener("pointermove", (event) => {
  const before = touching.get(event.pointerId);
  if (!before) return;
  const now = place(event);
  const other = [...touching].find(([id]) => id !== event.pointerId)?.[1];
  touching.set(event.pointerId, now);
  if (other) {
    const middle = (a) => [(a[0] + other[0]) / 2, (a[1] + other[1]) / 2];
    const apart = (a) => Math.max(1, Math.hypot(a[0] - other[0], a[1] - other[1]));
    pan(middle(now)[0] - middle(before)[0], middle(now)[1] - middle(before)[1]);
    zoom(apart(now) / apart(before), middle(now));
  } else pan(now[0] - before[0], now[1] - before[1]);
});
for (const end of ["pointerup", "pointercancel"])
  canvas.addEventListener(end, (event) => touching.delete(event.pointerId));
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const lines = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY : event.deltaY * 16;
  // A pinch on a touchpad comes as a wheel with ctrl, in smaller steps.
  zoom(Math.exp(-lines * (event.ctrlKey ? 0.01 : 0.002)), place(event));
}, { passive: false });
canvas.addEventListener("dblclick", (event) => zoom(2, place(event)));

const layers = [...document.querySelectorAll("input[name=layer]")];
layers.forEach((input) => input.addEventListener("change", () => { layer = Number(input.value); restart(); }));
const choose = (number) => layers[number].click();
document.getElementById("in").addEventListener("click", () => zoom(2));
document.getElementById("out").addEventListener("click", () => zoom(0.5));
document.getElementById("fit").addEventListener("click", fit);

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const far = 0.15 * Math.min(canvas.width, canvas.height);
  const does = {
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: fit,
    1: pixelForPixel,
    c: () => choose(0), g: () => choose(1), d: () => choose(2),
    // In the list of layers arrows choose.
    ...(event.target.type === "radio" ? {} : {
      ArrowLeft: () => pan(far, 0), ArrowRight: () => pan(-far, 0), ArrowUp: () => pan(0, far), ArrowDown: () => pan(0, -far),
    }),
  }[event.key];
  if (!does) return;
  event.preventDefault();
  does();
});

// The canvas has exactly the screen pixels that it covers, also where its CSS size is no whole number.
new ResizeObserver(([entry]) => {
  const exact = entry.devicePixelContentBoxSize?.[0];
  canvas.width = Math.max(1, exact?.inlineSize ?? Math.round(canvas.clientWidth * devicePixelRatio));
  canvas.height = Math.max(1, exact?.blockSize ?? Math.round(canvas.clientHeight * devicePixelRatio));
  if (fitted) fit();
  else restart();
}).observe(canvas, {
  box: "devicePixelContentBoxSize" in ResizeObserverEntry.prototype ? "device-pixel-content-box" : "content-box",
});
