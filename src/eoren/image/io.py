"""Images as arrays: float32, shape (height, width, channels), values in [0, 1] as stored."""

import hashlib
import importlib.util
from dataclasses import dataclass, replace
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped
from PIL import Image

from eoren.errors import EorenError, format_error
from eoren.fs.files import hash_file
from eoren.fs.streams import Input, Readable, Writable, open_input, stream_name
from eoren.image import decoders, tiff
from eoren.image.decoders import KNOWN, Decoded, check_pixels, check_size, one_line_errors
from eoren.image.pillow_images import convert_pillow, decode_heif, decode_with_pillow
from eoren.image.profiles import convert_to_srgb, describe_profile, keep_profile
from eoren.image.writers import write_rows

SAMPLES = {
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
}
"""Photographs in the scikit-image wheel, all public domain or CC0: name -> file."""

# First bytes -> format; "...." is the length of what follows.
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"RIFF....WEBP": "WebP",
    b"....ftypavif": "AVIF",
    **dict.fromkeys((b"....ftypheic", b"....ftypheix", b"....ftypmif1"), "HEIC"),
    b"\x93NUMPY": ".npy",
    **dict.fromkeys(tiff.MAGIC, "TIFF"),
}


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class SourceImage:
    """Image with its source."""

    pixels: Float32[np.ndarray, "height width channels"]
    bit_depth: int  # per channel in the file: 8 (also for fewer), 16, or 32 for floating point
    sha256: str  # digest of the file's bytes, or of the pixels if there is no file
    name: str  # without folders; empty if there is no file
    notes: tuple[str, ...] = ()  # changes and omissions in reading, such as "first of 31 frames"
    profile: bytes = b""  # ICC profile of the colours; empty for sRGB, or without one


def read_image(source: Readable, *, to_srgb: bool = False) -> Float32[np.ndarray, "height width channels"]:
    """Read the pixels of an image.

    8 and 16 bits per channel are read exactly. Palettes become colours, CMYK becomes RGB, EXIF orientation is
    applied, and of an animation the first frame is read. If the file has a colour profile, values are in it.

    Args:
        source: PNG, JPEG, TIFF, WebP, AVIF, HEIC, GIF or .npy file, recognised by its content: its path, its bytes,
            or a binary file object, which is read to its end and stays open; or ``"sample:NAME"`` for a photograph
            of scikit-image: astronaut, camera, chelsea, coffee or rocket. HEIC needs the extra ``heif``.
        to_srgb: whether to convert colours from the profile of the file to sRGB; values outside sRGB are clamped.

    Returns:
        Values in [0, 1] as stored, with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha) channels.

    Raises:
        EorenError: the file is missing, unreadable, damaged, empty or not an image, or the image is larger than
            2**30 pixels, is a decompression bomb, has more than four channels or holds floats outside [0, 1]; or a
            file object holds more than 2**30 bytes.

    Example:
        >>> read_image("sample:astronaut").shape
        (512, 512, 3)
    """
    return read_source_image(source, to_srgb=to_srgb).pixels


def read_source_image(source: Readable, *, to_srgb: bool = False) -> SourceImage:
    """Read an image, as :func:`read_image` does, with the digest, bit depth, name and colour profile of its file."""
    if isinstance(source, str) and source.startswith("sample:"):
        source = _sample(source[7:])
    with open_input(source) as opened:
        decoded = decode(opened)
        opened.file.seek(0)
        digest = hash_file(opened.file)
        image = _scale(decoded, opened.name, to_srgb)
    if decoded.profile and to_srgb:  # other pixels than those of the file
        digest = hash_pixels(image.pixels)
    is_named = isinstance(source, str | PathLike) or hasattr(source, "name")
    return replace(image, sha256=digest, name=Path(opened.name).name if is_named else "")


def decode(source: Input) -> Decoded:
    """Decode an image file, recognised by its content; samples are as stored, not scaled to [0, 1]."""
    with one_line_errors(source.name):
        start = source.file.read(12)
        source.file.seek(0)
        kind = next((kind for magic, kind in _MAGIC.items() if _matches(start, magic)), None)
        if kind is None:
            raise EorenError(f"{source.name}: no image in a known format; use {KNOWN}")
        if kind == ".npy":
            return _decode_npy(source)
        if kind == "HEIC":
            return decode_heif(source)
        return tiff.decode_tiff(source) if kind == "TIFF" else decode_with_pillow(source, kind)


def _matches(start: bytes, magic: bytes) -> bool:
    return len(start) >= len(magic) and all(m in (ord("."), s) for s, m in zip(start, magic, strict=False))


def _decode_npy(source: Input) -> Decoded:
    file = source.file
    is_first = np.lib.format.read_magic(file) == (1, 0)  # later versions differ in the encoding of field names
    read_header = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if len(shape) >= 2:
        check_size(source, *shape[:2])
    if prod(shape) * dtype.itemsize > source.size:  # NumPy would take memory for them before it reads
        raise EorenError(f"{source.name}: damaged: the file ends before its values; use {KNOWN}")
    file.seek(0)
    array = np.load(file, allow_pickle=False)
    return Decoded(array, bit_depth=decoders.bit_depth(array.dtype))


def as_source_image(image: Any, *, to_srgb: bool = False) -> SourceImage:
    """Read an image from a path, bytes or a file object, or convert any other as :func:`as_image`.

    The digest of the latter is :func:`hash_pixels`. Images that :func:`as_samples` or :func:`decode` returned are
    converted, too, and one that was read before is returned as it is.
    """
    if isinstance(image, SourceImage):
        return image
    if isinstance(image, str | PathLike | bytes | bytearray) or hasattr(image, "read"):
        return read_source_image(image, to_srgb=to_srgb)
    source = _scale(image if isinstance(image, Decoded) else as_samples(image), "image", to_srgb)
    return replace(source, sha256=hash_pixels(source.pixels))


def hash_pixels(pixels: Shaped[np.ndarray, "height width channels"]) -> str:
    """Compute the SHA-256 digest of an array's shape and values, as 64 hexadecimal digits."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def as_image(array: Any) -> Float32[np.ndarray, "height width channels"]:
    """Convert an array, nested lists or a Pillow image to float32 of shape (height, width, channels).

    The shape is (H, W) or (H, W, C) with C from 1 to 4. Floats must lie in [0, 1]; uint8, uint16 and bool are scaled
    from their full range. A Pillow image is converted as :func:`read_image` converts that of a file; Pillow keeps 16
    bits of gray only. The result is a new contiguous array.
    """
    return _scale(as_samples(array), "image").pixels


def write_image(
    path: Writable, pixels: Any, *, bit_depth: int = 8, profile: bytes = b"", format: str | None = None
) -> None:
    """Write an image atomically: the file appears complete or not at all.

    Args:
        path: path of the file, or a binary file object, which stays open. The suffix selects the format: ``.png``,
            ``.tif``, ``.tiff``, ``.npy``, ``.jpg``, ``.jpeg`` or ``.webp``.
        pixels: Pillow image or array of shape (H, W) or (H, W, C). Integers and bool are scaled from their full
            range; floats outside [0, 1] are clamped, or kept in ``.npy`` and 32 bits.
        bit_depth: 8 or 16 (PNG, TIFF), or 32 for floats (TIFF). ``.npy`` always holds float32.
        profile: ICC profile of the colours, which ``.npy`` leaves out.
        format: one of these formats, such as ``png``, in place of the suffix; needed for file objects without a name.

    Raises:
        EorenError: the format cannot hold such an image, a value is not finite, or the file cannot be written.
    """
    array = as_samples(pixels, name := stream_name(path)).samples
    image = _with_channels(array, name) if array.dtype.kind == "f" else _as_pixels(array, name)
    height, width, channels = image.shape
    layout = {"height": height, "width": width, "channels": channels, "bit_depth": bit_depth, "profile": profile}
    write_rows(path, [image], **layout, format=format)


def as_samples(image: Any, name: str = "image") -> Decoded:
    """Convert an array, nested lists or a Pillow image to samples as they are, not scaled to [0, 1]."""
    if isinstance(image, Image.Image):
        return convert_pillow(image, name)
    try:
        array = np.asanyarray(image)
    except MemoryError:
        raise
    except Exception as error:  # the __array__ method of another type may raise anything
        kind, reason = type(image).__name__, format_error(error)
        raise EorenError(f"{name}: {kind} is not an array ({reason}); give a NumPy array") from error
    if np.ma.is_masked(array):
        raise EorenError(f"{name}: a masked array has missing values; fill them, or give its mask as alpha")
    return Decoded(np.asarray(array), bit_depth=32)


def _scale(decoded: Decoded, name: str, to_srgb: bool = False) -> SourceImage:
    """Convert samples to float32 in [0, 1]; keep their colour profile, or convert to sRGB."""
    samples = _with_channels(decoded.samples, name)
    check_pixels(name, *samples.shape[:2])  # its file could not be read
    pixels = _as_pixels(samples, name)
    profile, notes = keep_profile(decoded.profile, pixels.shape[2])
    if profile and to_srgb:
        pixels, notes = convert_to_srgb(pixels, profile), (f"converted from {describe_profile(profile)!r} to sRGB",)
        profile = b""
    return SourceImage(pixels, decoded.bit_depth, "", "", decoded.notes + notes, profile)


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
    package = importlib.util.find_spec("skimage")  # importing it takes a while
    if package is None or package.origin is None:
        raise EorenError(f"sample:{name}: scikit-image, which has it, is not installed; pip install scikit-image")
    return Path(package.origin).parent / "data" / SAMPLES[name]
