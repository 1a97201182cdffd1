"""Decoding of image files from untrusted sources, to upright samples as stored.

The size in a header is limited by the size of the file, see `FREE_PIXELS`. Warnings and log messages of the decoders
become notes, and every exception becomes an `EorenError`.
"""

import errno
import logging
import os
import struct
import tempfile
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageFile, UnidentifiedImageError

from eoren.errors import EorenError, format_error

MAX_PIXELS = 2**30
"""Pixels of the largest image that is read. Larger ones are refused by their header, before any decoding."""

FREE_PIXELS = 2**24
"""Images with more pixels are refused as decompression bombs if they exceed `PIXELS_PER_BYTE` per byte of file."""

PIXELS_PER_BYTE = 256
"""Photographs have less than a hundred. Flat colours can have thousands; an uncompressed format helps."""

# For some other formats, Pillow would run external programs.
_PILLOW_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GIF_MAGIC = (b"GIF87a", b"GIF89a")
_NPY_MAGIC = b"\x93NUMPY"
_KNOWN = "an intact PNG, JPEG, TIFF, WebP, GIF or .npy file"

# Pillow modes that are not plain samples -> the mode of plain samples that they are converted to.
_CONVERTED = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}

# EXIF orientation -> axes to flip, after transposing for 5 and above.
_FLIPS: dict[int, tuple[int, ...]] = {2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}
_ORIENTATION = 0x0112

# A JPEG file may have any number of scans of the whole image. Encoders write about a dozen.
_FREE_SCANS = 64
_SCAN = b"\xff\xda"

_DEFLATE = (8, 32946)  # the two TIFF codes of deflate
_BLOCK = 1 << 20

# Pillow's size limit, Python's warning filters and the filters of logs are global to the process.
_DECODING = threading.RLock()
_LOG = logging.getLogger(__name__)


class Decoded(NamedTuple):
    """Upright samples as stored, not scaled to [0, 1], and notes on what was changed or left out."""

    samples: Shaped[np.ndarray, "..."]
    notes: tuple[str, ...] = ()


def decode(path: Path) -> Decoded:
    """Decode a PNG, JPEG, TIFF, WebP, GIF or .npy file, recognised by its content."""
    with _isolated(path) as messages:
        samples, notes = _decode(path)
    return Decoded(samples, notes + tuple(dict.fromkeys(messages)))


def convert_pillow(image: Image.Image, name: str) -> Shaped[np.ndarray, "..."]:
    """Convert a Pillow image to upright samples, as :func:`decode` does, with the same errors."""
    with _isolated(name):
        check_pixels(name, image.height, image.width)
        layout = _layout(image)
        image.load()
        samples = _with_key(_plain_samples(image, name), image, layout)
        return _upright(samples, _orientation(image)).samples


@contextmanager
def _isolated(name: str | Path) -> Iterator[list[str]]:
    """Turn every exception of a decoder into an EorenError; yield a list of its warnings, filled on exit."""
    messages: list[str] = []
    log = logging.getLogger("tifffile")

    def collect(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:  # tifffile logs some errors instead of raising them
            raise ValueError(record.getMessage())
        if record.levelno >= logging.WARNING:
            messages.append(format_error(record.getMessage()))
        return False

    with _DECODING, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # MAX_PIXELS is ours
        log.addFilter(collect)
        try:
            yield messages
        except EorenError:
            raise
        except MemoryError as error:
            raise EorenError(f"{name}: does not fit in memory; use a smaller image") from error
        except UnidentifiedImageError as error:
            raise EorenError(f"{name}: no image in a known format; use {_KNOWN}") from error
        except Exception as error:  # decoders raise almost any type for damaged files
            if getattr(error, "errno", None) == errno.ENOMEM:
                raise MemoryError from error
            raise EorenError(f"{name}: damaged or not supported ({format_error(error)}); use {_KNOWN}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
            log.removeFilter(collect)
        messages[:0] = [format_error(warning.message) for warning in caught]


def _decode(path: Path) -> Decoded:
    with path.open("rb") as file:
        magic = file.read(10)
    if magic.startswith(_NPY_MAGIC):
        return _decode_npy(path)
    if magic.startswith(_TIFF_MAGIC):
        return _decode_tiff(path)
    if magic.startswith(_GIF_MAGIC) and len(magic) == 10:
        width, height = struct.unpack("<HH", magic[6:])
        _check_size(path, height, width)
        # Pillow allocates frames that reach beyond the image; it raises an error at twice its limit.
        Image.MAX_IMAGE_PIXELS = max_pixels(path.stat().st_size) // 2
    return _decode_pillow(path)


def max_pixels(size: int) -> int:
    """Return the limit on the pixels of an image in a file of `size` bytes."""
    return max(FREE_PIXELS, PIXELS_PER_BYTE * size)


def check_pixels(name: str, height: int, width: int) -> None:
    """Raise an EorenError if an image is larger than `MAX_PIXELS`."""
    if height * width > MAX_PIXELS:
        raise EorenError(f"{name}: {width} x {height} pixels exceed the limit of {MAX_PIXELS}; make it smaller")


def _check_size(path: Path, height: int, width: int, *, times: int = 1) -> None:
    """Check the size in a header before anything is allocated; `times` is how often the image is drawn."""
    check_pixels(str(path), height, width)
    size = path.stat().st_size
    if height * width * times > max_pixels(size):
        repeated = f" drawn {times} times" if times > 1 else ""
        raise EorenError(
            f"{path}: {width} x {height} pixels{repeated} from {size} bytes look like a decompression bomb; "
            "if it is not one, save it as uncompressed TIFF"
        )


def _decode_npy(path: Path) -> Decoded:
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # reads the header only
    if mapped.ndim >= 2:
        _check_size(path, *mapped.shape[:2])
    del mapped  # if a mapped file is truncated, access to it ends the process
    return Decoded(np.load(path, allow_pickle=False))


def _decode_tiff(path: Path) -> Decoded:
    """Decode with tifffile what it decodes exactly without other packages, the rest with Pillow (libtiff)."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page, frames = tiff.pages.first, len(tiff.pages)
        _check_tiff(path, page)
        bits, white_is_zero = page.bitspersample, page.photometric == 0
        if bits not in (1, 2, 4, 8, 16, 32, 64):
            raise EorenError(f"{path}: must have 8, 16 or 32 bits per sample, got {bits}; convert it")
        orientation = page.tags.valueof(_ORIENTATION, 1)
        # Whole bytes, gray or RGB (photometric 0 to 2), uncompressed or deflated.
        if bits >= 8 and page.photometric in (0, 1, 2) and page.compression in (1, *_DEFLATE):
            _check_strips(path, page)
            samples = page.asarray()
            if page.planarconfig == 2 and samples.ndim == 3:
                samples = np.moveaxis(samples, 0, -1)
            samples, notes = _upright(samples, orientation)
            if 1 in page.extrasamples:
                notes += ("colours premultiplied by alpha, as stored",)
        else:
            _LOG.debug("%s: decoding with libtiff (%s bits, compression %s)", path, bits, page.compression)
            with _captured_stderr():
                samples, notes = _decode_pillow(path, ("TIFF",))
            notes += _turning(orientation)  # applied by Pillow
            white_is_zero = white_is_zero and bits > 8  # up to 8 bits Pillow inverts
    if white_is_zero:
        samples = (1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max) - samples
    return Decoded(samples, _frames(frames) + notes)


def _check_tiff(path: Path, page: Any) -> None:
    """Refuse a page that is too large, has too many planes, or reads the same bytes repeatedly."""
    planes = page.imagedepth * -(-page.samplesperpixel // 4)
    _check_size(path, page.imagelength * planes, page.imagewidth)
    if page.is_tiled:  # tiles may be larger than the image
        _check_size(path, page.tilelength * page.tiledepth * planes, page.tilewidth)
    if sum(page.databytecounts) > path.stat().st_size:
        raise EorenError(f"{path}: damaged: its strips overlap, or end beyond the file; use {_KNOWN}")


def _check_strips(path: Path, page: Any) -> None:
    """Refuse deflated strips that are longer than their pixels: tifffile inflates them whole."""
    if page.compression not in _DEFLATE:
        return
    strip = (min(page.rowsperstrip, page.imagelength), page.imagewidth)
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else strip
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    limit = rows * columns * samples * page.tiledepth * page.bitspersample // 8
    with path.open("rb") as file:
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            file.seek(offset)
            inflater, data, length = zlib.decompressobj(), file.read(count), 0
            while data and not inflater.eof and length <= limit:
                length += len(inflater.decompress(data, _BLOCK))
                data = inflater.unconsumed_tail
            if length > limit:
                raise EorenError(f"{path}: damaged: its strips must have at most {limit} bytes; use {_KNOWN}")


@contextmanager
def _captured_stderr() -> Iterator[None]:
    """Turn lines that libtiff, in C, writes to the stderr of the process into warnings."""
    try:
        stderr = os.dup(2)
    except OSError:  # the process has no stderr
        yield
        return
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            captured.seek(0)
            for line in dict.fromkeys(captured.read(_BLOCK).decode(errors="replace").splitlines()[:8]):
                warnings.warn(format_error(line), stacklevel=3)


def _decode_pillow(path: Path, formats: tuple[str, ...] = _PILLOW_FORMATS) -> Decoded:
    with Image.open(path, formats=formats) as header:
        _check_size(path, header.height, header.width)
        if header.format in ("JPEG", "MPO"):
            scans = path.read_bytes().count(_SCAN)
            _check_size(path, header.height, header.width, times=max(1, scans // _FREE_SCANS))
        mode, layout = header.mode, _layout(header)
        frames = getattr(header, "n_frames", 1) if formats != ("TIFF",) else 1
        header.verify()  # PNG checksums, which decoding ignores
    if ";16" in layout and mode in ("RGB", "RGBA"):
        image, samples = _load_both_bytes(path, formats, layout)
    else:
        image = _load(path, formats)
        samples = _plain_samples(image, path)
    samples, notes = _upright(_with_key(samples, image, layout), _orientation(image))
    if mode == "CMYK":
        notes += ("CMYK converted to RGB",)
    if "RGBa;16" in layout:
        notes += ("colours premultiplied by alpha, as stored",)
    if "X" in layout:
        notes += ("a channel of unspecified meaning left out",)
    return Decoded(samples, _frames(frames) + notes)


def _layout(image: Image.Image) -> str:
    """Return Pillow's name ("raw mode") for the layout of the decompressed bytes, or "" once they are loaded."""
    args = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else None
    return str(args[0] if isinstance(args, tuple) else args or "")


def _plain_samples(image: Image.Image, name: str | Path) -> Shaped[np.ndarray, "..."]:
    """Convert a loaded image to gray or RGB, with or without alpha."""
    mode = image.mode
    if mode in _CONVERTED:
        transparent = mode in ("P", "PA") and image.has_transparency_data
        image = image.convert("RGBA" if transparent else _CONVERTED[mode])
    elif mode not in ("L", "LA", "RGB", "RGBA", "F", "I") and not mode.startswith("I;16"):
        raise EorenError(f"{name}: pixels of type {mode} are not supported; convert it to gray or RGB")
    return np.asarray(image)


def _load(path: Path, formats: tuple[str, ...], layout: str = "") -> Image.Image:
    """Decode an image, with another `layout` of the decompressed bytes if one is given."""
    with Image.open(path, formats=formats) as image:
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
    """Decode 16-bit colour, of which Pillow keeps only one byte of every sample, in two passes.

    Layout ``;16B`` keeps the first byte of every sample, ``;16L`` the second. Two 16-bit channels need one pass,
    because they fill four bytes, as 8-bit RGBA does. PNG is big-endian, libtiff native.
    """
    if layout == "LA;16B":
        image = _load(path, formats, "RGBA")
        return image, np.asarray(image).view(">u2")
    channels = layout.split(";")[0].replace("RGBa", "RGBA")  # leave premultiplied colours as stored
    image = _load(path, formats, f"{channels};16B")
    first, second = np.asarray(image), np.asarray(_load(path, formats, f"{channels};16L"))
    both = np.stack([first, second], axis=-1)
    return image, both.view("=u2" if formats == ("TIFF",) else ">u2")[..., 0]


def _with_key(samples: Shaped[np.ndarray, "..."], image: Image.Image, layout: str) -> Shaped[np.ndarray, "..."]:
    """Append an alpha channel that is zero where the colour is the one that a PNG file declares transparent."""
    key = image.info.get("transparency")
    if key is None or image.mode in ("P", "PA"):  # in palettes it became alpha
        return samples
    # Pillow stretches samples of 1, 2 and 4 bits to 8, but not the key.
    key = 255 * bool(key) if image.mode == "1" else np.multiply(key, {"L;2": 85, "L;4": 17}.get(layout, 1))
    colours = samples if samples.ndim == 3 else samples[..., None]
    opaque = np.any(colours != key, axis=-1, keepdims=True)
    alpha = np.where(opaque, np.iinfo(colours.dtype).max, 0).astype(colours.dtype)
    return np.concatenate([colours, alpha], axis=-1)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception as error:  # the pixels may be intact, so only note it
        warnings.warn(f"EXIF block ignored ({format_error(error)})", stacklevel=2)
        return 1


def _upright(samples: Shaped[np.ndarray, "..."], orientation: int) -> Decoded:
    if orientation in _FLIPS:
        samples = np.flip(samples.swapaxes(0, 1) if orientation >= 5 else samples, _FLIPS[orientation])
    return Decoded(samples, _turning(orientation))


def _turning(orientation: int) -> tuple[str, ...]:
    return (f"EXIF orientation {orientation} applied",) if orientation in _FLIPS else ()


def _frames(count: int) -> tuple[str, ...]:
    return (f"first of {count} frames",) if count > 1 else ()
