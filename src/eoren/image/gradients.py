"""Gradients of sampled images: classical stencils scaled to slopes (Gradient with Magnitude Adjustment).

An image is a floating array ``(H, W, C)``. Its gradient is ``(H, W, C, 2)``: the last axis holds d/dx (x to
the right) and d/dy (y down), in intensity per unit of coordinate. Pixel (row i, column j) has its centre at
``((j + 0.5) / W, (i + 0.5) / H)`` of the unit square.

These gradients and the one of :mod:`eoren.image.spline` are exact on ramps, up to rounding: the gradient of
``a*x + b*y + c`` is ``(a, b)`` at every pixel, at every size and aspect ratio, borders included. Along an axis of one
pixel the gradient is zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.ndimage import correlate1d

from eoren.checks import check_choice
from eoren.image.arrays import Gradient, Image
from eoren.image.spline import REACH, pixels_per_unit, reference_gradient

SPLINE = "spline"
"""Name of the reference gradient among the filters of :func:`pixel_gradient`."""


@dataclass(frozen=True)
class Stencil:
    """Separable derivative filter: a derivative along one axis, a smoothing along the other.

    Taps are odd in number, centred on the pixel, and correlated, not convolved: an image that rises to the right has
    a positive d/dx. The response belongs to the point `offset` pixels from the pixel centre along the axis of the
    derivative: d/dx of pixel (i, j) to ``((j + 0.5 + offset) / W, (i + 0.5) / H)`` of the unit square.
    """

    derivative: tuple[float, ...]
    smoothing: tuple[float, ...] = (1.0,)
    offset: float = 0.0

    @property
    def radius(self) -> int:
        """Distance of the outermost tap from the centre, in pixels."""
        return max(len(self.derivative), len(self.smoothing)) // 2

    @property
    def ramp_response(self) -> float:
        """Response to an image that rises by one per pixel, such as 2 for central differences and 8 for Sobel."""
        first = -(len(self.derivative) // 2)
        return sum(self.smoothing) * sum(step * tap for step, tap in enumerate(self.derivative, first))

    @property
    def magnitude(self) -> float:
        """Sum of the absolute taps of the two-dimensional filter: M(F) of arXiv 2209.11697.

        Equal to `ramp_response` where all non-zero derivative taps lie at -1 and +1, as in Sobel and central
        differences. Twice that for forward differences, whose taps lie at 0 and +1.
        """
        return sum(map(abs, self.smoothing)) * sum(map(abs, self.derivative))


STENCILS: Mapping[str, Stencil] = MappingProxyType(
    {
        "forward": Stencil((0.0, -1.0, 1.0), offset=0.5),
        "central": Stencil((-1.0, 0.0, 1.0)),
        # Prewitt, "Object enhancement and extraction", 1970.
        "prewitt": Stencil((-1.0, 0.0, 1.0), (1.0, 1.0, 1.0)),
        # Sobel and Feldman, "A 3x3 isotropic gradient operator for image processing", 1968.
        "sobel": Stencil((-1.0, 0.0, 1.0), (1.0, 2.0, 1.0)),
        # Scharr, "Optimale Operatoren in der Digitalen Bildverarbeitung", Heidelberg 2000.
        "scharr": Stencil((-1.0, 0.0, 1.0), (3.0, 10.0, 3.0)),
        # Farid and Simoncelli, doi:10.1109/TIP.2004.823819: the 5-tap pair for first derivatives.
        "farid": Stencil(
            (-0.109603762960254, -0.276690988455557, 0.0, 0.276690988455557, 0.109603762960254),
            (0.0376593171958126, 0.249153396177344, 0.426374573253687, 0.249153396177344, 0.0376593171958126),
        ),
    }
)
"""Derivative filters by name."""


def adjusted_gradient(
    image: Image,
    filter: str = "central",
    *,
    adjust: Literal["ramp", "magnitude"] | None = "ramp",
    extent: tuple[float, float] = (1.0, 1.0),
) -> Gradient:
    """Compute the gradient of an image with a stencil, scaled to slopes: Algorithm 1 of arXiv 2209.11697.

    Gradient with Magnitude Adjustment: for W x H pixels over coordinates of extent W_T x H_T, the filters
    (Fx, Fy) become ``Fx / M(Fx) * W / W_T`` and ``Fy / M(Fy) * H / H_T``. The paper's ``M(F) = sum |F|`` yields
    slopes only if every non-zero derivative tap lies one pixel from the centre. The response to a unit ramp
    yields them for every filter, and equals ``sum |F|`` for the filters of the paper. Beyond its border the image
    continues by odd reflection, ``2 f[0] - f[k]``, which continues a ramp as the same ramp.

    Args:
        image: array ``(H, W, C)``, float32 or float64, any range of values. A gray image has C = 1.
        filter: key of `STENCILS`: forward, central, prewitt, sobel, scharr or farid. `Stencil.offset` gives the
            point that its response belongs to.
        adjust: ``"ramp"`` to divide by the response to a unit ramp, ``"magnitude"`` to divide by the paper's M(F),
            ``None`` for the raw response of the textbook taps, per pixel and for any extent.
        extent: ``(W_T, H_T)``, width and height of the image in coordinates.

    Returns:
        ``(H, W, C, 2)`` in the dtype of the image: (d/dx, d/dy) in intensity per unit of coordinate.

    Raises:
        EorenError: the image is not a non-empty float array ``(H, W, C)``, the filter or the adjustment is unknown,
            or the extent is not positive.

    Example:
        >>> ramp = np.tile(np.arange(5.0) / 4, (3, 1))[..., None]  # 1/4 per pixel, 5 pixels: a slope of 5/4
        >>> adjusted_gradient(ramp, "sobel")[0, :, 0, 0].tolist()
        [1.25, 1.25, 1.25, 1.25, 1.25]
    """
    scales = pixels_per_unit(image, extent)
    check_choice("filter", filter, STENCILS)
    stencil = STENCILS[filter]
    check_choice("adjust", adjust, ("ramp", "magnitude", None))
    if adjust is None:
        scales = (1.0, 1.0)
    else:
        divisor = stencil.ramp_response if adjust == "ramp" else stencil.magnitude
        scales = (scales[0] / divisor, scales[1] / divisor)

    margin = stencil.radius
    # NumPy reflects again if an axis is shorter than the margin, and repeats the pixel if it is the only one.
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="reflect", reflect_type="odd")
    height, width, _ = image.shape
    gradient = np.empty((*image.shape, 2), dtype=image.dtype)
    for component, (axis, scale) in enumerate(zip((1, 0), scales, strict=True)):
        # Differences first: sums of large values would lose small slopes to rounding.
        response = correlate1d(padded, stencil.derivative, axis=axis)
        response = correlate1d(response, stencil.smoothing, axis=1 - axis)
        gradient[..., component] = scale * response[margin : margin + height, margin : margin + width]
    return gradient


def pixel_gradient(
    image: Image, filter: str = SPLINE, *, box: tuple[int, int, int, int] | None = None
) -> Float[np.ndarray, "rows columns channels 2"]:
    """Compute the gradient of an image in intensity per pixel, inside a box ``(column0, row0, column1, row1)``.

    The filter is `SPLINE` or a key of `STENCILS`. The result is the part of the gradient of the whole image, to
    rounding. Memory grows with the box, not with the image.
    """
    height, width, _ = image.shape
    x0, y0, x1, y1 = box or (0, 0, width, height)
    crop, (left, top) = crop_with_margin(image, (x0, y0, x1, y1))
    extent = (float(crop.shape[1]), float(crop.shape[0]))
    if filter == SPLINE:
        gradient = reference_gradient(crop, extent=extent)
    else:
        gradient = adjusted_gradient(crop, filter, extent=extent)
    return gradient[y0 - top : y1 - top, x0 - left : x1 - left]


def crop_with_margin(
    image: Image, box: tuple[int, int, int, int]
) -> tuple[Float[np.ndarray, "rows columns channels"], tuple[int, int]]:
    """Crop an image to the pixels that gradients inside a box ``(column0, row0, column1, row1)`` depend on.

    Returns a view of the image, and column and row of its first pixel.
    """
    x0, y0, x1, y1 = box
    left, top = max(0, x0 - REACH), max(0, y0 - REACH)
    return image[top : y1 + REACH, left : x1 + REACH], (left, top)
