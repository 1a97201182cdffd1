"""The latents of an image and their order in a stream: levels, bands, channels, phases and blocks.

Latents are integers, one per coefficient of the wavelet transform (:mod:`eoren.model.latents.wavelet`). An image is
cut into blocks of up to 1,024 pixels a side, which are coded apart. Within a block, bands go from the coarsest level
to the finest, and channels of a band from the first to the last. The places of a band are coded in seven *phases*:
subsets of a lattice, such that most places lie between neighbours that are already known.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

BLOCK = 1024
"""Sides of blocks in pixels, at most about one and a half of it."""
MAX_LEVELS = 6
MAX_LATENT = 1 << 20
"""Largest absolute value of a latent."""
LARGE_LATENT = f"a latent must be at most {MAX_LATENT} in magnitude"

HORIZONTAL, VERTICAL, DIAGONAL, COARSE = range(4)
"""Orientations of bands; a horizontal band is high-pass along x."""

Plane = Int32[np.ndarray, "_ _"]
"""One channel of a band, of any size."""


class Latents(NamedTuple):
    """Integer latents, of a whole image or of a block; the order of bands is that of :class:`.wavelet.Subbands`."""

    coarse: Int32[np.ndarray, "channels rows columns"]
    details: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]

    @classmethod
    def zeros(cls, channels: int, rows: int, columns: int, levels: int) -> "Latents":
        """Create the latents of an image of the given size, all zero."""
        return cls.from_bands([np.zeros(shape, np.int32) for shape in band_shapes((channels, rows, columns), levels)])

    @classmethod
    def from_bands(cls, bands: Sequence[np.ndarray]) -> "Latents":
        """Group arrays in the order of :meth:`bands`, without copying them."""
        return cls(bands[0], tuple(zip(*[iter(bands[1:])] * 3, strict=True)))

    @property
    def levels(self) -> int:
        """Number of levels of the transform."""
        return len(self.details)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the image; a ValueError if the bands are not those of an image."""
        channels, rows, columns = self.coarse.shape
        for horizontal, vertical, _ in reversed(self.details):
            rows, columns = rows + vertical.shape[1], columns + horizontal.shape[2]
        if [band.shape for band in self.bands()] != band_shapes((channels, rows, columns), self.levels):
            raise ValueError(f"bands must be those of {channels} channels of {rows} x {columns} pixels")
        return channels, rows, columns

    def bands(self) -> tuple[np.ndarray, ...]:
        """Return all bands, the coarse one first, then those of the finest level to the coarsest."""
        return self.coarse, *(band for level in self.details for band in level)

    def copy(self) -> "Latents":
        """Copy all bands."""
        return Latents.from_bands([band.copy() for band in self.bands()])

    def block(self, box: "Box") -> "Latents":
        """Return views of the latents of a block; its box starts at multiples of ``2**levels``."""
        details = []
        for level, bands in enumerate(self.details, 1):
            high = box.bounds(level, high=True)
            low = box.bounds(level, high=False)
            rows, columns = (low[0], high[0], high[0]), (high[1], low[1], high[1])
            details.append(tuple(b[:, r, c] for b, r, c in zip(bands, rows, columns, strict=True)))
        rows_low, columns_low = box.bounds(self.levels, high=False)
        return Latents(self.coarse[:, rows_low, columns_low], tuple(details))  # type: ignore[arg-type]


def band_shapes(shape: tuple[int, int, int], levels: int) -> list[tuple[int, int, int]]:
    """Return the shapes of the bands of an image ``(C, rows, columns)``, in the order of :meth:`.Latents.bands`."""
    channels, rows, columns = shape
    shapes = []
    for _ in range(levels):
        high_rows, high_columns = rows // 2, columns // 2
        rows, columns = rows - high_rows, columns - high_columns
        sizes = ((rows, high_columns), (high_rows, columns), (high_rows, high_columns))
        shapes += [(channels, *size) for size in sizes]
    return [(channels, rows, columns), *shapes]


class Box(NamedTuple):
    """A block of pixels: columns x0 to x1 - 1, rows y0 to y1 - 1."""

    x0: int
    y0: int
    x1: int
    y1: int

    def bounds(self, level: int, *, high: bool) -> tuple[slice, slice]:
        """Return rows and columns of the block in a band of a level, 0 for the pixels themselves."""
        half = (1 << level >> 1) - 1 if high else (1 << level) - 1
        return tuple(slice(a + half >> level, b + half >> level) for a, b in ((self.y0, self.y1), (self.x0, self.x1)))  # type: ignore[return-value]


def choose_levels(width: int, height: int) -> int:
    """Return the number of levels for an image: the coarsest band has four to eight places a side, or more."""
    return min(MAX_LEVELS, max(0, (max(width, height) - 1).bit_length() - 3))


def blocks(width: int, height: int, levels: int, side: int = BLOCK) -> list[Box]:
    """Cut an image into blocks, row by row, which start at multiples of ``2**levels`` pixels."""
    columns, rows = (_edges(length, 1 << levels, side) for length in (width, height))
    return [Box(x0, y0, x1, y1) for y0, y1 in pairwise(rows) for x0, x1 in pairwise(columns)]


def _edges(length: int, multiple: int, side: int) -> list[int]:
    count = max(1, (2 * length + side) // (2 * side))
    starts = [length * k // count // multiple * multiple for k in range(count)]
    return [*starts, length]


class Phase(NamedTuple):
    """Places that are coded together: a lattice, and the neighbours that are known there.

    ``neighbours`` names groups of :mod:`eoren.coding.contexts`, whose offsets are multiplied by ``scale``.
    """

    rows: slice
    columns: slice
    scale: int
    neighbours: str


PHASES = (
    Phase(slice(0, None, 4), slice(0, None, 4), 2, ""),
    Phase(slice(2, None, 4), slice(2, None, 4), 2, "diagonal"),
    Phase(slice(0, None, 4), slice(2, None, 4), 2, "direct knight"),
    Phase(slice(2, None, 4), slice(0, None, 4), 2, "direct diagonal knight"),
    Phase(slice(1, None, 2), slice(1, None, 2), 1, "diagonal"),
    Phase(slice(0, None, 2), slice(1, None, 2), 1, "direct knight"),
    Phase(slice(1, None, 2), slice(0, None, 2), 1, "direct diagonal knight"),
)
"""The phases of a band, in the order of coding."""


def band_order(levels: int) -> Iterator[tuple[int, int]]:
    """Yield (level, orientation) of the bands in the order of coding; level 1 is the finest."""
    yield levels, COARSE
    for level in range(levels, 0, -1):
        yield from ((level, orientation) for orientation in (HORIZONTAL, VERTICAL, DIAGONAL))
