"""Writers of images by rows: a gigapixel rendering never has to fit in memory."""

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt
from PIL import Image

from eoren.errors import EorenError
from eoren.fs.streams import Writable, open_output, stream_name
from eoren.image.profiles import gray_to_rgb, srgb_profile

_STRIP_ROWS = 64  # rows processed at once
_TILE = 256  # side of a TIFF tile
_GDAL_METADATA = 42112  # tag of TIFF

MAX_ROW = 2**24
"""Most pixels of a row, which take 1.3 GB of memory to write."""

MAX_WRITTEN = 2**40
"""Most pixels of an image, which take days to write."""

Strip = Float32[np.ndarray, "rows width channels"]


class Bands(NamedTuple):
    """Meaning of channels that are neither colours nor alpha, such as derivatives: their names, and their unit."""

    names: tuple[str, ...]
    unit: str


class _Layout(NamedTuple):
    """Size of an image and type of its samples; `features` are the axes that `channels` flattens."""

    height: int
    width: int
    channels: int
    bit_depth: int
    features: tuple[int, ...]
    profile: bytes
    bands: Bands | None


class _Format(NamedTuple):
    """Writer of a file format, and limits of the format."""

    write: Callable[[Path, Iterator[Strip], _Layout], None]
    channels: tuple[int, ...]
    bit_depths: tuple[int, ...]
    max_side: int


def write_rows(
    target: Writable,
    rows: Iterable[Float[np.ndarray, "rows width *features"]],
    *,
    height: int,
    width: int,
    channels: int | tuple[int, ...],
    bit_depth: int = 8,
    profile: bytes = b"",
    bands: Bands | None = None,
    format: str | None = None,
) -> None:
    """Write an image from strips of rows, top to bottom. The file appears complete or not at all.

    Memory does not grow with the height, except for JPEG and WebP, whose encoders need the whole image. Integer
    formats clamp values to [0, 1] and round half up. `channels` may be several axes, such as (3, 2) for the gradient
    of RGB: ``.npy`` keeps them apart, a float TIFF flattens them. `bit_depth` is 8 or 16 (PNG, TIFF), or 32 for
    floats (TIFF); ``.npy`` always holds float32. `profile` is the ICC profile of the colours; ``.npy`` leaves it out,
    and WebP, which has no gray, holds gray as RGB in sRGB. A TIFF of colours without a profile has that of sRGB.
    `bands` are the meaning of channels that are not colours, in TIFF as metadata of GDAL. `format` is the format of a
    file object, see :func:`image_format`.
    """
    suffix = check_format(target, height=height, width=width, channels=channels, bit_depth=bit_depth, format=format)
    features = channels if isinstance(channels, tuple) else (channels,)
    layout = _Layout(height, width, prod(features), bit_depth, features, profile, bands)
    strips = _checked(stream_name(target), rows, layout)
    with open_output(target) as temporary:
        _FORMATS[suffix].write(temporary, strips, layout)
        next(strips, None)  # a writer may stop after the last tile: this detects surplus rows


def image_format(target: Writable, format: str | None = None) -> str:
    """Return the suffix of the format to write: `format`, such as ``png``, or else that of the name of the file."""
    suffix = Path(stream_name(target)).suffix.lower() if format is None else f".{format.lower().removeprefix('.')}"
    if suffix in _FORMATS:
        return suffix
    if suffix or isinstance(target, str | PathLike):
        raise EorenError(f"{stream_name(target)}: cannot write the format {suffix!r}; use {_any_of(_FORMATS)}")
    raise EorenError(f"{stream_name(target)}: the format of a file object must be given, such as format='png'")


def check_format(
    target: Writable,
    *,
    height: int,
    width: int,
    channels: int | tuple[int, ...],
    bit_depth: int = 8,
    format: str | None = None,
) -> str:
    """Check that a file of a format can hold such an image, before the work of rendering it; return its suffix."""
    path, suffix = stream_name(target), image_format(target, format)
    form, size = _FORMATS[suffix], f"{width} x {height} pixels"
    count = channels if isinstance(channels, int) else prod(channels)
    if count not in form.channels:
        others = _formats(lambda other: count in other.channels)
        raise EorenError(f"{path}: {suffix} holds {_any_of(form.channels)} channels, not {count}; {others}")
    if bit_depth not in form.bit_depths:
        others = _formats(lambda other: bit_depth in other.bit_depths)
        raise EorenError(f"{path}: {suffix} holds {_any_of(form.bit_depths)} bits, not {bit_depth}; {others}")
    if min(height, width) < 1:
        raise EorenError(f"{path}: must have at least 1 x 1 pixels, got {width} x {height}")
    if max(height, width) > form.max_side:
        others = _formats(lambda other: max(height, width) <= other.max_side)
        raise EorenError(f"{path}: {size} exceed the {form.max_side} per side of {suffix}; {others}")
    if width > MAX_ROW or width * height > MAX_WRITTEN:
        raise EorenError(f"{path}: {size} are too many; {MAX_ROW:,} a row and {MAX_WRITTEN:,} in all are the limits")
    return suffix


def to_unsigned(pixels: Float[np.ndarray, "*shape"], bit_depth: int = 8) -> UInt[np.ndarray, "*shape"]:
    """Round values in [0, 1] to unsigned integers, half up, clamping others: the exact inverse of reading."""
    peak = 2**bit_depth - 1
    scaled: np.ndarray = np.floor(np.clip(pixels, 0, 1) * np.float32(peak) + np.float32(0.5))
    return scaled.astype(f"u{bit_depth // 8}")


def as_pillow(pixels: UInt[np.ndarray, "height width channels"]) -> Image.Image:
    """Convert 8-bit pixels to an image of Pillow, whose gray has no axis of channels."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _formats(can_hold: Callable[[_Format], bool]) -> str:
    names = [suffix for suffix, form in _FORMATS.items() if suffix not in (".tiff", ".jpeg") and can_hold(form)]
    return f"use {_any_of(names)}" if names else "no format holds it"


def _any_of(choices: Iterable[object]) -> str:
    *first, last = map(str, choices)
    return f"{', '.join(first)} or {last}" if first else last


def _checked(name: str, rows: Iterable[Float[np.ndarray, "..."]], layout: _Layout) -> Iterator[Strip]:
    """Check strips and cut them into smaller ones, so that temporary arrays stay small."""
    done = 0
    for strip in rows:
        if strip.dtype.kind != "f" or strip.shape[1:] != (layout.width, *layout.features):
            expected = ", ".join(map(str, ("rows", layout.width, *layout.features)))
            raise EorenError(
                f"{name}: row {done}: rows must be floats of shape ({expected}), got {strip.dtype} of {strip.shape}"
            )
        if done + len(strip) > layout.height:
            raise EorenError(f"{name}: must have {layout.height} rows, got {done + len(strip)} or more")
        for start in range(0, len(strip), _STRIP_ROWS):
            part = strip[start : start + _STRIP_ROWS].reshape(-1, layout.width, layout.channels).astype(np.float32)
            if not np.isfinite(part).all():
                raise EorenError(f"{name}: values must be finite, got NaN or infinity in row {done} or below")
            yield part
            done += len(part)
    if done != layout.height:
        raise EorenError(f"{name}: must have {layout.height} rows, got {done}")


def _write_png(path: Path, strips: Iterator[Strip], layout: _Layout) -> None:
    """Encode a PNG. Pillow needs the whole image in memory and does not support 16-bit colour.

    Every row gets the filter "sub" (difference with the pixel to the left), which needs no state between rows.
    Photographs come out 0 to 12 % larger than Pillow's, which tries all filters on each row.
    """
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[layout.channels]
    header = struct.pack(">IIBBBBB", layout.width, layout.height, layout.bit_depth, colour_type, 0, 0, 0)
    deflate = zlib.compressobj()
    with path.open("wb") as file:

        def chunk(kind: bytes, data: bytes) -> None:
            body = kind + data
            file.write(struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body)))

        file.write(b"\x89PNG\r\n\x1a\n")
        chunk(b"IHDR", header)
        if layout.profile:
            chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(layout.profile, 9))
        for strip in strips:
            stored = to_unsigned(strip, layout.bit_depth).astype(f">u{layout.bit_depth // 8}")
            samples = stored.view(np.uint8).reshape(*stored.shape[:2], -1)  # last axis: bytes of a pixel
            filtered = np.diff(samples, axis=1, prepend=np.uint8(0))  # modulo 256, as the format requires
            sub = np.ones((len(stored), 1), np.uint8)  # the byte before each row is the code of its filter
            lines = np.hstack([sub, filtered.reshape(len(stored), -1)])
            if data := deflate.compress(lines.tobytes()):
                chunk(b"IDAT", data)
        chunk(b"IDAT", deflate.flush())
        chunk(b"IEND", b"")


def _write_tiff(path: Path, strips: Iterator[Strip], layout: _Layout) -> None:
    """Encode a TIFF of compressed tiles, so that viewers can open a part of it."""
    import tifffile

    size = (layout.height, layout.width, layout.channels)
    is_image = layout.bands is None and len(layout.features) == 1  # else neither colours nor alpha
    is_color = is_image and layout.channels >= 3
    # Without a profile, libvips and others take floats for linear light.
    profile = layout.profile or (srgb_profile() if is_color else None)
    gray = layout.channels == 1  # in tifffile, an image without an axis of channels
    dtype = np.dtype("f4" if layout.bit_depth == 32 else f"u{layout.bit_depth // 8}")
    tiles = -(-layout.width // _TILE) * -(-layout.height // _TILE)
    tifffile.imwrite(
        path,
        _tiles(strips, layout, dtype),
        shape=size[:2] if gray else size,
        dtype=dtype,
        tile=(_TILE, _TILE),
        # Offsets have 32 bits in a plain TIFF. The margin covers padded tiles and data that do not compress.
        bigtiff=tiles * _TILE**2 * layout.channels * dtype.itemsize > 2**32 - 2**26,
        compression="zlib",
        predictor=2 if dtype.kind == "u" else None,
        photometric="rgb" if is_color else "minisblack",
        planarconfig=None if gray else "contig",
        extrasamples=["unassalpha"] if is_image and layout.channels in (2, 4) else None,
        iccprofile=profile,
        extratags=[] if layout.bands is None else [(_GDAL_METADATA, "s", 0, _band_metadata(layout.bands), True)],
        maxworkers=1,  # more would keep many tiles in memory
        metadata=None,
        software="eoren",
    )


def _band_metadata(bands: Bands) -> str:
    """Return names and units of bands as XML of GDAL."""
    root = ElementTree.Element("GDALMetadata")
    for number, name in enumerate(bands.names):
        for item, role, text in (("DESCRIPTION", "description", name), ("UNITTYPE", "unittype", bands.unit)):
            ElementTree.SubElement(root, "Item", name=item, sample=str(number), role=role).text = text
    return ElementTree.tostring(root, encoding="unicode")


def _tiles(
    strips: Iterator[Strip], layout: _Layout, dtype: "np.dtype[np.generic]"
) -> Iterator[Shaped[np.ndarray, "tile tile channels"]]:
    """Regroup rows into tiles, row by row, the last ones padded with zeros."""
    across = -(-layout.width // _TILE)
    band = np.zeros((_TILE, across * _TILE, layout.channels), dtype)
    filled = done = 0
    for strip in strips:
        stored = strip if dtype.kind == "f" else to_unsigned(strip, layout.bit_depth)
        while len(stored):
            taken = stored[: _TILE - filled]
            band[filled : filled + len(taken), : layout.width] = taken
            filled, done, stored = filled + len(taken), done + len(taken), stored[len(taken) :]
            if filled == _TILE or done == layout.height:
                band[filled:] = 0
                yield from (band[:, x : x + _TILE].copy() for x in range(0, across * _TILE, _TILE))
                filled = 0


def _write_npy(path: Path, strips: Iterator[Strip], layout: _Layout) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (layout.height, layout.width, *layout.features)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for strip in strips:
            file.write(strip.astype("<f4").tobytes())


def _write_whole(path: Path, strips: Iterator[Strip], layout: _Layout, *, kind: str) -> None:
    """Encode with Pillow, in memory: when it writes to a file, it does not notice that the disk is full."""
    profile = layout.profile
    options: dict[str, Any] = {"quality": 95, "subsampling": 0}
    if kind == "WEBP":
        options = {"lossless": True, "exact": True}  # exact: keep colours where alpha is 0
        if layout.channels == 1:  # WebP has no gray
            strips, profile = (gray_to_rgb(strip, layout.profile)[0] for strip in strips), b""
    pixels = np.concatenate([to_unsigned(strip) for strip in strips])
    encoded = io.BytesIO()
    as_pillow(pixels).save(encoded, kind, **options, icc_profile=profile or None)
    path.write_bytes(encoded.getbuffer())


_ANY = (1, 2, 3, 4)
_GRADIENTS = (*_ANY, 6, 8)
_FORMATS = {
    ".png": _Format(_write_png, _ANY, (8, 16), 2**31 - 1),
    ".tif": _Format(_write_tiff, _GRADIENTS, (8, 16, 32), 2**31 - 1),
    ".tiff": _Format(_write_tiff, _GRADIENTS, (8, 16, 32), 2**31 - 1),
    ".npy": _Format(_write_npy, _GRADIENTS, (8, 16, 32), 2**63 - 1),
    ".jpg": _Format(partial(_write_whole, kind="JPEG"), (1, 3), (8,), 65500),
    ".jpeg": _Format(partial(_write_whole, kind="JPEG"), (1, 3), (8,), 65500),
    ".webp": _Format(partial(_write_whole, kind="WEBP"), (1, 3, 4), (8,), 16383),
}
