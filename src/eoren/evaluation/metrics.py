"""How right a field is, in colour and in derivative, against the image it was fitted to."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf, log10, nan

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from skimage.metrics import structural_similarity

from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.image.cell_averages import AVERAGING, point_values
from eoren.image.gradients import pixel_gradient
from eoren.image.io import as_image

Image = Float[np.ndarray, "height width channels"]

# scikit-image's Gaussian window, sigma 1.5 cut at 3.5 sigma, reaches this far.
_SSIM_RADIUS = 5
# Strips see 40 rows above and below for their splines: tall ones waste less.
_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True)
class Metrics:
    """The numbers of one field, under the names that every command and table uses.

    Attributes:
        psnr: dB, peak 1, output clamped to [0, 1], all channels.
        psnr_8bit: the same after rounding the output to 8 bits.
        gradient_psnr: dB, ``-10 log10 mean (grad Phi - grad f)^2`` at pixel centres in intensity per pixel, all
            channels and both axes; grad Phi is the field's own unclamped derivative, grad f the derivative of the
            quintic spline through the pixels.
        ssim: structural similarity, Gaussian weights, range 1; not a number for images under 11 pixels.
        parameters: numbers that the field stores.
        bytes: of its file.
        bits_per_pixel: of its file, over the pixels of the image.
    """

    psnr: float
    psnr_8bit: float
    gradient_psnr: float
    ssim: float
    parameters: int
    bytes: int
    bits_per_pixel: float

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which knows neither infinity nor nan: both become ``None``."""
        return finite(asdict(self))


def evaluate(field: Field, image: ArrayLike, *, stored_bytes: int | None = None) -> Metrics:
    """Measure a field against its image, in strips: memory does not grow beyond image and target.

    Of a field whose fit took pixels for areas, colours are averages over the pixels, and the spline's too.

    Args:
        field: what to measure.
        image: ``(H, W)`` or ``(H, W, C)``, as :func:`eoren.fit` takes it, of the size the field was fitted to.
        stored_bytes: size of the field's file, if it lies in one; else that of the file it would have.

    Raises:
        EorenError: the image has another size, or other channels.

    Example:
        >>> import eoren, numpy as np
        >>> image = np.full((16, 16, 3), 0.5, np.float32)
        >>> eoren.evaluate(eoren.fit(image, steps=1, width=8, depth=2).field, image).psnr > 60
        True
    """
    image = as_image(image)
    height, width, channels = image.shape
    if (width, height, channels) != (*field.size, field.channels):
        raise EorenError(
            f"the image is {width}x{height} with {channels} channels, but the field was fitted to "
            f"{field.size[0]}x{field.size[1]} with {field.channels}; give the image it was fitted to"
        )
    if stored_bytes is None:
        from eoren.field.serialization import dumps

        stored_bytes = len(dumps(field))
    color, rounded, gradient = _squared_errors(field, image)
    return Metrics(
        psnr=decibel(color),
        psnr_8bit=decibel(rounded),
        gradient_psnr=decibel(gradient),
        ssim=_ssim(field, image),
        parameters=field.parameters,
        bytes=stored_bytes,
        bits_per_pixel=8 * stored_bytes / (width * height),
    )


def decibel(squared_error: float) -> float:
    """PSNR at peak 1 of a mean squared error; infinite for none.

    Example:
        >>> round(decibel(0.001), 6)
        30.0
    """
    return inf if squared_error == 0 else -10 * log10(squared_error)


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """For JSON, which knows neither infinity nor nan: both become ``None``.

    Example:
        >>> finite({"psnr": inf, "ssim": 1.0})
        {'psnr': None, 'ssim': 1.0}
    """
    return {name: value if abs(value) < inf else None for name, value in values.items()}


def psnr(
    said: Float[np.ndarray, "height width channels"], image: Float[np.ndarray, "height width channels"]
) -> float:
    """PSNR in dB at peak 1, after clamping to [0, 1], over all channels."""
    return decibel(float(np.mean(np.square(np.clip(said, 0, 1, dtype=np.float64) - image))))


def _squared_errors(field: Field, image: Image) -> tuple[float, float, float]:
    """Mean squared errors of colour, colour in 8 bits, and gradient per pixel."""
    height, width, channels = image.shape
    areas = _has_areas(field)
    points = point_values(image) if areas else image
    sums = np.zeros(3)
    strip = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, strip):
        rows = slice(top, top + strip)
        color, gradient = field.sample(
            width, height, "color", "gradient", rows=rows, extent=(float(width), float(height))
        )
        clamped = (_averages(field, rows) if areas else color).clip(0, 1)
        reference = pixel_gradient(points, box=(0, top, width, min(top + strip, height)))
        sums += [
            np.square(clamped - image[rows], dtype=np.float64).sum(),
            np.square(np.floor(clamped * 255 + 0.5) / 255 - image[rows], dtype=np.float64).sum(),
            np.square(gradient - reference, dtype=np.float64).sum() / 2,
        ]
    color_error, rounded_error, gradient_error = (sums / (height * width * channels)).tolist()
    return color_error, rounded_error, gradient_error


def _has_areas(field: Field) -> bool:
    return field.provenance.settings.get("pixels") == "areas"


def _averages(field: Field, rows: slice) -> Float[np.ndarray, "rows width channels"]:
    """Over the pixels of some rows."""
    width, height = field.size
    total = np.zeros((len(range(height)[rows]), width, field.channels), np.float32)
    for x, y, weight in AVERAGING:
        region = (x / width, y / height, 1 + x / width, 1 + y / height)
        total += np.float32(weight) * field.sample(width, height, "color", region=region, rows=rows)[0]
    return total


def _ssim(field: Field, image: Image) -> float:
    """scikit-image's mean structural similarity, strip by strip; strips overlap by the window's radius."""
    height, width, channels = image.shape
    r = _SSIM_RADIUS
    if min(height, width) <= 2 * r:
        return nan
    total = 0.0
    strip = max(1, _STRIP_PIXELS // width)
    for top in range(r, height - r, strip):
        rows = slice(top - r, min(top + strip, height - r) + r)
        said = _averages(field, rows) if _has_areas(field) else field.sample(width, height, "color", rows=rows)[0]
        said = said.clip(0, 1)
        for c in range(channels):
            _, similarity = structural_similarity(
                image[rows, :, c].astype(np.float64),
                said[..., c].astype(np.float64),
                gaussian_weights=True,
                data_range=1.0,
                full=True,
            )
            total += float(np.sum(similarity[r:-r, r:-r]))
    return float(total / ((height - 2 * r) * (width - 2 * r) * channels))
