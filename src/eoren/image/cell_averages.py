"""Pixels as averages over their cells, as sensors and good resizing produce them, instead of samples at the centres.

Averaging blurs: at the highest frequency that an image can hold, an average keeps 2/pi of a sample. The blur has an
exact inverse among splines: exactly one quintic spline has the pixels as its averages.
"""

import numpy as np
from scipy.linalg import solveh_banded
from scipy.ndimage import correlate1d

from eoren.image.arrays import Image
from eoren.image.spline import line_blocks

# Values of the quintic B-spline at the pixel centres, and its averages over the pixels: values of the sextic one.
_VALUES = np.array([1.0, 26.0, 66.0, 26.0, 1.0]) / 120
_AVERAGES = np.array([1.0, 722.0, 10543.0, 23548.0]) / 46080  # up to the centre
_MARGIN = 48  # an error at the end of a line falls by 0.49 a pixel
# Points of the Gauss-Legendre quadrature over a pixel, in pixels from its centre, and their weights.
_GAUSS = ((-(0.15**0.5), 5 / 18), (0.0, 8 / 18), (0.15**0.5, 5 / 18))

AVERAGING = tuple((x, y, p * q) for x, p in _GAUSS for y, q in _GAUSS)
"""Quadrature for the average over a pixel: ``(x, y, weight)``, in pixels from its centre. Exact for quintics, and
accurate to a thousandth at the highest frequency of an image."""


def point_values(image: Image) -> Image:
    """Compute the values at the pixel centres of an image whose pixels are averages.

    They are those of the quintic spline whose averages over the pixels are the pixels, one axis after the other. At
    its ends it continues by odd reflection, like that of :func:`eoren.image.spline.reference_gradient`. The result
    is sharper than the image, and lies beyond its range at strong edges.

    Example:
        >>> round(point_values(np.eye(1, 9, 4)[..., None])[0, 4, 0].item(), 3)
        1.179
    """
    values = image.copy()
    for axis in (0, 1):
        lines = np.moveaxis(values, axis, 0)  # a view: writing here fills the result
        length = len(lines) + 2 * _MARGIN
        bands = np.repeat(_AVERAGES[:, None], length, 1)  # upper diagonals: the matrix is symmetric
        for block in line_blocks(lines):
            ends = ((_MARGIN, _MARGIN), (0, 0), (0, 0))
            padded = np.pad(lines[block].astype(np.float64), ends, mode="reflect", reflect_type="odd")
            weights = solveh_banded(bands, padded.reshape(length, -1), check_finite=False).reshape(padded.shape)
            lines[block] = correlate1d(weights, _VALUES, axis=0)[_MARGIN:-_MARGIN]
    return values
