"""Probabilities of a latent given its mean and scale, as integers: tables of a discretised mixture of two Laplacians.

A mean is an integer of sixteenths, a scale the index of one of 64 values, four an octave. The symbol that is coded is
the distance ``d`` of the latent from the rounded mean, mirrored if the mean was rounded up. Where the scale is 16 or
more, the lowest bits of ``d`` are equally probable and follow the symbol. A symbol outside its table is an escape,
followed by the number of bits of the excess, in 5 bits, and these bits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt32

from eoren.coding.bands import LARGE_LATENT, MAX_LATENT
from eoren.coding.rans import PRECISION, Decoder

SCALES = 64
TABLES = 32
"""Scales with a table of their own; the others use the table of the same fraction of an octave, and low bits."""
FRACTIONS = 9
"""Distances of a mean from the nearest integer, in sixteenths."""
MEAN_LIMIT = 127

_COUNT_BITS = 5


class Distributions:
    """The tables of all scales.

    Args:
        reach: largest symbol of each table; the smallest is its negative.
        bounds: cumulative frequencies of 2**16 of all tables, one after the other, each from the lower escape to the
            upper one, without the leading 0 and the final 65536: ``2 reach + 2`` numbers for each fraction.
    """

    def __init__(self, reach: Int32[np.ndarray, " tables"], bounds: UInt32[np.ndarray, " bounds"]) -> None:
        self.reach = reach
        widths = np.repeat(2 * reach + 2, FRACTIONS)
        if widths.sum() != len(bounds):
            raise ValueError("the tables of probabilities do not fit their reach")
        width = int(widths.max()) + 2
        # Rows are padded with 65536: an empty interval.
        self.table = np.full((TABLES * FRACTIONS, width), 1 << PRECISION, np.uint32)
        self.table[:, 0] = 0
        for row, part in enumerate(np.split(bounds, np.cumsum(widths)[:-1])):
            self.table[row, 1 : 1 + len(part)] = part
        frequencies = np.maximum(np.diff(self.table.astype(np.int64)), 1)
        self.costs = np.pad(PRECISION - np.log2(frequencies), ((0, 0), (0, 1)))
        """Bits of the symbols of :attr:`table`."""
        self._rows = [row[: n + 2].tolist() for row, n in zip(self.table, widths, strict=True)]

    def cost(
        self,
        values: Int32[np.ndarray, " places"],
        mean: Int32[np.ndarray, " places"],
        scale: Int32[np.ndarray, " places"],
    ) -> np.ndarray:
        """Return the bits that values take, as float64."""
        place = _place(mean, scale)
        symbol, _, excess = self._symbols(values, place)
        escaped = np.where(excess >= 0, _COUNT_BITS + _bit_length(excess), 0)
        bits: np.ndarray = self.costs[place.row, symbol] + place.shift + escaped
        return bits

    def intervals(
        self,
        values: Int32[np.ndarray, " places"],
        mean: Int32[np.ndarray, " places"],
        scale: Int32[np.ndarray, " places"],
    ) -> tuple[UInt32[np.ndarray, " symbols"], UInt32[np.ndarray, " symbols"]]:
        """Return start and frequency of the symbols of values, for :func:`eoren.coding.rans.encode`."""
        place = _place(mean, scale)
        symbol, low, excess = self._symbols(values, place)
        start = self.table[place.row, symbol]
        frequency = self.table[place.row, symbol + 1] - start
        # Few latents have more than one symbol: insert theirs behind.
        at, values_, bits = [], [], []
        for k in np.flatnonzero((excess >= 0) | (place.shift > 0)).tolist():
            for value, count in _uniform(int(excess[k]), int(low[k]), int(place.shift[k])):
                at.append(k + 1)
                values_.append(value)
                bits.append(count)
        uniform = PRECISION - np.array(bits, np.uint32)
        return (
            np.insert(start, at, np.array(values_, np.uint32) << uniform),
            np.insert(frequency, at, np.uint32(1) << uniform),
        )

    def decode(
        self, decoder: Decoder, mean: Int32[np.ndarray, " places"], scale: Int32[np.ndarray, " places"]
    ) -> Int32[np.ndarray, " places"]:
        """Decode values; a ValueError if one is larger than any encoder writes."""
        place = _place(mean, scale)
        rows, reach = self._rows, self.reach[place.row // FRACTIONS].tolist()
        distances = []
        for row, most, shift in zip(place.row.tolist(), reach, place.shift.tolist(), strict=True):
            distance = decoder.symbol(rows[row]) - most - 1
            if abs(distance) > most:
                excess = _read_bits(decoder, decoder.uniform(_COUNT_BITS))
                distance += excess if distance > 0 else -excess
            if shift:
                distance = (distance << shift) + decoder.uniform(shift) - (1 << shift >> 1)
            distances.append(distance)
        found = np.array(distances, np.int64) * place.sign + place.integer
        if found.size and np.abs(found).max() > MAX_LATENT:
            raise ValueError(LARGE_LATENT)
        return np.asarray(found, np.int32)

    def _symbols(
        self, values: Int32[np.ndarray, " places"], place: "_Place"
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return indices into the tables, low bits, and excess beyond the table or -1."""
        distance = (values - place.integer) * place.sign + (1 << place.shift >> 1)
        symbol, low = distance >> place.shift, distance & ((1 << place.shift) - 1)
        reach = self.reach[place.row // FRACTIONS]
        return np.clip(symbol, -reach - 1, reach + 1) + reach + 1, low, np.abs(symbol) - reach - 1


class _Place(NamedTuple):
    """Where the probabilities of latents lie in the tables."""

    row: Int64[np.ndarray, " places"]
    integer: Int64[np.ndarray, " places"]  # the rounded mean
    sign: Int64[np.ndarray, " places"]
    shift: Int64[np.ndarray, " places"]  # number of low bits


def _place(mean: np.ndarray, scale: np.ndarray) -> _Place:
    mean, scale = mean.astype(np.int64), scale.astype(np.int64)
    integer = (mean + 8) >> 4
    fraction = mean - 16 * integer
    shift = np.maximum(0, (scale - TABLES + 4) >> 2)
    row = (scale - 4 * shift) * FRACTIONS + np.abs(fraction)
    return _Place(row, integer, np.where(fraction < 0, -1, 1), shift)


def _uniform(excess: int, low: int, shift: int) -> Sequence[tuple[int, int]]:
    """Return values and numbers of bits of what follows a symbol."""
    parts = []
    if excess >= 0:
        count = excess.bit_length()
        parts.append((count, _COUNT_BITS))
        if count > PRECISION:
            parts.append((excess >> PRECISION, count - PRECISION))
        if count:
            parts.append((excess & (1 << PRECISION) - 1, min(count, PRECISION)))
    if shift:
        parts.append((low, shift))
    return parts


def _read_bits(decoder: Decoder, count: int) -> int:
    if count > PRECISION:
        high = decoder.uniform(count - PRECISION)
        return high << PRECISION | decoder.uniform(PRECISION)
    return decoder.uniform(count) if count else 0


def _bit_length(values: np.ndarray) -> np.ndarray:
    """Return the numbers of bits of integers of 0 or more."""
    bits: np.ndarray = np.frexp(np.maximum(values, 0).astype(np.float64))[1]
    return bits
