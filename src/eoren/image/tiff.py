"""Decoding of TIFF files with tifffile and imagecodecs: the same image has the same pixels in every packing.

They undo the packing: byte order, strips or tiles, chunky or planar, compression, predictor. What samples mean (ink
or light, palette, kinds of alpha) is decided here. What cannot be read exactly is refused.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt16
from PIL.JpegImagePlugin import JpegImageFile

from eoren.errors import EorenError, format_error
from eoren.fs.streams import Input
from eoren.image import channels
from eoren.image.channels import Samples
from eoren.image.decoders import KNOWN, ORIENTATION, Decoded, bit_depth, check_size, frame_notes, upright
from eoren.image.pillow_images import check_scans

if TYPE_CHECKING:
    from tifffile import TiffPage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF files."""

# Others are rare. Some take the size of their output, and so memory, from their data; decoders of faxes (CCITT) fill
# missing rows with white.
_COMPRESSIONS = {
    1: "none",
    5: "LZW",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32946: "deflate",
    50000: "Zstandard",
}
_JPEG = 7
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _INKS, _YCBCR = 0, 1, 2, 3, 5, 6
_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _INKS: 4, _YCBCR: 3}  # samples of a pixel
_UNSPECIFIED, _ASSOCIATED, _UNASSOCIATED = 0, 1, 2  # meanings of extra samples
_PROFILE, _INK_SET, _CAMERA_RAW = 34675, 332, 50706


class _Extras(NamedTuple):
    """Meaning of the samples beyond the colours."""

    alpha: int | None  # index of the channel
    is_associated: bool
    notes: tuple[str, ...]


def decode_tiff(source: Input) -> Decoded:
    """Decode the first image of a TIFF file."""
    import tifffile

    with _logged() as messages, tifffile.TiffFile(source.file, name=source.name) as tiff:
        page, frames = tiff.pages.first, len(tiff.pages)
        _check(source, page)
        extras = _extras(source.name, page)
        stored = _samples(source.name, page)
        samples, notes, depth = _plain(page, stored, extras)
        samples, turned = upright(samples, page.tags.valueof(ORIENTATION, 1))
        profile = bytes(page.tags.valueof(_PROFILE, b""))
    return Decoded(samples, (*frame_notes(frames), *notes, *turned, *dict.fromkeys(messages)), profile, depth)


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Yield a list of the warnings that tifffile logs in this thread; errors, which it logs instead, are raised."""
    messages: list[str] = []
    log, thread = logging.getLogger("tifffile"), threading.get_ident()

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        if record.levelno >= logging.ERROR:
            raise ValueError(record.getMessage())
        if record.levelno >= logging.WARNING:
            messages.append(format_error(record.getMessage()))
        return False

    log.addFilter(collect)
    try:
        yield messages
    finally:
        log.removeFilter(collect)


def _check(source: Input, page: "TiffPage") -> None:
    """Refuse a page that is not read exactly, is too large, or whose strips are incomplete or overlap."""
    name = source.name
    if _CAMERA_RAW in page.tags:
        raise EorenError(f"{name}: is a raw image of a camera; develop it to TIFF, PNG or JPEG")
    if page.photometric not in _COLORS or (page.photometric == _YCBCR and page.compression != _JPEG):
        raise EorenError(
            f"{name}: colours of type {_name(page.photometric)} are not supported; convert it to gray or RGB"
        )
    if page.photometric == _INKS and page.tags.valueof(_INK_SET, 1) != 1:
        raise EorenError(f"{name}: must have the inks cyan, magenta, yellow and black; convert it to RGB")
    if page.compression not in _COMPRESSIONS:
        known = ", ".join(dict.fromkeys(_COMPRESSIONS.values()))
        raise EorenError(f"{name}: compression must be one of {known}, got {_name(page.compression)}; save it anew")
    if page.bitspersample not in (1, 2, 4, 8, 16, 32, 64):
        raise EorenError(
            f"{name}: must have 8, 16 or 32 bits per sample, got {_name(page.bitspersample)}; convert it"
        )
    if page.imagedepth != 1:
        raise EorenError(
            f"{name}: must be an image, got a volume of {_name(page.imagedepth)} slices; save one of them"
        )
    planes = -(-page.samplesperpixel // 4)
    check_size(source, page.imagelength * planes, page.imagewidth)
    rows, columns = page.imagelength, page.imagewidth
    if page.is_tiled:  # tiles may be larger than the image
        rows, columns = page.tilelength, page.tilewidth
        check_size(source, rows * page.tiledepth * planes, columns)
    elif page.rowsperstrip:
        rows = page.rowsperstrip
    segments = -(-page.imagelength // rows) * -(-page.imagewidth // columns)
    counts = page.databytecounts
    if len(counts) < segments * (page.samplesperpixel if page.planarconfig == 2 else 1) or 0 in counts:
        raise EorenError(f"{name}: damaged: strips or tiles are missing; use {KNOWN}")
    if sum(counts) > source.size:
        raise EorenError(f"{name}: damaged: its strips overlap, or end beyond the file; use {KNOWN}")
    if page.compression == _JPEG:
        _check_jpegs(source, page, min(rows, page.imagelength), columns)


def _check_jpegs(source: Input, page: "TiffPage", rows: int, columns: int) -> None:
    """Refuse strips or tiles whose JPEG header claims more pixels than they have: they would be decoded whole."""
    name = source.name
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        source.file.seek(offset)
        jpeg = source.file.read(count)
        width, height = JpegImageFile(BytesIO(jpeg)).size
        if width > columns or height > rows:
            raise EorenError(f"{name}: damaged: a strip of {columns} x {rows} pixels claims {width} x {height}")
        check_scans(source, jpeg, height, width)


def _name(code: object) -> str:
    """Format a code of tifffile, which in a damaged file may be a tuple of any length."""
    return f"{getattr(code, 'name', code)!s:.20}"


def _extras(name: str, page: "TiffPage") -> _Extras:
    """Find the alpha channel. Without a description, a single extra channel is alpha, as in most programs."""
    colors = _COLORS[page.photometric]
    count = page.samplesperpixel - colors
    kinds = [int(kind) for kind in page.extrasamples]
    if count < 0 or (kinds and len(kinds) != count):
        raise EorenError(f"{name}: damaged: {page.samplesperpixel} samples per pixel do not fit its colours")
    if count and not kinds:
        if count > 1:
            raise EorenError(f"{name}: {count} extra channels have no description; save gray or RGB (and alpha)")
        return _Extras(colors, False, ("a channel without description taken for alpha",))
    found = [index for index, kind in enumerate(kinds) if kind in (_ASSOCIATED, _UNASSOCIATED)]
    others = count - bool(found)
    if others > 1:
        raise EorenError(f"{name}: {others} extra channels are not alpha; save gray or RGB (and alpha)")
    notes = (channels.UNSPECIFIED,) if others else ()
    if not found:
        return _Extras(None, False, notes)
    is_associated = kinds[found[0]] == _ASSOCIATED
    if is_associated and page.photometric not in (_BLACK_IS_ZERO, _RGB):
        raise EorenError(f"{name}: only gray and RGB can be multiplied by alpha, not these colours; convert it")
    return _Extras(colors + found[0], is_associated, notes)


def _samples(name: str, page: "TiffPage") -> Samples:
    """Decode the samples as they are stored, channels last."""
    shaped = page.asarray(maxworkers=1).reshape(page.shaped)  # planes, depth, rows, columns, samples of a plane
    samples = np.moveaxis(shaped[:, 0, :, :, 0], 0, -1) if page.planarconfig == 2 else shaped[0, 0]
    if samples.dtype.kind not in "bfu" or samples.dtype in (np.uint32, np.uint64):
        raise EorenError(
            f"{name}: values must be uint8, uint16, bool or floats in [0, 1], got {samples.dtype}; convert them"
        )
    return np.asarray(samples)


def _plain(page: "TiffPage", stored: Samples, extras: _Extras) -> tuple[Samples, tuple[str, ...], int]:
    """Convert stored samples to gray or RGB with or without alpha; return them, notes, and bits per channel."""
    bits, kind = page.bitspersample, page.photometric
    colors, alpha = stored[..., : _COLORS[kind]], None if extras.alpha is None else stored[..., extras.alpha]
    notes = extras.notes
    if kind == _PALETTE:
        colors = _palette(page)[colors[..., 0].astype(np.uint16)]  # of one bit, they are bool
    elif bits < 8:
        colors = channels.stretch(colors, bits)
    if alpha is not None and bits < 8:
        alpha = channels.stretch(alpha, bits)
    depth = max(bit_depth(colors.dtype), 0 if alpha is None else bit_depth(alpha.dtype))
    if kind == _WHITE_IS_ZERO:
        colors = channels.invert(colors)
    elif kind == _INKS:
        colors, notes = channels.cmyk_to_rgb(colors), (channels.CMYK, *notes)
    if alpha is not None and extras.is_associated:
        colors, notes = channels.divide_by_alpha(colors, alpha), (channels.PREMULTIPLIED, *notes)
    return channels.join(colors, alpha), notes, depth


def _palette(page: "TiffPage") -> Shaped[np.ndarray, "colors 3"]:
    """Return the colours of a palette, which files store with 16 bits, with 8 if these hold them exactly.

    Programs store a colour v of 8 bits as 257 v or 256 v, old ones as v.
    """
    stored: UInt16[np.ndarray, "colors 3"] = np.moveaxis(np.asarray(page.colormap, np.uint16), 0, -1)
    high, low = stored >> 8, stored & 255
    if not high.any():
        return low.astype(np.uint8)
    return high.astype(np.uint8) if (low == 0).all() or (low == high).all() else stored
