"""Images as arrays: float32, shape (height, width, channels), values in [0, 1] as stored."""

import hashlib
import importlib.resources
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped
from PIL import Image

from eoren.errors import EorenError, format_error
from eoren.fs.files import sha256
from eoren.image.decoders import check_pixels, convert_pillow, decode
from eoren.image.writers import write_rows

SAMPLES = {
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
}
"""Photographs in the scikit-image wheel, all public domain or CC0: name -> file."""


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class SourceImage:
    """Image with its source."""

    pixels: Float32[np.ndarray, "height width channels"]
    bit_depth: int  # per channel in the file: 8 (also for fewer), 16, or 32 for floating point
    sha256: str  # digest of the file's bytes, or of the pixels if there is no file
    name: str  # without folders; empty if there is no file
    notes: tuple[str, ...] = ()  # changes and omissions in reading, such as "first of 31 frames"


def read_image(source: str | Path) -> Float32[np.ndarray, "height width channels"]:
    """Read the pixels of an image.

    8 and 16 bits per channel are read exactly. Palettes become colours, CMYK becomes RGB, EXIF orientation is
    applied, and of an animation the first frame is read. Colour profiles and gamma are ignored.

    Args:
        source: PNG, JPEG, TIFF, WebP, GIF or .npy file, recognised by its content; or ``"sample:NAME"`` for a
            photograph of scikit-image: astronaut, camera, chelsea, coffee or rocket.

    Returns:
        Values in [0, 1] as stored, with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha) channels.

    Raises:
        EorenError: the file is missing, unreadable, damaged, empty or not an image, or the image is larger than
            2**30 pixels, is a decompression bomb, has more than four channels or holds floats outside [0, 1].

    Example:
        >>> read_image("sample:astronaut").shape
        (512, 512, 3)
    """
    return read_source_image(source).pixels


def read_source_image(source: str | Path) -> SourceImage:
    """Read an image, as :func:`read_image` does, with the digest, bit depth and name of its file."""
    path = _sample(source[7:]) if isinstance(source, str) and source.startswith("sample:") else Path(source)
    digest = sha256(path)
    samples, notes = decode(path)
    pixels = _as_pixels(samples, str(path))
    bit_depth = 32 if samples.dtype.kind == "f" else 8 * samples.dtype.itemsize
    return SourceImage(pixels, bit_depth, digest, path.name, notes)


def as_source_image(image: Any) -> SourceImage:
    """Read an image from a path, or convert any other as :func:`as_image`; its digest is then :func:`hash_pixels`."""
    if isinstance(image, SourceImage):
        return image
    if isinstance(image, str | PathLike):
        return read_source_image(image if isinstance(image, str) else Path(image))
    pixels = as_image(image)
    return SourceImage(pixels, 32, hash_pixels(pixels), "")


def hash_pixels(pixels: Shaped[np.ndarray, "height width channels"]) -> str:
    """Compute the SHA-256 digest of an array's shape and values, as 64 hexadecimal digits."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def as_image(array: Any) -> Float32[np.ndarray, "height width channels"]:
    """Convert an array, nested lists or a Pillow image to float32 of shape (height, width, channels).

    The shape is (H, W) or (H, W, C) with C from 1 to 4. Floats must lie in [0, 1]; uint8, uint16 and bool are scaled
    from their full range. A Pillow image is converted as :func:`read_image` converts that of a file; Pillow keeps 16
    bits of gray only. The result is a new contiguous array.
    """
    samples = _with_channels(_as_array(array, "image"), "image")
    check_pixels("image", *samples.shape[:2])  # its file could not be read
    return _as_pixels(samples, "image")


def write_image(path: str | Path, pixels: Any, *, bit_depth: int = 8) -> None:
    """Write an image atomically: the file appears complete or not at all.

    Args:
        path: path of the file. The suffix selects the format: ``.png``, ``.tif``, ``.tiff``, ``.npy``, ``.jpg``,
            ``.jpeg`` or ``.webp``.
        pixels: Pillow image or array of shape (H, W) or (H, W, C). Integers and bool are scaled from their full
            range; floats outside [0, 1] are clamped, or kept in ``.npy`` and 32 bits.
        bit_depth: 8 or 16 (PNG, TIFF), or 32 for floats (TIFF). ``.npy`` always holds float32.

    Raises:
        EorenError: the format cannot hold such an image, a value is not finite, or the file cannot be written.
    """
    array = _as_array(pixels, str(path))
    image = _with_channels(array, str(path)) if array.dtype.kind == "f" else _as_pixels(array, str(path))
    height, width, channels = image.shape
    write_rows(path, [image], height=height, width=width, channels=channels, bit_depth=bit_depth)


def _as_array(array: Any, name: str) -> Shaped[np.ndarray, "..."]:
    if isinstance(array, Image.Image):
        return convert_pillow(array, name)
    try:
        return np.asarray(array)
    except Exception as error:  # the __array__ method of another type may raise anything
        kind, reason = type(array).__name__, format_error(error)
        raise EorenError(f"{name}: {kind} is not an array ({reason}); give a NumPy array") from error


def _as_pixels(samples: Shaped[np.ndarray, "..."], name: str) -> Float32[np.ndarray, "height width channels"]:
    samples = _with_channels(samples, name)
    kind, size = samples.dtype.kind, samples.dtype.itemsize
    if kind == "b":
        return samples.astype(np.float32, order="C")
    if kind == "u" and size <= 2:
        pixels: np.ndarray = np.divide(samples, np.iinfo(samples.dtype).max, dtype=np.float32, order="C")
        return pixels
    if kind != "f":
        raise EorenError(
            f"{name}: values must be uint8, uint16, bool or floats in [0, 1], got {samples.dtype}; convert them"
        )
    low, high = samples.min(), samples.max()
    if not (np.isfinite(low) and np.isfinite(high)):  # NaN carries over to both
        raise EorenError(f"{name}: values must be finite, got NaN or infinity; replace them")
    if low < 0 or high > 1:
        hint = "divide by 255" if low >= 0 and 1.5 < high <= 255 else "rescale or clip them"
        raise EorenError(f"{name}: values must lie in [0, 1], got {low} to {high}; {hint}")
    return samples.astype(np.float32, order="C")


def _with_channels(samples: Shaped[np.ndarray, "..."], name: str) -> Shaped[np.ndarray, "height width channels"]:
    with_channels = samples[..., None] if samples.ndim == 2 else samples
    if with_channels.ndim != 3 or with_channels.shape[2] > 4 or samples.size == 0:
        raise EorenError(
            f"{name}: must have shape (height, width) or (height, width, 1 to 4) without zeros, got {samples.shape}"
        )
    return with_channels


def _sample(name: str) -> Path:
    if name not in SAMPLES:
        raise EorenError(f"sample:{name}: no such sample; use one of {', '.join(SAMPLES)}")
    return Path(str(importlib.resources.files("skimage").joinpath("data", SAMPLES[name])))
