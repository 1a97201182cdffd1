// Runs a field's shader in WebGL 2 and returns the floats of every requested layer. Independent of page.js, so that the
// shader is tested as another program would use it, from the two files written.
(given) => {
  const gl = document.createElement("canvas").getContext("webgl2");
  gl.getExtension("EXT_color_buffer_float");
  const program = gl.createProgram();
  const vertex = `#version 300 es
  void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }`;
  for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, given.source]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    const log = gl.getShaderInfoLog(shader);
    if (log) throw new Error(log);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  gl.useProgram(program);
  const texture = (unit, { width, rows, layers }, numbers) => {
    const target = layers ? gl.TEXTURE_2D_ARRAY : gl.TEXTURE_2D;
    gl.activeTexture(gl.TEXTURE0 + unit);
    const handle = gl.createTexture();
    gl.bindTexture(target, handle);
    gl.texParameteri(target, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(target, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    if (layers) {
      gl.texStorage3D(target, 1, gl.RGBA32F, width, rows, layers);
      gl.texSubImage3D(target, 0, 0, 0, 0, width, rows, layers, gl.RGBA, gl.FLOAT, numbers);
    } else {
      gl.texStorage2D(target, 1, gl.RGBA32F, width, rows);
      if (numbers) gl.texSubImage2D(target, 0, 0, 0, width, rows, gl.RGBA, gl.FLOAT, numbers);
    }
    return handle;
  };
  const at = (name) => gl.getUniformLocation(program, name);
  const data = new Float32Array(Uint8Array.from(atob(given.data), (letter) => letter.charCodeAt(0)).buffer);
  let first = 0;
  given.textures.forEach((one, unit) => {
    const count = 4 * one.width * one.rows * (one.layers || 1);
    texture(unit, one, data.subarray(first, first + count));
    gl.uniform1i(at(one.name), unit);
    first += count;
  });
  if (first !== data.length) throw new Error("the textures must use the whole file");
  gl.uniform2i(at("u_base"), ...given.base);
  gl.uniform2f(at("u_offset"), ...given.offset);
  gl.uniform2f(at("u_step"), ...given.step);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  const target = texture(given.textures.length, { width: given.width, rows: given.height }, null);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, target, 0);
  gl.viewport(0, 0, given.width, given.height);
  const results = given.layers.map((layer) => {
    gl.uniform1i(at("u_layer"), layer);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    const numbers = new Float32Array(4 * given.width * given.height);
    gl.readPixels(0, 0, given.width, given.height, gl.RGBA, gl.FLOAT, numbers);
    return Array.from(numbers);
  });
  if (gl.getError()) throw new Error("WebGL error");
  gl.getExtension("WEBGL_lose_context").loseContext();
  return results;
}
