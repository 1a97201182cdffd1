"""Files of compact fields, version 3. Layout and checks are repeated here from docs/file-format.md."""

import json
import struct
import sys
import tracemalloc
import zlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from tests.compact import picture, rounded_field
from tests.fields import compact_field

from eoren.coding.bands import MAX_LATENT, blocks
from eoren.errors import DamageWarning, EorenError
from eoren.field import wavelet_file
from eoren.field.field import Field
from eoren.field.file_format import FORMAT_VERSION
from eoren.field.provenance import Provenance
from eoren.field.serialization import dumps, loads

HEADER = json.dumps({"format_version": 3, "representation": "wavelet"})
ORIGIN = Provenance(
    {"preset": "balanced", "bits_per_pixel": 3.0},
    seed=1234,
    steps=0,
    source_sha256="0123456789abcdef" * 4,
    metrics={"psnr": 42.1234, "psnr_8bit": 42.0123, "gradient_psnr": 39.8765, "ssim": 0.9876},
    version="0.1.0",
)
as_users = pytest.mark.usefixtures("unchecked")


def parts_of(data):
    """Split the file of a field: description, parameters, streams of the blocks."""
    stored = load(data)["data"].numpy().tobytes()
    first, second, count, checksum = struct.unpack_from("<4I", stored)
    table = 16 + first + second
    at = table + 8 * count
    assert zlib.crc32(stored[16:at]) == checksum
    streams = []
    for length, checksum in struct.iter_unpack("<2I", stored[table:at]):
        streams.append(stored[at : at + length])
        assert zlib.crc32(streams[-1]) == checksum
        at += length
    assert at == len(stored)
    return inflate(stored[16 : 16 + first]), stored[16 + first : table], streams


def inflate(description):
    inflater = zlib.decompressobj(wbits=-15, zdict=wavelet_file._DICTIONARY)
    return json.loads(inflater.decompress(description))


def deflate(text):
    deflater = zlib.compressobj(9, wbits=-15, zdict=wavelet_file._DICTIONARY)
    return deflater.compress(text) + deflater.flush()


def joined(description, parameters, streams):
    """Build a file from its parts, with right checksums; the description is a dictionary, text, or deflated bytes."""
    text = json.dumps(description) if isinstance(description, dict) else description
    packed = deflate(text.encode()) if isinstance(text, str) else text
    table = b"".join(struct.pack("<2I", len(stream), zlib.crc32(stream)) for stream in streams)
    front = packed + parameters + table
    head = struct.pack("<4I", len(packed), len(parameters), len(streams), zlib.crc32(front))
    return as_file(b"".join([head, front, *streams]))


def as_file(stored, header=HEADER):
    return bytes(save({"data": torch.frombuffer(bytearray(stored), dtype=torch.uint8)}, {"eoren": header}))


def small_field(**more):
    return replace(compact_field(11, 7, **more), provenance=ORIGIN)


def refusal(data):
    with pytest.raises(EorenError) as error:
        loads(data)
    line = str(error.value)
    assert "\n" not in line
    return line


# Round trips.


@pytest.mark.parametrize(
    ("width", "height", "channels", "siren_width"),
    [(1, 1, 1, 0), (1, 1, 4, 16), (1, 13, 2, 0), (40, 1, 3, 0), (53, 38, 3, 32), (64, 64, 4, 0), (200, 90, 1, 16)],
)
def test_files_are_read_as_they_were_written(width, height, channels, siren_width):
    field = replace(compact_field(width, height, channels, siren_width=siren_width), provenance=ORIGIN)
    data = dumps(field)
    again = loads(data)
    own, read = field.representation, again.representation
    for one, other in zip(own.latents.bands(), read.latents.bands(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(own.steps(), read.steps())
    np.testing.assert_array_equal(own.shifts, read.shifts)
    for one, other in zip(own.decoder.tensors(), read.decoder.tensors(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.provenance == field.provenance
    assert again.size == field.size
    points = np.random.default_rng(0).random((20, 2))
    np.testing.assert_array_equal(field.color(points), again.color(points))
    np.testing.assert_array_equal(field.laplacian(points), again.laplacian(points))
    assert dumps(field) == data


@pytest.mark.parametrize("siren_width", [0, 16])
def test_a_field_that_was_read_is_written_alike(siren_width):
    data = dumps(small_field(siren_width=siren_width))
    assert dumps(loads(data)) == data


def test_the_version_of_the_edge_prior_is_stored_only_if_there_is_one():
    without = compact_field(33, 21)
    field = replace(without, representation=replace(without.representation, prior=1))
    (description, *rest), (plain, *others) = parts_of(dumps(field)), parts_of(dumps(without))
    assert description.pop("prior") == 1
    assert (description, rest) == (plain, others)
    again = loads(dumps(field))
    assert again.representation.prior == 1
    assert dumps(again) == dumps(field)
    assert "edge prior" in again.representation.describe()
    assert again.representation.summary()["edge_prior"] == 1
    xy = np.random.default_rng(0).random((20, 2))
    np.testing.assert_array_equal(again.color(xy), field.color(xy))
    assert np.abs(again.color(xy) - without.color(xy)).max() > 1e-4


@as_users
def test_an_edge_prior_that_this_release_does_not_have_is_refused():
    description, *rest = parts_of(dumps(compact_field(33, 21)))
    with pytest.raises(EorenError, match=r"edge prior must be version 1 to 1 for eoren .*, got 2; upgrade eoren"):
        loads(joined(description | {"prior": 2}, *rest))
    for wrong in (0, -1, "1", 1.5, None, True):
        with pytest.raises(EorenError, match="damaged"):
            loads(joined(description | {"prior": wrong}, *rest))


def test_the_layout_is_the_documented_one():
    field = small_field(siren_width=16)
    description, parameters, streams = parts_of(dumps(field))
    assert description == {
        "size": [11, 7],
        "channels": 3,
        "step": 0.02,
        "siren": 16,
        "provenance": {
            "settings": {"preset": "balanced", "bits_per_pixel": 3.0},
            "seed": 1234,
            "steps": 0,
            "source_sha256": ORIGIN.source_sha256,
            "metrics": ORIGIN.metrics,
            "version": "0.1.0",
        },
    }
    assert len(streams) == 1
    assert FORMAT_VERSION == 3
    built = loads(joined(description, parameters, streams))
    np.testing.assert_array_equal(built.render(), field.render())


def test_little_is_stored_beside_parameters_and_latents():
    field = replace(compact_field(768, 512), provenance=ORIGIN)
    data = dumps(field)
    _, parameters, streams = parts_of(data)
    assert len(data) - len(parameters) - sum(map(len, streams)) <= 400


def test_extreme_latents_are_stored():
    field = small_field()
    for number, band in enumerate(field.representation.latents.bands()):
        band.flat[:: number + 1] = (-1) ** number * MAX_LATENT
    again = loads(dumps(field))
    for one, other in zip(*(f.representation.latents.bands() for f in (field, again)), strict=True):
        np.testing.assert_array_equal(one, other)


# Damage.


@as_users
@pytest.mark.parametrize("change", [1, 0x80, 0xFF])
def test_every_damaged_byte_is_refused(change):
    data = dumps(small_field())
    intact = loads(data).render()
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= change
        try:
            field = loads(bytes(damaged))
        except EorenError:
            continue
        # Some bytes of the safetensors header mean nothing, such as the space behind it.
        assert place < len(data) - load(data)["data"].numel(), place
        np.testing.assert_array_equal(field.render(), intact)


@as_users
def test_every_truncation_is_refused():
    data = dumps(small_field())
    for end in range(len(data)):
        with pytest.raises(EorenError):
            loads(data[:end])
    stored = load(data)["data"].numpy().tobytes()
    for end in range(1, len(stored)):
        assert refusal(as_file(stored[:end])).startswith("damaged .eoren file: ")
    assert "go on behind the last block" in refusal(as_file(stored + b"\0"))


def test_damaged_blocks_are_located():
    field = compact_field(3000, 9, 1)
    boxes = blocks(3000, 9, field.representation.latents.levels)
    assert len(boxes) == 3
    description, parameters, streams = parts_of(dumps(field))
    stored = load(dumps(field))["data"].numpy().tobytes()
    second = stored.index(streams[1])
    damaged = bytearray(stored)
    damaged[second + 5] ^= 1
    where = f"block 1, columns {boxes[1].x0} to {boxes[1].x1 - 1}, rows 0 to 8"
    line = refusal(as_file(bytes(damaged)))
    assert f"1 of 3 blocks are damaged, the first is {where}; copy it again" in line
    damaged[stored.index(streams[2])] ^= 1
    assert "2 of 3 blocks" in refusal(as_file(bytes(damaged)))
    # A block with the right checksum whose stream is wrong.
    wrong = joined(description, parameters, [streams[0], streams[2], streams[2]])
    assert f"file: {where} is damaged; copy it again" in refusal(wrong)
    with pytest.warns(DamageWarning, match=f"^1 of 3 blocks are damaged, the first is {where}; they are gray$"):
        loads(wrong, skip_damaged=True)


def test_other_blocks_of_a_damaged_file_are_read(monkeypatch):
    small = partial(blocks, side=64)
    monkeypatch.setattr(wavelet_file, "blocks", small)
    field = Field(rounded_field(picture(130, 150, 3), step=0.05))
    data = bytearray(dumps(field))
    boxes = small(150, 130, field.representation.latents.levels)
    assert len(boxes) > 3
    data[-3] ^= 1  # in the last block
    x0, y0, x1, y1 = boxes[-1]
    named = rf"1 of {len(boxes)} blocks .* block {len(boxes) - 1}, columns {x0} to {x1 - 1}, rows {y0} to {y1 - 1}"
    with pytest.raises(EorenError, match=named):
        loads(bytes(data))
    with pytest.warns(DamageWarning, match=named):
        rest = loads(bytes(data), skip_damaged=True)
    found, whole = rest.representation.latents, field.representation.latents
    for box in boxes[:-1]:
        for a, b in zip(found.block(box).bands(), whole.block(box).bands(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert not any(band.any() for band in found.block(boxes[-1]).bands())


def test_damaged_blocks_can_be_left_out():
    field = compact_field(3000, 9, 1)
    stored = bytearray(load(dumps(field))["data"].numpy().tobytes())
    _, _, streams = parts_of(dumps(field))
    stored[-len(streams[2]) - 5] ^= 1
    with pytest.warns(DamageWarning, match="1 of 3 blocks are damaged, the first is block 1, .*gray"):
        read = loads(as_file(bytes(stored)), skip_damaged=True)
    whole, rest = field.render(), read.render()
    x0, _, x1, _ = blocks(3000, 9, field.representation.latents.levels)[1]
    reach = 6 * 64  # of the coarsest wavelets, and of the splines
    np.testing.assert_allclose(rest[:, : x0 - reach], whole[:, : x0 - reach], atol=1e-5)
    np.testing.assert_allclose(rest[:, x1 + reach :], whole[:, x1 + reach :], atol=1e-5)
    np.testing.assert_allclose(rest[:, x0 + reach : x1 - reach], 0.5, atol=1e-5)
    with pytest.raises(EorenError):
        loads(as_file(bytes(stored)))


@as_users
@pytest.mark.parametrize(
    "change",
    [
        {"size": [0, 7]}, {"size": [11]}, {"size": [11, 7, 1]}, {"size": 11}, {"size": ["11", 7]},
        {"size": [11.0, 7]}, {"size": [True, 7]}, {"size": [12, 7]}, {"size": [11, 8]}, {"size": [7, 11]},
        {"channels": 0}, {"channels": 5}, {"channels": 2}, {"channels": None}, {"step": 0}, {"step": -0.02},
        {"step": 1e300}, {"step": "x"}, {"step": [1]}, {"siren": -1}, {"siren": 16}, {"siren": 1000},
        {"siren": 0.0}, {"provenance": None}, {"provenance": [1]}, {"provenance": {"nonsense": 1}},
        {"provenance": {"seed": "x"}}, {"provenance": {"metrics": {"psnr": "x"}}},
        {"provenance": {"seed": 2**70}},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_descriptions_are_refused(change):
    description, parameters, streams = parts_of(dumps(small_field()))
    assert refusal(joined(description | change, parameters, streams)).startswith("damaged .eoren file")


@as_users
@pytest.mark.parametrize(
    "text", ["", "[]", "7", '"x"', "{", "null", "[" * 200_000, '{"size": [11, 7]}', "\x00", "\ud800"[:0] + "é"]
)
def test_descriptions_of_other_types_are_refused(text):
    _, parameters, streams = parts_of(dumps(small_field()))
    assert refusal(joined(text, parameters, streams)).startswith("damaged .eoren file")


@as_users
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have_are_refused(number):
    """They would be read, and could not be printed or written again."""
    description, parameters, streams = parts_of(dumps(small_field()))
    text = json.dumps(description).replace("42.1234", number)
    assert f"not finite, {number}" in refusal(joined(text, parameters, streams))
    text = json.dumps(description).replace("0.02", number)
    assert "not finite" in refusal(joined(text, parameters, streams))


@as_users
@pytest.mark.parametrize("header", [{"format_version": 2}, {"format_version": 3, "representation": "mosaic"}])
def test_the_header_must_fit(header):
    stored = load(dumps(small_field()))["data"].numpy().tobytes()
    text = json.dumps({"representation": "wavelet", **header})
    assert refusal(as_file(stored, text)).startswith("damaged .eoren file")
    tensors = {"data": torch.zeros(5), "more": torch.zeros(1)}
    for wrong in ({"data": tensors["data"]}, tensors, {"more": torch.zeros(1, dtype=torch.uint8)}):
        assert refusal(bytes(save(wrong, {"eoren": HEADER}))).startswith("damaged .eoren file")


# Bombs.


@pytest.fixture
def peak():
    """Measure the memory that Python and NumPy allocate while a file is refused, in bytes."""

    def measure(data):
        tracemalloc.start()
        try:
            line = refusal(data)
            return line, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return measure


@as_users
def test_deflate_bombs_are_refused(peak):
    description, parameters, streams = parts_of(dumps(small_field()))
    text = json.dumps(description)[:-1] + " " * 200_000_000 + "}"
    packed = deflate(text.encode())
    assert len(packed) < 300_000
    line, most = peak(joined(packed, parameters, streams))
    assert "too long or incomplete" in line
    assert most < 10_000_000


@as_users
@pytest.mark.parametrize("size", [[2**30, 2**30], [2**40, 1], [2**15, 2**15], [2**30, 1], [1, 2**30], [20_000, 9000]])
def test_absurd_sizes_are_refused_before_memory_is_taken(peak, size):
    description, parameters, streams = parts_of(dumps(compact_field(70, 65)))
    line, most = peak(joined(description | {"size": size}, parameters, streams))
    assert line.startswith("damaged .eoren file")
    # A box for each block of a picture of 2**30 pixels, at most.
    assert most < 10_000_000 + 600 * max(1, size[0] // 1024) * max(1, size[1] // 1024)


REFUSED = """
import json, sys
from eoren.errors import EorenError
from eoren.field.serialization import loads

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))

data, before = bytes.fromhex(json.load(sys.stdin)), peak()
try:
    loads(data)
except EorenError as error:
    print(json.dumps([str(error), peak() - before]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("has_right_checksums", [True, False])
def test_little_memory_is_taken_for_a_large_file_of_damaged_blocks(python, has_right_checksums):
    """Its latents would take a gigabyte."""
    description, parameters, _ = parts_of(dumps(compact_field(300, 2, 4)))
    data = joined(description | {"size": [8192, 8192]}, parameters, [b"nonsense"] * 64)
    if not has_right_checksums:
        data = data.replace(b"nonsense", b"Nonsense")
    line, kilobytes = python(REFUSED, data.hex())
    where = "block 0, columns 0 to 1023, rows 0 to 1023"
    damage = f"{where} is damaged" if has_right_checksums else f"64 of 64 blocks are damaged, the first is {where}"
    assert f"file: {damage}; copy it again" in line
    assert kilobytes < 200_000
