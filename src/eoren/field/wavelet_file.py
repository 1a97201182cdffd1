"""Files of compact fields: format version 3. docs/file-format.md specifies it for readers in other languages.

The only tensor, ``data``, holds bytes; integers are of 32 bits, little-endian:

    length of the description, length of the parameters, number of blocks, CRC-32 of all that precedes the latents
    description: deflated JSON with size, channels, base step, width of the SIREN, edge prior, provenance
    parameters: offsets of steps, shifts of scales, and the color decoder (:mod:`eoren.coding.parameters`)
    for each block, row by row: length and CRC-32 of its latents
    for each block: its latents (:mod:`eoren.coding.block_coder`)
"""

import json
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int16

from eoren._version import __version__
from eoren.coding.bands import Box, Latents, blocks, choose_levels
from eoren.coding.context_model import MAX_SHIFT, OFFSETS, Shifts
from eoren.coding.parameters import decode_parameters, encode_parameters
from eoren.errors import DamageWarning, EorenError
from eoren.field.schema import finite_number, whole_number
from eoren.fs.safetensors_layout import DamagedError
from eoren.image.decoders import MAX_PIXELS
from eoren.model.latents.edge_prior import VERSION as PRIOR
from eoren.model.latents.features import group_count

VERSION = 3
MAX_WIDTH = 256
"""Largest width of the SIREN."""
MAX_PRIOR = 1 << 16
"""Largest version of an edge prior."""
SMALLEST_STREAM = 8
"""Bytes of the shortest stream of a block."""
_MAX_OFFSET = 1024
_MAX_DESCRIPTION = 1 << 20  # bytes, inflated
_HEAD, _BLOCK = struct.Struct("<4I"), struct.Struct("<2I")
# What most descriptions contain: deflate refers to it. Part of the format.
_DICTIONARY = (
    b'"version":"0.2.0","composition":{"operation":"clone","fill","mix","retouch"'
    b'"seconds":null,"until_psnr":,"gradient_weight":0.1,"pixel_model":"cell_average","bytes":,'
    b'{"channels":4,"channels":1,"channels":3,"provenance":{"metrics":{"gradient_psnr":38.,"psnr":40.,"psnr_8bit":40.,'
    b'"ssim":0.98},"seed":0,"settings":{"bits_per_pixel":3.0,"preset":"best","preset":"fast","preset":"balanced"},'
    b'"source_sha256":"","steps":,"version":"0.1.0"},"siren":32,"size":[768,512],"step":0.05'
)


class Contents(NamedTuple):
    """What a file of version 3 holds."""

    latents: Latents
    width: int
    height: int
    step: float
    offsets: Int16[np.ndarray, "bands channels"]
    siren_width: int
    weights: Sequence[Float[np.ndarray, "*shape"]]  # of the color decoder
    exponents: Sequence[int]  # of their steps, powers of 1/2
    shifts: Shifts
    provenance: Mapping[str, Any]
    prior: int = 0  # version of the edge prior, 0 for none


def encode_contents(contents: Contents, encode_block: Callable[..., bytes]) -> bytes:
    """Return the bytes of the tensor ``data``."""
    description = {
        "size": [contents.width, contents.height],
        "channels": len(contents.latents.coarse),
        "step": contents.step,
        "siren": contents.siren_width,
        "provenance": {name: value for name, value in contents.provenance.items() if value not in ("", {}, None)},
    }
    if contents.prior:
        description["prior"] = contents.prior
    text = json.dumps(description, sort_keys=True, allow_nan=False, separators=(",", ":"))
    deflater = zlib.compressobj(9, wbits=-15, zdict=_DICTIONARY)
    packed = deflater.compress(text.encode()) + deflater.flush()
    integers = [contents.offsets.astype(np.float64), contents.shifts.astype(np.float64)]
    parameters = encode_parameters([*integers, *contents.weights], [0, 0, *contents.exponents])
    boxes = blocks(contents.width, contents.height, contents.latents.levels)
    coded = [encode_block(contents.latents.block(box), shifts=contents.shifts) for box in boxes]
    front = b"".join([packed, parameters, *(_BLOCK.pack(len(data), zlib.crc32(data)) for data in coded)])
    return b"".join([_HEAD.pack(len(packed), len(parameters), len(coded), zlib.crc32(front)), front, *coded])


def decode_contents(data: bytes, decode_block: Callable[..., None], *, skip_damaged: bool = False) -> Contents:
    """Read the bytes of the tensor ``data``; a DamagedError or ValueError if they are damaged.

    With ``skip_damaged``, damaged blocks become gray, and a :class:`eoren.errors.DamageWarning` names the first.
    Without it, memory is taken only up to the first.
    """
    if len(data) < _HEAD.size:
        raise DamagedError("its data end early")
    first, second, count, checksum = _HEAD.unpack_from(data)
    end = _HEAD.size + first + second
    start = end + count * _BLOCK.size  # of the latents
    if start > len(data) or zlib.crc32(data[_HEAD.size : start]) != checksum:
        raise DamagedError("its description, parameters or table of blocks do not match the checksum")
    description = _description(data[_HEAD.size : _HEAD.size + first])
    width, height = (whole_number({"size": n}, "size", MAX_PIXELS) for n in description["size"])
    channels = whole_number(description, "channels", 4)
    siren_width = whole_number(description, "siren", MAX_WIDTH, 0)
    step = float(description["step"])
    prior = whole_number(description, "prior", MAX_PRIOR) if "prior" in description else 0
    if prior > PRIOR:
        raise EorenError(
            f"edge prior must be version 1 to {PRIOR} for eoren {__version__}, got {prior}; upgrade eoren"
        )
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels exceed the limit of {MAX_PIXELS}")
    if not 2.0**-64 < step < 2.0**64:
        raise ValueError(f"step is {step}")
    levels = choose_levels(width, height)
    shapes = decoder_shapes(channels, group_count(levels), siren_width)
    arrays, exponents = decode_parameters(
        data[_HEAD.size + first : end], [(3 * levels + 1, channels), (OFFSETS,), *shapes]
    )
    offsets, shifts, *weights = arrays
    if np.abs(offsets).max() > _MAX_OFFSET or (offsets != np.rint(offsets)).any():
        raise ValueError("an offset of a step is invalid")
    if np.abs(shifts).max() > MAX_SHIFT or (shifts != np.rint(shifts)).any():
        raise ValueError("a shift of a scale is invalid")
    decode = partial(decode_block, shifts=shifts.astype(np.int16))
    boxes = blocks(width, height, levels)
    if count != len(boxes):
        raise ValueError(f"it must have {len(boxes)} blocks, got {count}")
    if len(data) - start < count * SMALLEST_STREAM and not skip_damaged:  # before memory is taken for the latents
        raise DamagedError("its data end early")
    coded = _split(data, end, start, count)
    damaged = [number for number, block in enumerate(coded) if block is None]
    if damaged and not skip_damaged:
        raise DamagedError(_describe_damage(damaged, boxes))
    latents = Latents.zeros(channels, height, width, levels)
    damaged += _decode_blocks(coded, boxes, latents, decode, skip_damaged=skip_damaged)
    if damaged:
        warnings.warn(f"{_describe_damage(damaged, boxes)}; they are gray", DamageWarning, stacklevel=2)
    provenance = dict(description["provenance"])
    return Contents(
        latents,
        width,
        height,
        step,
        offsets.astype(np.int16),
        siren_width,
        weights,
        exponents[2:],
        shifts.astype(np.int16),
        provenance,
        prior,
    )


def decoder_shapes(channels: int, groups: int, width: int) -> list[tuple[int, ...]]:
    """Return the shapes of the color decoder's tensors: the linear part, weights and biases of the SIREN."""
    inputs = channels * groups
    shapes: list[tuple[int, ...]] = [(inputs, channels)]
    if width:
        sizes = (inputs, width, width, channels)
        shapes += [(1, *pair) for pair in pairwise(sizes)]
        shapes += [(1, 1, outputs) for outputs in sizes[1:]]
    return shapes


def _description(packed: bytes) -> dict[str, Any]:
    inflater = zlib.decompressobj(wbits=-15, zdict=_DICTIONARY)
    try:
        text = inflater.decompress(packed, _MAX_DESCRIPTION)
    except zlib.error as error:
        raise DamagedError(f"its description does not inflate: {error}") from None
    if not inflater.eof or inflater.unused_data:
        raise DamagedError("its description is too long or incomplete")
    try:
        return dict(json.loads(text, parse_float=finite_number, parse_constant=finite_number))
    except RecursionError:
        raise DamagedError("its description is nested too deeply") from None


def _decode_blocks(
    coded: Sequence[bytes | None],
    boxes: Sequence[Box],
    latents: Latents,
    decode_block: Callable[[bytes, Latents], None],
    *,
    skip_damaged: bool,
) -> list[int]:
    """Decode the blocks that match their checksums, and return the numbers of those that are damaged all the same.

    The latents of these stay zero; without ``skip_damaged``, the first is a DamagedError.
    """
    damaged = []
    for number, (box, block) in enumerate(zip(boxes, coded, strict=True)):
        if block is None:
            continue
        try:
            decode_block(block, latents.block(box))
        except ValueError:
            if not skip_damaged:
                raise DamagedError(f"{_describe_block(number, box)} is damaged") from None
            for band in latents.block(box).bands():
                band[:] = 0
            damaged.append(number)
    return damaged


def _describe_damage(damaged: Sequence[int], boxes: Sequence[Box]) -> str:
    first = min(damaged)
    return f"{len(damaged)} of {len(boxes)} blocks are damaged, the first is {_describe_block(first, boxes[first])}"


def _describe_block(number: int, box: Box) -> str:
    return f"block {number}, columns {box.x0} to {box.x1 - 1}, rows {box.y0} to {box.y1 - 1}"


def _split(data: bytes, table: int, start: int, count: int) -> list[bytes | None]:
    """Return the blocks; None for one that does not match its checksum.

    Args:
        data: all bytes.
        table: place of the table of lengths and checksums.
        start: place of the first block.
        count: number of blocks.
    """
    coded: list[bytes | None] = []
    for length, checksum in _BLOCK.iter_unpack(data[table : table + count * _BLOCK.size]):
        block = data[start : start + length]
        coded.append(block if len(block) == length and zlib.crc32(block) == checksum else None)
        start += length
    if start < len(data):
        raise DamagedError("its data go on behind the last block")
    return coded
