"""Derivatives as files and as images people can look at, on scales that do not change with the image.

A scale fitted to each image's extremes would hide that a derivative is too small: the very error that Gradient
with Magnitude Adjustment mends.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from eoren.field.field import Field
from eoren.field.representation import Quantity
from eoren.image.writers import write_rows

# White, and for the Laplacian black or white around a mid gray, in intensity per source pixel (squared).
_GRADIENT_WHITE = 0.5
_LAPLACIAN_WHITE = 0.5
_STRIP = 256


def magnitude_picture(
    gradient: Float[np.ndarray, "height width channels 2"],
) -> Float[np.ndarray, "height width 1"]:
    """The gradient's magnitude as gray.

    Args:
        gradient: intensity per pixel.

    Returns:
        Root of the mean over channels of the squared norm; 1, white, at half the intensity range per pixel.
    """
    squared = np.square(gradient).sum(-1).mean(-1, keepdims=True)
    magnitude: np.ndarray = np.sqrt(squared) / np.float32(_GRADIENT_WHITE)
    return magnitude


def laplacian_picture(
    laplacian: Float[np.ndarray, "height width channels"],
) -> Float[np.ndarray, "height width channels"]:
    """The Laplacian around mid gray.

    Args:
        laplacian: intensity per pixel squared.

    Returns:
        0.5 where it is zero; 0 and 1 at minus and plus half the intensity range per pixel squared.
    """
    return 0.5 + laplacian / np.float32(2 * _LAPLACIAN_WHITE)


def write_gradient(
    path: Path, gradient: Float[np.ndarray, "height width channels 2"], *, per_pixel: bool = False
) -> None:
    """Write a gradient: ``.npy`` ``(H, W, C, 2)`` and float ``.tiff`` ``(H, W, 2C)`` as it is, else its magnitude.

    Args:
        path: the suffix chooses the format.
        gradient: intensity per unit-square side, or per pixel.
        per_pixel: which of the two it is.

    Raises:
        EorenError: an unknown format, or a place that cannot be written to.
    """
    height, width, channels, _ = gradient.shape
    size = np.array([1, 1] if per_pixel else [width, height], gradient.dtype)
    strips = (gradient[top : top + _STRIP] for top in range(0, height, _STRIP))
    if holds_numbers(path):
        write_rows(path, strips, height=height, width=width, channels=(channels, 2), bit_depth=32)
    else:
        pictures = (magnitude_picture(strip / size) for strip in strips)
        write_rows(path, pictures, height=height, width=width, channels=1)


def write_field(
    path: Path,
    field: Field,
    width: int,
    height: int,
    *,
    region: tuple[float, float, float, float],
    show: Quantity,
    bit_depth: int = 8,
) -> None:
    """Sample a field on a grid and write it, strip by strip: memory is bounded whatever the size.

    Args:
        path: the suffix chooses the format. ``.npy`` and float ``.tiff`` hold the numbers themselves, per
            unit-square side; other formats an image of them.
        field: what to sample.
        width: columns of the grid.
        height: rows of the grid.
        region: ``(x0, y0, x1, y1)`` of the unit square to lay it over.
        show: colour, gradient or Laplacian.
        bit_depth: of PNG and TIFF colours: 8, 16, or 32 for floats.

    Raises:
        EorenError: a format that cannot hold it, or a place that cannot be written to.
    """
    channels: int | tuple[int, int] = field.channels
    numbers = holds_numbers(path)
    extent = (1.0, 1.0) if numbers else (float(field.size[0]), float(field.size[1]))
    strips = field.render_rows(width, height, region=region, show=show, extent=extent)
    if numbers and show != "color":
        channels, bit_depth = ((field.channels, 2) if show == "gradient" else field.channels), 32
    elif show == "gradient":
        channels, strips = 1, map(magnitude_picture, strips)
    elif show == "laplacian":
        strips = map(laplacian_picture, strips)
    write_rows(path, strips, height=height, width=width, channels=channels, bit_depth=bit_depth)


def holds_numbers(path: Path) -> bool:
    """Whether a file of this suffix takes numbers of any size and sign."""
    return path.suffix.lower() in (".npy", ".tif", ".tiff")
