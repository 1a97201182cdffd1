"""Contexts: what is known of a latent before it is coded, as integers.

Slots of a context, in order:

====================  =====  ==================================================================================
slots                 count  content
====================  =====  ==================================================================================
direct neighbours     4      left, right, above, below
diagonal neighbours   4
knight's neighbours   8      two places along one axis, one along the other
means                 4      mean absolute values of these groups, and of a ring three places away
earlier channels      6      for up to two earlier channels: value, absolute value, mean of 3 x 3 absolute values
parent                3      the same of the band of this orientation one level up
siblings              4      for up to two earlier bands of the level: absolute value, mean of 3 x 3 absolute values
low-pass              24     5 x 5 values of the low-pass band of this level, less the middle one
====================  =====  ==================================================================================

Slots that are not known are 0. Numbers are in eighths of a quantisation step and compressed: :data:`COMPRESSED`, with
their sign. Horizontal bands are transposed, so that networks see the high-pass filter along the rows' axis of both.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int16, Int32

from eoren.coding.bands import PHASES, Plane

DIRECT = ((0, -1), (0, 1), (-1, 0), (1, 0))
DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
KNIGHT = ((-2, -1), (-2, 1), (2, -1), (2, 1), (-1, -2), (-1, 2), (1, -2), (1, 2))
# Around places whose diagonal neighbours alone are known, and around the others.
RING_OF_DIAGONAL = ((-3, -1), (-3, 1), (3, -1), (3, 1), (-1, -3), (-1, 3), (1, -3), (1, 3))
RING = (
    *((0, -3), (0, 3), (-3, 0), (3, 0)),
    *((-2, -3), (-2, 3), (2, -3), (2, 3), (-3, -2), (-3, 2), (3, -2), (3, 2)),
)
LOWPASS = tuple((dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0))
SLOTS = 4 + 4 + 8 + 4 + 6 + 3 + 4 + len(LOWPASS)

MARGIN = 6  # reach of the rings: three places of the wider lattice


def _compressed(length: int) -> Int16[np.ndarray, " values"]:
    """Return ``round(16 log2(1 + k / 8))`` for k = 0, 1, ..., computed with integers."""
    table, value = [], 0
    for k in range(length):
        # value + 1 is right if 16 log2((8 + k) / 8) >= value + 1/2.
        while (8 + k) ** 32 >= 2 ** (2 * value + 1 + 3 * 32):
            value += 1
        table.append(min(value, 127))
    return np.array(table, np.int16)


COMPRESSED = _compressed(2048)
"""Compression of a number in eighths: ``round(16 log2(1 + k / 8))``; at most 127."""


def compress(eighths: Int32[np.ndarray, "*shape"]) -> Int16[np.ndarray, "*shape"]:
    """Compress numbers in eighths, keeping their signs."""
    magnitude = COMPRESSED[np.minimum(np.abs(eighths), len(COMPRESSED) - 1)]
    compressed: np.ndarray = np.where(eighths < 0, -magnitude, magnitude)
    return compressed


class Surroundings(NamedTuple):
    """The arrays that the contexts of one channel of a band draw on; transposed for horizontal bands."""

    shape: tuple[int, int]  # of the channel
    earlier: Sequence[Plane]  # earlier channels of the band, of the same shape
    parent: Plane | None
    siblings: Sequence[Plane]
    lowpass: Plane | None  # in eighths


def common_slots(around: Surroundings) -> Int16[np.ndarray, "rows columns slots"]:
    """Compute the slots that do not depend on the channel itself: earlier channels, parent, siblings, low-pass."""
    rows, columns = around.shape
    slots = np.zeros((rows, columns, 6 + 3 + 4 + len(LOWPASS)), np.int16)
    for k, plane in enumerate(around.earlier[:2]):
        slots[..., 3 * k : 3 * k + 3] = _value_and_means(plane)
    if around.parent is not None and around.parent.size:
        slots[..., 6:9] = _extended(_value_and_means(around.parent).repeat(2, 0).repeat(2, 1), rows, columns)
    for k, plane in enumerate(around.siblings):
        if plane.size:
            slots[..., 9 + 2 * k : 11 + 2 * k] = _extended(_value_and_means(plane)[..., 1:], rows, columns)
    if around.lowpass is not None:
        padded = np.pad(around.lowpass, 2, "edge")
        middle = around.lowpass[:rows, :columns]
        for k, (dy, dx) in enumerate(LOWPASS, 13):
            slots[..., k] = compress(padded[2 + dy : 2 + dy + rows, 2 + dx : 2 + dx + columns] - middle)
    return slots


def phase_contexts(
    known: Plane, common: Int16[np.ndarray, "_ _ common"], phase: int
) -> Int16[np.ndarray, "places slots"]:
    """Compute the contexts of the places of a phase.

    Args:
        known: the channel with :data:`MARGIN` zeros on all sides; places of later phases are 0.
        common: result of :func:`common_slots`.
        phase: index into :data:`eoren.coding.bands.PHASES`.
    """
    rows, columns, scale, neighbours = PHASES[phase]
    height, width, _ = common.shape
    there = common[rows, columns]
    slots = np.zeros((*there.shape[:2], SLOTS), np.int16)
    slots[..., 20:] = there

    def at(offset: tuple[int, int]) -> Plane:
        top, left = MARGIN + scale * offset[0], MARGIN + scale * offset[1]
        return known[top : top + height, left : left + width][rows, columns]

    first = 0
    for k, (name, offsets) in enumerate((("direct", DIRECT), ("diagonal", DIAGONAL), ("knight", KNIGHT))):
        if name in neighbours:
            values = [at(offset) for offset in offsets]
            for j, value in enumerate(values, first):
                slots[..., j] = compress(8 * value)
            slots[..., 16 + k] = compress(_total(values) * (8 // len(offsets)))
        first += len(offsets)
    if neighbours == "diagonal":
        slots[..., 19] = compress(_total(map(at, RING_OF_DIAGONAL)))
    elif neighbours:
        slots[..., 19] = compress(_total(map(at, RING)) * 43 >> 6)
    return slots.reshape(-1, SLOTS)


def _value_and_means(plane: Plane) -> Int16[np.ndarray, "rows columns 3"]:
    rows, columns = plane.shape
    padded = np.pad(plane, 1)
    total = _total(padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3))
    value = compress(8 * plane)
    return np.stack([value, np.abs(value), compress(total * 57 >> 6)], -1)


def _total(planes: Iterable[Plane]) -> Plane:
    """Add magnitudes."""
    total: np.ndarray = np.abs(np.stack([*planes])).sum(0, np.int32)
    return total


def _extended(slots: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Cut to a size, repeating the last row and column where they are missing."""
    missing = ((0, max(0, rows - len(slots))), (0, max(0, columns - slots.shape[1])), (0, 0))
    return np.pad(slots[:rows, :columns], missing, "edge")
