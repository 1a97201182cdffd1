"""The windows of an image, and a store of what was computed for recently used ones."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from threading import Lock
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float, Float64, Int

from eoren.coding.bands import Box, blocks
from eoren.model.isolation import untransformed

WINDOW = 512
"""Sides of windows in pixels, at most about one and a half of it."""
_KEPT_FLOATS = 1 << 25  # of the windows that are kept for later calls: 128 MiB
_CENTER_TOLERANCE = 1e-6  # pixels

T = TypeVar("T")


class Windows:
    """The windows that an image is cut into, row by row.

    Attributes:
        boxes: pixels of each window.
        columns: edges of windows along x, ascending.
        rows: edges along y.
    """

    def __init__(self, width: int, height: int) -> None:
        self.boxes = blocks(width, height, 3, WINDOW)
        self.columns = [*sorted({box.x0 for box in self.boxes}), width]
        self.rows = [*sorted({box.y0 for box in self.boxes}), height]

    def cells(
        self, x: Float[np.ndarray, " columns"], y: Float[np.ndarray, " rows"]
    ) -> Iterator[tuple[int, slice, slice]]:
        """Yield windows with the columns and rows of a grid that lie in them."""
        columns, rows = _runs(x, self.columns), _runs(y, self.rows)
        for row, row_part in rows:
            for column, column_part in columns:
                yield row * (len(self.columns) - 1) + column, column_part, row_part


class Recent(Generic[T]):
    """A store of values by key that drops the least recently used ones."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._floats = 0  # of all that is kept
        self._lock = Lock()

    def get(self, key: Hashable, compute: Callable[[], T], floats: Callable[[T], int]) -> T:
        """Return the value of a key, computed if it is not kept; ``floats`` is its size."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
        with untransformed():
            value = compute()
        with self._lock:
            if key in self._kept:  # another thread has computed it, too
                self._floats -= self._kept.pop(key)[1]
            size = floats(value)
            self._kept[key] = value, size
            self._floats += size
            while len(self._kept) > 1 and self._floats > _KEPT_FLOATS:
                self._floats -= self._kept.popitem(last=False)[1][1]
        return value


def pixel_centers(box: Box, size: tuple[int, int]) -> tuple[Float64[np.ndarray, " _"], Float64[np.ndarray, " _"]]:
    """Return x and y of the centres of pixels in the unit square."""
    x, y = (
        (np.arange(*ends) + 0.5) / side for ends, side in zip(zip(box[:2], box[2:], strict=True), size, strict=True)
    )
    return x, y


def pixels_at(position: Float[np.ndarray, " points"], length: int) -> Int[np.ndarray, " points"] | None:
    """Return the pixels at whose centres positions are, or None if one is elsewhere."""
    pixels = np.rint(position)
    near = np.abs(position - pixels) <= _CENTER_TOLERANCE
    return pixels.astype(np.int64) if (near & (pixels >= 0) & (pixels < length)).all() else None


def _runs(position: np.ndarray, edges: Sequence[int]) -> list[tuple[int, slice]]:
    """Return the runs of monotone positions that lie between the same edges."""
    numbers = np.searchsorted(edges[1:-1], np.floor(position + 0.5), side="right")
    starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
    ends = np.r_[starts[1:], len(position)]
    return [(int(numbers[a]), slice(int(a), int(b))) for a, b in zip(starts, ends, strict=True)]
