"""Pixels as averages over their cells, as sensors and good resizing produce them, instead of samples at the centres.

Averaging blurs: at the highest frequency that an image can hold, an average keeps 2/pi of a sample. The blur has an
exact inverse among splines: exactly one quintic spline has the pixels as its averages.
"""

import numpy as np
from jaxtyping import Float
from scipy.linalg import solveh_banded
from scipy.ndimage import correlate1d

from eoren.image.spline import line_blocks

# Values of the quintic B-spline at the pixel centres, and its averages over the pixels: values of the sextic one.
_VALUES = np.array([1.0, 26.0, 66.0, 26.0, 1.0]) / 120
_AVERAGES = np.array([1.0, 722.0, 10543.0, 23548.0, 10543.0, 722.0, 1.0]) / 46080
_MARGIN = 48  # an error at the end of a line falls by 0.49 a pixel
# Points of the Gauss-Legendre quadrature over a pixel, in pixels from its centre, and their weights.
_GAUSS = ((-(0.15**0.5), 5 / 18), (0.0, 8 / 18), (0.15**0.5, 5 / 18))

AVERAGING = tuple((x, y, p * q) for x, p in _GAUSS for y, q in _GAUSS)
"""Quadrature for the average over a pixel: ``(x, y, weight)``, in pixels from its centre. Exact for quintics, and
accurate to a thousandth at the highest frequency of an image."""


def point_values(image: Float[np.ndarray, "height width channels"]) -> Float[np.ndarray, "height width channels"]:
    """Compute the values at the pixel centres of an image whose pixels are averages.

    They are those of the quintic spline whose averages over the pixels are the pixels, one axis after the other. At
    its ends it continues by odd reflection, like that of :func:`eoren.image.spline.reference_gradient`.

    Args:
        image: array ``(H, W, C)``, float32 or float64.

    Returns:
        ``(H, W, C)`` in the dtype of the image: sharper than the image, and beyond its range at strong edges.

    Example:
        >>> ramp = np.linspace(0, 1, 9)[None, :, None]
        >>> bool(np.allclose(point_values(ramp), ramp))  # averages of a straight line are its values
        True
        >>> round(point_values(np.eye(1, 9, 4)[..., None])[0, 4, 0].item(), 3)
        1.179
    """
    values = image.copy()
    for axis in (0, 1):
        lines = np.moveaxis(values, axis, 0)  # a view: writing here fills the result
        for block in line_blocks(lines):
            lines[block] = _line_values(lines[block].astype(np.float64))
    return values


def _line_values(lines: Float[np.ndarray, "length count channels"]) -> Float[np.ndarray, "length count channels"]:
    length = len(lines)
    padded = np.pad(lines, ((_MARGIN, _MARGIN), (0, 0), (0, 0)), mode="reflect", reflect_type="odd")
    upper = _AVERAGES[: len(_AVERAGES) // 2 + 1]  # diagonals of the upper half: the matrix is symmetric
    bands = np.repeat(upper[:, None], len(padded), 1)
    weights = solveh_banded(bands, padded.reshape(len(padded), -1), check_finite=False).reshape(padded.shape)
    values: Float[np.ndarray, "length count channels"] = correlate1d(weights, _VALUES, axis=0)
    return values[_MARGIN : _MARGIN + length]
