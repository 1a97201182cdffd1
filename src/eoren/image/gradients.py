"""Derivatives of sampled images: stencils, Gradient with Magnitude Adjustment, the reference gradient.

An image is a floating array ``(H, W, C)``. Its gradient is ``(H, W, C, 2)``: the last axis holds d/dx (x to
the right) and d/dy (y down), in intensity per unit of coordinate. Pixel (row i, column j) has its centre at
``((j + 0.5) / W, (i + 0.5) / H)`` of the unit square. Two kinds of gradient, for two purposes:

- `adjusted_gradient`: a classical filter, rescaled until it measures slopes (arXiv 2209.11697, Algorithm 1).
- `reference_gradient`: the derivative of the smooth curve that passes through every pixel.

Both are exact on ramps, up to rounding: the gradient of ``a*x + b*y + c`` is ``(a, b)`` at every pixel, at
every size and aspect ratio, borders included. An axis of one pixel has no slope: its component is zero.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.interpolate import make_interp_spline
from scipy.ndimage import correlate1d

from eoren.errors import EorenError

__all__ = ["SPLINE", "STENCILS", "Stencil", "adjusted_gradient", "pixel_gradient", "reference_gradient"]

SPLINE = "spline"
"""The reference gradient, where a filter is to be named."""

_BLOCK_SAMPLES = 1 << 17  # one megabyte of float64: the spline solver is fastest on blocks that stay in cache
# So many pixels away a pixel has no influence on a quintic spline: it falls by 0.43 a pixel, 2e-15 in all.
_REACH = 40


@dataclass(frozen=True)
class Stencil:
    """A separable derivative filter: a derivative along one axis, a smoothing across it.

    Taps are odd in number, centred on the pixel, and correlated, not convolved: an image that rises to the
    right has a positive d/dx.

    Attributes:
        name: Key in `STENCILS`.
        derivative: Taps along the axis of the derivative.
        smoothing: Taps across it.
        offset: Where the response belongs: so many pixels from the centre, along the axis of the derivative.
            In the unit square d/dx of pixel (i, j) belongs at ``((j + 0.5 + offset) / W, (i + 0.5) / H)``,
            d/dy at ``((j + 0.5) / W, (i + 0.5 + offset) / H)``: two points, unless the offset is zero.
    """

    name: str
    derivative: tuple[float, ...]
    smoothing: tuple[float, ...] = (1.0,)
    offset: float = 0.0

    @property
    def radius(self) -> int:
        """How many pixels the stencil reaches from its centre."""
        return max(len(self.derivative), len(self.smoothing)) // 2

    @property
    def ramp_response(self) -> float:
        """Response to an image that rises by one per pixel: 2 for central differences, 8 for Sobel."""
        reach = len(self.derivative) // 2
        return sum(self.smoothing) * sum(step * tap for step, tap in enumerate(self.derivative, -reach))

    @property
    def magnitude(self) -> float:
        """The paper's M(F): the sum of the absolute taps of the full two-dimensional filter.

        Equal to `ramp_response` where all non-zero derivative taps lie at -1 and +1, as in Sobel and central
        differences. Twice that for forward differences, whose taps lie at 0 and +1.
        """
        return sum(map(abs, self.smoothing)) * sum(map(abs, self.derivative))


STENCILS: Mapping[str, Stencil] = MappingProxyType(
    {
        stencil.name: stencil
        for stencil in (
            Stencil("forward", (0.0, -1.0, 1.0), offset=0.5),
            Stencil("central", (-1.0, 0.0, 1.0)),
            # Prewitt, "Object enhancement and extraction", 1970.
            Stencil("prewitt", (-1.0, 0.0, 1.0), (1.0, 1.0, 1.0)),
            # Sobel and Feldman, "A 3x3 isotropic gradient operator for image processing", 1968.
            Stencil("sobel", (-1.0, 0.0, 1.0), (1.0, 2.0, 1.0)),
            # Scharr, "Optimale Operatoren in der Digitalen Bildverarbeitung", Heidelberg 2000.
            Stencil("scharr", (-1.0, 0.0, 1.0), (3.0, 10.0, 3.0)),
            # Farid and Simoncelli, doi:10.1109/TIP.2004.823819: the 5-tap pair for first derivatives.
            Stencil(
                "farid",
                (-0.109603762960254, -0.276690988455557, 0.0, 0.276690988455557, 0.109603762960254),
                (
                    0.0376593171958126,
                    0.249153396177344,
                    0.426374573253687,
                    0.249153396177344,
                    0.0376593171958126,
                ),
            ),
        )
    }
)


def adjusted_gradient(
    image: Float[np.ndarray, "height width channels"],
    filter: str = "central",
    *,
    adjust: Literal["ramp", "magnitude"] | None = "ramp",
    extent: tuple[float, float] = (1.0, 1.0),
) -> Float[np.ndarray, "height width channels 2"]:
    """Filter an image, adjusted to measure slopes: Algorithm 1 of arXiv 2209.11697.

    Gradient with Magnitude Adjustment: for W x H pixels over coordinates of extent W_T x H_T, the filters
    (Fx, Fy) become ``Fx / M(Fx) * W / W_T`` and ``Fy / M(Fy) * H / H_T``. The paper's ``M(F) = sum |F|`` yields
    slopes only where every non-zero derivative tap lies one pixel from the centre. The response to a unit
    ramp yields them for every filter, and equals ``sum |F|`` for the paper's own. Beyond its border the image
    continues by odd reflection, ``2 f[0] - f[k]``, which prolongs a ramp as the same ramp.

    Args:
        image: ``(H, W, C)``, float32 or float64, any range of values. A gray image has C = 1.
        filter: A key of `STENCILS`: forward, central, prewitt, sobel, scharr or farid. `Stencil.offset` says
            where its response belongs.
        adjust: ``"ramp"`` divides by the response to a unit ramp, ``"magnitude"`` by the paper's M(F);
            ``None`` keeps the raw response of the textbook taps, per pixel, whatever the extent.
        extent: ``(W_T, H_T)``, the width and height of the image in coordinates.

    Returns:
        ``(H, W, C, 2)`` in the dtype of the image: (d/dx, d/dy) in intensity per unit of coordinate.

    Raises:
        EorenError: If the image is not a non-empty float ``(H, W, C)``, the filter or adjustment is unknown,
            or the extent is not positive.

    Example:
        >>> ramp = np.tile(np.arange(5.0) / 4, (3, 1))[..., None]  # 1/4 per pixel, 5 pixels: a slope of 5/4
        >>> adjusted_gradient(ramp, "sobel")[0, :, 0, 0].tolist()
        [1.25, 1.25, 1.25, 1.25, 1.25]
    """
    scales = _pixels_per_unit(image, extent)
    if filter not in STENCILS:
        raise EorenError(f"unknown gradient filter {filter!r}: choose one of {', '.join(STENCILS)}")
    stencil = STENCILS[filter]
    if adjust is None:
        scales = (1.0, 1.0)
    elif adjust in ("ramp", "magnitude"):
        divisor = stencil.ramp_response if adjust == "ramp" else stencil.magnitude
        scales = (scales[0] / divisor, scales[1] / divisor)
    else:
        raise EorenError(f"unknown gradient adjustment {adjust!r}: choose 'ramp', 'magnitude' or None")

    margin = stencil.radius
    # NumPy reflects again where an axis is shorter than the margin, and repeats the pixel where it is alone.
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="reflect", reflect_type="odd")
    height, width, _ = image.shape
    gradient = np.empty((*image.shape, 2), dtype=image.dtype)
    for component, (axis, scale) in enumerate(zip((1, 0), scales, strict=True)):
        # Differences first: sums of large values would round small slopes away.
        response = correlate1d(padded, stencil.derivative, axis=axis)
        response = correlate1d(response, stencil.smoothing, axis=1 - axis)
        gradient[..., component] = scale * response[margin : margin + height, margin : margin + width]
    return gradient


def reference_gradient(
    image: Float[np.ndarray, "height width channels"], *, extent: tuple[float, float] = (1.0, 1.0)
) -> Float[np.ndarray, "height width channels 2"]:
    """Differentiate, at the pixel centres, the quintic spline that interpolates the pixels.

    Each axis on its own. Beyond the outermost pixels the curve goes on as its own image by the border pixel, turned
    upside down, as stencils see it too: so its second and fourth derivatives vanish there. The usual not-a-knot ends
    invent steep slopes instead, with fourteen times the energy of the image's own on photographs
    (docs/measurements.md). Unlike a stencil it keeps high frequencies: it belongs to a curve that meets every pixel.

    Args:
        image: ``(H, W, C)``, float32 or float64, any range of values. A gray image has C = 1.
        extent: ``(W_T, H_T)``, the width and height of the image in coordinates.

    Returns:
        ``(H, W, C, 2)`` in the dtype of the image, computed in float64: (d/dx, d/dy) in intensity per unit of
        coordinate. Beside it the computation takes a few megabytes, or a few times one row or column.

    Raises:
        EorenError: If the image is not a non-empty float ``(H, W, C)``, or the extent is not positive.

    Example:
        >>> x = (np.arange(64) + 0.5) / 64
        >>> gradient = reference_gradient((x**3)[None, :, None])
        >>> np.allclose(gradient[0, 16:-16, 0, 0], 3 * x[16:-16] ** 2), gradient[..., 1].any().item()
        (True, False)
    """
    scales = _pixels_per_unit(image, extent)
    gradient = np.empty((*image.shape, 2), dtype=image.dtype)
    for component, (axis, scale) in enumerate(zip((1, 0), scales, strict=True)):
        lines = np.moveaxis(image, axis, 0)
        slopes = np.moveaxis(gradient[..., component], axis, 0)  # a view: writing here fills the gradient
        for block in line_blocks(lines):
            slopes[block] = scale * _spline_slopes(lines[block].astype(np.float64))
    return gradient


def pixel_gradient(
    image: Float[np.ndarray, "height width channels"],
    filter: str = SPLINE,
    *,
    box: tuple[int, int, int, int] | None = None,
) -> Float[np.ndarray, "rows columns channels 2"]:
    """Gradient in intensity per pixel, inside a box: what is fitted and measured, piece by piece.

    Args:
        image: ``(H, W, C)``, float32 or float64, the whole image.
        filter: ``spline`` for :func:`reference_gradient`, or a stencil for :func:`adjusted_gradient`.
        box: ``(column0, row0, column1, row1)``, ends excluded; the whole image by default.

    Returns:
        ``(rows, columns, C, 2)`` in the dtype of the image: what the whole image's gradient has there, to
        rounding. Memory grows with the box, not with the image.

    Example:
        >>> image = np.random.default_rng(0).random((90, 120, 1))
        >>> part = pixel_gradient(image, box=(60, 10, 63, 12))
        >>> np.allclose(part, pixel_gradient(image)[10:12, 60:63], rtol=0, atol=1e-12)
        True
    """
    height, width, _ = image.shape
    x0, y0, x1, y1 = box or (0, 0, width, height)
    some, (left, top) = around(image, (x0, y0, x1, y1))
    extent = (float(some.shape[1]), float(some.shape[0]))
    found = (
        reference_gradient(some, extent=extent)
        if filter == SPLINE
        else adjusted_gradient(some, filter, extent=extent)
    )
    return found[y0 - top : y1 - top, x0 - left : x1 - left]


def around(
    image: Float[np.ndarray, "height width channels"], box: tuple[int, int, int, int]
) -> tuple[Float[np.ndarray, "rows columns channels"], tuple[int, int]]:
    """The pixels that gradients inside a box depend on, and column and row of the first of them.

    Args:
        image: ``(H, W, C)``, the whole image.
        box: ``(column0, row0, column1, row1)``, ends excluded.

    Example:
        >>> some, at = around(np.zeros((90, 120, 1)), (60, 10, 63, 12))
        >>> some.shape, at
        ((52, 83, 1), (20, 0))
    """
    x0, y0, x1, y1 = box
    left, top = max(0, x0 - _REACH), max(0, y0 - _REACH)
    return image[top : y1 + _REACH, left : x1 + _REACH], (left, top)


def line_blocks(
    lines: Float[np.ndarray, "length count channels"],
) -> Iterator[tuple[slice, slice]]:
    """Indices of blocks of whole lines: float64 copies of an image's lines are made a block at a time.

    Example:
        >>> [(block[1].start, block[1].stop) for block in line_blocks(np.zeros((1 << 16, 5, 1)))]
        [(0, 2), (2, 4), (4, 6)]
    """
    length, count, channels = lines.shape
    step = max(1, _BLOCK_SAMPLES // (length * channels))
    for start in range(0, count, step):
        yield np.s_[:, start : start + step]


def _spline_slopes(
    lines: Float[np.ndarray, "length count channels"],
) -> Float[np.ndarray, "length count channels"]:
    """Differentiate the interpolating spline along the first axis, in intensity per pixel."""
    length = len(lines)
    if length == 1:
        return np.zeros_like(lines)
    samples = np.arange(length)
    straight = [(order, np.zeros_like(lines[0])) for order in (2, 4)]
    spline = make_interp_spline(samples, lines, k=5, bc_type=(straight, straight), check_finite=False)
    slopes: Float[np.ndarray, "length count channels"] = spline.derivative()(samples)
    return slopes


def _pixels_per_unit(image: np.ndarray, extent: tuple[float, float]) -> tuple[float, float]:
    """Check the image and the extent, and return ``(W / W_T, H / H_T)``."""
    if image.ndim != 3 or image.size == 0:
        raise EorenError(f"image has shape {image.shape}: give (H, W, C) without zeros, gray as image[..., None]")
    if image.dtype not in (np.float32, np.float64):
        raise EorenError(f"image is {image.dtype}: convert to float32, dividing 8-bit values by 255")
    if not all(math.isfinite(side) and side > 0 for side in extent):
        raise EorenError(f"extent is {extent}: give the width and height in coordinates, both positive")
    height, width, _ = image.shape
    return width / extent[0], height / extent[1]
