"""A reader of compact fields that follows docs/file-format.md alone, one latent at a time, in Python's integers."""

import io
import json
import re
import struct
import zipfile
import zlib
from math import log2
from pathlib import Path

import numpy as np
import pytest
from tests.fields import compact_field

from eoren.field.serialization import dumps

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (ROOT / "docs" / "file-format.md").read_text(encoding="utf-8")
TABLES = ROOT / "src" / "eoren" / "coding" / "context_model.npz"

GROUPS = {
    "direct": ((0, -1), (0, 1), (-1, 0), (1, 0)),
    "diagonal": ((-1, -1), (-1, 1), (1, -1), (1, 1)),
    "knight": ((-2, -1), (-2, 1), (2, -1), (2, 1), (-1, -2), (-1, 2), (1, -2), (1, 2)),
}
RINGS = {
    "diagonal": ((-3, -1), (-3, 1), (3, -1), (3, 1), (-1, -3), (-1, 3), (1, -3), (1, 3)),
    "all": (
        *((0, -3), (0, 3), (-3, 0), (3, 0)),
        *((-2, -3), (-2, 3), (2, -3), (2, 3), (-3, -2), (-3, 2), (3, -2), (3, 2)),
    ),
}
PHASES = (
    (0, 4, 0, 4, 2, ()),
    (2, 4, 2, 4, 2, ("diagonal",)),
    (0, 4, 2, 4, 2, ("direct", "knight")),
    (2, 4, 0, 4, 2, ("direct", "diagonal", "knight")),
    (1, 2, 1, 2, 1, ("diagonal",)),
    (0, 2, 1, 2, 1, ("direct", "knight")),
    (1, 2, 0, 2, 1, ("direct", "diagonal", "knight")),
)
HORIZONTAL, VERTICAL, DIAGONAL, COARSE = range(4)


def read_arrays(path):
    with zipfile.ZipFile(path) as archive:
        return {name[:-4]: np.load(io.BytesIO(archive.read(name))) for name in archive.namelist()}


ARRAYS = {name: array.astype(np.int64) for name, array in read_arrays(TABLES).items()}


def split_tables():
    """Return the ends of all intervals of each table, from 0 to 2**16."""
    bounds, tables = ARRAYS["bounds"].tolist(), []
    for reach in ARRAYS["reach"].tolist():
        for _ in range(9):
            tables.append([0, *bounds[: 2 * reach + 2], 1 << 16])
            bounds = bounds[2 * reach + 2 :]
    assert not bounds
    return tables


INTERVALS = split_tables()


class Stream:
    def __init__(self, data):
        self.words = [word for (word,) in struct.iter_unpack("<I", data)]
        self.x = self.words.pop(0) << 32 | self.words.pop(0)

    def take(self, start, frequency):
        self.x = frequency * (self.x >> 16) + self.x % 65536 - start
        if self.x < 1 << 31:
            self.x = self.x << 32 | self.words.pop(0)

    def uniform(self, count):
        value = self.x % 65536 >> 16 - count
        self.take(value << 16 - count, 1 << 16 - count)
        return value

    def symbol(self, ends):
        slot = self.x % 65536
        k = max(k for k, end in enumerate(ends) if end <= slot)
        self.take(ends[k], ends[k + 1] - ends[k])
        return k

    def latent(self, mean, scale):
        i = mean + 8 >> 4
        r, low = mean - 16 * i, max(0, scale - 28 >> 2)
        t = scale - 4 * low
        reach = int(ARRAYS["reach"][t])
        d = self.symbol(INTERVALS[9 * t + abs(r)]) - reach - 1
        if abs(d) > reach:
            b = self.uniform(5)
            excess = (self.uniform(b - 16) << 16 | self.uniform(16)) if b > 16 else self.uniform(b) if b else 0
            d += excess if d > 0 else -excess
        if low:
            d = (d << low) + self.uniform(low) - (1 << low - 1)
        return i - d if r < 0 else i + d

    def end(self):
        assert self.words == []
        assert self.x == 1 << 31


def c(k):
    value = min(127, round(16 * log2(1 + min(abs(k), 2047) / 8)))
    return value if k >= 0 else -value


def at(plane, row, column):
    inside = 0 <= row < len(plane) and 0 <= column < len(plane[0])
    return plane[row][column] if inside else 0


def value_and_means(plane, row, column):
    total = sum(abs(at(plane, row + i, column + j)) for i in (-1, 0, 1) for j in (-1, 0, 1))
    return c(8 * plane[row][column]), abs(c(8 * plane[row][column])), c(57 * total >> 6)


def transposed(plane):
    return [list(line) for line in zip(*plane, strict=True)]


def clamped(plane, row, column):
    return min(max(row, 0), len(plane) - 1), min(max(column, 0), len(plane[0]) - 1)


def context(plane, known, row, column, phase, others):
    *_, scale, groups = PHASES[phase]
    earlier, parent, siblings, lowpass = others

    def near(offset):
        place = row + scale * offset[0], column + scale * offset[1]
        return at(plane, *place) if place in known else 0

    slots, means = [], []
    for name, offsets in GROUPS.items():
        values = [near(offset) if name in groups else 0 for offset in offsets]
        slots += [c(8 * value) for value in values]
        means.append(c(8 * sum(map(abs, values)) // len(offsets)))
    ring = 0
    if groups == ("diagonal",):
        ring = c(sum(abs(near(offset)) for offset in RINGS["diagonal"]))
    elif groups:
        ring = c(43 * sum(abs(near(offset)) for offset in RINGS["all"]) >> 6)
    slots += [*means, ring]
    for k in (0, 1):
        slots += value_and_means(earlier[k], row, column) if k < len(earlier) else (0, 0, 0)
    slots += value_and_means(parent, *clamped(parent, row >> 1, column >> 1)) if parent else (0, 0, 0)
    for k in (0, 1):
        sibling = siblings[k] if k < len(siblings) and siblings[k] and siblings[k][0] else None
        slots += value_and_means(sibling, *clamped(sibling, row, column))[1:] if sibling else (0, 0)
    for i in range(-2, 3):
        for j in range(-2, 3):
            if (i, j) != (0, 0):
                if lowpass:
                    there_row, there_column = clamped(lowpass, row + i, column + j)
                    slots.append(c(lowpass[there_row][there_column] - lowpass[row][column]))
                else:
                    slots.append(0)
    return np.array(slots, np.int64)


def predict(x, network, offset, shift):
    a = ARRAYS
    h = np.clip((x @ a["first"][network] + a["first_bias"][network] + a["first_offset"][offset]) >> 8, 0, 127)
    h = np.clip((h @ a["second"][network] + a["second_bias"][network]) >> 8, 0, 127)
    outputs = h @ a["last"][network] + x @ a["skip"][network] + a["last_bias"][network] + a["last_offset"][offset]
    u, v = outputs.tolist()
    return min(max(u >> 8, -127), 127), min(max(v + 1024 * shift >> 12, 0), 63)


def merge(e, o):
    """Merge lines of low-pass and high-pass samples."""
    if not o:
        return e

    def t(factor, value):
        return factor * value + 8192 >> 14

    e, o = [t(14252, v) for v in e], [t(18835, v) for v in o]
    for even, odd in ((7266, 14466), (-868, -25987)):
        e = [v - t(even, o[max(k - 1, 0)] + o[min(k, len(o) - 1)]) for k, v in enumerate(e)]
        o = [v - t(odd, e[k] + e[min(k + 1, len(e) - 1)]) for k, v in enumerate(o)]
    line = [0] * (len(e) + len(o))
    line[0::2], line[1::2] = e, o
    return line


def merge_columns(low, high):
    if not low or not low[0]:
        return low
    empty = [[] for _ in low[0]]
    columns = zip(transposed(low), transposed(high) if high else empty, strict=True)
    return transposed([merge(a, b) for a, b in columns])


def next_lowpass(low, bands):
    scaled = [[[8 * v for v in line] for line in band] for band in bands]
    left = merge_columns(low, scaled[VERTICAL])
    right = merge_columns(scaled[HORIZONTAL], scaled[DIAGONAL])
    if not right or not right[0]:
        return left
    return transposed(merge_columns(transposed(left), transposed(right)))


def decode_block(data, sizes, channels, shifts):
    """Decode a block from the sizes (rows, columns) of its low-pass bands, the image's first."""
    levels, stream, decoded = len(sizes) - 1, Stream(data), {}
    lowpass = [None] * channels
    order = [(levels, COARSE), *((level, r) for level in range(levels, 0, -1) for r in range(3))]
    for level, orientation in order:
        if orientation == COARSE:
            rows, columns = sizes[-1]
        else:
            (height, width), (low_rows, low_columns) = sizes[level - 1], sizes[level]
            rows = low_rows if orientation == HORIZONTAL else height - low_rows
            columns = low_columns if orientation == VERTICAL else width - low_columns
        flip = orientation == HORIZONTAL
        shape = (columns, rows) if flip else (rows, columns)
        planes = []
        for channel in range(channels):
            plane = [[0] * shape[1] for _ in range(shape[0])]
            parent = decoded.get((level + 1, orientation), [None] * channels)[channel]
            low = lowpass[channel]
            if flip:
                parent, low = parent and transposed(parent), low and transposed(low)
            if orientation == COARSE:
                parent, low = None, None
            siblings = [decoded[level, r][channel] for r in range(orientation)] if orientation != COARSE else []
            others = planes, parent if parent and parent[0] else None, siblings, low
            q = min(levels if orientation == COARSE else level - 1, 4)
            offset, known = 12 * q + 3 * orientation + min(channel, 2), set()
            for phase, (row0, row_step, column0, column_step, *_) in enumerate(PHASES):
                places = [
                    (row, column)
                    for row in range(row0, shape[0], row_step)
                    for column in range(column0, shape[1], column_step)
                ]
                for row, column in places:
                    x = context(plane, known, row, column, phase, others)
                    mean, scale = predict(x, 2 * phase + min(channel, 1), offset, shifts[offset])
                    plane[row][column] = stream.latent(mean, scale)
                known |= {*places}
            planes.append(plane)
        decoded[level, orientation] = [transposed(p) if flip and p and p[0] else p for p in planes]
        if orientation == COARSE:
            lowpass = [[[8 * v for v in line] for line in plane] for plane in planes]
        elif orientation == DIAGONAL:
            bands = [decoded[level, r] for r in range(3)]
            lowpass = [next_lowpass(lowpass[k], [band[k] for band in bands]) for k in range(channels)]
    stream.end()
    return decoded


def decode_numbers(stream, count):
    exponent, scale = stream.uniform(6) - 32, stream.uniform(6)
    return [stream.latent(0, scale) / 2.0**exponent for _ in range(count)]


@pytest.mark.parametrize(
    ("width", "height", "channels", "siren_width"), [(19, 22, 3, 16), (9, 12, 4, 0), (1, 20, 2, 0), (5, 3, 1, 0)]
)
def test_the_document_is_enough_to_read_a_file(width, height, channels, siren_width):
    field = compact_field(width, height, channels, siren_width=siren_width)
    # Large latents have escapes and low bits.
    for number, band in enumerate(field.representation.latents.bands()):
        if band.size:
            band.flat[0] = (-1) ** number * 3**number
    data = dumps(field)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert json.loads(header["__metadata__"]["eoren"]) == {"format_version": 3, "representation": "wavelet"}
    begin, end = header["data"]["data_offsets"]
    stored = data[8 + length + begin : 8 + length + end]

    a, b, n, checksum = struct.unpack_from("<4I", stored)
    assert zlib.crc32(stored[16 : 16 + a + b + 8 * n]) == checksum
    dictionary = re.search(r"### Dictionary\n.*?```text\n(.*?)```", DOCUMENT, re.DOTALL)[1].replace("\n", "")
    text = zlib.decompressobj(wbits=-15, zdict=dictionary.encode()).decompress(stored[16 : 16 + a])
    description = json.loads(text)
    assert description["size"] == [width, height]
    assert (description["channels"], description["siren"]) == (channels, siren_width)

    levels = min(6, max(0, (max(width, height) - 1).bit_length() - 3))
    groups = 1 + min(levels, 3)
    stream = Stream(stored[16 + a : 16 + a + b])
    own = field.representation
    assert decode_numbers(stream, (3 * levels + 1) * channels) == own.offsets.ravel().tolist()
    shifts = [round(shift) for shift in decode_numbers(stream, 60)]
    assert shifts == own.shifts.tolist()
    for tensor in own.decoder.tensors():
        assert decode_numbers(stream, tensor.numel()) == tensor.double().ravel().tolist()
    assert own.decoder.linear.shape == (groups * channels, channels)
    stream.end()

    assert n == 1
    size, checksum = struct.unpack_from("<2I", stored, 16 + a + b)
    block = stored[24 + a + b :]
    assert (len(block), zlib.crc32(block)) == (size, checksum)
    sizes = [(height, width)]
    for _ in range(levels):
        sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
    decoded = decode_block(block, sizes, channels, shifts)
    for level, bands in enumerate(own.latents.details, 1):
        for orientation, band in enumerate(bands):
            if band.size:
                np.testing.assert_array_equal(decoded[level, orientation], band)
    np.testing.assert_array_equal(decoded[levels, COARSE], own.latents.coarse)
