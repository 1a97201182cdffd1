// Reads the latents of a compact field: recoding.py describes the code, digits.py the digits. All numbers are integers.

/** Reads digits of base 125: one character each, of all below 128 but NUL, the carriage return and "<". */
class Digits {
  constructor(text) {
    this.text = text;
    this.next = 0;
    this.state = 0;
    for (let k = 0; k < 5; k++) this.state = 125 * this.state + this.digit();
  }

  digit() {
    const code = this.text.charCodeAt(this.next++);
    if (!(code < 128)) throw new Error("the data of the field end early");
    return code - 1 - (code > 13) - (code > 60);
  }

  advance(low, frequency) {
    this.state = frequency * (this.state >>> 16) + (this.state & 0xffff) - low;
    while (this.state < 1 << 24) this.state = 125 * this.state + this.digit();
  }

  /** Check that all digits were used, which damaged data do not. */
  finish() {
    if (this.next !== this.text.length || this.state !== 1 << 24) throw new Error("the data of the field are damaged");
  }
}

/** Yes or no, each in a context that remembers how often it was either. */
class Decisions {
  constructor(text) {
    this.digits = new Digits(text);
    this.yes = new Int32Array(8192);
    this.all = new Int32Array(8192);
  }

  read(context) {
    const all = this.all[context]++;
    const share = Math.floor(((2 * this.yes[context] + 1) * 32768) / (all + 1));
    const frequency = Math.min(Math.max(share, 1), 65535);
    const answer = (this.digits.state & 0xffff) < frequency;
    if (answer) this.digits.advance(0, frequency);
    else this.digits.advance(frequency, 65536 - frequency);
    if (answer) this.yes[context]++;
    return answer;
  }
}

/** Integers of known numbers of bits. */
class Bits {
  constructor(text) {
    this.digits = new Digits(text);
  }

  read(count) {
    if (count > 16) {
      const high = this.read(count - 16);
      return high * 65536 + this.read(16);
    }
    if (!count) return 0;
    const value = (this.digits.state & 0xffff) >> (16 - count);
    this.digits.advance(value << (16 - count), 1 << (16 - count));
    return value;
  }
}

const NEIGHBOURS = [[0, -1], [-1, 0], [-1, -1], [-1, 1], [0, -2], [-2, 0], [-1, -2], [-1, 2], [-2, -1], [-2, 1]];
const SIGNED = 6; // neighbours whose values count
const [CLASSES, LIMIT, SIGN_CLASSES] = [32, 24, 17];
const SIGNS = CLASSES * LIMIT; // first context of signs
const PARAMETERS = SIGNS + SIGN_CLASSES * 3; // first context of integers
const [FITTED_LEVELS, COARSE] = [3, 3];
const clip = (value, most) => Math.min(Math.max(value, -most), most);
const plane = (rows, columns, data = new Float64Array(rows * columns)) => ({ rows, columns, data });

/** Reads what is in the page: integers, then the latents. */
class Reader {
  constructor(decisions, bits) {
    this.decisions = new Decisions(decisions);
    this.bits = new Bits(bits);
    this.tensors = 0;
  }

  integers(count) {
    const base = PARAMETERS + 32 * this.tensors++;
    return Array.from({ length: count }, () => {
      let length = 0;
      while (this.decisions.read(base + length)) length++;
      if (!length) return 0;
      const magnitude = 2 ** (length - 1) + this.bits.read(length - 1);
      return this.bits.read(1) ? -magnitude : magnitude;
    });
  }

  /** Read numbers of float32. */
  floats(count) {
    return new Float32Array(Uint32Array.from({ length: count }, () => this.bits.read(32)).buffer);
  }

  /** Return the bands, the coarse one first, then those of the finest level to the coarsest: a plane per channel. */
  async latents({ width, height, channels, levels }, pause) {
    const sizes = [[height, width]];
    for (let level = 1; level <= levels; level++) sizes.push(sizes.at(-1).map((side) => Math.ceil(side / 2)));
    // Low-pass along a side has ceil(side / 2) places, high-pass floor(side / 2).
    const shape = (level, orientation) => {
      if (orientation === COARSE) return sizes[levels];
      const [rows, columns] = sizes[level - 1];
      return [orientation > 0 ? rows >> 1 : sizes[level][0], orientation === 1 ? sizes[level][1] : columns >> 1];
    };
    const order = [[levels, COARSE]];
    for (let level = levels; level > 0; level--) for (let o = 0; o < 3; o++) order.push([level, o]);
    const bands = new Map(order.map(([level, o]) => [`${level} ${o}`, []]));
    const weights = this.weights(levels, channels, order, shape);
    let low = null;
    for (const [level, orientation] of order) {
      const band = bands.get(`${level} ${orientation}`);
      for (let channel = 0; channel < channels; channel++) {
        const parent = level < levels ? bands.get(`${level + 1} ${orientation}`)[channel] : null;
        const siblings = [0, 1, 2].filter((o) => o < orientation && orientation < COARSE);
        const known = {
          earlier: band.slice(0, channel),
          parent: orientation === COARSE ? undefined : parent,
          siblings: siblings.map((o) => bands.get(`${level} ${o}`)[channel]),
          low: orientation === COARSE ? null : low[channel],
        };
        const fitted = orientation === COARSE ? level : Math.min(level, FITTED_LEVELS);
        band.push(this.channel(...shape(level, orientation), known, weights.get(`${fitted} ${orientation} ${channel}`)));
        await pause();
      }
      const eighths = (one) => plane(one.rows, one.columns, one.data.map((value) => 8 * value));
      if (orientation === COARSE) low = band.map(eighths);
      else if (orientation === 2) {
        const details = [0, 1, 2].map((o) => bands.get(`${level} ${o}`).map(eighths));
        low = low.map((one, c) => synthesizeLevel(one, details.map((all) => all[c]), INTEGERS));
      }
    }
    this.decisions.digits.finish();
    this.bits.digits.finish();
    const ascending = Array.from({ length: levels }, (_, k) => [0, 1, 2].map((o) => bands.get(`${k + 1} ${o}`))).flat();
    return [bands.get(`${levels} ${COARSE}`), ...ascending];
  }

  /** Read the weights of all channels of all bands that have some, by level, orientation and channel. */
  weights(levels, channels, order, shape) {
    const weights = new Map();
    const ascending = [...order].sort(([a, b], [c, d]) => a - c || b - d);
    for (const [level, orientation] of ascending) {
      const [rows, columns] = shape(level, orientation);
      if ((level > FITTED_LEVELS && orientation !== COARSE) || !(rows * columns)) continue;
      const isDetail = orientation !== COARSE;
      for (let channel = 0; channel < channels; channel++) {
        const magnitudes = NEIGHBOURS.length + 2 * channel + (isDetail ? 2 + 2 * orientation : 0) + 2;
        const values = SIGNED + channel + (isDetail ? 24 : 0);
        const [magnitudeShift, valueShift] = this.integers(2);
        weights.set(`${level} ${orientation} ${channel}`, {
          magnitude: this.integers(magnitudes), magnitudeShift, value: this.integers(values), valueShift,
        });
      }
    }
    return weights;
  }

  /** Read one channel of a band. */
  channel(rows, columns, known, weights) {
    const result = plane(rows, columns, new Int32Array(rows * columns));
    if (!result.data.length) return result;
    const { energy, expected } = sumsOfKnown(rows, columns, known, weights);
    // Latents so far, limited, with a margin of two places above and at both sides.
    const stride = columns + 4;
    const limited = new Int32Array((rows + 2) * stride);
    const steps = NEIGHBOURS.map(([dy, dx]) => dy * stride + dx);
    const { magnitude } = weights;
    const ofValue = magnitude.at(-1);
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) {
        const at = row * columns + column;
        const here = (row + 2) * stride + column + 2;
        let sum = energy[at];
        let value = expected[at];
        for (let k = 0; k < steps.length; k++) {
          const neighbour = limited[here + steps[k]];
          sum += magnitude[k] * Math.abs(neighbour);
          if (k < SIGNED) value += 8 * weights.value[k] * neighbour;
        }
        value = Math.floor(value / 2 ** weights.valueShift);
        sum = Math.floor((64 * sum + ofValue * Math.abs(value)) / 2 ** weights.magnitudeShift);
        result.data[at] = this.latent(sum, value);
        limited[here] = clip(result.data[at], 1023);
      }
    return result;
  }

  /** Read one latent, given its expected magnitude and value, in 1/64. */
  latent(energy, value) {
    const limited = Math.min(energy, 1 << 26);
    const octave = Math.max(31 - Math.clz32(limited), 1);
    const kind = limited < 4 ? limited : 4 * (Math.min(octave, 8) - 1) + ((limited >> (octave - 2)) & 3);
    const shift = Math.max(octave - 8, 0);
    let magnitude = 0;
    while (magnitude < LIMIT && this.decisions.read(kind * LIMIT + magnitude)) magnitude++;
    if (magnitude === LIMIT) {
      const length = this.bits.read(5);
      magnitude += 2 ** length + this.bits.read(length) - 1;
    }
    magnitude = magnitude * 2 ** shift + this.bits.read(shift);
    if (!magnitude) return 0;
    const ratio = clip(Math.floor((10 * value + energy + 6) / (2 * (energy + 6))), 8);
    const isNegative = this.decisions.read(SIGNS + (ratio + 8) * 3 + Math.min(magnitude, 3) - 1);
    return isNegative ? -magnitude : magnitude;
  }
}

/** Add up, at every place, what does not depend on the latents of the channel itself. */
function sumsOfKnown(rows, columns, { earlier, parent, siblings, low }, weights) {
  const [energy, expected] = [new Float64Array(rows * columns), new Float64Array(rows * columns)];
  let [k, j] = [NEIGHBOURS.length, SIGNED];
  const addMagnitudes = (other, halvings) => {
    const [itself, around] = [weights.magnitude[k++], weights.magnitude[k++]];
    if (!other || !other.data.length) return;
    const magnitudes = weightedMagnitudes(other, itself, around);
    for (let row = 0, at = 0; row < rows; row++) {
      const first = Math.min(row >> halvings, other.rows - 1) * other.columns;
      for (let column = 0; column < columns; column++, at++)
        energy[at] += magnitudes[first + Math.min(column >> halvings, other.columns - 1)];
    }
  };
  for (const other of earlier) {
    addMagnitudes(other, 0);
    const weight = 8 * weights.value[j++];
    for (let at = 0; at < expected.length; at++) expected[at] += weight * clip(other.data[at], 1023);
  }
  if (parent !== undefined) addMagnitudes(parent, 1);
  for (const other of siblings) addMagnitudes(other, 0);
  for (let at = 0; at < energy.length; at++) energy[at] += weights.magnitude[k];
  if (low) addLowpass(expected, rows, columns, low, weights.value.slice(j));
  return { energy, expected };
}

/** Add the differences of the low-pass band from its value at each place, at 24 places around. */
function addLowpass(expected, rows, columns, low, weights) {
  const padded = withMargin(low, 2);
  const stride = low.columns + 4;
  const steps = [];
  for (let dy = -2; dy <= 2; dy++) for (let dx = -2; dx <= 2; dx++) if (dy || dx) steps.push(dy * stride + dx);
  for (let row = 0, at = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, at++) {
      const here = (row + 2) * stride + column + 2;
      const middle = padded[here];
      let sum = 0;
      for (let k = 0; k < 24; k++) sum += weights[k] * clip(padded[here + steps[k]] - middle, 8191);
      expected[at] += sum;
    }
}

/** Weigh the limited magnitude at every place, and the sum of those of the eight places around. */
function weightedMagnitudes({ rows, columns, data }, itself, around) {
  const stride = columns + 2;
  const padded = new Float64Array((rows + 2) * stride);
  for (let row = 0, at = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, at++)
      padded[(row + 1) * stride + column + 1] = Math.min(Math.abs(data[at]), 1023);
  const result = new Float64Array(rows * columns);
  for (let row = 0, at = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, at++) {
      const here = (row + 1) * stride + column + 1;
      let sum = padded[here - 1] + padded[here + 1];
      for (let k = -1; k <= 1; k++) sum += padded[here - stride + k] + padded[here + stride + k];
      result[at] = itself * padded[here] + around * sum;
    }
  return result;
}

/** Repeat the outermost rows and columns. */
function withMargin({ rows, columns, data }, margin) {
  const stride = columns + 2 * margin;
  const padded = new Float64Array((rows + 2 * margin) * stride);
  for (let row = 0, at = 0; row < rows + 2 * margin; row++)
    for (let column = 0; column < stride; column++, at++) {
      const first = Math.min(Math.max(row - margin, 0), rows - 1) * columns;
      padded[at] = data[first + Math.min(Math.max(column - margin, 0), columns - 1)];
    }
  return padded;
}
