"""Pixels as averages over their squares, as sensors and good resizing make them, instead of samples at their centres.

An image of averages is a blurred one: at the finest waves that it can hold an average keeps 2/pi of a sample. The
blur has an exact inverse among splines: exactly one quintic spline has the pixels for its averages.
"""

import numpy as np
from jaxtyping import Float
from scipy.linalg import solveh_banded
from scipy.ndimage import correlate1d

from eoren.image.gradients import line_blocks

# The quintic B-spline at the centres of pixels, and its averages over them, which are the sextic one's values.
_VALUES = np.array([1.0, 26.0, 66.0, 26.0, 1.0]) / 120
_AVERAGES = np.array([1.0, 722.0, 10543.0, 23548.0, 10543.0, 722.0, 1.0]) / 46080
# An error at the end of a line falls by 0.49 a pixel.
_MARGIN = 48
# Gauss and Legendre's points for an average over a pixel, in pixels from its centre, and their weights.
_GAUSS = ((-(0.15**0.5), 5 / 18), (0.0, 8 / 18), (0.15**0.5, 5 / 18))

AVERAGING = tuple((x, y, p * q) for x, p in _GAUSS for y, q in _GAUSS)
"""``(x, y, weight)``, in pixels from a pixel's centre: what quintics average over the pixel, and an image's
finest waves to a thousandth."""


def point_values(image: Float[np.ndarray, "height width channels"]) -> Float[np.ndarray, "height width channels"]:
    """What an image of averages has at the centres of its pixels.

    The quintic spline, one axis after the other, whose averages over the pixels are the pixels; at its ends it goes
    on by odd reflection, as :func:`eoren.image.gradients.reference_gradient` has it.

    Args:
        image: ``(H, W, C)``, float32 or float64.

    Returns:
        ``(H, W, C)`` in the dtype of the image: sharper than the image, and at strong edges beyond its range.

    Example:
        >>> ramp = np.linspace(0, 1, 9)[None, :, None]
        >>> bool(np.allclose(point_values(ramp), ramp))  # averages of a straight line are its values
        True
        >>> round(point_values(np.eye(1, 9, 4)[..., None])[0, 4, 0].item(), 3)
        1.179
    """
    found = image.copy()
    for axis in (0, 1):
        lines = np.moveaxis(found, axis, 0)  # a view: writing here fills what is returned
        for block in line_blocks(lines):
            lines[block] = _along(lines[block].astype(np.float64))
    return found


def _along(lines: Float[np.ndarray, "length count channels"]) -> Float[np.ndarray, "length count channels"]:
    length, reach = len(lines), len(_AVERAGES) // 2
    padded = np.pad(lines, ((_MARGIN, _MARGIN), (0, 0), (0, 0)), mode="reflect", reflect_type="odd")
    bands = np.repeat(_AVERAGES[: reach + 1, None], len(padded), 1)  # of the upper half: the matrix is symmetric
    weights = solveh_banded(bands, padded.reshape(len(padded), -1), check_finite=False).reshape(padded.shape)
    values: Float[np.ndarray, "length count channels"] = correlate1d(weights, _VALUES, axis=0)
    return values[_MARGIN : _MARGIN + length]
