"""Image codecs as rivals: every file is decoded to 8 bits and read through the reference spline."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from io import BytesIO
from math import log, sqrt
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as Pillow
from PIL import features

from eoren.evaluation.metrics import decibel
from eoren.image.arrays import Gradient, Image
from eoren.image.gradients import pixel_gradient
from eoren.image.writers import as_pillow, to_unsigned

Pixels = UInt8[np.ndarray, "height width channels"]
Setting = float | int

_TRIALS = 9  # files that are written to find a size
_RESOLUTIONS = 6  # of JPEG 2000, in images that have as many


@dataclass(frozen=True)
class Measurement:
    """Size, quality and times of one encoded file.

    Attributes:
        bytes: size of the whole file.
        bits_per_pixel: the same per pixel.
        psnr: dB, peak 1, all channels, colours rounded to 8 bits.
        gradient_psnr: dB, ``-10 log10 mean (g - g_ref)^2`` at pixel centres in intensity per pixel; g_ref is the
            reference gradient of the image.
        encode_seconds: time from the pixels to the file.
        decode_seconds: time from the file to the pixels.
    """

    bytes: int
    bits_per_pixel: float
    psnr: float
    gradient_psnr: float
    encode_seconds: float
    decode_seconds: float

    def as_dict(self) -> dict[str, float | int]:
        """Convert to the columns of a row."""
        return asdict(self)


class Coded(NamedTuple):
    """One file of a rival: the pixels that it holds, and its measurement."""

    pixels: Pixels
    measurement: Measurement


@dataclass(frozen=True)
class Rival:
    """An image codec of Pillow.

    Attributes:
        title: name in tables and figures.
        format: Pillow's name of the file format.
        settings: values of the setting, by rising rate: qualities, or for JPEG 2000 compression ratios.
        options: other arguments of ``Image.save``.
        feature: name of the codec among Pillow's features.
        plugin: module that adds the format to Pillow.
    """

    title: str
    format: str
    settings: tuple[Setting, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    feature: str | None = None
    plugin: str | None = None

    def missing(self) -> str | None:
        """Describe why the codec cannot run here; None if it can."""
        if self.feature and self.feature not in features.get_supported():
            return f"Pillow is built without {self.format}"
        if self.plugin:
            try:
                import_module(self.plugin)
            except ImportError:
                return f"the module {self.plugin} is not installed"
        return None

    def encode(self, pixels: Pixels, setting: Setting) -> bytes:
        """Encode an image of 1 to 4 channels."""
        options = dict(self.options)
        if self._has_ratios:
            options["quality_layers"] = [setting]
            options["mct"] = int(pixels.shape[2] >= 3)  # a colour transform needs colours
            options["num_resolutions"] = min(_RESOLUTIONS, min(pixels.shape[:2]).bit_length())
        else:
            options["quality"] = setting
        stream = BytesIO()
        as_pillow(pixels).save(stream, self.format, **options)
        return stream.getvalue()

    def measure(self, pixels: Pixels, image: Image, gradient: Gradient, setting: Setting) -> Coded:
        """Encode an image in memory, decode it and measure both.

        Args:
            pixels: the image with 8 bits.
            image: colours in [0, 1] to measure against.
            gradient: their reference gradient in intensity per pixel.
            setting: a quality, or for JPEG 2000 the compression ratio.
        """
        height, width, channels = pixels.shape
        start = perf_counter()
        encoded = self.encode(pixels, setting)
        between = perf_counter()
        decoded = _decode(encoded, channels)
        end = perf_counter()
        values = unit(decoded)
        measurement = Measurement(
            bytes=len(encoded),
            bits_per_pixel=8 * len(encoded) / (height * width),
            psnr=decibel(float(np.mean((values - image) ** 2))),
            gradient_psnr=decibel(float(np.mean((pixel_gradient(values) - gradient) ** 2))),
            encode_seconds=between - start,
            decode_seconds=end - between,
        )
        return Coded(decoded, measurement)

    def setting_of_size(self, pixels: Pixels, size: int) -> Setting:
        """Find the setting whose file comes nearest to a size in bytes, by bisection."""
        low, high = self.settings[0], self.settings[-1]
        trials: list[tuple[float, Setting]] = []
        for _ in range(_TRIALS):
            setting = sqrt(low * high) if self._has_ratios else round((low + high) / 2)
            excess = log(len(self.encode(pixels, setting)) / size)
            trials.append((abs(excess), setting))
            low, high = (low, setting) if excess > 0 else (setting, high)
        return min(trials)[1]

    @property
    def _has_ratios(self) -> bool:
        return self.format == "JPEG2000"


_JPEG = {"optimize": True, "progressive": True}
_JPEG_QUALITIES = (5, 10, 20, 35, 55, 75, 85, 90, 93, 95, 97, 98, 99, 100)
_AVIF = {"subsampling": "4:4:4", "max_threads": 1}
_AVIF_QUALITIES = (10, 20, 35, 50, 65, 75, 82, 88, 92, 95, 97, 99, 100)

RIVALS: Mapping[str, Rival] = {
    # Files do not grow beyond the bits of OpenJPEG's finest quantization, 4.5 to 8 bits per pixel.
    "jpeg2000": Rival(
        "JPEG 2000",
        "JPEG2000",
        (60, 40, 24, 16, 12, 9, 7, 6, 5.2, 4.5, 4, 3.4, 2.9, 2.6),
        {"irreversible": True, "quality_mode": "rates"},
        feature="jpg_2000",
    ),
    "jpeg444": Rival("JPEG 4:4:4", "JPEG", _JPEG_QUALITIES, {**_JPEG, "subsampling": "4:4:4"}),
    "avif6": Rival("AVIF 4:4:4, speed 6", "AVIF", _AVIF_QUALITIES, {**_AVIF, "speed": 6}, feature="avif"),
    # The default tuning of libaom for still images is perceptual; this one optimizes what is measured here.
    "avif6psnr": Rival(
        "AVIF 4:4:4, speed 6, tune=psnr",
        "AVIF",
        _AVIF_QUALITIES,
        {**_AVIF, "speed": 6, "advanced": {"tune": "psnr"}},
        feature="avif",
    ),
    "webp": Rival(
        "WebP, method 6", "WEBP", (1, 10, 30, 50, 70, 80, 88, 93, 96, 98, 100), {"method": 6}, feature="webp"
    ),
    "jpeg420": Rival("JPEG 4:2:0", "JPEG", _JPEG_QUALITIES, {**_JPEG, "subsampling": "4:2:0"}),
    # `pip install pillow-jxl-plugin` adds the format to Pillow. Effort 7 is the default of libjxl.
    "jpegxl": Rival(
        "JPEG XL, effort 7",
        "JXL",
        (10, 30, 50, 65, 75, 85, 90, 93, 95, 97, 98, 99, 99.5, 99.9),
        {"effort": 7, "num_threads": 1},
        plugin="pillow_jxl",
    ),
    "avif4": Rival("AVIF 4:4:4, speed 4", "AVIF", _AVIF_QUALITIES, {**_AVIF, "speed": 4}, feature="avif"),
}
"""Rivals by name, in the order of tables."""


def smallest_jpeg(image: Image, psnr: float) -> int | None:
    """Measure the smallest JPEG file of an image with at least a PSNR, by bisection over its qualities.

    Args:
        image: ``(H, W, C)``, colours in [0, 1], without alpha.
        psnr: dB, of colours rounded to 8 bits.

    Returns:
        the size in bytes, of the better subsampling of colours; None if there is no such file: JPEG has no alpha, and
        its best quality has an error.

    Example:
        >>> wave = np.sin(np.mgrid[:64, :64].sum(0) / 9)[..., None] / 2 + 0.5
        >>> smallest_jpeg(wave, 30.0) < smallest_jpeg(wave, 45.0), smallest_jpeg(wave, 99.0)
        (True, None)
    """
    if image.shape[2] not in (1, 3):
        return None
    pixels = to_unsigned(image)

    def encode(rival: Rival, quality: int) -> tuple[float, int]:
        data = rival.encode(pixels, quality)
        return decibel(float(np.mean((unit(_decode(data, image.shape[2])) - image) ** 2))), len(data)

    sizes = []
    for name in ("jpeg444", "jpeg420")[: image.shape[2]]:
        low, high, best = 0, 100, encode(RIVALS[name], 100)
        if best[0] < psnr:
            continue
        while high - low > 1:  # the file of `high` is good enough, that of `low` is not
            trial = encode(RIVALS[name], middle := (low + high) // 2)
            low, high, best = (low, middle, trial) if trial[0] >= psnr else (middle, high, best)
        sizes.append(best[1])
    return min(sizes, default=None)


def unit(samples: Pixels) -> Float[np.ndarray, "height width channels"]:
    """Convert 8-bit samples to float64 in [0, 1]."""
    return samples.astype(np.float64) / 255


def _decode(data: bytes, channels: int) -> Pixels:
    with Pillow.open(BytesIO(data)) as image:
        pixels = np.asarray(image.convert(("L", "LA", "RGB", "RGBA")[channels - 1]))
    return pixels.reshape(*pixels.shape[:2], channels)
