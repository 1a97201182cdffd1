"""Where pixels are.

The image is the unit square, x to the right and y down; pixel (row i, column j) has its centre at
``((j + 0.5) / W, (i + 0.5) / H)``.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def pixel_centres(
    width: int,
    height: int,
    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    *,
    rows: slice = slice(None),
    dtype: torch.dtype = torch.float64,
) -> Float[Tensor, "rows width 2"]:
    """Centres of the pixels of a ``width x height`` grid laid over a region of the unit square.

    Args:
        width: columns of the grid.
        height: rows of the grid.
        region: ``(x0, y0, x1, y1)`` in unit-square coordinates.
        rows: only these rows.
        dtype: float64 by default: float32 cannot tell the pixels of a gigapixel image apart.

    Returns:
        ``(rows, width, 2)``, last axis ``(x, y)``.

    Example:
        >>> pixel_centres(2, 1).tolist()
        [[[0.25, 0.5], [0.75, 0.5]]]
    """
    x, y = grid_lines(width, height, region, rows=rows, dtype=dtype)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def grid_lines(
    width: int,
    height: int,
    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    *,
    rows: slice = slice(None),
    dtype: torch.dtype = torch.float64,
) -> tuple[Float[Tensor, " width"], Float[Tensor, " rows"]]:
    """The x of every column and the y of some rows of :func:`pixel_centres`."""
    x0, y0, x1, y1 = region
    x = x0 + (torch.arange(width, dtype=dtype) + 0.5) * ((x1 - x0) / width)
    y = y0 + (torch.arange(height, dtype=dtype)[rows] + 0.5) * ((y1 - y0) / height)
    return x, y
