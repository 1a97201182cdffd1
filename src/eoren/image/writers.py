"""Writing images row by row: a gigapixel render never has to fit in memory."""

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt
from PIL import Image

from eoren.errors import EorenError
from eoren.fs.files import atomic_path

_PIECE = 64  # rows handled at once
_TILE = 256  # side of a TIFF tile

MAX_ROW = 2**24
"""Pixels of a row that is written. Rows go to the file one by one; this one takes 1.3 GB on its way there."""

MAX_WRITTEN = 2**40
"""Pixels of an image that is written. So many take days."""

Strip = Float32[np.ndarray, "rows width channels"]


class _Shape(NamedTuple):
    """What a writer must know before the first row."""

    height: int
    width: int
    channels: int
    bit_depth: int
    features: tuple[int, ...]


class _Format(NamedTuple):
    """What a file format can hold, and the function that writes it."""

    write: Callable[[Path, Iterator[Strip], _Shape], None]
    channels: tuple[int, ...]
    bit_depths: tuple[int, ...]
    max_side: int


def write_rows(
    path: str | Path,
    rows: Iterable[Float[np.ndarray, "rows width *features"]],
    *,
    height: int,
    width: int,
    channels: int | tuple[int, ...],
    bit_depth: int = 8,
) -> None:
    """Write an image from strips of rows, top to bottom.

    Memory does not grow with the height, except for JPEG and WebP, whose encoders want the whole image.
    The file appears complete or not at all.

    Args:
        path: Where to write. The suffix chooses the format: ``.png``, ``.tif``, ``.tiff``, ``.npy``,
            ``.jpg``, ``.jpeg`` or ``.webp``. PNG, TIFF and WebP are lossless; JPEG is written at quality 95.
        rows: Floating-point arrays of shape (h, width, channels), whose heights h sum to `height`. Values lie
            in [0, 1]; integer formats clamp the others and round half up.
        height: Rows of the image.
        width: Columns of the image.
        channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha. Or several axes, such as (3, 2) for the
            gradient of RGB: ``.npy`` keeps them apart, a float TIFF flattens them.
        bit_depth: 8 or 16 (PNG, TIFF), or 32 for floats (TIFF). ``.npy`` always holds float32.

    Raises:
        EorenError: The format cannot hold such an image, a strip has another shape or is not finite, the
            strips do not sum to `height`, or the file cannot be written.
    """
    path = Path(path)
    check_format(path, height=height, width=width, channels=channels, bit_depth=bit_depth)
    features = channels if isinstance(channels, tuple) else (channels,)
    shape = _Shape(height, width, prod(features), bit_depth, features)
    pieces = _checked(path, rows, shape)
    with atomic_path(path) as temporary:
        _FORMATS[path.suffix.lower()].write(temporary, pieces, shape)
        next(pieces, None)  # a writer may stop after the last tile: ask once more, to hear of surplus rows


def check_format(
    path: str | Path, *, height: int, width: int, channels: int | tuple[int, ...], bit_depth: int = 8
) -> None:
    """Fail now if `write_rows` would refuse such an image, before the work of rendering it.

    Args:
        path: Where it will be written; only the suffix matters here.
        height: Rows of the image.
        width: Columns of the image.
        channels: 1 to 4, or several axes.
        bit_depth: 8, 16 or 32 (floats).

    Raises:
        EorenError: Unknown suffix, or channels, a bit depth or a size that the format cannot hold.

    Example:
        >>> check_format("photo.png", height=480, width=640, channels=3, bit_depth=16)
        >>> check_format("photo.jpg", height=480, width=640, channels=4)
        Traceback (most recent call last):
        eoren.errors.EorenError: photo.jpg: .jpg holds 1 or 3 channels, not 4; use .png, .tif, .npy or .webp
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise EorenError(f"{path}: cannot write the format {suffix!r}; use {_any_of(_FORMATS)}")
    form = _FORMATS[suffix]
    channels = prod(channels) if isinstance(channels, tuple) else channels
    if channels not in form.channels:
        others = _alternatives(lambda other: channels in other.channels)
        held = _any_of(form.channels)
        raise EorenError(f"{path}: {suffix} holds {held} channels, not {channels}; {others}")
    if bit_depth not in form.bit_depths:
        others = _alternatives(lambda other: bit_depth in other.bit_depths)
        raise EorenError(f"{path}: {suffix} holds {_any_of(form.bit_depths)} bits, not {bit_depth}; {others}")
    if min(height, width) < 1:
        raise EorenError(f"{path}: an image of {width} x {height} pixels is empty; give at least 1 x 1")
    if max(height, width) > form.max_side:
        others = _alternatives(lambda other: max(height, width) <= other.max_side)
        raise EorenError(
            f"{path}: {width} x {height} pixels exceed the {form.max_side} per side of {suffix}; {others}"
        )
    if width > MAX_ROW or width * height > MAX_WRITTEN:
        raise EorenError(
            f"{path}: {width} x {height} pixels are too many; "
            f"{MAX_ROW:,} a row and {MAX_WRITTEN:,} in all are the most"
        )


def _alternatives(holds: Callable[[_Format], bool]) -> str:
    names = [suffix for suffix, form in _FORMATS.items() if suffix not in (".tiff", ".jpeg") and holds(form)]
    return f"use {_any_of(names)}" if names else "no format holds it"


def _any_of(choices: Iterable[object]) -> str:
    *first, last = map(str, choices)
    return f"{', '.join(first)} or {last}" if first else last


def _checked(path: Path, rows: Iterable[Float[np.ndarray, "..."]], shape: _Shape) -> Iterator[Strip]:
    """Pass the strips on in pieces, so that a large strip does not make large temporary arrays."""
    done = 0
    for strip in rows:
        if strip.dtype.kind != "f" or strip.shape[1:] != (shape.width, *shape.features):
            raise EorenError(
                f"{path}: row {done}: got {strip.dtype} rows of shape {strip.shape}; "
                f"give floats of shape (rows, {shape.width}, {', '.join(map(str, shape.features))})"
            )
        if done + len(strip) > shape.height:
            raise EorenError(f"{path}: got {done + len(strip)} rows or more; give {shape.height}")
        for start in range(0, len(strip), _PIECE):
            piece = strip[start : start + _PIECE].reshape(-1, shape.width, shape.channels).astype(np.float32)
            if not np.isfinite(piece).all():
                raise EorenError(f"{path}: row {done} or below holds NaN or infinity; give finite values")
            yield piece
            done += len(piece)
    if done != shape.height:
        raise EorenError(f"{path}: got {done} rows; give {shape.height}")


def _quantise(piece: Strip, bit_depth: int) -> UInt[np.ndarray, "rows width channels"]:
    """Map [0, 1] to whole numbers, rounding half up; the inverse of reading, exactly."""
    peak = 2**bit_depth - 1
    scaled: np.ndarray = np.floor(np.clip(piece, 0, 1) * np.float32(peak) + np.float32(0.5))
    return scaled.astype(f"u{bit_depth // 8}")


def _write_png(path: Path, pieces: Iterator[Strip], shape: _Shape) -> None:
    """Encode a PNG. Own code, because Pillow wants the whole image in memory and has no 16-bit colour.

    Every row gets the filter "sub" (difference with the pixel to the left), which needs no state between rows.
    Photographs come out 0 to 12 % larger than Pillow's, which tries all filters on each row.
    """
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[shape.channels]
    header = struct.pack(">IIBBBBB", shape.width, shape.height, shape.bit_depth, colour_type, 0, 0, 0)
    deflate = zlib.compressobj()
    with path.open("wb") as file:

        def chunk(kind: bytes, data: bytes) -> None:
            body = kind + data
            file.write(struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body)))

        file.write(b"\x89PNG\r\n\x1a\n")
        chunk(b"IHDR", header)
        for piece in pieces:
            stored = _quantise(piece, shape.bit_depth).astype(f">u{shape.bit_depth // 8}")
            samples = stored.view(np.uint8).reshape(*stored.shape[:2], -1)  # bytes of a pixel last
            filtered = np.diff(samples, axis=1, prepend=np.uint8(0))  # modulo 256, as the format wants
            sub = np.ones((len(stored), 1), np.uint8)  # the byte before each row names its filter
            lines = np.hstack([sub, filtered.reshape(len(stored), -1)])
            if data := deflate.compress(lines.tobytes()):
                chunk(b"IDAT", data)
        chunk(b"IDAT", deflate.flush())
        chunk(b"IEND", b"")


def _write_tiff(path: Path, pieces: Iterator[Strip], shape: _Shape) -> None:
    """Encode a TIFF of compressed tiles, so that viewers can open a part of it."""
    import tifffile

    size = (shape.height, shape.width, shape.channels)
    colours = len(shape.features) == 1  # the parts of a gradient are neither red nor alpha
    gray = shape.channels == 1  # to tifffile an image without an axis of channels
    dtype = np.dtype("f4" if shape.bit_depth == 32 else f"u{shape.bit_depth // 8}")
    tifffile.imwrite(
        path,
        _tiles(pieces, shape, dtype),
        shape=size[:2] if gray else size,
        dtype=dtype,
        tile=(_TILE, _TILE),
        # Offsets have 32 bits in a plain TIFF. The margin covers padded tiles and data that do not compress.
        bigtiff=_tile_bytes(shape, dtype) > 2**32 - 2**26,
        compression="zlib",
        predictor=2 if dtype.kind == "u" else None,
        photometric="rgb" if colours and shape.channels >= 3 else "minisblack",
        planarconfig=None if gray else "contig",
        extrasamples=["unassalpha"] if colours and shape.channels in (2, 4) else None,
        maxworkers=1,  # more would hold many tiles in flight
        metadata=None,
        software="eoren",
    )


def _tile_bytes(shape: _Shape, dtype: np.dtype[Any]) -> int:
    across, down = -(-shape.width // _TILE), -(-shape.height // _TILE)
    return across * down * _TILE**2 * shape.channels * dtype.itemsize


def _tiles(
    pieces: Iterator[Strip], shape: _Shape, dtype: np.dtype[Any]
) -> Iterator[Shaped[np.ndarray, "tile tile channels"]]:
    """Regroup rows into tiles, row-major, the last ones padded with zeros."""
    across = -(-shape.width // _TILE)
    band = np.zeros((_TILE, across * _TILE, shape.channels), dtype)
    filled = done = 0
    for piece in pieces:
        stored = piece if dtype.kind == "f" else _quantise(piece, shape.bit_depth)
        while len(stored):
            taken = stored[: _TILE - filled]
            band[filled : filled + len(taken), : shape.width] = taken
            filled, done, stored = filled + len(taken), done + len(taken), stored[len(taken) :]
            if filled == _TILE or done == shape.height:
                band[filled:] = 0
                yield from (band[:, x : x + _TILE].copy() for x in range(0, across * _TILE, _TILE))
                filled = 0


def _write_npy(path: Path, pieces: Iterator[Strip], shape: _Shape) -> None:
    size = (shape.height, shape.width, *shape.features)
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": size}
        np.lib.format.write_array_header_1_0(file, header)
        for piece in pieces:
            file.write(piece.astype("<f4").tobytes())


def _write_whole(path: Path, pieces: Iterator[Strip], shape: _Shape) -> None:
    """Encode with Pillow, which needs the whole image; in memory, for it does not notice when a disk is full."""
    pixels = np.concatenate([_quantise(piece, 8) for piece in pieces])
    encoded = io.BytesIO()
    if path.suffix.lower() == ".webp":
        # WebP knows no gray.
        image = Image.fromarray(pixels.repeat(3, -1) if shape.channels == 1 else pixels)
        image.save(encoded, "WEBP", lossless=True, exact=True)  # exact: keep colours where alpha is 0
    else:
        image = Image.fromarray(pixels[..., 0] if shape.channels == 1 else pixels)
        image.save(encoded, "JPEG", quality=95, subsampling=0)
    path.write_bytes(encoded.getbuffer())


_ANY = (1, 2, 3, 4)
_GRADIENTS = (*_ANY, 6, 8)
_FORMATS = {
    ".png": _Format(_write_png, _ANY, (8, 16), 2**31 - 1),
    ".tif": _Format(_write_tiff, _GRADIENTS, (8, 16, 32), 2**31 - 1),
    ".tiff": _Format(_write_tiff, _GRADIENTS, (8, 16, 32), 2**31 - 1),
    ".npy": _Format(_write_npy, _GRADIENTS, (8, 16, 32), 2**63 - 1),
    ".jpg": _Format(_write_whole, (1, 3), (8,), 65500),
    ".jpeg": _Format(_write_whole, (1, 3), (8,), 65500),
    ".webp": _Format(_write_whole, (1, 3, 4), (8,), 16383),
}
