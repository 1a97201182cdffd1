// Textures of a mosaic: the tree of cuts and its tiles, and the networks.
function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}

/** Expand the weights of 8-bit files: integers times the scale of their unit, with the biases in between. */
function dequantize(weights, units, rows) {
  const values = new Float32Array(weights);
  for (let at = 0, unit = 0; unit < units.length; )
    for (const [groups, inputs] of rows)
      for (let group = 0; group < groups; group++, unit += 8) {
        for (let k = 0; k < 4; k++) values[at++] = units[unit + k];
        for (let k = 0; k < 4 * inputs; k++) values[at++] *= units[unit + 4 + (k & 3)];
      }
  return values;
}

function fieldTextures() {
  numberTexture(0, new Float32Array(bytes(field.tiles)));
  const networks = bytes(field.networks);
  if (field.bits === 16) numberTexture(1, new Uint16Array(networks));
  else if (field.bits === 32) numberTexture(1, new Float32Array(networks));
  else numberTexture(1, dequantize(new Int8Array(networks), new Float32Array(bytes(field.units)), field.rows));
  return ["eoren_tiles", "eoren_networks"];
}
