"""Pictures as arrays: float32, shape (height, width, channels), values in [0, 1] as stored.

Nothing about a file is changed silently: what had to be changed or left out is named in `SourceImage.notes`.
"""

import hashlib
import importlib.resources
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from eoren.errors import EorenError
from eoren.fs.files import sha256
from eoren.image.decoders import as_line, check_pixels, decode
from eoren.image.writers import write_rows

SAMPLES = {
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
}
"""Photographs that the scikit-image wheel contains, all public domain or CC0."""


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class SourceImage:
    """An image read from a file.

    Attributes:
        pixels: Values in [0, 1], float32. Channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
        bit_depth: Bits per channel in the file: 8 (also for fewer), 16, or 32 for floating point.
        sha256: Digest of the file's bytes, or empty if there is no file.
        name: Name of the file, without folders.
        notes: What was changed or left out in reading, such as "first of 31 frames".
    """

    pixels: Float32[np.ndarray, "height width channels"]
    bit_depth: int
    sha256: str
    name: str
    notes: tuple[str, ...] = ()


def read_image(source: str | Path) -> Float32[np.ndarray, "height width channels"]:
    """Read the pixels of an image.

    Args:
        source: A PNG, JPEG, TIFF, WebP, GIF or .npy file, or ``"sample:NAME"`` (see `read_source_image`).

    Returns:
        Values in [0, 1] as stored, with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha) channels.

    Raises:
        EorenError: See `read_source_image`.

    Example:
        >>> read_image("sample:astronaut").shape
        (512, 512, 3)
    """
    return read_source_image(source).pixels


def read_source_image(source: str | Path) -> SourceImage:
    """Read an image, with what is worth knowing about the file.

    8 and 16 bits per channel are read exactly. Palettes become colours, CMYK becomes RGB, EXIF orientation is
    applied, and an animation gives its first frame. Colour profiles and gamma are left alone.

    Args:
        source: A PNG, JPEG, TIFF, WebP, GIF or .npy file, recognised by its content; or ``"sample:NAME"`` for
            a photograph that comes with scikit-image: astronaut, camera, chelsea, coffee or rocket.

    Returns:
        The image; `SourceImage.notes` names every change.

    Raises:
        EorenError: The file is missing, unreadable, damaged, not an image, empty, larger than 2**30 pixels,
            has more than four channels, or holds floats outside [0, 1].
    """
    path = _sample(source[7:]) if isinstance(source, str) and source.startswith("sample:") else Path(source)
    digest = sha256(path)
    samples, notes = decode(path)
    pixels = _as_pixels(samples, str(path))
    bit_depth = 32 if samples.dtype.kind == "f" else 8 * samples.dtype.itemsize
    return SourceImage(pixels, bit_depth, digest, path.name, notes)


def digest_of(pixels: Shaped[np.ndarray, "height width channels"]) -> str:
    """SHA-256 of an array's shape and numbers, as 64 hexadecimal digits."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def as_image(array: Any) -> Float32[np.ndarray, "height width channels"]:
    """Check an array and convert it to the form used everywhere in EoREN.

    Args:
        array: Anything `numpy.asarray` takes, of shape (H, W) or (H, W, C) with C from 1 to 4. Floats must
            lie in [0, 1]; uint8, uint16 and bool are scaled from their full range.

    Returns:
        A new contiguous array with values in [0, 1].

    Raises:
        EorenError: Another shape or type, an empty array or one of more than 2**30 pixels, NaN or infinity, or
            floats outside [0, 1].

    Example:
        >>> as_image(np.array([[0, 51, 255]], np.uint8))[..., 0].tolist()
        [[0.0, 0.20000000298023224, 1.0]]
    """
    samples = _with_channels(_as_array(array, "image"), "image")
    check_pixels("image", *samples.shape[:2])  # nobody could read its file
    return _as_pixels(samples, "image")


def write_image(path: str | Path, pixels: Any, *, bit_depth: int = 8) -> None:
    """Write an image; the file appears complete or not at all.

    Args:
        path: Where to write. The suffix chooses the format: ``.png``, ``.tif``, ``.tiff``, ``.npy``,
            ``.jpg``, ``.jpeg`` or ``.webp``.
        pixels: Array of shape (H, W) or (H, W, C) with C from 1 to 4. Floats outside [0, 1] are clamped,
            except for ``.npy`` and 32 bits; uint8, uint16 and bool are scaled from their full range.
        bit_depth: 8 or 16 (PNG, TIFF), or 32 for floats (TIFF). ``.npy`` always holds float32.

    Raises:
        EorenError: The format cannot hold such an image, a value is not finite, or writing fails.
    """
    array = _as_array(pixels, str(path))
    clampable = array.dtype.kind == "f"
    image = _with_channels(array, str(path)) if clampable else _as_pixels(array, str(path))
    height, width, channels = image.shape
    write_rows(path, [image], height=height, width=width, channels=channels, bit_depth=bit_depth)


def _as_array(array: Any, name: str) -> Shaped[np.ndarray, "..."]:
    try:
        return np.asarray(array)
    except Exception as error:  # whatever the __array__ of a foreign type may raise
        kind = type(array).__name__
        raise EorenError(f"{name}: {kind} is no array ({as_line(error)}); give a NumPy array") from error


def _as_pixels(samples: Shaped[np.ndarray, "..."], name: str) -> Float32[np.ndarray, "height width channels"]:
    samples = _with_channels(samples, name)
    kind, size = samples.dtype.kind, samples.dtype.itemsize
    if kind == "b":
        return samples.astype(np.float32, order="C")
    if kind == "u" and size <= 2:
        pixels: np.ndarray = np.divide(samples, np.iinfo(samples.dtype).max, dtype=np.float32, order="C")
        return pixels
    if kind != "f":
        raise EorenError(f"{name}: values of type {samples.dtype}; give uint8, uint16, or floats in [0, 1]")
    low, high = samples.min(), samples.max()
    if not (np.isfinite(low) and np.isfinite(high)):  # NaN carries over to both
        raise EorenError(f"{name}: holds NaN or infinity; give finite values in [0, 1]")
    if low < 0 or high > 1:
        hint = "divide by 255" if low >= 0 and 1.5 < high <= 255 else "rescale or clip them"
        raise EorenError(f"{name}: values range from {low} to {high}, not in [0, 1]; {hint}")
    return samples.astype(np.float32, order="C")


def _with_channels(samples: Shaped[np.ndarray, "..."], name: str) -> Shaped[np.ndarray, "height width channels"]:
    shape = samples.shape
    if len(shape) == 2:
        samples = samples[..., None]
    if samples.ndim != 3 or samples.shape[2] > 4:
        raise EorenError(f"{name}: has shape {shape}; give (height, width) or (height, width, 1 to 4)")
    if samples.size == 0:
        raise EorenError(f"{name}: has shape {shape}, which is empty; give at least one pixel")
    return samples


def _sample(name: str) -> Path:
    if name not in SAMPLES:
        raise EorenError(f"sample:{name}: no such sample; use one of {', '.join(SAMPLES)}")
    return Path(str(importlib.resources.files("skimage").joinpath("data", SAMPLES[name])))
