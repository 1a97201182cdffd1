// The inverse wavelet transform (CDF 9/7, by lifting) and quintic splines, as in eoren.model.latents.

const LIFTING = [-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971];
const SCALE = 1.230174104914001 / Math.SQRT2;

/** The products of the lifting steps: exact ones for features, and rounded ones for contexts, the same everywhere. */
const REALS = [...LIFTING, SCALE, 1 / SCALE].map((factor) => (value) => factor * value);
const INTEGERS = [...LIFTING, SCALE, 1 / SCALE].map((factor) => {
  const fixed = Math.floor(factor * 16384 + 0.5);
  return (value) => Math.floor((fixed * value + 8192) / 16384);
});

/** Join low-pass and high-pass rows. */
function mergeRows(low, high, [first, second, third, fourth, scale, inverse]) {
  if (!high.rows) return low;
  const { columns } = low;
  const result = plane(low.rows + high.rows, columns);
  const { rows, data } = result;
  for (let row = 0; row < rows; row++) {
    const [source, times] = row & 1 ? [high, inverse] : [low, scale];
    for (let column = 0, from = (row >> 1) * columns; column < columns; column++)
      data[row * columns + column] = times(source.data[from + column]);
  }
  // Every step changes the rows of one parity by those of the other on both sides; ends are mirrored.
  [fourth, third, second, first].forEach((times, step) => {
    for (let row = step & 1; row < rows; row += 2) {
      const above = (row ? row - 1 : 1) * columns;
      const below = (row < rows - 1 ? row + 1 : row - 1) * columns;
      for (let column = 0; column < columns; column++)
        data[row * columns + column] -= times(data[above + column] + data[below + column]);
    }
  });
  return result;
}

function transposed({ rows, columns, data }) {
  const result = plane(columns, rows);
  for (let row = 0, at = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) result.data[column * rows + row] = data[at++];
  return result;
}

/** Compute the low-pass band of the level below. */
function synthesizeLevel(low, [horizontal, vertical, diagonal], products) {
  const left = transposed(mergeRows(low, vertical, products));
  const right = transposed(mergeRows(horizontal, diagonal, products));
  return transposed(mergeRows(left, right, products));
}

/** Apply a matrix, a row per channel, to the channels of a band. */
function mixed(band, matrix) {
  return matrix[0].map((_, output) => {
    const result = plane(band[0].rows, band[0].columns);
    band.forEach(({ data }, channel) => {
      const factor = matrix[channel][output];
      if (factor) for (let at = 0; at < data.length; at++) result.data[at] += factor * data[at];
    });
    return result;
  });
}

/** Compute the feature images; the details of the levels up to `apart` are images of their own. */
function featureImages([coarse, ...details], apart) {
  const blank = ({ rows, columns }) => plane(rows, columns);
  let images = coarse;
  for (let level = details.length / 3; level > 0; level--) {
    const bands = details.slice(3 * level - 3, 3 * level);
    const channels = bands[0].map((_, channel) => bands.map((band) => band[channel]));
    if (level > apart) images = images.map((image, k) => synthesizeLevel(image, channels[k], REALS));
    else {
      const [none, nothing] = [blank(images[0]), channels[0].map(blank)];
      images = [
        ...images.map((image) => synthesizeLevel(image, nothing, REALS)),
        ...channels.map((three) => synthesizeLevel(none, three, REALS)),
      ];
    }
  }
  return images;
}

/** Compute the spline coefficients of all rows, `padding` more on either side; rows continue by odd reflection.
 *  Weights are those of a sample at distance 0, 1, ...: on both sides the same. */
function splineRows({ rows, columns, data }, weights, padding) {
  const reach = weights.length - 1;
  const result = plane(rows, columns + 2 * padding);
  const line = new Float64Array(result.columns + 2 * reach);
  for (let row = 0; row < rows; row++) {
    const samples = data.subarray(row * columns, (row + 1) * columns);
    for (let k = 0; k < line.length; k++) line[k] = reflected(samples, k - padding - reach);
    for (let k = 0; k < result.columns; k++) {
      let sum = weights[0] * line[k + reach];
      for (let j = 1; j <= reach; j++) sum += weights[j] * (line[k + reach - j] + line[k + reach + j]);
      result.data[row * result.columns + k] = sum;
    }
  }
  return result;
}

function reflected(samples, index) {
  const last = samples.length - 1;
  if (!last) return samples[0];
  const turns = Math.floor(index / (2 * last));
  const place = index - 2 * last * turns;
  const [first, end] = [samples[0], samples[last]];
  const value = place > last ? 2 * end - samples[2 * last - place] : samples[place];
  return value + 2 * turns * (end - first);
}

/** Arrange the spline coefficients of all features as the shader reads them: four in a layer. */
function splineTexture(images, weights, padding) {
  const [rows, columns] = [images[0].rows + 2 * padding, images[0].columns + 2 * padding];
  const texture = new Float32Array(Math.ceil(images.length / 4) * rows * columns * 4);
  images.forEach((image, number) => {
    const { data } = transposed(splineRows(transposed(splineRows(image, weights, padding)), weights, padding));
    const first = (number >> 2) * rows * columns * 4 + (number & 3);
    for (let at = 0; at < data.length; at++) texture[first + 4 * at] = data[at];
  });
  return { texture, rows, columns, layers: Math.ceil(images.length / 4) };
}
