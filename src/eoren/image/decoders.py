"""Decoding image files from strangers: samples as stored, upright, or one line that says why not.

What a header promises is believed only as far as the file has bytes to keep it: see `FREE_PIXELS`. What decoders warn
of or log becomes notes; whatever they raise becomes an `EorenError`.
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

from eoren.errors import EorenError

MAX_PIXELS = 2**30
"""Largest image that is read: a gigapixel. Headers that promise more are refused before any decoding."""

FREE_PIXELS = 2**24
"""Larger images need a byte of file for every `PIXELS_PER_BYTE` pixels: what says more with less is a bomb."""

PIXELS_PER_BYTE = 256
"""Photographs have less than a hundred. Flat colours can have thousands, and then a plain format helps."""

# Listed, because for some other formats Pillow would run external programs.
_PILLOW_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GIF_MAGIC = (b"GIF87a", b"GIF89a")
_NPY_MAGIC = b"\x93NUMPY"
_KNOWN = "an intact PNG, JPEG, TIFF, WebP, GIF or .npy file"

# Modes of Pillow that are not plain samples -> the mode that holds the same image as plain samples.
_CONVERTED = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}

# EXIF orientation -> axes to flip, after exchanging rows and columns for 5 and above.
_FLIPS: dict[int, tuple[int, ...]] = {2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}
_ORIENTATION = 0x0112

# JPEG may paint the image over and over. Encoders do so a dozen times; each takes as long as the first.
_FREE_SCANS = 64
_SCAN = b"\xff\xda"

# TIFF's two codes for deflate, and how much of it is inflated at once where only its length is asked for.
_DEFLATE = (8, 32946)
_PIECE = 1 << 20

# Pillow's size limit, Python's warning filters and log handlers belong to the whole process.
_DECODING = threading.RLock()


class Decoded(NamedTuple):
    """Samples as stored, not yet scaled, but upright."""

    samples: Shaped[np.ndarray, "..."]
    notes: tuple[str, ...] = ()


def decode(path: Path) -> Decoded:
    """Samples of a PNG, JPEG, TIFF, WebP, GIF or .npy file, recognised by its content.

    Raises:
        EorenError: It is none of these, damaged, too large, or a decompression bomb.
    """
    with _decoding(path) as warned:
        samples, notes = _decode(path)
    return Decoded(samples, notes + tuple(dict.fromkeys(warned)))


def as_line(error: object) -> str:
    """What an error says, in one line; some quote the whole file."""
    return f"{' '.join(str(error).split()):.200}" or type(error).__name__


class _Listener(logging.Handler):
    """Collects log messages, and turns what a decoder merely reports as an error into one."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Handle one message."""
        if record.levelno >= logging.ERROR:
            raise ValueError(record.getMessage())
        self.heard.append(as_line(record.getMessage()))


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
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
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
            raise EorenError(f"{path}: no image in a known format; use {_KNOWN}") from error
        except Exception as error:  # decoders meet damage with errors of almost any type
            if getattr(error, "errno", None) == errno.ENOMEM:
                raise MemoryError from error
            raise EorenError(f"{path}: damaged or not supported ({as_line(error)}); use {_KNOWN}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
            log.removeHandler(listener)
            log.propagate = propagate
        warned += [as_line(warning.message) for warning in caught]
        warned += listener.heard


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
        # Pillow makes room for frames that reach beyond the image; it raises at twice its limit.
        Image.MAX_IMAGE_PIXELS = most_pixels(path.stat().st_size) // 2
    return _decode_pillow(path)


def most_pixels(size: int) -> int:
    """How many pixels a file of some bytes may stand for.

    Example:
        >>> most_pixels(1000), most_pixels(1_000_000)
        (16777216, 256000000)
    """
    return max(FREE_PIXELS, PIXELS_PER_BYTE * size)


def check_pixels(name: str, height: int, width: int) -> None:
    """Refuse images larger than any that is read.

    Raises:
        EorenError: it is.
    """
    if height * width > MAX_PIXELS:
        raise EorenError(f"{name}: {width} x {height} pixels exceed the limit of {MAX_PIXELS}; make it smaller")


def _check_size(path: Path, height: int, width: int, *, times: int = 1) -> None:
    """Refuse what a header promises before anything is allocated for it; `times` is how often it is painted."""
    check_pixels(str(path), height, width)
    size = path.stat().st_size
    if height * width * times > most_pixels(size):
        again = f" painted {times} times over" if times > 1 else ""
        raise EorenError(
            f"{path}: {width} x {height} pixels{again} from {size} bytes look like a decompression bomb; "
            "save it as uncompressed TIFF if it is none"
        )


def _decode_npy(path: Path) -> Decoded:
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # nothing is read yet
    if mapped.ndim >= 2:
        _check_size(path, *mapped.shape[:2])
    del mapped  # a mapped file that somebody cuts short would end the process
    return Decoded(np.load(path, allow_pickle=False))


def _decode_tiff(path: Path) -> Decoded:
    """Decode what tifffile can without other packages, exactly; the rest with Pillow, which has libtiff."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page, frames = tiff.pages.first, len(tiff.pages)
        _check_tiff(path, page)
        bits, white_is_zero = page.bitspersample, page.photometric == 0
        if bits not in (1, 2, 4, 8, 16, 32, 64):
            raise EorenError(f"{path}: has {bits} bits per sample; save it with 8, 16 or 32 (floats)")
        tag = page.tags.get(_ORIENTATION)
        orientation = tag.value if tag else 1
        # Whole bytes, gray or RGB (photometric 0 to 2), stored plainly or by one of the two codes for deflate.
        if bits >= 8 and page.photometric in (0, 1, 2) and page.compression in (1, *_DEFLATE):
            _check_strips(path, page)
            samples = page.asarray()
            if page.planarconfig == 2 and samples.ndim == 3:
                samples = np.moveaxis(samples, 0, -1)
            samples, notes = _upright(samples, orientation)
            if 1 in page.extrasamples:
                notes += ("colours premultiplied by alpha, as stored",)
        else:
            with _overhearing():
                samples, notes = _decode_pillow(path, ("TIFF",))
            notes += _turning(orientation)  # done by Pillow
            white_is_zero = white_is_zero and bits > 8  # up to 8 bits Pillow inverts
    if white_is_zero:
        samples = (1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max) - samples
    return Decoded(samples, _frames(frames) + notes)


def _check_tiff(path: Path, page: Any) -> None:
    """Refuse a page that takes more than its bytes are worth: too large, too deep, or read over and over."""
    planes = page.imagedepth * -(-page.samplesperpixel // 4)
    _check_size(path, page.imagelength * planes, page.imagewidth)
    if page.is_tiled:  # tiles may be larger than the image
        _check_size(path, page.tilelength * page.tiledepth * planes, page.tilewidth)
    if sum(page.databytecounts) > path.stat().st_size:
        raise EorenError(f"{path}: damaged: its strips overlap, or end behind the file; use {_KNOWN}")


def _check_strips(path: Path, page: Any) -> None:
    """Refuse deflated strips that are longer than the image needs: tifffile inflates them whole."""
    if page.compression not in _DEFLATE:
        return
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    rows = rows if page.is_tiled else min(rows, page.imagelength)
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    most = rows * columns * samples * page.tiledepth * page.bitspersample // 8
    with path.open("rb") as file:
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            file.seek(offset)
            inflater, waiting, length = zlib.decompressobj(), file.read(count), 0
            while waiting and not inflater.eof and length <= most:
                length += len(inflater.decompress(waiting, _PIECE))
                waiting = inflater.unconsumed_tail
            if length > most:
                raise EorenError(f"{path}: damaged: a strip holds more than the {most} bytes it has; use {_KNOWN}")


@contextmanager
def _overhearing() -> Iterator[None]:
    """Turn what libtiff, in C, writes to the stderr of the process into warnings."""
    try:
        usual = os.dup(2)
    except OSError:  # without a stderr there is nothing to hear
        yield
        return
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(usual, 2)
            os.close(usual)
            said.seek(0)
            for line in dict.fromkeys(said.read(_PIECE).decode(errors="replace").splitlines()[:8]):
                warnings.warn(as_line(line), stacklevel=3)


def _decode_pillow(path: Path, formats: tuple[str, ...] = _PILLOW_FORMATS) -> Decoded:
    with _open(path, formats) as header:
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
    return Decoded(samples, _frames(frames) + notes)


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
    """Decode an image; a given `layout` is what the decompressed bytes are taken for."""
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
    except Exception as error:  # the pixels are good: let the image through, with a note
        warnings.warn(f"EXIF block ignored ({as_line(error)})", stacklevel=2)
        return 1


def _upright(samples: Shaped[np.ndarray, "..."], orientation: int) -> Decoded:
    if orientation in _FLIPS:
        samples = np.flip(samples.swapaxes(0, 1) if orientation >= 5 else samples, _FLIPS[orientation])
    return Decoded(samples, _turning(orientation))


def _turning(orientation: int) -> tuple[str, ...]:
    return (f"EXIF orientation {orientation} applied",) if orientation in _FLIPS else ()


def _frames(count: int) -> tuple[str, ...]:
    return (f"first of {count} frames",) if count > 1 else ()
