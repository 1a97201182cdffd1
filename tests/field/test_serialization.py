import base64
import errno
import io
import json
import os
import pickle
import re
import struct
import zlib
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from tests.fields import with_parts
from tests.fuzz.targets import checksums

from eoren.errors import DamageWarning, EorenError
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.provenance import Provenance
from eoren.field.serialization import dumps, load, loads, save
from eoren.model.arrays import as_numpy
from eoren.model.channel_tuning import Tuning
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling

GRID = Tiling(20, 12, 1.5, np.array([(0, 8), (-1, 0), (1, 5), (-1, 0), (-1, 0)], np.int32))
BITS = [32, 16, 8]


def field_of(tiling=GRID, channels=3, *, bits=32, width=5, depth=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    siren = Siren.init(tiling.count, width=width, depth=depth, channels=channels, generator=generator)
    alpha, beta = torch.rand(2, tiling.count, 1, channels, generator=generator)
    provenance = Provenance({"preset": "balanced", "tile": None}, 7, 5, 1.25, "ab" * 32, {"psnr": 30.5, "ssim": None})
    return Field(SirenMosaic(siren, Tuning(alpha + 0.5, beta), tiling, bits), provenance)


def points(count=40):
    return np.random.default_rng(0).random((count, 2))


def assert_same(one, other):
    assert one.provenance == other.provenance
    assert one.size == other.size
    one, other = one.representation, other.representation
    for a, b in zip(
        (*one.siren.tensors(), one.tuning.alpha, one.tuning.beta),
        (*other.siren.tensors(), other.tuning.alpha, other.tuning.beta),
        strict=True,
    ):
        assert as_numpy(a).dtype == as_numpy(b).dtype
        np.testing.assert_array_equal(as_numpy(a), as_numpy(b))
    assert one.siren.omegas == other.siren.omegas
    assert (one.tiling.halo, one.bits) == (other.tiling.halo, other.bits)
    np.testing.assert_array_equal(one.tiling.nodes, other.tiling.nodes)


# There and back.


@pytest.mark.parametrize("tiling", [Tiling.single(7, 9), GRID], ids=["single", "mosaic"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("width", "depth"), [(5, 1), (1, 3)])
def test_32_bits_come_back_exactly(tmp_path, tiling, channels, width, depth):
    field = field_of(tiling, channels, width=width, depth=depth)
    for path in (tmp_path / "a.eoren", str(tmp_path / "b.eoren")):
        save(field, path)
        found = load(path)
        assert_same(found, field)
        np.testing.assert_array_equal(found.gradient(points()), field.gradient(points()))


def test_a_field_is_read_to_the_device_that_is_wanted(tmp_path):
    save(field_of(), tmp_path / "a.eoren")
    found = load(tmp_path / "a.eoren", device="meta").representation
    assert {t.device.type for t in (*found.siren.tensors(), found.tuning.alpha)} == {"meta"}


@pytest.mark.parametrize("bits", [16, 8])
def test_fewer_bits_round_as_documented(bits):
    field = field_of(bits=bits)
    found = loads(dumps(field))
    for weight, bias, found_weight, found_bias in zip(
        field.representation.siren.weights,
        field.representation.siren.biases,
        found.representation.siren.weights,
        found.representation.siren.biases,
        strict=True,
    ):
        weight = weight.numpy()
        if bits == 16:
            expected = weight.astype(np.float16).astype(np.float32)
        else:
            scale = np.abs(weight).max(1, keepdims=True) / np.float32(127)
            expected = np.rint(weight / scale) * scale
        np.testing.assert_array_equal(found_weight, expected)
        np.testing.assert_array_equal(found_bias, bias.numpy().astype(np.float16))
    np.testing.assert_array_equal(found.representation.tuning.alpha, field.representation.tuning.alpha)
    assert found.representation.bits == bits
    # Rounding once is enough: what came back is stored without further loss.
    assert_same(loads(dumps(found)), found)


@pytest.mark.parametrize("bits", BITS)
def test_bytes_depend_on_the_field_alone(tmp_path, bits):
    data = dumps(field_of(bits=bits))
    assert data == dumps(field_of(bits=bits))
    assert data != dumps(field_of(bits=bits, seed=1))
    save(field_of(bits=bits), tmp_path / "a.eoren")
    assert (tmp_path / "a.eoren").read_bytes() == data
    assert dumps(loads(data)) == data or bits == 8  # int8: equal numbers, scales may differ by a rounding
    np.testing.assert_array_equal(loads(data).color(points()), loads(dumps(loads(data))).color(points()))


def test_bytes_do_not_depend_on_the_order_of_settings():
    one, other = ({"a": 1, "b": {"x": 2, "y": 3}}, {"b": {"y": 3, "x": 2}, "a": 1})
    field = field_of()
    assert dumps(replace(field, provenance=Provenance(one))) == dumps(replace(field, provenance=Provenance(other)))


def test_a_profile_comes_back_and_costs_its_compressed_size():
    plain, profile = field_of(), imagecodecs.cms_profile("adobergb")
    field = replace(plain, provenance=replace(plain.provenance, profile=profile))
    assert loads(dumps(field)).provenance == field.provenance
    assert len(dumps(field)) - len(dumps(plain)) < 4 / 3 * len(zlib.compress(profile, 9)) + 32
    assert b"profile" not in dumps(plain)


def stored_profile(profile, keep=None):
    return base64.b64encode(zlib.compress(profile)[:keep]).decode()


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (stored_profile(b"nonsense" * 20), "the profile is invalid: it is not a complete ICC profile"),
        (stored_profile(imagecodecs.cms_profile("adobergb"), -9), "the profile is incomplete or too large"),
        (stored_profile(bytes(1 << 20)), "the profile is incomplete or too large"),
        ("bm9uc2Vuc2U=", "the profile does not inflate"),
        ("*", "Error"),
        (5, "TypeE|TypeCheckE"),
    ],
)
def test_damaged_profiles_are_refused(stored, message):
    with pytest.raises(EorenError, match=message):
        loads(with_header(provenance={"profile": stored}))


def test_a_profile_of_other_channels_is_left_out():
    plain = field_of()
    field = replace(plain, provenance=replace(plain.provenance, profile=imagecodecs.cms_profile("gray")))
    with pytest.warns(DamageWarning, match="colour profile left out: it is one for GRAY, not for these channels"):
        assert loads(dumps(field)).provenance == plain.provenance


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_would_be_refused_are_not_written(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(replace(field_of(), provenance=Provenance(metrics={"psnr": number})))


def test_a_field_of_strided_tensors_can_be_stored():
    field = field_of()
    strided = field.representation.siren.with_tensors(
        [t.mT.contiguous().mT for t in field.representation.siren.tensors()]
    )
    tuning = Tuning(
        field.representation.tuning.alpha.mT.contiguous().mT,
        torch.zeros(3, 2, 3)[:, ::2] + field.representation.tuning.beta,
    )
    assert dumps(with_parts(field, siren=strided, tuning=tuning)) == dumps(field)


# The format as documented.


@pytest.mark.parametrize("bits", BITS)
def test_any_safetensors_reader_opens_the_file(tmp_path, bits):
    field = field_of(bits=bits)
    save(field, tmp_path / "a.eoren")
    with safe_open(tmp_path / "a.eoren", framework="np") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        metadata = stored.metadata()
    small = {32: "float32", 16: "float16", 8: "float16"}[bits]
    large = {32: "float32", 16: "float16", 8: "int8"}[bits]
    expected = {"alpha": ((3, 1, 3), "float32"), "beta": ((3, 1, 3), "float32"), "tiles": ((5, 2), "int32")}
    expected["checksums"] = (4,), "int32"
    for layer, (inputs, outputs) in enumerate([(2, 5), (5, 5), (5, 3)]):
        expected[f"weight.{layer}"] = ((3, inputs, outputs), large)
        expected[f"bias.{layer}"] = ((3, 1, outputs), small)
        if bits == 8:
            expected[f"scale.{layer}"] = ((3, 1, outputs), "float32")
    assert {name: (t.shape, str(t.dtype)) for name, t in tensors.items()} == expected
    assert [*metadata] == ["eoren"]
    assert json.loads(metadata["eoren"]) == {
        "format_version": 2,
        "channels": 3,
        "width": 20,
        "height": 12,
        "halo": 1.5,
        "omegas": [30.0, 30.0],
        "bits": bits,
        "provenance": field.provenance.as_stored(),
    }


@pytest.mark.parametrize("bits", BITS)
def test_nothing_but_numbers_and_json_is_in_the_file(bits):
    data = dumps(field_of(bits=bits))
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    spans = sorted(entry["data_offsets"] for name, entry in header.items() if name != "__metadata__")
    assert spans[0][0] == 0
    assert all(one[1] == other[0] for one, other in pairwise(spans))
    assert 8 + length + spans[-1][1] == len(data)


# Damage. Files are read as users read them: the run-time checks of types that the tests switch on refuse much by
# themselves.


def outcome(data):
    """``field``, which can be used, or why it is refused."""
    try:
        field = loads(data)
    except EorenError as error:
        message = str(error)
        assert "\n" not in message
        assert 20 < len(message) < 400
        return message
    for tensor in (
        *field.representation.siren.tensors(),
        field.representation.tuning.alpha,
        field.representation.tuning.beta,
    ):
        assert tensor.dtype == np.float32
        assert np.isfinite(tensor).all()
    assert field.representation.bits in BITS
    for ask in (field.color, field.laplacian):
        assert ask(torch.tensor([[0.25, 0.5], [0.7, 0.1]])).shape == (2, field.channels)
    dumps(field)
    return "field"


def with_header(**changes):
    """A file whose JSON is changed; ``...`` removes an entry."""
    data = dumps(field_of())
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["eoren"]) | changes
    return as_file({name: value for name, value in header.items() if value is not ...}, load_tensors(data))


def with_tensors(bits=32, **changes):
    """A file whose tensors are changed: by name, ``.`` written ``_``; ``...`` removes one."""
    data = dumps(field_of(bits=bits))
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["eoren"])
    tensors = load_tensors(data)
    for name, change in changes.items():
        name = name.replace("_", ".")
        tensors[name] = change(tensors[name]) if callable(change) else change
    return as_file(header, {name: t for name, t in tensors.items() if t is not ...})


def as_file(header, tensors):
    """A file with valid checksums: they are no defence against malice."""
    text = header if isinstance(header, str) else json.dumps(header)
    tensors = {name: t.contiguous() for name, t in tensors.items()}
    with suppress(KeyError, IndexError, TypeError):  # files without a tile, or of a type that NumPy does not support
        tensors["checksums"] = checksums(text, tensors)
    return save_tensors(tensors, {"eoren": text})


def poisoned(value):
    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[1] = value
        return tensor

    return change


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9)).save(buffer, "PNG")
    return buffer.getvalue()


def tree(*nodes):
    return torch.tensor(nodes, dtype=torch.int32)


def wide_halo():
    """A hundred tiles, each of which reaches over the whole image."""
    tiling = Tiling.by_detail(np.ones((60, 60)), count=100, halo=1.0, smallest=2)
    return dumps(field_of(replace(tiling, halo=1e9)))


FOREIGN = {
    "empty": b"",
    "seven bytes": b"\0" * 7,
    "png": png(),
    "text": b"hello, this is no image at all\n" * 9,
    "zeros": bytes(1000),
    "pickle": pickle.dumps({"eoren": [1, 2, 3] * 99}),
    "torch.save": (lambda buffer: (torch.save({"alpha": torch.ones(2)}, buffer), buffer.getvalue())[1])(io.BytesIO()),
    "other safetensors": save_tensors({"alpha": torch.ones(2)}),
    "other metadata": save_tensors({"alpha": torch.ones(2)}, {"format": "pt"}),
    "metadata of ours is no JSON": save_tensors({"alpha": torch.ones(2)}, {"eoren": "{"}),
    "metadata of ours is a list": save_tensors({"alpha": torch.ones(2)}, {"eoren": "[]"}),
    "no version": with_header(format_version=...),
    "deep JSON": save_tensors({"alpha": torch.ones(2)}, {"eoren": "[" * 100_000}),
}

DAMAGED = {
    **{
        f"no {name}": with_header(**{name: ...})
        for name in ("channels", "width", "height", "halo", "omegas", "bits", "provenance")
    },
    **{
        f"{name} {value!r}": with_header(**{name: value})
        for name, values in {
            "channels": (None, "three", 2, 5, 0, -1, [3], 1e400, float("nan")),
            "width": (None, "wide", 0, -20, 8, [20], 1e400, 10**30, 10**400),
            "height": (None, 0, 5, float("nan"), 10**30),
            "halo": (None, "x", 0.0, -1.0, 1e-300, 1e400, float("nan"), 10**400),
            "omegas": (None, 30, [], [30.0], [30.0] * 3, ["a", "b"], [1e400, 1], [float("nan"), 1], [10**400, 1]),
            "bits": (None, 7, 0, "many", 1e400, [8]),
            "provenance": (None, 5, [], {"nonsense": 1}, "text"),
        }.items()
        for value in values
    },
    "nan weight": with_tensors(weight_1=poisoned(float("nan"))),
    "infinite bias": with_tensors(bias_0=poisoned(float("inf"))),
    "nan alpha": with_tensors(alpha=poisoned(float("nan"))),
    "infinite beta": with_tensors(beta=poisoned(-float("inf"))),
    "nan scale": with_tensors(bits=8, scale_1=poisoned(float("nan"))),
    "infinite float16": with_tensors(bits=16, weight_1=poisoned(float("inf"))),
    **{
        f"no {name}": with_tensors(**{name: ...})
        for name in ("weight_0", "weight_2", "bias_1", "alpha", "beta", "tiles")
    },
    "no scale": with_tensors(bits=8, scale_1=...),
    "flat weight": with_tensors(weight_0=lambda t: t.flatten()),
    "flat last weight": with_tensors(weight_2=lambda t: t.flatten()),
    "two axes": with_tensors(weight_0=lambda t: t[0]),
    "a number for a weight": with_tensors(weight_0=lambda t: t[0, 0, 0]),
    "empty weight": with_tensors(weight_0=lambda t: t[:0]),
    "four axes": with_tensors(weight_1=lambda t: t[None]),
    "narrower": with_tensors(weight_1=lambda t: t[:, :, :4]),
    "three inputs": with_tensors(weight_0=lambda t: torch.cat([t, t[:, :1]], 1)),
    "bias of fewer units": with_tensors(bias_1=lambda t: t[:, :, :4]),
    "bias that would broadcast": with_tensors(bias_1=lambda t: t[:, :, :1]),
    "fewer networks": with_tensors(**dict.fromkeys(("weight_0", "bias_0"), lambda t: t[:2])),
    "tuning of fewer networks": with_tensors(alpha=lambda t: t[:1]),
    "tuning of fewer channels": with_tensors(beta=lambda t: t[:, :, :1]),
    "scale of other units": with_tensors(bits=8, scale_1=lambda t: t[:, :, :4]),
    "scale of other networks": with_tensors(bits=8, scale_1=lambda t: t[:2]),
    "scale without axes": with_tensors(bits=8, scale_1=lambda t: t[0, 0, 0]),
    "scale that overflows": with_tensors(bits=8, scale_1=lambda t: t * 0 + 3e38),
    "complex alpha": with_tensors(alpha=lambda t: t.to(torch.complex64)),
    "complex weight": with_tensors(weight_1=lambda t: t.to(torch.complex64)),
    "double alpha": with_tensors(alpha=lambda t: t.double()),
    "whole beta": with_tensors(beta=lambda t: t.long()),
    "unsigned alpha": with_tensors(alpha=lambda t: t.to(torch.uint8).to(torch.uint32)),
    "8-bit float alpha": with_tensors(alpha=lambda t: t.to(torch.float8_e4m3fn)),
    "double scale": with_tensors(bits=8, scale_1=lambda t: t.double()),
    "no nodes": with_tensors(tiles=tree().reshape(0, 2)),
    "flat tree": with_tensors(tiles=lambda t: t.flatten()),
    "tree of three columns": with_tensors(tiles=torch.cat([tree((0, 8), (-1, 0), (-1, 0))] * 2, 1)[:, :3]),
    "half a tree": with_tensors(tiles=lambda t: t[:4]),
    "more than a tree": with_tensors(tiles=lambda t: torch.cat([t, t])),
    "another tree": with_tensors(tiles=tree((0, 8), (-1, 0), (-1, 0))),
    "cut outside": with_tensors(tiles=tree((0, 8), (-1, 0), (1, 12), (-1, 0), (-1, 0))),
    "cut below": with_tensors(tiles=tree((0, 8), (-1, 0), (1, -3), (-1, 0), (-1, 0))),
    "cut twice": with_tensors(tiles=tree((0, 8), (-1, 0), (0, 8), (-1, 0), (-1, 0))),
    "third axis": with_tensors(tiles=tree((2, 8), (-1, 0), (1, 5), (-1, 0), (-1, 0))),
    "broken cuts": with_tensors(tiles=lambda t: t.float() + 0.25 * (t > 0)),
    "tree of doubles": with_tensors(tiles=lambda t: t.double()),
    "tree of half floats": with_tensors(tiles=lambda t: t.bfloat16()),
    "huge tree": with_tensors(tiles=torch.full((100_001, 2), -1, dtype=torch.int32)),
}

NEWER = {
    f"version {version}": with_header(format_version=version) for version in (4, 99, 10**30, 1.5, "2", None, [1])
}


as_users = pytest.mark.usefixtures("unchecked")


@as_users
def test_intact_files_are_read():
    assert outcome(dumps(field_of())) == outcome(with_header()) == "field"


@as_users
@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
def test_foreign_files_are_refused(data):
    assert re.match(r"not an \.eoren file; such files|damaged \.eoren file", outcome(data))


@as_users
@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damaged_files_are_refused(data):
    assert outcome(data).startswith("damaged .eoren file")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (with_header(channels=5), "channels is 5"),
        (with_header(width="wide"), "width is 'wide'"),
        (with_header(width=0), "width is 0"),
        (with_header(bits=33), "bits is 33"),
        (with_header(bits=24), "bits is 24, with 2 sine layers"),
        (with_header(omegas=[]), "bits is 32, with 0 sine layers"),
        (with_header(omegas=[30.0] * 65), "it must have at most 64 sine layers, got 65"),
        (with_header(omegas="3" * 300_000), "it must have at most 64 sine layers, got 300000"),
        (with_header(width=2**31, height=1), "width is 2147483648"),
        (with_header(width=2**20, height=2**11), "1048576 x 2048 pixels exceed the limit of 1073741824"),
        (with_tensors(alpha=poisoned(float("nan"))), "a parameter is not finite"),
        (with_header(provenance={"seed": "one"}), "provenance: seed is 'one'"),
        (with_header(provenance={"seed": True}), "provenance: seed is True"),
        (with_header(provenance={"seed": None}), "provenance: seed is None"),
        (with_header(provenance={"seconds": None, "version": 5}), "provenance: version is 5"),
        (with_header(provenance={"metrics": {"psnr": "good"}}), "provenance: a metric is not a number"),
        (with_header(provenance={"metrics": {"psnr": 10**400}}), "provenance: a number is too large"),
        (with_header(provenance={"steps": -(2**64)}), "provenance: a number is too large"),
        (
            with_header(provenance={"metrics": {"p" * 101: 1}}),
            "provenance: too many metrics, or a name too long",
        ),
        (
            with_header(provenance={"metrics": {f"{k}": 1 for k in range(101)}}),
            "provenance: too many metrics, or a name too long",
        ),
        (wide_halo(), "with halo 1e+09, 100 tiles would overlap at one point"),
        (with_tensors(bias_1=...), "tensor bias.1 does not fit the others"),
        (with_tensors(scale_0=torch.ones(1)), "tensor scale.0 does not fit the others"),
        (with_tensors(alpha=torch.ones(9, 1, 3).double()), "tensor alpha does not fit the others"),
        (
            with_tensors(
                **dict.fromkeys(("weight_0", "bias_0", "bias_1"), lambda t: t[:, :, :0]),
                weight_1=lambda t: t[:, :0, :0],
                weight_2=lambda t: t[:, :0],
            ),
            "tensor weight.0 does not fit the others",
        ),
    ],
)
@as_users
def test_what_is_damaged_is_named(data, says):
    with pytest.raises(EorenError, match=rf"^damaged \.eoren file \(ValueError: {re.escape(says)}\); fit the"):
        loads(data)


@pytest.mark.parametrize("number", ["1e400", "-1e999", "NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(number):
    """They would be read, and could not be written again."""
    text = json.dumps({"format_version": 2, "provenance": {"settings": {"rate": "?"}}}).replace('"?"', number)
    says = f"damaged .eoren file: its header has a number that is not finite, {number}; copy it again"
    with pytest.raises(EorenError, match=rf"^{re.escape(says)}"):
        loads(as_file(text, load_tensors(dumps(field_of()))))


@as_users
@pytest.mark.parametrize("data", NEWER.values(), ids=NEWER)
def test_newer_versions_say_so(data):
    assert re.match(r"\.eoren format version must be 1 to 3 for eoren .*, got .*; upgrade eoren$", outcome(data))


@pytest.mark.parametrize("version", [0, -1, True])
def test_versions_that_never_were_are_refused(version):
    with pytest.raises(EorenError):
        loads(with_header(format_version=version))


@as_users
def test_every_truncation_is_refused():
    data = dumps(field_of(width=2))
    assert len(data) > 1000
    assert "field" not in {outcome(data[:cut]) for cut in range(len(data))}


@as_users
@pytest.mark.parametrize("bits", BITS)
def test_random_damage_is_refused_or_harmless(bits):
    generator = np.random.default_rng(bits)
    data = np.frombuffer(dumps(field_of(bits=bits)), np.uint8)
    (length,) = struct.unpack("<Q", data[:8].tobytes())
    found = []
    for case in range(150):
        damaged = data.copy()
        end = len(data) if case % 3 == 0 else 8 + length  # damage to the header is the more interesting
        places = generator.integers(0, end, generator.integers(1, 4))
        # Digits, letters and signs of the header become others, so that much of it still parses.
        damaged[places] ^= generator.integers(1, 256 if case % 2 else 16, len(places), dtype=np.uint8)
        found.append(outcome(damaged.tobytes()))
    assert found.count("field") < 5  # white space between the entries of the outer JSON has no checksum


@pytest.mark.parametrize("seconds", [None, 3, 3.5])
@as_users
def test_seconds_of_a_fit_are_a_number_or_none(seconds):
    assert loads(with_header(provenance={"seconds": seconds})).provenance == Provenance(seconds=seconds)


# Checksums.


def numbers_of(data, tensor):
    """Where a tensor's numbers begin and end in a file."""
    (length,) = struct.unpack("<Q", data[:8])
    begin, end = json.loads(data[8 : 8 + length])[tensor]["data_offsets"]
    return 8 + length + begin, 8 + length + end


@pytest.mark.parametrize("bits", BITS)
def test_checksums_are_as_documented(bits):
    data = dumps(field_of(bits=bits))
    (length,) = struct.unpack("<Q", data[:8])
    tensors = load_tensors(data)
    assert torch.equal(
        tensors["checksums"], checksums(json.loads(data[8 : 8 + length])["__metadata__"]["eoren"], tensors)
    )


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    ("tile", "place"), [(0, "columns 0 to 7, rows 0 to 11"), (1, "columns 8 to 19, rows 0 to 4"), (2, "rows 5 to 11")]
)
def test_the_damaged_tile_is_named(bits, tile, place):
    intact = dumps(field_of(bits=bits))
    names = [name for name in load_tensors(intact) if name not in ("tiles", "checksums")]
    assert len(names) == (8 if bits != 8 else 11)
    for name in names:
        data = bytearray(intact)
        begin, end = numbers_of(data, name)
        data[begin + tile * (end - begin) // 3] ^= 1
        with pytest.raises(EorenError, match=rf"1 of 3 parts .* the first is tile {tile}, .*{place}; copy it again"):
            loads(bytes(data))


def test_all_damaged_tiles_are_counted():
    data = bytearray(dumps(field_of()))
    begin, end = numbers_of(data, "weight.1")
    data[begin + (end - begin) // 3 : end] = bytes((end - begin) - (end - begin) // 3)
    with pytest.raises(EorenError, match=r"2 of 3 parts .* the first is tile 1"):
        loads(bytes(data))


def test_damage_to_shared_data_has_its_own_message():
    data = dumps(field_of())
    begin, _ = numbers_of(data, "tiles")
    cut = bytearray(data)
    cut[begin + 4] = 9  # a cut that would be as good
    for damaged in (bytes(cut), data.replace(b'"seed\\": 7', b'"seed\\": 8')):
        assert damaged != data
        with pytest.raises(EorenError, match="file: its header or tiles does not match the checksum; copy"):
            loads(damaged)


# What would take more than a file deserves.


def test_a_header_is_capped(tmp_path):
    with pytest.raises(EorenError, match=r"its header must have at most 1048576 bytes, got 1048577"):
        loads((2**20 + 1).to_bytes(8, "little") + b"{" + bytes(2**20))
    path = tmp_path / "a.eoren"
    with path.open("wb") as file:  # it has the bytes: a sparse gigabyte
        file.write((2**30).to_bytes(8, "little") + b"{")
        file.truncate(2**30 + 8)
    with pytest.raises(EorenError, match=r"a\.eoren: damaged .* got 1073741824"):
        load(path)


def chain(tiles):
    """A tree whose every cut has one tile below it and all the others above."""
    return tree(*[node for cut in range(1, tiles) for node in ((0, cut), (-1, 0))], (-1, 0))


def chained(tiles):
    siren = Siren.init(tiles, width=2, depth=1, channels=1, generator=torch.Generator())
    ones = torch.ones(tiles, 1, 1)
    return Field(SirenMosaic(siren, Tuning(ones, ones.clone()), Tiling(1000, 2, 0.1, chain(tiles).numpy())))


def test_trees_are_no_deeper_than_ours_could_be():
    assert loads(dumps(chained(65))).representation.tiling.tree.depth == 64
    with pytest.raises(EorenError, match=r"a tile must lie under at most 64 cuts, got 65"):
        loads(dumps(chained(66)))


def test_images_are_as_large_as_can_be_read():
    assert loads(with_header(width=2**20, height=2**10)).size == (2**20, 2**10)
    for width, height in [(2**20, 2**10 + 1), (2**31, 1), (20, 2**30 + 1)]:
        with pytest.raises(EorenError, match=r"damaged"):
            loads(with_header(width=width, height=height))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.eoren")
    with pytest.raises(EorenError, match="is a folder or a device"):
        load(tmp_path / "a.eoren")


@pytest.mark.usefixtures("unchecked")
def test_bytes_and_file_objects_hold_fields(tmp_path):
    field = field_of()
    save(field, tmp_path / "a.eoren")
    content = (tmp_path / "a.eoren").read_bytes()
    file = io.BytesIO()
    save(field, file)
    field.save(file)
    assert file.getvalue() == 2 * content
    file.seek(len(content))
    for source in (content, bytearray(content), memoryview(content), file):
        assert dumps(load(source)) == content
    with (tmp_path / "a.eoren").open("rb") as opened:
        assert dumps(load(opened)) == content
        assert not opened.closed
    for source in (content[:-1], io.BytesIO(content[:-1])):
        with pytest.raises(EorenError, match=r"^(bytes|BytesIO): damaged \.eoren file: "):
            load(source)
    with pytest.raises(EorenError, match="StringIO: must be a path or a file opened with 'wb', got StringIO"):
        save(field, io.StringIO())
    with pytest.raises(EorenError, match="dict: must be a path, bytes or a file opened with 'rb', got dict"):
        load({})


# Places.


def test_errors_name_the_file(tmp_path):
    (tmp_path / "a.eoren").write_bytes(png())
    with pytest.raises(EorenError, match=r"a\.eoren: not an \.eoren file"):
        load(tmp_path / "a.eoren")
    with pytest.raises(EorenError, match=r"b\.eoren: cannot be read \(No such file or directory\)"):
        load(tmp_path / "b.eoren")
    with pytest.raises(EorenError, match="is a folder or a device"):
        load(tmp_path)
    with pytest.raises(EorenError, match=r"no folder"):
        save(field_of(), tmp_path / "none" / "a.eoren")


def test_a_path_that_cannot_be_one():
    with pytest.raises(EorenError):
        load("a\0b.eoren")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=str)
@pytest.mark.parametrize("place", [(Path, "write_bytes"), (os, "replace"), (os, "fsync")], ids=lambda p: p[1])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, place, error):
    path = tmp_path / "a.eoren"
    save(field_of(), path)
    before = path.read_bytes()

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(*place, fail)
    with pytest.raises(EorenError if isinstance(error, OSError) else KeyboardInterrupt):
        save(field_of(seed=1), path)
    monkeypatch.undo()
    assert [each.name for each in tmp_path.iterdir()] == ["a.eoren"]
    assert path.read_bytes() == before


def test_a_field_that_cannot_be_stored_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.eoren"
    save(field_of(), path)
    before = path.read_bytes()
    field = field_of(bits=16)
    large = with_parts(
        field, siren=field.representation.siren.with_tensors([1e6 * t for t in field.representation.siren.tensors()])
    )
    with pytest.raises(EorenError, match="does not fit into 16 bits; store the field with bits=32"):
        save(large, path)
    assert path.read_bytes() == before
    assert len([*tmp_path.iterdir()]) == 1
