"""Quality of fields in colour and in gradient, against the images that they were fitted to."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf, log10, nan
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter

from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.image.arrays import Image
from eoren.image.cell_averages import AVERAGING, point_values
from eoren.image.gradients import pixel_gradient
from eoren.image.io import as_image
from eoren.image.writers import to_unsigned

Images = Float[np.ndarray, "images height width channels"]

METRICS = ("psnr", "psnr_8bit", "gradient_psnr", "ssim")
"""Names of the measures of quality: attributes of :class:`Metrics`, columns of a store's index."""

# SSIM as scikit-image computes it with Gaussian weights: sigma and cut of the window, its radius in pixels, and the
# constants of Wang et al. (doi:10.1109/TIP.2003.819861) at a data range of 1.
_SIGMA, _TRUNCATE, _RADIUS = 1.5, 3.5, 5
_C1, _C2 = 0.01**2, 0.03**2
# Strips see 40 rows above and below for their splines: tall ones waste less.
_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True)
class Metrics:
    """Quality of one field, under the names that every command and table uses.

    Attributes:
        psnr: dB, peak 1, output clamped to [0, 1], all channels.
        psnr_8bit: the same after rounding the output to 8 bits.
        gradient_psnr: dB, ``-10 log10 mean (grad Phi - grad f)^2`` at pixel centres in intensity per pixel, all
            channels and both axes; grad Phi is the field's own unclamped derivative, grad f the derivative of the
            quintic spline through the pixels.
        ssim: structural similarity, Gaussian weights, range 1; NaN for images under 11 pixels.
        parameters: number of parameters that the field stores.
    """

    psnr: float
    psnr_8bit: float
    gradient_psnr: float
    ssim: float
    parameters: int

    def as_dict(self) -> dict[str, float | None]:
        """Convert to values that JSON can hold: infinity and NaN become ``None``."""
        return finite(asdict(self))


def evaluate(field: Field, image: ArrayLike) -> Metrics:
    """Measure the quality of a field against its image.

    The field is rendered in strips, so that memory does not grow beyond the image and its spline. If the field was
    fitted with ``pixel_model="cell_average"``, its colours are averaged over the pixels.

    Args:
        field: field to measure.
        image: ``(H, W)`` or ``(H, W, C)``, as :func:`eoren.fit` takes it, of the size that the field was fitted to.

    Raises:
        EorenError: the image has another size or another number of channels than the field.

    Example:
        >>> import eoren, numpy as np
        >>> image = np.full((16, 16, 3), 0.5, np.float32)
        >>> eoren.evaluate(eoren.fit(image, preset="mosaic", steps=1, width=8, depth=2).field, image).psnr > 60
        True
    """
    image = as_image(image)
    check_shape(field, image)
    height, width, _ = image.shape
    averaged = uses_cell_averages(field.provenance.settings)
    points = point_values(image) if averaged else image
    squares = np.zeros(3)
    strip = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, strip):
        rows = slice(top, top + strip)
        color, gradient = field.sample(
            width, height, "color", "gradient", rows=rows, extent=(float(width), float(height))
        )
        reference = pixel_gradient(points, box=(0, top, width, min(top + strip, height)))
        color = _pixel_averages(field, rows) if averaged else color
        squares += _squared_errors(color[None], gradient[None], image[None, rows], reference[None])[0]
    color_error, rounded_error, gradient_error = (squares / image.size).tolist()
    return Metrics(
        decibel(color_error),
        decibel(rounded_error),
        decibel(gradient_error / 2),
        _field_ssim(field, image, averaged),
        field.parameters,
    )


def color_psnr(field: Field, image: Image) -> float:
    """Measure the PSNR of the colours alone, as :func:`evaluate` does."""
    check_shape(field, image)
    height, width, _ = image.shape
    averaged = uses_cell_averages(field.provenance.settings)
    total, strip = 0.0, max(1, _STRIP_PIXELS // width)
    for top in range(0, height, strip):
        rows = slice(top, top + strip)
        color = _pixel_averages(field, rows) if averaged else field.sample(width, height, "color", rows=rows)[0]
        total += float(np.square(color.clip(0, 1) - image[rows], dtype=np.float64).sum())
    return decibel(total / image.size)


def evaluate_batch(
    prediction: Float[np.ndarray, "images 3 pixels channels"], images: Images
) -> dict[str, Float[np.ndarray, " images"]]:
    """Compute the measures of :data:`METRICS` for many images of one size in one pass.

    A prediction holds colours at the pixel centres, row by row, not clamped; then d/dx and d/dy in intensity per
    pixel. Measures are infinite for no error; the SSIM of images under 11 pixels is NaN.
    """
    count, height, width, channels = images.shape
    # The spline works on each channel by itself, so that all images together are one image of many channels.
    side_by_side = np.ascontiguousarray(np.moveaxis(images, 0, 2).reshape(height, width, count * channels))
    reference = pixel_gradient(side_by_side).reshape(height * width, count, channels, 2)
    color = prediction[:, 0].reshape(images.shape)
    squares = _squared_errors(color, prediction[:, 1:], images, np.moveaxis(reference, (1, 3), (0, 1)))
    squares /= height * width * channels
    squares[:, 2] /= 2
    errors = {name: squares[:, column] for column, name in enumerate(METRICS[:3])}
    return {
        **{name: np.array([decibel(error) for error in column.tolist()]) for name, column in errors.items()},
        "ssim": _ssim_sums(color, images) / _ssim_count(height, width, channels),
    }


def check_shape(field: Field, image: Image) -> None:
    """Check that an image has the size and the channels of a field."""
    height, width, channels = image.shape
    if (width, height, channels) != (*field.size, field.channels):
        raise EorenError(
            f"the image must be {field.size[0]}x{field.size[1]} with {field.channels} channels like the field, got "
            f"{width}x{height} with {channels} channels; give the image that the field was fitted to"
        )


def decibel(squared_error: float) -> float:
    """Convert a mean squared error to PSNR at peak 1; no error gives infinity."""
    return inf if squared_error == 0 else -10 * log10(squared_error)


def finite(values: Mapping[str, float | int]) -> dict[str, float | int | None]:
    """Replace infinity and NaN, which JSON cannot hold, by ``None``."""
    return {name: value if abs(value) < inf else None for name, value in values.items()}


def psnr(prediction: Image, image: Image) -> float:
    """Compute the PSNR in dB at peak 1 over all channels, with the prediction clamped to [0, 1]."""
    return decibel(float(np.mean(np.square(np.clip(prediction, 0, 1, dtype=np.float64) - image))))


def uses_cell_averages(settings: Mapping[str, Any]) -> bool:
    """Whether a field with these settings, also of earlier versions, was fitted to averages over the pixels."""
    return settings.get("pixel_model", settings.get("pixels")) in ("cell_average", "areas")


def _squared_errors(
    color: Float[np.ndarray, "images *pixels"],
    gradient: Float[np.ndarray, "images *derivatives"],
    image: Float[np.ndarray, "images *pixels"],
    reference: Float[np.ndarray, "images *derivatives"],
) -> Float[np.ndarray, "images 3"]:
    """Sum the squared errors of colour, colour in 8 bits and gradient of every image."""
    clamped = color.clip(0, 1)
    rounded = to_unsigned(clamped) / np.float32(255)
    errors = (clamped - image, rounded - image, gradient - reference)
    return np.stack([np.square(e, dtype=np.float64).reshape(len(e), -1).sum(1) for e in errors], 1)


def _pixel_averages(field: Field, rows: slice) -> Float[np.ndarray, "rows width channels"]:
    """Average a field over the squares of the pixels of some rows."""
    width, height = field.size
    total = np.zeros((len(range(height)[rows]), width, field.channels), np.float32)
    for x, y, weight in AVERAGING:
        region = (x / width, y / height, 1 + x / width, 1 + y / height)
        total += np.float32(weight) * field.sample(width, height, "color", region=region, rows=rows)[0]
    return total


def _field_ssim(field: Field, image: Image, averaged: bool) -> float:
    """Compute the mean SSIM of a field in strips that overlap by the radius of the window."""
    height, width, channels = image.shape
    total, strip = 0.0, max(1, _STRIP_PIXELS // width)
    for top in range(_RADIUS, height - _RADIUS, strip):
        rows = slice(top - _RADIUS, min(top + strip, height - _RADIUS) + _RADIUS)
        color = _pixel_averages(field, rows) if averaged else field.sample(width, height, "color", rows=rows)[0]
        total += float(_ssim_sums(color[None], image[None, rows])[0])
    return total / _ssim_count(height, width, channels)


def _ssim_count(height: int, width: int, channels: int) -> float:
    """Count the values over which SSIM is averaged: those whose window lies inside the image; NaN for none."""
    inner = (height - 2 * _RADIUS) * (width - 2 * _RADIUS)
    return float(inner * channels) if min(height, width) > 2 * _RADIUS else nan


def _ssim_sums(color: Images, images: Images) -> Float[np.ndarray, " images"]:
    """Sum the SSIM of every image over its channels and the pixels whose window lies inside."""
    inner = (slice(None), slice(_RADIUS, -_RADIUS), slice(_RADIUS, -_RADIUS))
    window = (2 * _RADIUS + 1) ** 2
    sample = window / (window - 1)

    def blurred(values: Float[np.ndarray, "images height width"]) -> Float[np.ndarray, "images height width"]:
        smooth: np.ndarray = gaussian_filter(values, _SIGMA, truncate=_TRUNCATE, axes=(1, 2))
        return smooth

    sums = np.zeros(len(images))
    # One channel at a time bounds memory.
    for channel in range(images.shape[3]):
        a, b = images[..., channel].astype(np.float64), color[..., channel].clip(0, 1).astype(np.float64)
        mean_a, mean_b = blurred(a), blurred(b)
        variance_a = sample * (blurred(a * a) - mean_a * mean_a)
        variance_b = sample * (blurred(b * b) - mean_b * mean_b)
        covariance = sample * (blurred(a * b) - mean_a * mean_b)
        numerator = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
        denominator = (mean_a**2 + mean_b**2 + _C1) * (variance_a + variance_b + _C2)
        sums += (numerator / denominator)[inner].sum((1, 2))
    return sums
