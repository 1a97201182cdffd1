"""Gradients and Laplacians as images and files, on scales that do not depend on the image.

A scale fitted to the extremes of each image would hide derivatives that are too small, which is the very error that
Gradient with Magnitude Adjustment corrects.
"""

import numpy as np
from jaxtyping import Float

from eoren.field.field import Field
from eoren.field.representation import Quantity
from eoren.fs.streams import Writable
from eoren.image.arrays import Gradient, Image
from eoren.image.profiles import color_count
from eoren.image.writers import Bands, image_format, write_rows
from eoren.visualization.colormaps import color_channels

# White for the gradient; black and white around mid gray for the Laplacian. Intensity per source pixel (squared).
GRADIENT_WHITE = 0.5
LAPLACIAN_WHITE = 0.5
_STRIP = 256
_CHANNELS = {1: [""], 2: ["gray", "alpha"], 3: ["red", "green", "blue"], 4: ["red", "green", "blue", "alpha"]}


def magnitude_image(gradient: Gradient) -> Float[np.ndarray, "height width 1"]:
    """Show a gradient per pixel in gray: the root of the mean over channels of its squared norm.

    1, white, at half the intensity range per pixel.
    """
    squared = np.square(gradient).sum(-1).mean(-1, keepdims=True)
    magnitude: np.ndarray = np.sqrt(squared) / np.float32(GRADIENT_WHITE)
    return magnitude


def laplacian_image(laplacian: Image) -> Float[np.ndarray, "height width colors"]:
    """Show the Laplacian of the colours, without that of alpha, per pixel squared.

    0.5 is zero, 0 and 1 are minus and plus half the intensity range.
    """
    return 0.5 + laplacian[:, :, color_channels(laplacian)] / np.float32(2 * LAPLACIAN_WHITE)


def write_gradient(
    target: Writable, gradient: Gradient, *, per_pixel: bool = False, format: str | None = None
) -> None:
    """Write a gradient: values as ``.npy`` ``(H, W, C, 2)`` or float ``.tiff`` ``(H, W, 2C)``, else its magnitude.

    The gradient is intensity per unit-square side, or with ``per_pixel`` intensity per pixel.
    ``format`` is that of a file object, such as ``npy``.
    """
    height, width, channels, _ = gradient.shape
    size = np.array([1, 1] if per_pixel else [width, height], gradient.dtype)
    strips = (gradient[top : top + _STRIP] for top in range(0, height, _STRIP))
    if holds_values(target, format):
        bands = derivative_bands("gradient", channels, per_pixel=per_pixel)
        size_and_type = {"height": height, "width": width, "channels": (channels, 2), "bit_depth": 32}
        write_rows(target, strips, **size_and_type, bands=bands, format=format)
    else:
        images = (magnitude_image(strip / size) for strip in strips)
        write_rows(target, images, height=height, width=width, channels=1, format=format)


def write_field(
    target: Writable,
    field: Field,
    width: int,
    height: int,
    *,
    region: tuple[float, float, float, float],
    show: Quantity,
    bit_depth: int = 8,
    format: str | None = None,
) -> None:
    """Sample a field on a grid and write it strip by strip, in bounded memory.

    ``.npy`` and float ``.tiff`` hold derivatives as values per unit-square side (squared), other formats hold them as
    an image. Colours are written with their profile. The region is ``(x0, y0, x1, y1)`` in the unit square;
    ``bit_depth`` is that of PNG and TIFF colours, ``format`` that of a file object, such as ``png``.
    """
    as_values = holds_values(target, format)
    extent = (1.0, 1.0) if as_values else (float(field.size[0]), float(field.size[1]))
    strips = field.render_rows(width, height, region=region, show=show, extent=extent)
    channels: int | tuple[int, int] = field.channels
    bands = None
    profile = field.provenance.profile if show == "color" else b""
    if as_values and show != "color":
        channels = (field.channels, 2) if show == "gradient" else field.channels
        bit_depth, bands = 32, derivative_bands(show, field.channels)
    elif show == "gradient":
        channels, strips = 1, map(magnitude_image, strips)
    elif show == "laplacian":
        channels, strips = color_count(field.channels), map(laplacian_image, strips)
    write_rows(
        target,
        strips,
        height=height,
        width=width,
        channels=channels,
        bit_depth=bit_depth,
        profile=profile,
        bands=bands,
        format=format,
    )


def derivative_bands(show: Quantity, channels: int, *, per_pixel: bool = False) -> Bands:
    """Name the bands of the derivatives of an image, such as ``d/dx red``."""
    parts = ("d/dx", "d/dy") if show == "gradient" else ("Laplacian",)
    unit = "pixel" if per_pixel else "side of the unit square"
    names = tuple(f"{part} {channel}".strip() for channel in _CHANNELS[channels] for part in parts)
    return Bands(names, f"intensity per {unit}" + (" squared" if show == "laplacian" else ""))


def holds_values(target: Writable, format: str | None = None) -> bool:
    """Whether the format of a file holds values of any size and sign: ``.npy`` and TIFF."""
    return image_format(target, format) in (".npy", ".tif", ".tiff")
