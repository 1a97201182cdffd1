import json

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from eoren.container import MAX_HEADER, DamagedError, ForeignError, check_layout, read_checked


def file(header, numbers=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def tensor(begin, end, *, dtype="F32", shape=None):
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def check(data):
    return check_layout(data, len(data))


def test_what_safetensors_writes_is_fine():
    kinds = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16, torch.bfloat16, torch.int32)
    kinds += (torch.float32, torch.int64, torch.float64, torch.complex64)
    tensors = {str(kind): torch.ones(3, 5, dtype=kind) for kind in kinds}
    tensors |= {"empty": torch.ones(0, 4), "a number": torch.tensor(1.0)}
    assert check(save_tensors(tensors, {"a": "b", "c": "[]"})) == {"a": "b", "c": "[]"}
    assert check(save_tensors(tensors)) == {}
    assert check(file({})) == {}


DAMAGED = {
    "hole at the start": file({"a": tensor(4, 8)}, bytes(8)),
    "hole": file({"a": tensor(0, 4), "b": tensor(8, 12)}, bytes(12)),
    "overlap": file({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)),
    "twice the same": file({"a": tensor(0, 8), "b": tensor(0, 8)}, bytes(8)),
    "too few bytes": file({"a": tensor(0, 8)}, bytes(7)),
    "too many bytes": file({"a": tensor(0, 8)}, bytes(9)),
    "bytes and no tensor": file({}, bytes(3)),
    "larger than its shape": file({"a": tensor(0, 8, shape=[1])}, bytes(8)),
    "smaller than its shape": file({"a": tensor(0, 8, shape=[2**31, 2**31])}, bytes(8)),
    "product that overflows": file({"a": tensor(0, 0, shape=[2**32, 2**32])}),
    "negative sides": file({"a": tensor(0, 8, shape=[-1, -2])}, bytes(8)),
    "broken sides": file({"a": tensor(0, 8, shape=[2.0])}, bytes(8)),
    "side that is true": file({"a": tensor(0, 4, shape=[True])}, bytes(4)),
    "no shape": file({"a": tensor(0, 8, shape="")}, bytes(8)),
    "backwards": file({"a": tensor(8, 0)}, bytes(8)),
    "before the start": file({"a": tensor(-8, 0)}, bytes(8)),
    "unknown type": file({"a": tensor(0, 8, dtype="F31")}, bytes(8)),
    "type that is a list": file({"a": tensor(0, 8, dtype=["F32"])}, bytes(8)),
    "offsets of one": file({"a": {"dtype": "F32", "shape": [], "data_offsets": [0]}}, bytes(4)),
    "offsets that are words": file({"a": {"dtype": "F32", "shape": [], "data_offsets": ["0", "4"]}}, bytes(4)),
    "offsets with fractions": file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0.0, 4.0]}}, bytes(4)),
    "no offsets": file({"a": {"dtype": "F32", "shape": []}}, bytes(4)),
    "a tensor that is a list": file({"a": [0, 4]}, bytes(4)),
    "shorter than its header": file({"a": tensor(0, 8)})[:-3],
    "a long header": file(b"{" + b" " * MAX_HEADER + b"}"),
}

FOREIGN = {
    "nothing": b"",
    "seven bytes": bytes(7),
    "a list": file(b"[]"),
    "no JSON": file(b"{]"),
    "not UTF-8": file(b'{"\xff": 1}'),
    "one name twice": file(b'{"a": 1, "a": 2}'),
    "one name twice, deeper": file(b'{"__metadata__": {"a": "1", "a": "2"}}'),
    "deep": file(b'{"a":' * 100_000),
    "texts that are numbers": file({"__metadata__": {"a": 1}}),
    "texts that are a list": file({"__metadata__": ["a"]}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_layouts_that_do_not_fit(name):
    with pytest.raises(DamagedError) as caught:
        check(DAMAGED[name])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_kinds(name):
    with pytest.raises(ForeignError):
        check(FOREIGN[name])


def test_we_accept_no_more_than_safetensors_does():
    """Of files that differ little from a good one, none passes here that the package refuses."""
    good = save_tensors({"a": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.int8), "c": torch.ones(1)}, {"x": "y"})
    length = int.from_bytes(good[:8], "little")
    generator = np.random.default_rng(0)
    passed, refused = 0, []
    for _ in range(3000):
        data = np.frombuffer(good, np.uint8).copy()
        places = generator.integers(0, 8 + length, generator.integers(1, 3))
        data[places] = generator.choice(np.frombuffer(b'0123456789[]{}",: AFI', np.uint8), len(places))
        try:
            check(data.tobytes())
        except (DamagedError, ForeignError):
            continue
        passed += 1
        try:
            load_tensors(data.tobytes())
        except SafetensorError as error:
            refused.append(str(error))
    assert passed > 20
    assert refused == []


def test_the_rest_is_not_read_where_the_header_lies(tmp_path):
    def reading(data):
        (tmp_path / "a").write_bytes(data)
        with (tmp_path / "a").open("rb", buffering=0) as file:
            try:
                return read_checked(file, len(data)), file.tell()
            except DamagedError:
                return None, file.tell()

    data = save_tensors({"a": torch.ones(1_000_000)})
    assert reading(data) == (data, len(data))
    assert reading(file({"a": tensor(0, 10**12)}, bytes(4_000_000))) == (None, 92)  # its end
