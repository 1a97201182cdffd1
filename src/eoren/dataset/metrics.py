"""The numbers of :mod:`eoren.evaluation.metrics` for many images of one size, in one pass over all of them."""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from eoren.image.gradients import pixel_gradient

# As scikit-image has them with Gaussian weights: sigma, where it is cut, the window that it counts for, and the
# constants of Wang et al. (doi:10.1109/TIP.2003.819861) at a range of 1.
_SIGMA, _TRUNCATE, _RADIUS = 1.5, 3.5, 5
_K1, _K2 = 0.01**2, 0.03**2

Images = Float[np.ndarray, "pictures height width channels"]


def measure(
    said: Float[np.ndarray, "pictures 3 pixels channels"], images: Images
) -> dict[str, Float[np.ndarray, " pictures"]]:
    """``psnr``, ``psnr_8bit``, ``gradient_psnr`` and ``ssim`` of every image.

    Args:
        said: colours at the pixel centres, row by row, unclamped; then d/dx and d/dy, in intensity per pixel.
        images: the images, values in [0, 1].

    Returns:
        As in :class:`eoren.evaluation.metrics.Metrics`: infinite where there is no error, NaN for the SSIM of
        images under 11 pixels.

    Example:
        >>> images = np.zeros((2, 12, 12, 1), np.float32)
        >>> said = np.stack([np.full((3, 144, 1), 0.1, np.float32), np.zeros((3, 144, 1), np.float32)])
        >>> found = measure(said, images)
        >>> found["psnr"].round(2).tolist(), found["ssim"].round(2).tolist()
        ([20.0, inf], [0.01, 1.0])
    """
    count, height, width, channels = images.shape
    colors = said[:, 0].reshape(images.shape).clip(0, 1)
    eighths = np.floor(colors * 255 + 0.5) / 255
    # Every image is as good as so many channels more.
    side_by_side = np.moveaxis(images, 0, 2).reshape(height, width, count * channels)
    reference = pixel_gradient(np.ascontiguousarray(side_by_side)).reshape(height * width, count, channels, 2)
    error = said[:, 1:] - np.moveaxis(reference, (1, 3), (0, 1))
    return {
        "psnr": _decibel(np.square(colors - images, dtype=np.float64)),
        "psnr_8bit": _decibel(np.square(eighths - images, dtype=np.float64)),
        "gradient_psnr": _decibel(np.square(error, dtype=np.float64)),
        "ssim": _ssim(colors.astype(np.float64), images.astype(np.float64)),
    }


def _decibel(squares: Float[np.ndarray, "pictures *rest"]) -> Float[np.ndarray, " pictures"]:
    means = squares.reshape(len(squares), -1).mean(1)
    with np.errstate(divide="ignore"):
        found: Float[np.ndarray, " pictures"] = -10 * np.log10(means)
    return found


def _ssim(one: Images, other: Images) -> Float[np.ndarray, " pictures"]:
    count, height, width, _ = one.shape
    r = _RADIUS
    if min(height, width) <= 2 * r:
        return np.full(count, np.nan)

    def blurred(values: Images) -> Float[np.ndarray, "pictures rows columns channels"]:
        smooth = gaussian_filter(values, _SIGMA, truncate=_TRUNCATE, axes=(1, 2))
        inner: Float[np.ndarray, "pictures rows columns channels"] = smooth[:, r:-r, r:-r]
        return inner

    a, b = blurred(one), blurred(other)
    window = (2 * r + 1) ** 2
    sample = window / (window - 1)
    variances = sample * (blurred(one * one) - a * a + blurred(other * other) - b * b)
    covariance = sample * (blurred(one * other) - a * b)
    similarity = (2 * a * b + _K1) * (2 * covariance + _K2) / ((a * a + b * b + _K1) * (variances + _K2))
    found: Float[np.ndarray, " pictures"] = similarity.mean((1, 2, 3))
    return found
