"""The reference gradient: the derivative of the quintic spline that interpolates the pixels."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from scipy.interpolate import make_interp_spline

from eoren.errors import EorenError
from eoren.image.arrays import Gradient, Image

REACH = 40
"""Distance, in pixels, beyond which a pixel does not influence the spline: its influence falls by 0.43 a pixel."""
_BLOCK_SAMPLES = 1 << 17  # one megabyte of float64: the solver is fastest on blocks that stay in the cache


def reference_gradient(image: Image, *, extent: tuple[float, float] = (1.0, 1.0)) -> Gradient:
    """Compute the derivative, at the pixel centres, of the quintic spline that interpolates the pixels.

    Each axis is interpolated on its own. Beyond the outermost pixels the curve continues by odd reflection, as for
    stencils, so that its second and fourth derivatives vanish there. The usual not-a-knot ends produce steep slopes
    instead, with fourteen times the energy of the true ones on photographs (docs/measurements.md). Unlike stencils,
    the spline does not damp high frequencies.

    Args:
        image: array ``(H, W, C)``, float32 or float64, any range of values. A gray image has C = 1.
        extent: ``(W_T, H_T)``, width and height of the image in coordinates.

    Returns:
        ``(H, W, C, 2)`` in the dtype of the image, computed in float64: (d/dx, d/dy) in intensity per unit of
        coordinate. The computation takes a few megabytes more, or a few times one row or column.

    Raises:
        EorenError: the image is not a non-empty float array ``(H, W, C)``, or the extent is not positive.

    Example:
        >>> x = (np.arange(64) + 0.5) / 64
        >>> gradient = reference_gradient((x**3)[None, :, None])
        >>> np.allclose(gradient[0, 16:-16, 0, 0], 3 * x[16:-16] ** 2), gradient[..., 1].any().item()
        (True, False)
    """
    scales = pixels_per_unit(image, extent)
    gradient = np.empty((*image.shape, 2), dtype=image.dtype)
    for component, (axis, scale) in enumerate(zip((1, 0), scales, strict=True)):
        lines = np.moveaxis(image, axis, 0)
        slopes = np.moveaxis(gradient[..., component], axis, 0)  # a view: writing here fills the gradient
        for block in line_blocks(lines):
            slopes[block] = scale * _spline_slopes(lines[block].astype(np.float64))
    return gradient


def line_blocks(lines: Float[np.ndarray, "length count channels"]) -> Iterator[tuple[slice, slice]]:
    """Iterate over index expressions of blocks of whole lines, small enough for the processor's cache."""
    length, count, channels = lines.shape
    step = max(1, _BLOCK_SAMPLES // (length * channels))
    for start in range(0, count, step):
        yield np.s_[:, start : start + step]


def _spline_slopes(lines: Float[np.ndarray, "length count channels"]) -> Float[np.ndarray, "length count channels"]:
    """Differentiate the interpolating spline along the first axis, in intensity per pixel."""
    length = len(lines)
    if length == 1:
        return np.zeros_like(lines)
    samples = np.arange(length)
    ends = [(order, np.zeros_like(lines[0])) for order in (2, 4)]
    spline = make_interp_spline(samples, lines, k=5, bc_type=(ends, ends), check_finite=False)
    slopes: Float[np.ndarray, "length count channels"] = spline.derivative()(samples)
    return slopes


def pixels_per_unit(image: np.ndarray, extent: tuple[float, float]) -> tuple[float, float]:
    """Check the image and the extent, and return ``(W / W_T, H / H_T)``."""
    if image.ndim != 3 or image.size == 0:
        raise EorenError(
            f"image must have shape (H, W, C) without zeros, got {image.shape}; gray is image[..., None]"
        )
    if image.dtype not in (np.float32, np.float64):
        raise EorenError(
            f"image must be float32 or float64, got {image.dtype}; convert it, dividing 8-bit values by 255"
        )
    if not all(math.isfinite(side) and side > 0 for side in extent):
        raise EorenError(f"extent must be a width and a height, finite and positive, got {extent}")
    height, width, _ = image.shape
    return width / extent[0], height / extent[1]
