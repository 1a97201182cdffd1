// Draws the field with its shader, the whole picture at once, coarse first, then finer, a few rows per frame, so that the
// page stays responsive. A drawing is shown when it is complete.
const field = JSON.parse(document.getElementById("field").textContent);
const canvas = document.querySelector("canvas");
const [waiting, work] = ["waiting", "work"].map((id) => document.getElementById(id));
const gl = canvas.getContext("webgl2", { antialias: false, alpha: true, premultipliedAlpha: true });
const COARSE_TO_FINE = [16, 8, 4, 2, 1]; // screen pixels per sample, each way
const STRIP = 50; // milliseconds of drawing per frame, between which input is handled
const MIN_SAMPLES = 2048; // per strip, which any device draws in that time
// Samples along the longer side of the drawing of the whole image, which is one strip, and lies under all others.
const WHOLE = Math.floor(Math.sqrt(MIN_SAMPLES));
const MAX_SCALE = 20000; // screen pixels per image pixel

function fail(message) {
  const failure = document.getElementById("failure");
  failure.textContent = message;
  failure.hidden = false;
  [waiting, work].forEach((sign) => { sign.hidden = true; });
  canvas.setAttribute("aria-busy", "false");
  throw new Error(message);
}

// ---- Programs for the GPU

/** Compile a program; returns it and the locations of its uniforms. */
function program(vertex, fragment) {
  return checked(startProgram(vertex, fragment));
}

/** Compile a program while the page goes on, where the browser can. */
async function programInBackground(vertex, fragment) {
  const started = startProgram(vertex, fragment);
  const parallel = gl.getExtension("KHR_parallel_shader_compile");
  while (parallel && !gl.getProgramParameter(started.handle, parallel.COMPLETION_STATUS_KHR) && !gl.isContextLost())
    await new Promise((resolve) => setTimeout(resolve));
  return checked(started);
}

function startProgram(vertex, fragment) {
  const handle = gl.createProgram();
  const shaders = [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]].map(([type, source]) => {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source.trim());
    gl.compileShader(shader);
    gl.attachShader(handle, shader);
    return shader;
  });
  gl.linkProgram(handle);
  return { handle, shaders };
}

function checked({ handle, shaders }) {
  if (!gl.getProgramParameter(handle, gl.LINK_STATUS) && !gl.isContextLost())
    fail("This device cannot draw the field: " + [...shaders.map((shader) => gl.getShaderInfoLog(shader)), gl.getProgramInfoLog(handle)].join(" "));
  const uniforms = {};
  for (let k = 0; k < gl.getProgramParameter(handle, gl.ACTIVE_UNIFORMS); k++) {
    const { name } = gl.getActiveUniform(handle, k);
    uniforms[name] = gl.getUniformLocation(handle, name);
  }
  return { handle, uniforms };
}

if (!gl) fail("This page needs WebGL 2, which this browser or device does not support.");
canvas.addEventListener("webglcontextlost", () => fail("The graphics context was lost. Reload the page to try again."));

const FULL_CANVAS = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }`;
const sampler = program(FULL_CANVAS, shader);
// Shows a drawing made for one view in another view; transparent outside the image, on a checkerboard inside.
const presenter = program(FULL_CANVAS, `#version 300 es
precision highp float;
uniform sampler2D u_drawing;
uniform vec2 u_canvas, u_shift; // canvas size in pixels; texture coordinates = u_shift + u_zoom * canvas position
uniform vec2 u_zoom;
uniform vec4 u_frame; // left, top, right, bottom of the image on the canvas
uniform vec4 u_inside; // texture coordinates of the first and the last sample in the image
out vec4 o_color;
void main() {
    vec2 at = vec2(gl_FragCoord.x, u_canvas.y - gl_FragCoord.y);
    vec2 uv = u_shift + u_zoom * at;
    if (any(lessThan(at, u_frame.xy)) || any(greaterThan(at, u_frame.zw))) discard;
    if (any(lessThan(uv, vec2(0.0))) || any(greaterThan(uv, vec2(1.0)))) discard;
    vec4 color = texture(u_drawing, clamp(uv, u_inside.xy, u_inside.zw));
    vec2 square = floor(at / 8.0);
    vec3 behind = vec3(mod(square.x + square.y, 2.0) < 0.5 ? 0.8 : 0.6);
    o_color = vec4(mix(behind, color.rgb, color.a), 1.0);
}`);

gl.bindVertexArray(gl.createVertexArray());

let drawingUnit; // of the textures that are drawn into; those of the field come before

/** Put the field into textures, whose names fieldTextures (mosaic.js, compact/page.js) returns. */
async function upload() {
  const names = await fieldTextures();
  drawingUnit = names.length;
  gl.useProgram(sampler.handle);
  names.forEach((name, unit) => gl.uniform1i(sampler.uniforms[name], unit));
  gl.useProgram(presenter.handle);
  gl.uniform1i(presenter.uniforms.u_drawing, drawingUnit);
  gl.activeTexture(gl.TEXTURE0 + drawingUnit);
}

/** Create a texture of RGBA texels, or of an array of layers of them, which are zero. */
function newTexture(unit, format, width, rows, layers) {
  if (Math.max(width, rows) > gl.getParameter(gl.MAX_TEXTURE_SIZE))
    fail("This field is too large for the graphics memory of this device.");
  const [target, texture] = [layers ? gl.TEXTURE_2D_ARRAY : gl.TEXTURE_2D, gl.createTexture()];
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(target, texture);
  // With the default filters, float textures are incomplete and read as zero.
  gl.texParameteri(target, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(target, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  if (layers) gl.texStorage3D(target, 1, format, width, rows, layers);
  else gl.texStorage2D(target, 1, format, width, rows);
  return texture;
}

/** Create a texture of some numbers. */
function dataTexture(unit, width, rows, values, layers) {
  const half = values instanceof Uint16Array;
  const [format, type] = half ? [gl.RGBA16F, gl.HALF_FLOAT] : [gl.RGBA32F, gl.FLOAT];
  newTexture(unit, format, width, rows, layers);
  if (layers) gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, 0, 0, 0, width, rows, layers, gl.RGBA, type, values);
  else gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, rows, gl.RGBA, type, values);
}

/** Create a texture of numbers, in rows of field.textureWidth texels. */
function numberTexture(unit, values) {
  const rows = Math.ceil(values.length / (4 * field.textureWidth));
  const padded = new values.constructor(rows * 4 * field.textureWidth);
  padded.set(values);
  dataTexture(unit, field.textureWidth, rows, padded);
}

// ---- View: the image position at the centre of the canvas, and screen pixels per image pixel

let view = { x: field.width / 2, y: field.height / 2, scale: 1 };
let layer = 0;
let fitted = true;
let ready = false; // whether the textures are there
let complete = false; // whether nothing will be added to them
let drawings = []; // the complete ones on the screen, coarse to fine
let current = null; // the one in progress
let inProgress = null; // the strip of it that the GPU is drawing
let stale = false; // whether the screen shows another view or other drawings
let detailed = 0; // share of the details that are there
let samples = MIN_SAMPLES; // of the next strip

const fitScale = () => Math.min(canvas.width / field.width, canvas.height / field.height) * 0.96;
const clamped = (scale) => Math.min(Math.max(scale, Math.min(1, fitScale()) / 4), MAX_SCALE);

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

/** Zoom about a point of the canvas. */
function zoom(factor, at = [canvas.width / 2, canvas.height / 2]) {
  fitted = false;
  const scale = clamped(view.scale * factor);
  const [dx, dy] = [at[0] - canvas.width / 2, at[1] - canvas.height / 2];
  look({ x: view.x + dx / view.scale - dx / scale, y: view.y + dy / view.scale - dy / scale, scale });
}

/** Show every image pixel on one screen pixel. */
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

const corner = () => [view.x - canvas.width / 2 / view.scale, view.y - canvas.height / 2 / view.scale];

/** Start a drawing: its first corner and the distance of its samples are in pixels of the image. */
function newDrawing(width, height, corner, step, coarseness) {
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, width, height);
  for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
  const target = gl.createFramebuffer();
  gl.bindFramebuffer(gl.FRAMEBUFFER, target);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  return { coarseness, width, height, texture, target, corner, step, layer, done: 0 };
}

/** Start a drawing of the view, or of the whole image if the coarseness is infinite. */
function startDrawing(coarseness) {
  const step = Math.max(field.width, field.height) / WHOLE;
  current = Number.isFinite(coarseness)
    ? newDrawing(Math.ceil(canvas.width / coarseness), Math.ceil(canvas.height / coarseness), corner(), coarseness / view.scale, coarseness)
    : newDrawing(Math.ceil(field.width / step), Math.ceil(field.height / step), [0, 0], step, coarseness);
}

function release(drawing) {
  gl.deleteFramebuffer(drawing.target);
  gl.deleteTexture(drawing.texture);
}

/** Show those drawings that satisfy a condition, and release the others. */
function keep(condition) {
  drawings.filter((drawing) => !condition(drawing)).forEach(release);
  drawings = drawings.filter(condition);
}

function restart(coarseness = COARSE_TO_FINE[0]) {
  if (!ready) return;
  if (current) release(current);
  // The drawing of the whole and the finest one stay on the screen, moved, until better ones are complete.
  const finest = drawings.at(-1);
  keep((drawing) => drawing === finest || drawing.coarseness === Infinity);
  startDrawing(drawings[0]?.coarseness === Infinity && drawings[0].layer === layer ? coarseness : Infinity);
  stale = true;
  describe();
  showWork();
  schedule();
}

/** Show the drawing in progress, which is complete, and start the next finer one. */
function finish() {
  const { coarseness, step } = current;
  // Finer ones stay on top, where they are, until one is as fine as they or as the screen.
  const isCovered = (drawing) => (drawing.coarseness === Infinity ? coarseness === Infinity : coarseness === 1 || drawing.step >= step);
  keep((drawing) => drawing.layer === current.layer && !isCovered(drawing));
  const depth = (drawing) => (drawing.coarseness === Infinity ? Infinity : drawing.step);
  drawings = [...drawings, current].sort((a, b) => depth(b) - depth(a));
  current = null;
  stale = true;
  waiting.hidden = true;
  const finer = COARSE_TO_FINE.find((next) => next < coarseness);
  if (finer) startDrawing(finer);
}

/** Show how much is left to do. */
function showWork() {
  const isBusy = Boolean(current) || !complete;
  canvas.setAttribute("aria-busy", String(isBusy));
  work.hidden = !isBusy;
  if (!current) work.value = detailed;
  else {
    const { coarseness, done, height } = current;
    work.value = (1 + (3 * done) / height) / 4 / coarseness ** 2; // each drawing takes four times as long as the last
  }
}

/** Draw the next rows of the finest drawing. */
function draw() {
  const drawing = current;
  const base = drawing.corner.map(Math.floor);
  gl.useProgram(sampler.handle);
  gl.uniform2i(sampler.uniforms.u_base, ...base);
  gl.uniform2f(sampler.uniforms.u_offset, drawing.corner[0] - base[0], drawing.corner[1] - base[1]);
  gl.uniform2f(sampler.uniforms.u_step, drawing.step, drawing.step);
  gl.uniform1i(sampler.uniforms.u_layer, drawing.layer);
  gl.bindFramebuffer(gl.FRAMEBUFFER, drawing.target);
  gl.viewport(0, 0, drawing.width, drawing.height);
  // Only the columns that show the image.
  const first = Math.max(0, Math.floor(-drawing.corner[0] / drawing.step));
  const last = Math.min(drawing.width, Math.ceil((field.width - drawing.corner[0]) / drawing.step));
  const count = Math.min(Math.ceil(samples / drawing.width), drawing.height - drawing.done);
  gl.enable(gl.SCISSOR_TEST);
  gl.scissor(first, drawing.done, Math.max(0, last - first), count);
  gl.drawArrays(gl.TRIANGLES, 0, 3);
  gl.disable(gl.SCISSOR_TEST);
  inProgress = { drawing, until: drawing.done + count, since: performance.now(), fence: gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0) };
}

function present() {
  gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  gl.viewport(0, 0, canvas.width, canvas.height);
  gl.clearColor(0, 0, 0, 0);
  gl.clear(gl.COLOR_BUFFER_BIT);
  gl.useProgram(presenter.handle);
  const [left, top] = corner();
  gl.uniform2f(presenter.uniforms.u_canvas, canvas.width, canvas.height);
  gl.uniform4f(presenter.uniforms.u_frame, -left * view.scale, -top * view.scale,
    (field.width - left) * view.scale, (field.height - top) * view.scale);
  for (const drawing of drawings) {
    const size = [drawing.width * drawing.step, drawing.height * drawing.step];
    gl.bindTexture(gl.TEXTURE_2D, drawing.texture);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, drawing.coarseness === 1 && drawing.step * view.scale === 1 ? gl.NEAREST : gl.LINEAR);
    gl.uniform2f(presenter.uniforms.u_shift, (left - drawing.corner[0]) / size[0], (top - drawing.corner[1]) / size[1]);
    const samples = [field.width, field.height].map((side, k) => {
      const first = Math.ceil(-drawing.corner[k] / drawing.step - 0.5);
      const last = Math.floor((side - drawing.corner[k]) / drawing.step - 0.5);
      return [first, Math.max(first, last)].map((sample) => (sample + 0.5) / [drawing.width, drawing.height][k]);
    });
    gl.uniform4f(presenter.uniforms.u_inside, samples[0][0], samples[1][0], samples[0][1], samples[1][1]);
    gl.uniform2f(presenter.uniforms.u_zoom, 1 / view.scale / size[0], 1 / view.scale / size[1]);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}

let scheduled = false;
function schedule() {
  if (!scheduled) requestAnimationFrame(frame);
  scheduled = true;
}

/** Whether the GPU has drawn the strip that it was given. */
function isStripDrawn() {
  if (gl.clientWaitSync(inProgress.fence, gl.SYNC_FLUSH_COMMANDS_BIT, 0) === gl.TIMEOUT_EXPIRED) return false;
  const took = performance.now() - inProgress.since;
  samples = Math.max(MIN_SAMPLES, samples * Math.min(2, STRIP / took));
  gl.deleteSync(inProgress.fence);
  inProgress.drawing.done = inProgress.until;
  inProgress = null;
  return true;
}

function frame() {
  scheduled = false;
  if (gl.isContextLost()) return;
  const isIdle = !inProgress || isStripDrawn();
  if (isIdle && current && current.done === current.height) finish();
  if (stale) present();
  stale = false;
  showWork();
  if (isIdle && current) draw();
  if (inProgress) schedule();
}

// ---- Controls

function describe() {
  const [scale, more] = [view.scale / devicePixelRatio, Math.max(0, Math.ceil(Math.log10(view.scale)))];
  document.querySelector("output").textContent =
    `${scale >= 10 ? scale.toFixed(0) : scale.toPrecision(2)}× at ${view.x.toFixed(more)}, ${view.y.toFixed(more)}`;
}

const toScreen = (at) => at.map((side) => side * devicePixelRatio);
followGestures(canvas, {
  pan: (dx, dy) => pan(...toScreen([dx, dy])),
  zoom: (factor, at) => zoom(factor, toScreen(at)),
});

const layers = [...document.querySelectorAll("input[name=layer]")];
layers.forEach((input) => input.addEventListener("change", () => { layer = Number(input.value); restart(); }));
const choose = (number) => layers[number].click();
document.getElementById("in").addEventListener("click", () => zoom(2));
document.getElementById("out").addEventListener("click", () => zoom(0.5));
document.getElementById("fit").addEventListener("click", fit);
document.getElementById("pixels").addEventListener("click", pixelForPixel);
function fillScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen();
}
const filling = document.getElementById("fill");
filling.hidden = !document.fullscreenEnabled;
filling.addEventListener("click", fillScreen);

// The keys of eoren view.
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = 0.15 * Math.min(canvas.width, canvas.height);
  const action = {
    "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5), 0: fit,
    1: () => choose(0), 2: () => choose(1), 3: () => choose(2), f: fillScreen,
    // In the list of layers, arrow keys select.
    ...(event.target.type === "radio" ? {} : {
      ArrowLeft: () => pan(step, 0), ArrowRight: () => pan(-step, 0), ArrowUp: () => pan(0, step), ArrowDown: () => pan(0, -step),
    }),
  }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

// Match the canvas to the screen pixels that it covers, even if its CSS size is not a whole number.
const canvasSize = new ResizeObserver(([entry]) => {
  const exact = entry.devicePixelContentBoxSize?.[0];
  canvas.width = Math.max(1, exact?.inlineSize ?? Math.round(canvas.clientWidth * devicePixelRatio));
  canvas.height = Math.max(1, exact?.blockSize ?? Math.round(canvas.clientHeight * devicePixelRatio));
  if (fitted) fit();
  else restart();
});
/** Show the field, then add its details (compact/details.js) if it has some. */
async function show() {
  await upload();
  ready = true;
  const exact = "devicePixelContentBoxSize" in ResizeObserverEntry.prototype;
  canvasSize.observe(canvas, { box: exact ? "device-pixel-content-box" : "content-box" });
  if (field.prior) {
    const about = document.querySelector(".about");
    const size = about.textContent;
    const note = await addDetails((percent) => {
      about.textContent = `${size}, adding details: ${percent} %`;
      detailed = percent / 100;
      showWork();
    });
    about.textContent = size + note;
  }
  complete = true;
  restart(1);
}
show().catch((error) => fail(error.message));
