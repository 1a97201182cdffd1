// The details of the edge prior: its network, and the splines of its detail image, on the graphics processor. It works
// tile by tile, in many short steps, while the page shows the field without details.

const TILE = 192; // texels of the result along each side
const PASS_HEAD = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2DArray;
uniform sampler2DArray u_from;
out vec4 o_value;`;

/** Four outputs of a convolution. */
const convolution = (side, groups) => `${PASS_HEAD}
uniform mat4 u_weights[${side * side * groups}];
uniform vec4 u_bias;
uniform float u_leak; // slope for negative inputs
uniform ivec2 u_first, u_last; // places beyond these repeat them
void main() {
    ivec2 here = ivec2(gl_FragCoord.xy) - ${side >> 1};
    int at = 0;
    o_value = u_bias;
    for (int row = 0; row < ${side}; row++) for (int column = 0; column < ${side}; column++) {
        ivec2 place = clamp(here + ivec2(column, row), u_first, u_last);
        for (int group = 0; group < ${groups}; group++) {
            vec4 x = texelFetch(u_from, ivec3(place, group), 0);
            o_value += u_weights[at++] * max(x, u_leak * x);
        }
    }
}`;

/** Spline coefficients along one axis of the detail image, which continues by odd reflection; layers as in the shader
 *  of the field. */
const prefiltering = (reach) => `${PASS_HEAD}
uniform float u_weights[${reach + 1}];
uniform ivec2 u_axis, u_shift; // from a place in the result to that in the tile
uniform int u_layer, u_start, u_end; // of the detail image, along the axis, in the tile
vec4 detail(ivec2 place, int index) {
    place = place * (1 - u_axis) + index * u_axis;
    return texelFetch(u_from, ivec3(place >> 1, 2 * (place.y & 1) + (place.x & 1)), 0);
}
void main() {
    ivec2 place = 2 * (ivec2(gl_FragCoord.xy) + u_shift) + ivec2(u_layer & 1, u_layer >> 1);
    int last = u_end - u_start, period = 2 * last;
    o_value = vec4(0.0);
    for (int tap = ${-reach}; tap <= ${reach}; tap++) {
        int index = place.x * u_axis.x + place.y * u_axis.y + tap - u_start;
        int turns = index < 0 ? -((period - 1 - index) / period) : index / period;
        index -= turns * period;
        bool mirrored = index > last;
        vec4 value = detail(place, u_start + (mirrored ? period - index : index));
        if (mirrored || turns != 0) {
            vec4 end = detail(place, u_end);
            if (mirrored) value = 2.0 * end - value;
            value += float(2 * turns) * (end - detail(place, u_start));
        }
        o_value += u_weights[abs(tap)] * value;
    }
}`;

/** Read the network that html.py wrote. */
const readNetwork = (reader) => field.prior.shapes.map(([outputs, inputs, side]) => ({
  inputs, side, outputs,
  integers: reader.integers(outputs * inputs * side * side), scales: reader.floats(outputs), biases: reader.floats(outputs),
}));

/** Arrange a layer for the shader: for every texel of its result, whose components are means of outputs, a matrix per
 *  place and four inputs. */
const texelsOf = ({ inputs, side, integers, scales, biases }, texels) => texels.map((components) => {
  const groups = Math.ceil(inputs / 4);
  const [weights, bias] = [new Float32Array(16 * side * side * groups), new Float32Array(4)];
  components.forEach((outputs, component) => outputs.forEach((output) => {
    bias[component] += biases[output] / outputs.length;
    for (let input = 0; input < inputs; input++)
      for (let place = 0; place < side * side; place++) {
        const weight = scales[output] * integers[(output * inputs + input) * side * side + place];
        weights[16 * (place * groups + (input >> 2)) + 4 * (input & 3) + component] += weight / outputs.length;
      }
  }));
  return { weights, bias };
});

/** Resolve when the graphics processor has done all it was given. */
function finished() {
  const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
  gl.flush();
  return new Promise((resolve) => {
    const check = () => {
      if (gl.clientWaitSync(fence, 0, 0) === gl.TIMEOUT_EXPIRED) return setTimeout(check);
      gl.deleteSync(fence);
      resolve();
    };
    setTimeout(check);
  });
}

const details = {}; // the network, and the texture of four layers, of even and odd columns and rows

/** Compute the details of the whole image into their texture; return a note if that is not possible. */
async function addDetails(report) {
  const { network, result } = details;
  const unit = drawingUnit + 1;
  const format = gl.getExtension("EXT_color_buffer_float") ? gl.RGBA32F : gl.getExtension("EXT_color_buffer_half_float") && gl.RGBA16F;
  if (!format) return ", without details between the pixels, which this device cannot compute";
  const { width, height, channels, padding, prefilter } = field;
  const [reach, before] = [prefilter.length - 1, padding / 2];
  const radius = network.reduce((sum, { side }) => sum + (side >> 1), 0);
  const margin = radius + reach / 2 + padding; // pixels around a tile that its coefficients depend on
  const sizes = [width, height].map((side) => side + padding);
  const [columns, rows] = sizes.map((side) => Math.min(side, TILE) + 2 * margin);
  const layers = [];
  for (const layer of network) {
    const isLast = layer === network.at(-1);
    const groups = Array.from({ length: layer.outputs / 4 }, (_, group) => group);
    // The last outputs are four pixels of each colour; the result has a layer for each of the four.
    const texels = [0, 1, 2, 3].map((pixel) => groups.map((color) => 4 * color + pixel));
    const components = isLast
      ? texels.map((outputs) => (channels < 3 ? [outputs] : outputs.map((output) => [output])))
      : groups.map((group) => [0, 1, 2, 3].map((k) => [4 * group + k]));
    const { handle, uniforms } = await programInBackground(FULL_CANVAS, convolution(layer.side, Math.ceil(layer.inputs / 4)));
    layers.push({ handle, uniforms, isFirst: !layers.length, texels: texelsOf(layer, components) });
  }
  const filter = await programInBackground(FULL_CANVAS, prefiltering(reach));
  const depth = Math.max(...layers.map(({ texels }) => texels.length));
  const scratch = [0, 1].map(() => newTexture(unit, format, columns, rows, depth));
  const target = gl.createFramebuffer();
  let [passes, most] = [0, 1]; // since the last wait, and before the next one: about STRIP milliseconds
  const draw = async ({ handle }, uniforms, from, to, layer, viewport = [0, 0, columns, rows]) => {
    gl.useProgram(handle);
    uniforms();
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, from);
    gl.activeTexture(gl.TEXTURE0 + drawingUnit);
    gl.bindFramebuffer(gl.FRAMEBUFFER, target);
    gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, to, 0, layer);
    gl.viewport(...viewport);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    if (++passes < most) return;
    const since = performance.now();
    await finished();
    most = performance.now() - since < STRIP / 2 ? Math.min(2 * most, 32) : Math.max(1, most >> 1);
    passes = 0;
  };
  const tiles = [];
  for (let y = 0; y < sizes[1]; y += TILE) for (let x = 0; x < sizes[0]; x += TILE) tiles.push([x, y]);
  for (const [number, corner] of tiles.entries()) {
    report(Math.round((100 * number) / tiles.length));
    const origin = corner.map((first) => first - before - margin); // in pixels of the image
    let [from, to] = scratch;
    await draw(sampler, () => {
      gl.uniform2i(sampler.uniforms.u_base, ...origin);
      gl.uniform2f(sampler.uniforms.u_offset, 0, 0);
      gl.uniform2f(sampler.uniforms.u_step, 1, 1);
      gl.uniform1i(sampler.uniforms.u_layer, 0);
    }, null, from, 0);
    for (const layer of layers) {
      const { uniforms, isFirst, texels } = layer;
      const [first, last] = isFirst
        ? [origin.map((o) => Math.max(0, -o)), [width, height].map((side, k) => Math.min([columns, rows][k], side - origin[k]) - 1)]
        : [[0, 0], [columns - 1, rows - 1]];
      for (const [group, { weights, bias }] of texels.entries())
        await draw(layer, () => {
          gl.uniform1i(uniforms.u_from, unit);
          gl.uniformMatrix4fv(uniforms["u_weights[0]"], false, weights);
          gl.uniform4fv(uniforms.u_bias, bias);
          gl.uniform1f(uniforms.u_leak, isFirst ? 1 : field.prior.leak);
          gl.uniform2i(uniforms.u_first, ...first);
          gl.uniform2i(uniforms.u_last, ...last);
        }, from, to, group);
      [from, to] = [to, from];
    }
    for (const axis of [0, 1]) {
      const { uniforms } = filter;
      const place = axis ? corner : [0, 0];
      const part = sizes.map((side, k) => Math.min(TILE, side - corner[k]));
      for (let layer = 0; layer < 4; layer++)
        await draw(filter, () => {
          gl.uniform1i(uniforms.u_from, unit);
          gl.uniform1fv(uniforms["u_weights[0]"], prefilter);
          gl.uniform2i(uniforms.u_axis, 1 - axis, axis);
          gl.uniform2i(uniforms.u_shift, ...(axis ? corner.map((first) => margin - first) : [0, 0]));
          gl.uniform1i(uniforms.u_layer, layer);
          gl.uniform1i(uniforms.u_start, -2 * origin[axis]);
          gl.uniform1i(uniforms.u_end, 2 * ([width, height][axis] - origin[axis]) - 1);
        }, from, axis ? result : to, layer, axis ? [...place, ...part] : undefined);
      [from, to] = [to, from];
    }
  }
  scratch.forEach((texture) => gl.deleteTexture(texture));
  gl.deleteFramebuffer(target);
  return "";
}
