"""Points, and grids of sample points over a region of the unit square.

Coordinates are (x, y), x to the right and y down; pixel (row i, column j) of a W x H image has its centre at
``((j + 0.5) / W, (i + 0.5) / H)``.
"""

from math import ceil, isfinite
from operator import index
from typing import Any

import numpy as np
from jaxtyping import Float64

from eoren.errors import EorenError
from eoren.model.arrays import Array, namespace

Region = tuple[float, float, float, float]

MAX_POINTS = 64
"""Most points per side of a pixel of a grid: beyond them, an image is reduced from a part of its pixels."""

_ROUNDING = 0.05  # of the scale, where the size of a region was rounded to whole pixels

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)  # the region of the whole image


def grid_lines(
    width: int, height: int, region: Region = WHOLE, *, rows: slice = slice(None)
) -> tuple[Float64[np.ndarray, " width"], Float64[np.ndarray, " rows"]]:
    """Compute x of the columns and y of some rows of a ``width x height`` grid over a region, at pixel centres.

    They are float64: float32 cannot distinguish the pixels of a gigapixel image.
    """
    x0, y0, x1, y1 = region
    x = x0 + (np.arange(width) + 0.5) * ((x1 - x0) / width)
    y = y0 + (np.arange(height)[rows] + 0.5) * ((y1 - y0) / height)
    return x, y


def grid_size(size: tuple[int, int], width: Any, height: Any, region: Any) -> tuple[int, int]:
    """Complete the size of a grid: a missing side follows from the other, or from the size of the image."""
    x0, y0, x1, y1 = check_region(region)
    if not (x0 < x1 and y0 < y1):
        raise EorenError(f"region must be x0,y0,x1,y1 with x0 < x1 and y0 < y1, got {tuple(region)}")
    columns, rows = size[0] * (x1 - x0), size[1] * (y1 - y0)
    if width is None:
        width = round(columns * (1 if height is None else _check_side("height", height) / rows))
    if height is None:
        height = round(rows * _check_side("width", width) / columns)
    return _check_side("width", width), _check_side("height", height)


def points_per_pixel(size: tuple[int, int], width: int, height: int, region: Region) -> tuple[int, int]:
    """Return how many points of each column and row of a grid cover the pixels of the image below them.

    Both follow from the scale alone, so that a region has the colours of the whole: 1 from the scale of the image up,
    and a little below it, because a region may end within a pixel; `MAX_POINTS` at most.
    """
    x0, y0, x1, y1 = region
    covered = size[0] * abs(x1 - x0), size[1] * abs(y1 - y0)
    per_side = (
        max(1, min(MAX_POINTS, ceil(pixels / side - _ROUNDING)))
        for pixels, side in zip(covered, (width, height), strict=True)
    )
    columns, rows = per_side
    return columns, rows


def check_region(region: Any) -> Region:
    """Return a region as four floats; an EorenError unless it is four finite numbers."""
    try:
        x0, y0, x1, y1 = (float(number) for number in region)
    except (TypeError, ValueError):
        raise EorenError(f"region must be four numbers x0,y0,x1,y1, got {region!r}") from None
    if not all(isfinite(number) for number in (x0, y0, x1, y1)):
        raise EorenError(f"region must be finite numbers x0,y0,x1,y1, got {region!r}")
    return x0, y0, x1, y1


def check_points(xy: Array) -> None:
    """Check that points have the shape ``(..., 2)``, and are finite."""
    if xy.ndim < 1 or xy.shape[-1] != 2:
        raise EorenError(f"points must have shape (..., 2) with (x, y) last, got {tuple(xy.shape)}")
    if not bool(namespace(xy).isfinite(xy).all()):
        raise EorenError("points must be finite numbers (x, y) of the unit square; remove NaN and infinity")


def _check_side(name: str, side: Any) -> int:
    try:
        number = index(side)
    except TypeError:
        raise EorenError(f"{name} must be a whole number of pixels, got {side!r}") from None
    if number < 1:
        raise EorenError(f"{name} must be at least 1 pixel, got {number}")
    return number
