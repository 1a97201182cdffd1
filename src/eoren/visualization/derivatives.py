"""Gradients and Laplacians as images and files, on scales that do not depend on the image.

A scale fitted to the extremes of each image would hide derivatives that are too small, which is the very error that
Gradient with Magnitude Adjustment corrects.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from eoren.field.field import Field
from eoren.field.representation import Quantity
from eoren.image.arrays import Gradient, Image
from eoren.image.writers import write_rows

# White for the gradient; black and white around mid gray for the Laplacian. Intensity per source pixel (squared).
_GRADIENT_WHITE = 0.5
_LAPLACIAN_WHITE = 0.5
_STRIP = 256


def magnitude_image(gradient: Gradient) -> Float[np.ndarray, "height width 1"]:
    """Show a gradient per pixel in gray: the root of the mean over channels of its squared norm.

    1, white, at half the intensity range per pixel.
    """
    squared = np.square(gradient).sum(-1).mean(-1, keepdims=True)
    magnitude: np.ndarray = np.sqrt(squared) / np.float32(_GRADIENT_WHITE)
    return magnitude


def laplacian_image(laplacian: Image) -> Image:
    """Show a Laplacian per pixel squared: 0.5 is zero, 0 and 1 are minus and plus half the intensity range."""
    return 0.5 + laplacian / np.float32(2 * _LAPLACIAN_WHITE)


def write_gradient(path: Path, gradient: Gradient, *, per_pixel: bool = False) -> None:
    """Write a gradient: values as ``.npy`` ``(H, W, C, 2)`` or float ``.tiff`` ``(H, W, 2C)``, else its magnitude.

    The gradient is intensity per unit-square side, or with ``per_pixel`` intensity per pixel.
    """
    height, width, channels, _ = gradient.shape
    size = np.array([1, 1] if per_pixel else [width, height], gradient.dtype)
    strips = (gradient[top : top + _STRIP] for top in range(0, height, _STRIP))
    if holds_values(path):
        write_rows(path, strips, height=height, width=width, channels=(channels, 2), bit_depth=32)
    else:
        images = (magnitude_image(strip / size) for strip in strips)
        write_rows(path, images, height=height, width=width, channels=1)


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
    """Sample a field on a grid and write it strip by strip, in bounded memory.

    ``.npy`` and float ``.tiff`` hold derivatives as values per unit-square side (squared), other formats hold them as
    an image. Colours are written with their profile. The region is ``(x0, y0, x1, y1)`` in the unit square;
    ``bit_depth`` is that of PNG and TIFF colours.
    """
    as_values = holds_values(path)
    extent = (1.0, 1.0) if as_values else (float(field.size[0]), float(field.size[1]))
    strips = field.render_rows(width, height, region=region, show=show, extent=extent)
    channels: int | tuple[int, int] = field.channels
    profile = field.provenance.profile if show == "color" else b""
    if as_values and show != "color":
        channels, bit_depth = ((field.channels, 2) if show == "gradient" else field.channels), 32
    elif show == "gradient":
        channels, strips = 1, map(magnitude_image, strips)
    elif show == "laplacian":
        strips = map(laplacian_image, strips)
    write_rows(path, strips, height=height, width=width, channels=channels, bit_depth=bit_depth, profile=profile)


def holds_values(path: Path) -> bool:
    """Whether the format of a file holds values of any size and sign: ``.npy`` and TIFF."""
    return path.suffix.lower() in (".npy", ".tif", ".tiff")
