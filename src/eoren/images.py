"""Pictures as arrays: float32, shape (height, width, channels), values in [0, 1] as stored.

Nothing about a file is changed silently: what had to be changed or left out is named in `Picture.notes`.
"""

import errno
import importlib.resources
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped
from PIL import Image, ImageFile, UnidentifiedImageError

from eoren.errors import EorenError
from eoren.files import sha256
from eoren.streams import write_rows

MAX_PIXELS = 2**30
"""Largest picture that is read: a gigapixel. Headers that promise more are refused before any decoding."""

SAMPLES = {
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
}
"""Photographs that the scikit-image wheel contains, all public domain or CC0."""

# Listed, because for some other formats Pillow would run external programs.
_PILLOW_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NPY_MAGIC = b"\x93NUMPY"
_KNOWN = "an intact PNG, JPEG, TIFF, WebP, GIF or .npy file"

# Modes of Pillow that are not plain samples -> the mode that holds the same picture as plain samples.
_CONVERTED = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}

# EXIF orientation -> axes to flip, after exchanging rows and columns for 5 and above.
_FLIPS: dict[int, tuple[int, ...]] = {2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}
_ORIENTATION = 0x0112

# Pillow's size limit, Python's warning filters and log handlers belong to the whole process.
_DECODING = threading.RLock()


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Picture:
    """A picture read from a file.

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


class _Decoded(NamedTuple):
    """Samples as stored, not yet scaled, but upright."""

    samples: Shaped[np.ndarray, "..."]
    notes: tuple[str, ...] = ()


def read_image(source: str | Path) -> Float32[np.ndarray, "height width channels"]:
    """Read the pixels of a picture.

    Args:
        source: A PNG, JPEG, TIFF, WebP, GIF or .npy file, or ``"sample:NAME"`` (see `read_picture`).

    Returns:
        Values in [0, 1] as stored, with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha) channels.

    Raises:
        EorenError: See `read_picture`.

    Example:
        >>> read_image("sample:astronaut").shape
        (512, 512, 3)
    """
    return read_picture(source).pixels


def read_picture(source: str | Path) -> Picture:
    """Read a picture, with what is worth knowing about the file.

    8 and 16 bits per channel are read exactly. Palettes become colours, CMYK becomes RGB, EXIF orientation is
    applied, and an animation gives its first frame. Colour profiles and gamma are left alone.

    Args:
        source: A PNG, JPEG, TIFF, WebP, GIF or .npy file, recognised by its content; or ``"sample:NAME"`` for
            a photograph that comes with scikit-image: astronaut, camera, chelsea, coffee or rocket.

    Returns:
        The picture; `Picture.notes` names every change.

    Raises:
        EorenError: The file is missing, unreadable, damaged, not a picture, empty, larger than 2**30 pixels,
            has more than four channels, or holds floats outside [0, 1].
    """
    path = _sample(source[7:]) if isinstance(source, str) and source.startswith("sample:") else Path(source)
    digest = sha256(path)
    with _decoding(path) as warned:
        samples, notes = _decode(path)
    pixels = _as_pixels(samples, str(path))
    bit_depth = 32 if samples.dtype.kind == "f" else 8 * samples.dtype.itemsize
    return Picture(pixels, bit_depth, digest, path.name, notes + tuple(dict.fromkeys(warned)))


def as_image(array: Any) -> Float32[np.ndarray, "height width channels"]:
    """Check an array and convert it to the form used everywhere in EoREN.

    Args:
        array: Anything `numpy.asarray` takes, of shape (H, W) or (H, W, C) with C from 1 to 4. Floats must
            lie in [0, 1]; uint8, uint16 and bool are scaled from their full range.

    Returns:
        A new contiguous array with values in [0, 1].

    Raises:
        EorenError: Another shape or type, an empty array, NaN or infinity, or floats outside [0, 1].

    Example:
        >>> as_image(np.array([[0, 51, 255]], np.uint8))[..., 0].tolist()
        [[0.0, 0.20000000298023224, 1.0]]
    """
    return _as_pixels(_as_array(array, "image"), "image")


def write_image(path: str | Path, pixels: Any, *, bit_depth: int = 8) -> None:
    """Write a picture; the file appears complete or not at all.

    Args:
        path: Where to write. The suffix chooses the format: ``.png``, ``.tif``, ``.tiff``, ``.npy``,
            ``.jpg``, ``.jpeg`` or ``.webp``.
        pixels: Array of shape (H, W) or (H, W, C) with C from 1 to 4. Floats outside [0, 1] are clamped,
            except for ``.npy`` and 32 bits; uint8, uint16 and bool are scaled from their full range.
        bit_depth: 8 or 16 (PNG, TIFF), or 32 for floats (TIFF). ``.npy`` always holds float32.

    Raises:
        EorenError: The format cannot hold such a picture, a value is not finite, or writing fails.
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
        raise EorenError(f"{name}: {kind} is no array ({_line(error)}); give a NumPy array") from error


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


class _Listener(logging.Handler):
    """Collects log messages, and turns what a decoder merely reports as an error into one."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Handle one message."""
        if record.levelno >= logging.ERROR:
            raise ValueError(record.getMessage())
        self.heard.append(_line(record.getMessage()))


@contextmanager
def _decoding(path: Path) -> Iterator[list[str]]:
    """Turn whatever a decoder raises into one error, and collect what it would print.

    Yields:
        Warnings and log messages, filled on leaving.
    """
    warned: list[str] = []
    log, listener = logging.getLogger("tifffile"), _Listener()
    with _DECODING, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # MAX_PIXELS is ours
        propagate, log.propagate = log.propagate, False
        log.addHandler(listener)
        try:
            yield warned
        except EorenError:
            raise
        except MemoryError as error:
            raise EorenError(f"{path}: does not fit in memory; use a smaller picture") from error
        except UnidentifiedImageError as error:
            raise EorenError(f"{path}: no picture in a known format; use {_KNOWN}") from error
        except Exception as error:  # decoders meet damage with errors of almost any type
            if getattr(error, "errno", None) == errno.ENOMEM:
                raise MemoryError from error
            raise EorenError(f"{path}: damaged or not supported ({_line(error)}); use {_KNOWN}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
            log.removeHandler(listener)
            log.propagate = propagate
        warned += [_line(warning.message) for warning in caught]
        warned += listener.heard


def _line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _decode(path: Path) -> _Decoded:
    with path.open("rb") as file:
        magic = file.read(8)
    if magic.startswith(_NPY_MAGIC):
        return _decode_npy(path)
    if magic.startswith(_TIFF_MAGIC):
        return _decode_tiff(path)
    return _decode_pillow(path)


def _check_size(path: Path, height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise EorenError(f"{path}: {width} x {height} pixels exceed the limit of {MAX_PIXELS}; make it smaller")


def _decode_npy(path: Path) -> _Decoded:
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # nothing is read yet
    if mapped.ndim >= 2:
        _check_size(path, *mapped.shape[:2])
    return _Decoded(mapped)


def _decode_tiff(path: Path) -> _Decoded:
    """Decode what tifffile can without other packages, exactly; the rest with Pillow, which has libtiff."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page, frames = tiff.pages.first, len(tiff.pages)
        _check_size(path, page.imagelength, page.imagewidth)
        bits, white_is_zero = page.bitspersample, page.photometric == 0
        if bits not in (1, 2, 4, 8, 16, 32, 64):
            raise EorenError(f"{path}: has {bits} bits per sample; save it with 8, 16 or 32 (floats)")
        tag = page.tags.get(_ORIENTATION)
        orientation = tag.value if tag else 1
        # Whole bytes, gray or RGB (photometric 0 to 2), stored plainly or by one of the two codes for deflate.
        if bits >= 8 and page.photometric in (0, 1, 2) and page.compression in (1, 8, 32946):
            samples = page.asarray()
            if page.planarconfig == 2 and samples.ndim == 3:
                samples = np.moveaxis(samples, 0, -1)
            samples, notes = _upright(samples, orientation)
            if 1 in page.extrasamples:
                notes += ("colours premultiplied by alpha, as stored",)
        else:
            samples, notes = _decode_pillow(path, ("TIFF",))
            notes += _turning(orientation)  # done by Pillow
            white_is_zero = white_is_zero and bits > 8  # up to 8 bits Pillow inverts
    if white_is_zero:
        samples = (1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max) - samples
    return _Decoded(samples, _frames(frames) + notes)


def _decode_pillow(path: Path, formats: tuple[str, ...] = _PILLOW_FORMATS) -> _Decoded:
    with _open(path, formats) as header:
        _check_size(path, header.height, header.width)
        mode, layout = header.mode, _layout(header)
        frames = getattr(header, "n_frames", 1) if formats != ("TIFF",) else 1
        header.verify()  # PNG checksums, which decoding ignores
    if ";16" in layout and mode in ("RGB", "RGBA"):
        image, samples = _load_both_bytes(path, formats, layout)
    else:
        image = _load(path, formats)
        if mode in _CONVERTED:
            transparent = mode in ("P", "PA") and image.has_transparency_data
            image = image.convert("RGBA" if transparent else _CONVERTED[mode])
        elif mode not in ("L", "LA", "RGB", "RGBA", "F", "I") and not mode.startswith("I;16"):
            raise EorenError(f"{path}: pixels of type {mode} are not supported; convert it to gray or RGB")
        samples = np.asarray(image)
    key = image.info.get("transparency")
    if key is not None and mode not in ("P", "PA"):
        scale = {"L;2": 85, "L;4": 17}.get(layout, 1)  # the samples were stretched to 8 bits, the key was not
        stretched = 255 * bool(key) if mode == "1" else np.multiply(key, scale)
        samples = _with_key(samples, stretched)
    samples, notes = _upright(samples, _orientation(image))
    if mode == "CMYK":
        notes += ("CMYK converted to RGB",)
    if "RGBa;16" in layout:
        notes += ("colours premultiplied by alpha, as stored",)
    if "X" in layout:
        notes += ("a channel of unspecified meaning left out",)
    return _Decoded(samples, _frames(frames) + notes)


def _open(path: Path, formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """Read the header only."""
    image = Image.open(path, formats=formats)
    assert isinstance(image, ImageFile.ImageFile)
    return image


def _layout(image: ImageFile.ImageFile) -> str:
    """Return Pillow's name ("raw mode") for the layout of the decompressed bytes, if it has one."""
    args = image.tile[0].args if image.tile else None
    return str(args[0] if isinstance(args, tuple) else args or "")


def _load(path: Path, formats: tuple[str, ...], layout: str = "") -> Image.Image:
    """Decode a picture; a given `layout` is what the decompressed bytes are taken for."""
    with _open(path, formats) as image:
        if layout:
            image.tile = [
                tile._replace(args=(layout, *tile.args[1:]) if isinstance(tile.args, tuple) else layout)
                for tile in image.tile or []
            ]
        image.load()
    return image


def _load_both_bytes(
    path: Path, formats: tuple[str, ...], layout: str
) -> tuple[Image.Image, Shaped[np.ndarray, "height width channels"]]:
    """Decode 16-bit colour, for which Pillow has no pixels: by itself it keeps one byte of every sample.

    Two passes: layout ``;16B`` keeps the first byte of every sample, ``;16L`` the second. Two 16-bit channels
    need one pass, as they fill four bytes just as 8-bit RGBA does. PNG is big-endian, libtiff native.
    """
    if layout == "LA;16B":
        image = _load(path, formats, "RGBA")
        return image, np.asarray(image).view(">u2")
    channels = layout.split(";")[0].replace("RGBa", "RGBA")  # leave premultiplied colours as stored
    image = _load(path, formats, f"{channels};16B")
    first, second = np.asarray(image), np.asarray(_load(path, formats, f"{channels};16L"))
    both = np.stack([first, second], axis=-1)
    return image, both.view("=u2" if formats == ("TIFF",) else ">u2")[..., 0]


def _with_key(samples: Shaped[np.ndarray, "..."], key: Any) -> Shaped[np.ndarray, "height width channels"]:
    """Append an alpha channel that is zero where the colour is the key (PNG's tRNS)."""
    colours = samples if samples.ndim == 3 else samples[..., None]
    opaque = np.any(colours != key, axis=-1, keepdims=True)
    alpha = np.where(opaque, np.iinfo(colours.dtype).max, 0).astype(colours.dtype)
    return np.concatenate([colours, alpha], axis=-1)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception as error:  # the pixels are good: let the picture through, with a note
        warnings.warn(f"EXIF block ignored ({_line(error)})", stacklevel=2)
        return 1


def _upright(samples: Shaped[np.ndarray, "..."], orientation: int) -> _Decoded:
    if orientation in _FLIPS:
        samples = np.flip(samples.swapaxes(0, 1) if orientation >= 5 else samples, _FLIPS[orientation])
    return _Decoded(samples, _turning(orientation))


def _turning(orientation: int) -> tuple[str, ...]:
    return (f"EXIF orientation {orientation} applied",) if orientation in _FLIPS else ()


def _frames(count: int) -> tuple[str, ...]:
    return (f"first of {count} frames",) if count > 1 else ()
