// Textures of a compact field: reads its latents, computes the feature images, and their spline coefficients.

const textOf = (id) => document.getElementById(id).textContent;

/** Let the browser handle input, and show how far the work is. */
async function pause(share) {
  waiting.textContent = `Unpacking, ${Math.round(100 * share)} %`;
  await new Promise((resolve) => setTimeout(resolve));
}

/** Read what recoding.py and html.py wrote: latents, quantisation steps, the tensors of the color decoder, and the
 *  network of the details. */
async function readField() {
  const reader = new Reader(textOf("decisions"), textOf("bits"));
  const { channels, levels, step, exponents, shapes } = field;
  const bands = 3 * levels + 1;
  const rowsOf = (numbers, columns) => Array.from({ length: numbers.length / columns }, (_, k) => numbers.slice(k * columns, (k + 1) * columns));
  const offsets = rowsOf(reader.integers(bands * channels), channels);
  const steps = offsets.map((some) => some.map((offset) => step * 2 ** (offset / 16)));
  const tensors = shapes.map(([rows, columns], k) => {
    const numbers = reader.integers(rows * columns).map((integer) => integer * 2 ** -exponents[k]);
    return rowsOf(numbers, columns);
  });
  if (field.prior) details.network = readNetwork(reader);
  let done = 0;
  const latents = await reader.latents(field, () => pause(done++ / (bands * channels)));
  return { latents, steps, tensors };
}

/** Arrange rows of weights as the shader reads them: all rows of the first four outputs, then of the next four. */
function groupsOfFour(rows) {
  const texels = [];
  for (let first = 0; first < rows[0].length; first += 4)
    for (const row of rows) for (let k = first; k < first + 4; k++) texels.push(row[k] ?? 0);
  return texels;
}

function paddedRows(rows) {
  const blank = Array.from({ length: (4 - (rows.length % 4)) % 4 }, () => rows[0].map(() => 0));
  return [...rows, ...blank];
}

const identity = (size) => Array.from({ length: size }, (_, k) => Array.from({ length: size }, (_, j) => Number(j === k)));

async function fieldTextures() {
  const { latents, steps, tensors } = await readField();
  const { channels, levels } = field;
  const [linear, ...layers] = tensors;
  const groups = linear.length / channels;
  // Without a SIREN, colours are features themselves: a linear function of the latents.
  const separate = layers.length > 0;
  const features = latents.map((band, k) => {
    const group = k ? Math.max(0, groups - 1 - Math.floor((k - 1) / 3)) : 0;
    const matrix = separate ? identity(channels) : linear.slice(group * channels, (group + 1) * channels);
    return mixed(band, matrix.map((row, channel) => row.map((weight) => weight * steps[k][channel])));
  });
  await pause(1);
  const images = featureImages(features, separate ? groups - 1 : 0);
  await pause(1);
  const { texture, rows, columns, layers: depth } = splineTexture(images, field.prefilter, field.padding);
  dataTexture(0, columns, rows, texture, depth);
  const texels = groupsOfFour(paddedRows(separate ? linear : identity(channels)));
  // Weights of all layers come first, then their biases.
  for (let k = 0; k < layers.length / 2; k++) {
    const gains = (input) => (k ? 1 : field.gains[input < channels ? 0 : 1]);
    const weights = layers[k].map((row, input) => row.map((weight) => weight * gains(input)));
    texels.push(...groupsOfFour([layers[layers.length / 2 + k][0], ...paddedRows(weights)]));
  }
  numberTexture(1, new Float32Array(texels));
  if (!field.prior) return ["eoren_spline", "eoren_decoder"];
  details.result = newTexture(2, gl.RGBA16F, field.width + field.padding, field.height + field.padding, 4);
  return ["eoren_spline", "eoren_decoder", "eoren_details"];
}
