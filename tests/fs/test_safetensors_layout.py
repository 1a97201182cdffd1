import io
import json

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from eoren.fs.safetensors_layout import MAX_HEADER, DamagedError, ForeignError, check_layout, read_checked


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
    assert check(file(b"{" + b" " * (MAX_HEADER - 2) + b"}")) == {}


DAMAGED = {
    "hole at the start": (file({"a": tensor(4, 8)}, bytes(8)), "there is a hole before tensor 'a'"),
    "hole": (file({"a": tensor(0, 4), "b": tensor(8, 12)}, bytes(12)), "there is a hole before tensor 'b'"),
    "overlap": (file({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)), "there is an overlap before tensor 'b'"),
    "twice the same": (
        file({"a": tensor(0, 8), "b": tensor(0, 8)}, bytes(8)),
        "there is an overlap before tensor 'b'",
    ),
    "too few bytes": (file({"a": tensor(0, 8)}, bytes(7)), "its tensors end at byte 77 of 76"),
    "too many bytes": (file({"a": tensor(0, 8)}, bytes(9)), "its tensors end at byte 77 of 78"),
    "bytes and no tensor": (file({}, bytes(3)), "its tensors end at byte 10 of 13"),
    "larger than its shape": (
        file({"a": tensor(0, 8, shape=[1])}, bytes(8)),
        "tensor 'a' is not as large as its shape says",
    ),
    "smaller than its shape": (
        file({"a": tensor(0, 8, shape=[2**31, 2**31])}, bytes(8)),
        "tensor 'a' is not as large as its shape says",
    ),
    "product that overflows": (
        file({"a": tensor(0, 0, shape=[2**32, 2**32])}),
        "tensor 'a' is not as large as its shape says",
    ),
    "many sides": (
        file({"a": tensor(0, 8, shape=[2, *[1] * 8])}, bytes(8)),
        "tensor 'a' has 9 axes, where 8 are the most",
    ),
    "negative sides": (file({"a": tensor(0, 8, shape=[-1, -2])}, bytes(8)), "tensor 'a' has no shape"),
    "broken sides": (file({"a": tensor(0, 8, shape=[2.0])}, bytes(8)), "tensor 'a' has no shape"),
    "side that is true": (file({"a": tensor(0, 4, shape=[True])}, bytes(4)), "tensor 'a' has no shape"),
    "no shape": (file({"a": tensor(0, 8, shape="")}, bytes(8)), "tensor 'a' has no shape"),
    "backwards": (file({"a": tensor(8, 0, shape=[2])}, bytes(8)), "there is a hole before tensor 'a'"),
    "before the start": (file({"a": tensor(-8, 0)}, bytes(8)), "there is an overlap before tensor 'a'"),
    "unknown type": (
        file({"a": tensor(0, 8, dtype="F31")}, bytes(8)),
        "tensor 'a' is not as large as its shape says",
    ),
    "type that is a list": (file({"a": tensor(0, 8, dtype=["F32"])}, bytes(8)), "its header names no tensors"),
    "offsets of one": (
        file({"a": {"dtype": "F32", "shape": [], "data_offsets": [0]}}, bytes(4)),
        "its header names no tensors",
    ),
    "offsets that are words": (
        file({"a": {"dtype": "F32", "shape": [], "data_offsets": ["0", "4"]}}, bytes(4)),
        "its header names no tensors",
    ),
    "offsets with fractions": (
        file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0.0, 4.0]}}, bytes(4)),
        "its header names no tensors",
    ),
    "a start with a fraction": (
        file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0.0, 4]}}, bytes(4)),
        "its header names no tensors",
    ),
    "an end with a fraction": (
        file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4.0]}}, bytes(4)),
        "its header names no tensors",
    ),
    "no offsets": (file({"a": {"dtype": "F32", "shape": []}}, bytes(4)), "its header names no tensors"),
    "a tensor that is a list": (file({"a": [0, 4]}, bytes(4)), "its header names no tensors"),
    "shorter than its header": (file({"a": tensor(0, 8)})[:-3], "it ends after 66 bytes"),
    "a long header": (
        file(b"{" + b" " * MAX_HEADER + b"}"),
        "its header claims 1048578 bytes, where 1048576 are the most",
    ),
}

FOREIGN = {
    "nothing": (b"", "it does not begin as a safetensors file does"),
    "seven bytes": (bytes(7), "it does not begin as a safetensors file does"),
    "a list": (file(b"[]"), "it does not begin as a safetensors file does"),
    "no JSON": (file(b"{]"), "its header is not JSON"),
    "not UTF-8": (file(b'{"\xff": 1}'), "its header is not JSON"),
    "one name twice": (file(b'{"a": 1, "a": 2}'), "its header is not JSON"),
    "one name twice, deeper": (file(b'{"__metadata__": {"a": "1", "a": "2"}}'), "its header is not JSON"),
    "deep": (file(b'{"a":' * 100_000), "its header is not JSON"),
    "texts that are numbers": (file({"__metadata__": {"a": 1}}), "its texts are none"),
    "texts that are a list": (file({"__metadata__": ["a"]}), "its texts are none"),
}


@pytest.mark.parametrize(("data", "says"), DAMAGED.values(), ids=DAMAGED)
def test_layouts_that_do_not_fit(data, says):
    with pytest.raises(DamagedError, match=f"^{says}$"):
        check(data)


@pytest.mark.parametrize(("data", "says"), FOREIGN.values(), ids=FOREIGN)
def test_files_of_other_kinds(data, says):
    with pytest.raises(ForeignError, match=f"^{says}$"):
        check(data)


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


@pytest.mark.usefixtures("unchecked")
def test_no_more_is_read_than_was_checked():
    """A file that grows meanwhile is another file."""
    data = save_tensors({"a": torch.ones(3)})
    assert read_checked(io.BytesIO(data + bytes(9)), len(data)) == data
