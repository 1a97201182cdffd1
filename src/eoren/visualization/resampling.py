"""Enlarging and reducing images for display."""

import numpy as np
from jaxtyping import Float
from PIL import Image as Pillow
from scipy.interpolate import BSpline
from scipy.ndimage import spline_filter
from scipy.sparse import csr_array

from eoren.image.arrays import Image
from eoren.image.channels import resize


class CubicSpline:
    """Cubic spline through the pixels of an image, which is mirrored at the centres of its border pixels."""

    def __init__(self, image: Image) -> None:
        self._height, self._width, channels = image.shape
        planes = [spline_filter(image[..., c], 3, np.float32, mode="mirror") for c in range(channels)]
        self._coefficients = np.pad(np.stack(planes, -1), ((2, 2), (2, 2), (0, 0)), mode="reflect")

    def __call__(
        self, y: Float[np.ndarray, " rows"], x: Float[np.ndarray, " columns"]
    ) -> Float[np.ndarray, "rows columns channels"]:
        """Evaluate the spline on a grid of ascending positions, in pixels from the centre of the first pixel."""
        top, along_y = _basis(y, self._height)
        left, along_x = _basis(x, self._width)
        part = self._coefficients[top : top + along_y.shape[1], left : left + along_x.shape[1]]
        rows = (along_y @ part.reshape(len(part), -1)).reshape(len(y), -1, part.shape[2])
        columns = along_x @ rows.swapaxes(0, 1).reshape(rows.shape[1], -1)
        return np.asarray(columns.reshape(len(x), len(y), -1).swapaxes(0, 1))

    def at(
        self, y: Float[np.ndarray, " points"], x: Float[np.ndarray, " points"]
    ) -> tuple[Float[np.ndarray, "points channels"], Float[np.ndarray, "points channels 2"]]:
        """Evaluate values and derivatives ``(d/dx, d/dy)``, per pixel, at single points within the border pixels.

        Positions are in pixels from the centre of the first pixel, from -0.5 to half a pixel past the last centre.
        """
        rows, columns = (np.floor(positions).astype(int) for positions in (y, x))
        # The first of the four coefficients of an axis belongs to the pixel before; the border has two of them.
        near = np.arange(1, 5)
        part = self._coefficients[(rows[:, None] + near)[:, :, None], (columns[:, None] + near)[:, None, :]]
        along_y, along_x = _values_and_slopes(y - rows), _values_and_slopes(x - columns)
        value, by_x, by_y = (
            np.einsum("pi,pj,pijc->pc", along_y[i], along_x[j], part) for i, j in ((0, 0), (0, 1), (1, 0))
        )
        return value, np.stack([by_x, by_y], -1)


def _values_and_slopes(t: Float[np.ndarray, " points"]) -> tuple[np.ndarray, np.ndarray]:
    """Values and slopes of the four cubic B-splines over an interval between pixels, at ``t`` in [0, 1]."""
    u = 1 - t
    values = [u**3, 3 * t**3 - 6 * t**2 + 4, 3 * u**3 - 6 * u**2 + 4, t**3]
    slopes = [-3 * u**2, 9 * t**2 - 12 * t, 12 * u - 9 * u**2, 3 * t**2]
    return np.stack(values, -1) / 6, np.stack(slopes, -1) / 6


def _basis(positions: Float[np.ndarray, " n"], side: int) -> tuple[int, csr_array]:
    """Values of the cubic B-splines of an axis, without those that vanish; the first index, and ``(n, count)``."""
    values = csr_array(BSpline.design_matrix(positions, np.arange(-4.0, side + 4), 3)).astype(np.float32)
    first, last = int(values.indices.min()), int(values.indices.max())
    return first, values[:, first : last + 1]


def enlarge_by_spline(
    image: Image, box: tuple[int, int, int, int], scale: int
) -> Float[np.ndarray, "rows columns channels"]:
    """Enlarge the box ``(column0, row0, column1, row1)`` of an image by the cubic spline through all its pixels."""
    left, top, right, bottom = box
    rows = top + (np.arange(scale * (bottom - top)) + 0.5) / scale - 0.5
    columns = left + (np.arange(scale * (right - left)) + 0.5) / scale - 0.5
    return CubicSpline(image)(rows, columns)


def downsample(image: Image, side: int) -> Float[np.ndarray, "rows columns channels"]:
    """Reduce an image by a Lanczos filter so that its longer side has at most ``side`` pixels; clamped to [0, 1]."""
    height, width, _ = image.shape
    if max(height, width) <= side:
        return image
    size = max(1, round(width * side / max(height, width))), max(1, round(height * side / max(height, width)))
    return resize(image, *size, Pillow.Resampling.LANCZOS).clip(0, 1)
