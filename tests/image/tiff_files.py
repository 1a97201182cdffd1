"""TIFF files in every packing, written by the specification: TIFF 6.0, Adobe's notes on predictors."""

import struct
import zlib
from itertools import product
from typing import NamedTuple

import numpy as np

NONE, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
TILE = 16


class Packing(NamedTuple):
    compression: int = NONE
    predictor: int = 1
    order: str = "<"
    planar: bool = False
    tiled: bool = False


def packings(dtype):
    """Every packing of samples of a type: PackBits and plain samples have no predictor."""
    predictors = (1, 3) if np.dtype(dtype).kind == "f" else (1, 2)
    codings = [(NONE, 1), (PACKBITS, 1), *product((LZW, DEFLATE), predictors)]
    return [Packing(*coding, *rest) for coding, *rest in product(codings, "<>", (False, True), (False, True))]


def tiff(samples, photometric, packing=Packing(), *, extras=None, palette=None, bits=None, tags=()):  # noqa: B008
    """Encode samples (height, width, channels).

    Args:
        samples: unsigned integers or floats; values below 2^bits if `bits` is given.
        photometric: meaning of the first channels.
        packing: how to store them.
        extras: meanings of the channels after them; None writes no tag.
        palette: (colours, 3) of 16 bits.
        bits: 1, 2 or 4 for packed samples.
        tags: more entries, (tag, type, values).
    """
    height, width, channels = samples.shape
    order, rows = packing.order, TILE if packing.tiled else 2
    planes = np.moveaxis(samples, 2, 0)[..., None] if packing.planar else samples[None]
    columns = TILE if packing.tiled else width
    parts = []
    for plane, top, left in product(planes, range(0, height, rows), range(0, width, columns)):
        part = plane[top : top + rows, left : left + columns]
        if packing.tiled:
            part = np.pad(part, [(0, TILE - part.shape[0]), (0, TILE - part.shape[1]), (0, 0)])
        parts.append(_compressed(_bytes(part, packing, bits), packing.compression))
    kind = 3 if samples.dtype.kind == "f" else 1
    entries = [
        (256, 3, [width]),
        (257, 3, [height]),
        (258, 3, [bits or 8 * samples.dtype.itemsize] * channels),
        (259, 3, [packing.compression]),
        (262, 3, [photometric]),
        (277, 3, [channels]),
        (284, 3, [2 if packing.planar else 1]),
        (339, 3, [kind] * channels),
        *tags,
    ]
    if packing.predictor != 1:
        entries.append((317, 3, [packing.predictor]))
    if extras is not None:
        entries.append((338, 3, extras))
    if palette is not None:
        entries.append((320, 3, palette.T.ravel().tolist()))
    offsets = np.cumsum([8, *map(len, parts)])
    places, counts = offsets[:-1].tolist(), [len(part) for part in parts]
    if packing.tiled:
        entries += [(322, 3, [TILE]), (323, 3, [TILE]), (324, 4, places), (325, 4, counts)]
    else:
        entries += [(273, 4, places), (278, 3, [rows]), (279, 4, counts)]
    data = b"".join(parts)
    data += b"\0" * (len(data) % 2)
    more, directory = b"", b""
    start = 8 + len(data) + 2 + 12 * len(entries) + 4  # of values that do not fit into an entry
    for tag, code, values in sorted(entries):
        packed = bytes(values) if code == 7 else struct.pack(order + {3: "H", 4: "I"}[code] * len(values), *values)
        if len(packed) > 4:
            place, more = struct.pack(order + "I", start + len(more)), more + packed + b"\0" * (len(packed) % 2)
        else:
            place = packed.ljust(4, b"\0")
        directory += struct.pack(order + "HHI", tag, code, len(values)) + place
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(data))
    return header + data + struct.pack(order + "H", len(entries)) + directory + bytes(4) + more


def _bytes(part, packing, bits):
    """Apply predictor and byte order to a strip or tile."""
    if bits:
        lines = part.reshape(len(part), -1)
        digits = lines[..., None] >> np.arange(bits)[::-1] & 1
        return np.packbits(digits.astype(np.uint8).reshape(len(part), -1), axis=1).tobytes()
    stored = np.ascontiguousarray(part).astype(part.dtype.newbyteorder(packing.order))
    if packing.predictor == 2:
        difference = np.diff(part, axis=1, prepend=part.dtype.type(0))  # modulo 2^bits
        stored = difference.astype(stored.dtype)
    elif packing.predictor == 3:  # the bytes of a row by significance, then differences of bytes
        rows, columns, channels = part.shape
        big = np.ascontiguousarray(part).astype(part.dtype.newbyteorder(">")).view(np.uint8)
        by_byte = np.moveaxis(big.reshape(rows, columns * channels, -1), 2, 1).reshape(rows, -1, channels)
        return np.diff(by_byte, axis=1, prepend=np.uint8(0)).tobytes()
    return stored.tobytes()


def _compressed(data, compression):
    if compression == DEFLATE:
        return zlib.compress(data)
    if compression == PACKBITS:
        blocks = [data[start : start + 128] for start in range(0, len(data), 128)]
        return b"".join(bytes([len(block) - 1]) + block for block in blocks)
    return _lzw(data) if compression == LZW else data


def _lzw(data):
    """Encode with codes of 9 bits only: the table is cleared before it grows beyond them."""
    codes = []
    for start in range(0, len(data), 200):
        codes += [256, *data[start : start + 200]]
    digits = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(digits.ljust(-(-len(digits) // 8) * 8, "0"), 2).to_bytes(-(-len(digits) // 8), "big")
