import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from eoren.fs import ranged_tensors
from eoren.fs.ranged_tensors import RangedTensors

RANDOM = np.random.default_rng(0)
TENSORS = {
    "a": RANDOM.random((7, 3, 2), np.float32),
    "b": RANDOM.integers(0, 255, 1000, np.uint8),
    "c": RANDOM.integers(-9, 9, (4, 5), np.int64),
    "d": RANDOM.random((5, 2)).astype(np.float16),
    "e": np.zeros((0, 3)),
}
FILE = save(TENSORS, {"key": "value"})


def opened(content, limit=1 << 20):
    return RangedTensors(lambda start, end: content[start:end], limit)


@pytest.mark.parametrize("start", [8, 20, 1 << 14])
def test_tensors_are_those_of_the_library(tmp_path, monkeypatch, start):
    monkeypatch.setattr(ranged_tensors, "_START", start)
    (tmp_path / "a").write_bytes(FILE)
    ranged = opened(FILE)
    assert ranged.metadata == {"key": "value"}
    with safe_open(tmp_path / "a", framework="np") as expected:
        assert {*ranged.keys()} == {*expected.keys()}
        for name in expected.keys():  # noqa: SIM118
            np.testing.assert_array_equal(ranged.get_tensor(name), expected.get_tensor(name))
            part, reference = ranged.get_slice(name), expected.get_slice(name)
            assert (part.get_shape(), part.get_dtype()) == (reference.get_shape(), reference.get_dtype())
            np.testing.assert_array_equal(part[0:3], expected.get_tensor(name)[0:3])


def test_only_the_rows_of_a_slice_are_read():
    ranges = []

    def read(start, end):
        ranges.append(end - start)
        return FILE[start:end]

    part = RangedTensors(read, 1 << 20).get_slice("b")[100:120]
    np.testing.assert_array_equal(part, TENSORS["b"][100:120])
    assert ranges[1:] == [20]


def changed(**entries):
    length = int.from_bytes(FILE[:8], "little")
    header = json.loads(FILE[8 : 8 + length])
    header["a"] |= entries
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + FILE[8 + length :]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nothing of this kind",
        FILE[:100],
        changed(dtype="F99"),
        changed(shape=[7, 3, 3]),
        changed(data_offsets=[-8, 160]),
        changed(data_offsets=[10**9, 10**9 + 168]),
        changed(data_offsets=["a", "b"]),
        changed(data_offsets=[0]),
    ],
)
def test_damage_is_an_error(content):
    with pytest.raises((ValueError, TypeError, LookupError)):
        opened(content).get_tensor("a")


def test_a_long_header_is_refused():
    with pytest.raises(ValueError, match="its header must have at most 100 bytes"):
        opened(FILE, limit=100)
