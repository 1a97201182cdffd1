"""Image codecs as rivals: every file is decoded to 8 bits and read through the reference spline."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float
from PIL import Image, features

import eoren
from eoren.evaluation.metrics import decibel


@dataclass(frozen=True)
class Measurement:
    """Size, quality and times of one encoded file.

    Attributes:
        bytes: size of the whole file.
        bits_per_pixel: the same per pixel.
        psnr: dB, peak 1, all channels, colours rounded to 8 bits.
        gradient_psnr: dB, ``-10 log10 mean (g - g_ref)^2`` at pixel centres in intensity per pixel; g_ref is the
            reference gradient of the picture.
        encode_seconds: time from the pixels to the file.
        decode_seconds: time from the file to the pixels.
    """

    bytes: int
    bits_per_pixel: float
    psnr: float
    gradient_psnr: float
    encode_seconds: float
    decode_seconds: float

    def as_dict(self) -> dict[str, float]:
        """Convert to the columns of a row."""
        return asdict(self)


class Codec(Protocol):
    """A way to store pictures, with a setting that changes the rate."""

    @property
    def title(self) -> str:
        """Name in tables and figures."""

    @property
    def settings(self) -> tuple[float, ...]:
        """Values of the setting, one per point of the curve."""

    def missing(self) -> str | None:
        """Describe why the codec cannot run here; None if it can."""

    def measure(self, path: Path, setting: float) -> Measurement:
        """Store one picture and measure the file."""


@dataclass(frozen=True)
class Rival:
    """An image codec of Pillow.

    Attributes:
        title: name in tables and figures.
        format: Pillow's name of the file format.
        settings: values of the setting, by rising rate.
        options: other arguments of ``Image.save``.
        feature: name of the codec among Pillow's features.
        plugin: module that adds the format to Pillow.
    """

    title: str
    format: str
    settings: tuple[float, ...]
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

    def encode(self, picture: Image.Image, setting: float) -> bytes:
        """Encode a picture; the setting is a quality, or for JPEG 2000 the compression ratio."""
        rate = {"quality_layers": [setting]} if self.format == "JPEG2000" else {"quality": setting}
        stream = BytesIO()
        picture.save(stream, self.format, **self.options, **rate)
        return stream.getvalue()

    def measure(self, path: Path, setting: float) -> Measurement:
        """Encode one picture in memory, decode it and measure both."""
        source, reference = picture_and_gradient(path)
        picture = Image.fromarray(source)
        start = perf_counter()
        encoded = self.encode(picture, setting)
        between = perf_counter()
        with Image.open(BytesIO(encoded)) as image:
            decoded = np.asarray(image.convert("RGB"))
        end = perf_counter()
        height, width, _ = source.shape
        values = unit(decoded)
        return Measurement(
            bytes=len(encoded),
            bits_per_pixel=8 * len(encoded) / (height * width),
            psnr=decibel(float(np.mean((values - unit(source)) ** 2))),
            gradient_psnr=decibel(float(np.mean((pixel_slopes(values) - reference) ** 2))),
            encode_seconds=between - start,
            decode_seconds=end - between,
        )


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
        {"irreversible": True, "mct": 1, "quality_mode": "rates", "num_resolutions": 6},
        feature="jpg_2000",
    ),
    "jpeg444": Rival("JPEG 4:4:4", "JPEG", _JPEG_QUALITIES, {**_JPEG, "subsampling": "4:4:4"}),
    "avif6": Rival("AVIF 4:4:4, speed 6", "AVIF", _AVIF_QUALITIES, {**_AVIF, "speed": 6}, feature="avif"),
    # The default tuning of libaom for still pictures is perceptual; this one optimizes what is measured here.
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
"""Rivals by name. They run in this order."""


def unit(samples: np.ndarray) -> Float[np.ndarray, "height width channels"]:
    """Convert 8-bit samples to float64 in [0, 1]."""
    return samples.astype(np.float64) / 255


def pixel_slopes(values: Float[np.ndarray, "height width channels"]) -> Float[np.ndarray, "height width channels 2"]:
    """Compute the reference gradient in intensity per pixel."""
    height, width, _ = values.shape
    return eoren.reference_gradient(values, extent=(float(width), float(height)))


@lru_cache(maxsize=1)
def picture_and_gradient(path: Path) -> tuple[np.ndarray, Float[np.ndarray, "height width channels 2"]]:
    """Read a picture as 8-bit RGB, and compute its reference gradient; remembers the last one."""
    with Image.open(path) as image:
        source = np.asarray(image.convert("RGB"))
    return source, pixel_slopes(unit(source))
