"""Grids of sample points over a region of the unit square.

Coordinates are (x, y), x to the right and y down; pixel (row i, column j) of a W x H image has its centre at
``((j + 0.5) / W, (i + 0.5) / H)``.
"""

from math import isfinite
from operator import index
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eoren.errors import EorenError

Region = tuple[float, float, float, float]

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
"""The region of the whole image."""


def grid_lines(
    width: int, height: int, region: Region = WHOLE, *, rows: slice = slice(None)
) -> tuple[Float[Tensor, " width"], Float[Tensor, " rows"]]:
    """Compute the pixel centres of a ``width x height`` grid over a region.

    Args:
        width: number of columns.
        height: number of rows.
        region: ``(x0, y0, x1, y1)`` in the unit square.
        rows: rows to return; all by default.

    Returns:
        x of the columns and y of the rows, float64: float32 cannot distinguish the pixels of a gigapixel image.

    Example:
        >>> [line.tolist() for line in grid_lines(2, 1)]
        [[0.25, 0.75], [0.5]]
    """
    x0, y0, x1, y1 = region
    x = x0 + (torch.arange(width, dtype=torch.float64) + 0.5) * ((x1 - x0) / width)
    y = y0 + (torch.arange(height, dtype=torch.float64)[rows] + 0.5) * ((y1 - y0) / height)
    return x, y


def grid_size(size: tuple[int, int], width: int | None, height: int | None, region: Region) -> tuple[int, int]:
    """Complete the size of a grid: a missing side follows from the other, or from the size of the image.

    Args:
        size: width and height of the image in pixels.
        width: number of columns, or None.
        height: number of rows, or None.
        region: ``(x0, y0, x1, y1)`` in the unit square.

    Raises:
        EorenError: the region is empty or not finite, or a side is not a positive integer.
    """
    x0, y0, x1, y1 = check_region(region)
    if not (x0 < x1 and y0 < y1):
        raise EorenError(f"region must be x0,y0,x1,y1 with x0 < x1 and y0 < y1, got {tuple(region)}")
    columns, rows = size[0] * (x1 - x0), size[1] * (y1 - y0)
    if width is None:
        width = round(columns * (1 if height is None else _check_side("height", height) / rows))
    if height is None:
        height = round(rows * _check_side("width", width) / columns)
    return _check_side("width", width), _check_side("height", height)


def check_region(region: Any) -> Region:
    """Return a region as four floats.

    Raises:
        EorenError: the region is not four finite numbers.
    """
    try:
        x0, y0, x1, y1 = (float(number) for number in region)
    except (TypeError, ValueError):
        raise EorenError(f"region must be four numbers x0,y0,x1,y1, got {region!r}") from None
    if not all(isfinite(number) for number in (x0, y0, x1, y1)):
        raise EorenError(f"region must be finite numbers x0,y0,x1,y1, got {region!r}")
    return x0, y0, x1, y1


def _check_side(name: str, side: Any) -> int:
    try:
        number = index(side)
    except TypeError:
        raise EorenError(f"{name} must be a whole number of pixels, got {side!r}") from None
    if number < 1:
        raise EorenError(f"{name} must be at least 1 pixel, got {number}")
    return number
