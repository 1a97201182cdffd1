"""Image statistics that are cheap to compute and may predict which method suits an image."""

from collections.abc import Callable, Mapping, Sequence
from math import atanh, nan, sqrt, tanh

import numpy as np
from jaxtyping import Float
from scipy.stats import norm, spearmanr

from eoren.evaluation.metrics import decibel
from eoren.experiments.results import Interval
from eoren.image.arrays import Image
from eoren.image.gradients import pixel_gradient


def edge_density(image: Image) -> float:
    """Compute the share of the pixels with the slope of a visible edge, above 0.1 per pixel."""
    return float(np.mean(_gradient_magnitude(image) > 0.1))


def gradient_sparsity(image: Image) -> float:
    """Compute Hoyer's sparsity of the gradient magnitude: 0 if it is constant, 1 if a single pixel has all of it.

    ``(sqrt(n) - |m|_1 / |m|_2) / (sqrt(n) - 1)`` (Hoyer, "Non-negative matrix factorization with sparseness
    constraints", 2004).
    """
    magnitude = _gradient_magnitude(image).ravel()
    length = float(np.linalg.norm(magnitude))
    root = sqrt(magnitude.size)
    return (root - float(magnitude.sum()) / length) / (root - 1) if length else 0.0


def spectral_slope(image: Image) -> float:
    """Fit the exponent a in power ~ frequency^a, by a straight line through the logarithms; about -2 in photographs.

    Power is averaged over rings one cycle per image wide, of the image's mean channel times a Hann window, from two
    cycles per image to the Nyquist frequency.
    """
    gray = image.mean(-1)
    height, width = gray.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.abs(np.fft.fft2((gray - gray.mean()) * window)) ** 2
    side = min(height, width)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]) * side
    ring = radius.round().astype(int).ravel()
    mean = np.bincount(ring, power.ravel()) / np.maximum(np.bincount(ring), 1)
    rings = np.arange(2, side // 2 + 1)
    rings = rings[mean[rings] > 1e-20 * power.size]
    return float(np.polyfit(np.log(rings), np.log(mean[rings]), 1)[0]) if len(rings) > 1 else 0.0


def target_psnr(image: Image) -> float:
    """Compute the PSNR in dB of central differences against the reference gradient."""
    return decibel(float(np.mean(np.square(pixel_gradient(image, "central") - pixel_gradient(image)))))


PREDICTORS: Mapping[str, Callable[[Image], float]] = {
    "edge density": edge_density,
    "gradient sparsity": gradient_sparsity,
    "spectral slope": spectral_slope,
    "target PSNR (dB)": target_psnr,
}


def correlation(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Compute Spearman's rank correlation with its 95 % confidence interval; NaN if it is not defined.

    The interval is that of Fisher's z, with Fieller's variance of 1.06 / (n - 3).

    Example:
        >>> str(correlation([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 2.0, 3.0, 4.0, 6.0, 5.0]))
        '+0.94 [+0.54, +0.99]'
    """
    size = len(first)
    if size < 4 or len(set(first)) < 2 or len(set(second)) < 2:
        return Interval(nan, -1.0, 1.0, size)
    rho = float(spearmanr(first, second).statistic)
    centre = atanh(min(max(rho, -0.999999), 0.999999))
    half = float(norm.ppf(0.975)) * sqrt(1.06 / (size - 3))
    return Interval(rho, tanh(centre - half), tanh(centre + half), size)


def _gradient_magnitude(image: Image) -> Float[np.ndarray, "height width"]:
    magnitude: np.ndarray = np.sqrt(np.square(pixel_gradient(image)).sum(-1).mean(-1))
    return magnitude
