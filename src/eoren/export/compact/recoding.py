"""Latents coded for a page: a coder whose decoder is a few lines of JavaScript (``decoder.js``).

The context model of .eoren files is larger than most pages, so pages have a linear one, fitted to their image: within
a few percent of the size. Bands are coded from the coarsest level to the finest, row by row. For each latent,
weighted sums of what is known give its expected magnitude E, and its expected value, whose sign is often right:

- magnitudes of ten neighbours before it, of earlier channels, of the parent band, and of earlier bands of the level
- values of six neighbours, of earlier channels, and of the low-pass band around (:mod:`eoren.coding.lowpass`)

A latent is coded as unary decisions whose contexts are the class of E, then its sign in the context of the expected
value. Where E is large, the lowest bits follow as they are. All is done in integers, so that pages decode to the same
latents everywhere.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, Int64
from scipy.optimize import nnls

from eoren.coding import lowpass
from eoren.coding.bands import COARSE, DIAGONAL, Latents, Plane, band_order
from eoren.coding.block_coder import BandKey
from eoren.export.compact.digits import encode_bits, encode_decisions

NEIGHBOURS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, -2), (-1, 2), (-2, -1), (-2, 1))
"""Rows and columns from a latent to the neighbours whose magnitudes count; the values of the first six count, too."""
SIGNED = 6
AROUND = tuple((dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0))
FITTED_LEVELS = 3
"""Levels with weights of their own; coarser ones use those of the last."""

LARGEST = 1023  # magnitude that contexts see
_LARGEST_LOWPASS = 8191  # difference in the low-pass band that contexts see, in eighths
CLASSES, LIMIT, SIGN_CLASSES = 32, 24, 17
_SIGNS = CLASSES * LIMIT  # first context of signs
_PARAMETERS = _SIGNS + SIGN_CLASSES * 3  # first context of integers
_SAMPLES = 100_000  # of a band that weights are fitted to


class Weights(NamedTuple):
    """Integer weights of one channel of a band, divided by powers of two."""

    magnitude: Int64[np.ndarray, " weights"]  # 0 to 255
    magnitude_shift: int
    value: Int64[np.ndarray, " weights"]  # -127 to 127
    value_shift: int


class _Known(NamedTuple):
    """What is known of the latents of a channel before they are coded."""

    magnitudes: list[Int32[np.ndarray, " places"]]
    values: list[Int32[np.ndarray, " places"]]  # in eighths


class Recorder:
    """Decisions and bits in the order of coding."""

    def __init__(self) -> None:
        self._decisions: list[np.ndarray] = []
        self._contexts: list[np.ndarray] = []
        self._values: list[int] = []
        self._counts: list[int] = []
        self._tensors = 0

    def decide(self, decisions: np.ndarray, contexts: np.ndarray) -> None:
        """Append decisions with their contexts."""
        self._decisions.append(decisions.astype(bool))
        self._contexts.append(contexts.astype(np.int16))

    def bits(self, value: int, count: int) -> None:
        """Append up to 32 bits."""
        if count > 16:
            self.bits(value >> 16, count - 16)
            value, count = value & 0xFFFF, 16
        if count:
            self._values.append(value)
            self._counts.append(count)

    def integers(self, values: Sequence[int]) -> None:
        """Append integers below 2**31: their numbers of bits as decisions, then bits and signs."""
        base = _PARAMETERS + 32 * self._tensors
        self._tensors += 1
        for value in map(int, values):
            length = abs(value).bit_length()
            self.decide(np.arange(length + 1) < length, base + np.arange(length + 1))
            self.bits(abs(value) & (1 << max(0, length - 1)) - 1, max(0, length - 1))
            if value:
                self.bits(int(value < 0), 1)

    def floats(self, values: Float32[np.ndarray, " values"]) -> None:
        """Append numbers of float32."""
        for word in values.view(np.uint32).tolist():
            self.bits(word, 32)

    def text(self) -> tuple[str, str]:
        """Return decisions and bits as digits."""
        decisions = encode_decisions(np.concatenate(self._decisions), np.concatenate(self._contexts))
        return decisions, encode_bits(self._values, self._counts)


def record_latents(latents: Latents, recorder: Recorder) -> None:
    """Append all latents, and the weights of their contexts."""
    weights: dict[BandKey, Weights] = {}
    for key, known, plane in _planes(latents):
        if key.level <= max(1, min(FITTED_LEVELS, latents.levels)) or key.orientation == COARSE:
            weights[key] = fit_weights(plane.ravel(), known)
    fitted = sorted(weights)
    for key in fitted:
        magnitude, magnitude_shift, value, value_shift = weights[key]
        recorder.integers([magnitude_shift, value_shift])
        recorder.integers(magnitude.tolist())
        recorder.integers(value.tolist())
    for key, known, plane in _planes(latents):
        level = key.level if key.orientation == COARSE else min(key.level, FITTED_LEVELS)
        _record_plane(plane.ravel().astype(np.int64), known, weights[key._replace(level=level)], recorder)


def fit_weights(values: Int[np.ndarray, " places"], known: _Known) -> Weights:
    """Fit the weights of a channel of a band by least squares, relative to the expected magnitudes."""
    step = max(1, len(values) // _SAMPLES)
    wanted = np.clip(values[::step], -64, 64).astype(np.float64)
    magnitudes = np.stack([m[::step] for m in known.magnitudes] + [np.zeros(len(wanted))], 1).astype(np.float64)
    signed = np.stack([v[::step] for v in known.values], 1) / 8.0
    importance = 1 / (0.3 + magnitudes[:, :4].mean(1))
    expected = magnitudes @ _least_squares(magnitudes, np.abs(wanted), importance, positive=True)
    value = _least_squares(signed, wanted, 1 / (0.3 + expected), positive=False)
    magnitudes[:, -1] = np.abs(signed @ value)
    magnitude = _least_squares(magnitudes, np.abs(wanted), importance, positive=True)
    # Magnitudes come in units of 1/64, except for that of the expected value, which is in 1/64 already.
    integers, shift = _as_integers(magnitude, 255, 16)
    # Eighths times weights are expected values in 1/64, shifted.
    value_integers, value_shift = _as_integers(8 * value, 127, 20)
    return Weights(integers, shift, value_integers, value_shift)


def _least_squares(
    columns: Float[np.ndarray, "places weights"],
    wanted: Float[np.ndarray, " places"],
    importance: Float[np.ndarray, " places"],
    *,
    positive: bool,
) -> Float[np.ndarray, " weights"]:
    weighted = columns * importance[:, None]
    normal, right = weighted.T @ weighted, weighted.T @ (wanted * importance)
    normal += np.eye(len(normal)) * (1e-4 * np.trace(normal) / len(normal) + 1e-6)
    if not positive:
        solution: np.ndarray = np.linalg.solve(normal, right)
        return solution
    root = np.linalg.cholesky(normal)
    weights: np.ndarray = nnls(root.T, np.linalg.solve(root, right), maxiter=100 * len(normal))[0]
    return weights


def _as_integers(weights: Float[np.ndarray, " weights"], largest: int, most: int) -> tuple[np.ndarray, int]:
    """Round weights to integers over a power of two."""
    size = float(np.abs(weights).max())
    shift = most if size == 0 else int(np.clip(np.floor(np.log2(largest / size)), 0, most))
    return np.clip(np.rint(weights * 2.0**shift), -largest, largest).astype(np.int64), shift


def _record_plane(values: Int64[np.ndarray, " places"], known: _Known, weights: Weights, recorder: Recorder) -> None:
    expected = _weighted_sum(weights.value, known.values) >> weights.value_shift
    total = 64 * _weighted_sum(weights.magnitude[:-1], known.magnitudes)
    energy = (total + weights.magnitude[-1] * np.abs(expected)) >> weights.magnitude_shift
    kind, shift = energy_class(energy)
    magnitude = np.abs(values)
    unary = np.minimum(magnitude >> shift, LIMIT)
    count = np.minimum(unary + 1, LIMIT)
    # Every latent has `count` decisions, and one for its sign.
    total_count = count + (magnitude > 0)
    end = np.cumsum(total_count)
    place = np.repeat(np.arange(len(values)), total_count)
    number = np.arange(len(place)) - np.repeat(end - total_count, total_count)
    decisions, contexts = number < unary[place], kind[place] * LIMIT + number
    some, last = magnitude > 0, end[magnitude > 0] - 1
    decisions[last] = values[some] < 0
    contexts[last] = sign_context(expected[some], energy[some], magnitude[some])
    recorder.decide(decisions, contexts)
    for k in np.flatnonzero((unary == LIMIT) | (shift > 0)).tolist():
        low = int(shift[k])
        excess = (int(magnitude[k]) >> low) - LIMIT + 1
        if excess > 0:
            length = excess.bit_length() - 1
            recorder.bits(length, 5)
            recorder.bits(excess & (1 << length) - 1, length)
        recorder.bits(int(magnitude[k]) & (1 << low) - 1, low)


def _weighted_sum(
    weights: Int64[np.ndarray, " weights"], columns: Sequence[Int32[np.ndarray, " places"]]
) -> Int64[np.ndarray, " places"]:
    total = np.zeros(len(columns[0]), np.int64)
    for weight, column in zip(weights.tolist(), columns, strict=True):
        total += np.multiply(column, weight, dtype=np.int64)
    return total


def energy_class(energy: Int64[np.ndarray, " places"]) -> tuple[Int64[np.ndarray, " _"], Int64[np.ndarray, " _"]]:
    """Return the class of expected magnitudes in 1/64, four an octave, and the number of low bits."""
    energy = np.minimum(energy, 1 << 26)
    octave = np.maximum(np.frexp(energy.astype(np.float64))[1].astype(np.int64) - 1, 1)
    fine = 4 * (np.minimum(octave, 8) - 1) + (energy >> np.maximum(octave - 2, 0) & 3)
    return np.where(energy < 4, energy, fine), np.maximum(octave - 8, 0)


def sign_context(
    expected: Int64[np.ndarray, " places"],
    energy: Int64[np.ndarray, " places"],
    magnitude: Int64[np.ndarray, " places"],
) -> Int64[np.ndarray, " places"]:
    """Return the contexts of signs: the ratio of the expected value and the expected magnitude, in fifths."""
    ratio = (10 * expected + energy + 6) // (2 * (energy + 6))
    contexts: np.ndarray = _SIGNS + (np.clip(ratio, -8, 8) + 8) * 3 + np.minimum(magnitude, 3) - 1
    return contexts


def _planes(latents: Latents) -> Iterator[tuple[BandKey, _Known, Plane]]:
    """Yield the channels of all bands in the order of coding, with what is known of them."""
    low: list[Plane] = []
    for level, orientation in band_order(latents.levels):
        for channel in range(len(latents.coarse)):
            key = BandKey(level, orientation, channel)
            plane = _plane(latents, key)
            if plane.size:
                yield key, _known(latents, key, low[channel] if low else None), plane
        if orientation == COARSE:
            low = [8 * plane for plane in latents.coarse]
        elif orientation == DIAGONAL:
            details = latents.details[level - 1]
            low = [lowpass.synthesize_level(plane, *(8 * band[c] for band in details)) for c, plane in enumerate(low)]


def _plane(latents: Latents, key: BandKey) -> Plane:
    band = latents.coarse if key.orientation == COARSE else latents.details[key.level - 1][key.orientation]
    plane: Plane = band[key.channel]
    return plane


def _known(latents: Latents, key: BandKey, low: Plane | None) -> _Known:
    plane = _plane(latents, key)
    shape = plane.shape
    limited = np.clip(plane, -LARGEST, LARGEST)
    around = [_shifted(limited, offset) for offset in NEIGHBOURS]
    earlier = [np.clip(_plane(latents, key._replace(channel=c)), -LARGEST, LARGEST) for c in range(key.channel)]
    magnitudes = [np.abs(neighbour) for neighbour in around]
    for other in earlier:
        magnitudes += _magnitudes(other, shape)
    values = [8 * neighbour for neighbour in around[:SIGNED]] + [8 * other for other in earlier]
    if key.orientation != COARSE:
        parent = _plane(latents, key._replace(level=key.level + 1)) if key.level < latents.levels else plane[:0]
        if parent.size:
            magnitudes += [m.repeat(2, 0).repeat(2, 1) for m in _magnitudes(parent, parent.shape)]
        else:
            magnitudes += 2 * [np.zeros(shape, np.int32)]
        for orientation in range(key.orientation):
            magnitudes += _magnitudes(_plane(latents, key._replace(orientation=orientation)), shape)
    if low is not None:
        padded = np.pad(low, 2, "edge")
        middle, (rows, columns) = padded[2 : 2 + shape[0], 2 : 2 + shape[1]], shape
        for dy, dx in AROUND:
            there = padded[2 + dy : 2 + dy + rows, 2 + dx : 2 + dx + columns]
            values.append(np.clip(there - middle, -_LARGEST_LOWPASS, _LARGEST_LOWPASS))
    flat = [_extended(magnitude, shape).ravel() for magnitude in magnitudes]
    return _Known([*flat, np.ones(plane.size, np.int32)], [value.ravel() for value in values])


def _magnitudes(plane: Plane, shape: tuple[int, ...]) -> list[Plane]:
    """Return the magnitudes of another channel or band, and the sums of those of the eight places around."""
    if not plane.size:
        return 2 * [np.zeros(shape, np.int32)]
    magnitude = np.minimum(np.abs(plane), LARGEST)
    padded, (rows, columns) = np.pad(magnitude, 1), plane.shape
    total = sum(padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3))
    return [magnitude, total - magnitude]


def _shifted(plane: Plane, offset: tuple[int, int]) -> Plane:
    padded, (rows, columns) = np.pad(plane, 2), plane.shape
    top, left = 2 + offset[0], 2 + offset[1]
    return padded[top : top + rows, left : left + columns]


def _extended(plane: Plane, shape: tuple[int, ...]) -> Plane:
    """Cut to a shape, repeating the last row and column where they are missing."""
    missing = [(0, max(0, wanted - length)) for wanted, length in zip(shape, plane.shape, strict=True)]
    return np.pad(plane[: shape[0], : shape[1]], missing, "edge")
