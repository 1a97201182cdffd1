import json
import os

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from eoren.errors import EorenError
from eoren.field.serialization import loads
from eoren.fs.safetensors_layout import (
    MAX_HEADER,
    DamagedError,
    ForeignError,
    openable_path,
    parse_metadata,
    read_metadata,
)


def file(header, numbers=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def tensor(begin, end, *, dtype="F32", shape=None):
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def check(data):
    return parse_metadata(data, len(data))


def test_files_that_safetensors_writes_are_accepted():
    kinds = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16, torch.bfloat16, torch.int32)
    kinds += (torch.float32, torch.int64, torch.float64, torch.complex64)
    tensors = {str(kind): torch.ones(3, 5, dtype=kind) for kind in kinds}
    tensors |= {"empty": torch.ones(0, 4), "a number": torch.tensor(1.0)}
    assert check(save_tensors(tensors, {"a": "b", "c": "[]"})) == {"a": "b", "c": "[]"}
    assert check(save_tensors(tensors)) == {}
    assert check(file({})) == {}
    assert check(file(b"{" + b" " * (MAX_HEADER - 2) + b"}")) == {}


# Refused by the package: these tests watch that it stays so.
REFUSED_BY_SAFETENSORS = {
    "hole at the start": file({"a": tensor(4, 8)}, bytes(8)),
    "hole": file({"a": tensor(0, 4), "b": tensor(8, 12)}, bytes(12)),
    "overlap": file({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)),
    "same position twice": file({"a": tensor(0, 8), "b": tensor(0, 8)}, bytes(8)),
    "too few bytes": file({"a": tensor(0, 8)}, bytes(7)),
    "too many bytes": file({"a": tensor(0, 8)}, bytes(9)),
    "bytes without a tensor": file({}, bytes(3)),
    "larger than its shape": file({"a": tensor(0, 8, shape=[1])}, bytes(8)),
    "smaller than its shape": file({"a": tensor(0, 8, shape=[2**31, 2**29])}, bytes(8)),
    "product that overflows": file({"a": tensor(0, 0, shape=[2**30, 2**32])}),
    "negative sides": file({"a": tensor(0, 8, shape=[-1, -2])}, bytes(8)),
    "fractional sides": file({"a": tensor(0, 8, shape=[2.0])}, bytes(8)),
    "boolean side": file({"a": tensor(0, 4, shape=[True])}, bytes(4)),
    "shape that is a string": file({"a": tensor(0, 8, shape="")}, bytes(8)),
    "backwards": file({"a": tensor(8, 0, shape=[2])}, bytes(8)),
    "before the start": file({"a": tensor(-8, 0)}, bytes(8)),
    "unknown type": file({"a": tensor(0, 8, dtype="F31")}, bytes(8)),
    "type that is a list": file({"a": tensor(0, 8, dtype=["F32"])}, bytes(8)),
    "one offset": file({"a": {"dtype": "F32", "shape": [], "data_offsets": [0]}}, bytes(4)),
    "offsets that are strings": file({"a": {"dtype": "F32", "shape": [], "data_offsets": ["0", "4"]}}, bytes(4)),
    "fractional offsets": file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0.0, 4.0]}}, bytes(4)),
    "fractional start": file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0.0, 4]}}, bytes(4)),
    "fractional end": file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4.0]}}, bytes(4)),
    "no offsets": file({"a": {"dtype": "F32", "shape": []}}, bytes(4)),
}

NO_TENSOR = "its header has an entry that does not describe a tensor"
DAMAGED = {
    "many axes": (
        file({"a": tensor(0, 8, shape=[2, *[1] * 8])}, bytes(8)),
        r"tensor 'a' must have at most 8 axes and 2\^62 numbers, got \[2, 1, .*\]",
    ),
    "empty, with strides that overflow": (
        file({"a": tensor(0, 0, shape=[0, 2**63 - 1, 2**63 - 1])}),
        r"tensor 'a' must have at most 8 axes and 2\^62 numbers, got \[0, 9.*",
    ),
    "no shape": (file({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, bytes(4)), NO_TENSOR),
    "shape that is a number": (file({"a": tensor(0, 8, shape=2)}, bytes(8)), NO_TENSOR),
    "sides that are strings": (file({"a": tensor(0, 8, shape=["2"])}, bytes(8)), NO_TENSOR),
    "list instead of a tensor": (file({"a": [0, 4]}, bytes(4)), NO_TENSOR),
    "number instead of a tensor": (file({"a": 1}, bytes(4)), NO_TENSOR),
    "shorter than its header": (
        file({"a": tensor(0, 8)})[:-3],
        "its header must end within the 66 bytes of the file",
    ),
    "a long header": (
        file(b"{" + b" " * MAX_HEADER + b"}"),
        "its header must have at most 1048576 bytes, got 1048578",
    ),
}

OTHER_KIND = "it does not start like a safetensors file"
FOREIGN = {
    "nothing": (b"", OTHER_KIND),
    "seven bytes": (bytes(7), OTHER_KIND),
    "a list": (file(b"[]"), OTHER_KIND),
    "not JSON": (file(b"{]"), "its header is not JSON"),
    "not UTF-8": (file(b'{"\xff": 1}'), "its header is not JSON"),
    "deep": (file(b'{"a":' * 100_000), "its header is not JSON"),
    "metadata of numbers": (file({"__metadata__": {"a": 1}}), "its metadata is not a dictionary of strings"),
    "metadata in a list": (file({"__metadata__": ["a"]}), "its metadata is not a dictionary of strings"),
}


@pytest.mark.parametrize("data", REFUSED_BY_SAFETENSORS.values(), ids=REFUSED_BY_SAFETENSORS)
def test_safetensors_refuses(tmp_path, data):
    with pytest.raises(SafetensorError):
        load_tensors(data)
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(SafetensorError), safe_open(tmp_path / "a", framework="pt"):
        pass


@pytest.mark.parametrize("data", REFUSED_BY_SAFETENSORS.values(), ids=REFUSED_BY_SAFETENSORS)
@pytest.mark.usefixtures("unchecked")
def test_such_files_are_one_line_to_the_readers_of_fields(data):
    with pytest.raises(EorenError, match=r"^[^\n]*\.eoren file[^\n]*$"):
        loads(data)
    length = int.from_bytes(data[:8], "little")
    text = data[8 : 8 + length].replace(b"{", b'{"__metadata__": {"eoren": "{\\"format_version\\": 1}"}, ', 1)
    text = text.replace(b", }", b"}")
    with pytest.raises(EorenError, match=r"^damaged \.eoren file: Error while deserializing: [^\n]*; copy it again"):
        loads(file(text, data[8 + length :]))


@pytest.mark.parametrize(("data", "message"), DAMAGED.values(), ids=DAMAGED)
def test_headers_beyond_the_limits(data, message):
    with pytest.raises(DamagedError, match=f"^{message}$"):
        check(data)


@pytest.mark.parametrize(("data", "message"), FOREIGN.values(), ids=FOREIGN)
def test_files_of_other_kinds(data, message):
    with pytest.raises(ForeignError, match=f"^{message}$"):
        check(data)


def test_damaged_headers_pass_no_reader_with_another_error():
    """A header with a few wrong characters ends in an error of this module, of safetensors, or in tensors."""
    good = save_tensors({"a": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.int8), "c": torch.ones(1)}, {"x": "y"})
    length = int.from_bytes(good[:8], "little")
    generator = np.random.default_rng(0)
    outcomes = []
    for _ in range(3000):
        data = np.frombuffer(good, np.uint8).copy()
        positions = generator.integers(0, 8 + length, generator.integers(1, 3))
        data[positions] = generator.choice(np.frombuffer(b'0123456789[]{}",: AFI', np.uint8), len(positions))
        try:
            check(data.tobytes())
            load_tensors(data.tobytes())
            outcomes.append("read")
        except (DamagedError, ForeignError, SafetensorError, KeyError) as error:
            outcomes.append(type(error).__name__)
    assert min(outcomes.count(outcome) for outcome in ("read", "ForeignError", "SafetensorError")) > 20


def test_only_the_header_is_read(tmp_path):
    data = save_tensors({"a": torch.ones(1_000_000)})
    (tmp_path / "a").write_bytes(data)
    with (tmp_path / "a").open("rb", buffering=0) as opened:
        assert read_metadata(opened, len(data)) == {}
        assert opened.tell() == 8 + int.from_bytes(data[:8], "little")
    with (tmp_path / "a").open("r+b", buffering=0) as opened:
        opened.write((10**15).to_bytes(8, "little"))
        opened.seek(0)
        with pytest.raises(DamagedError, match="at most 100 bytes, got 1000000000000000"):
            read_metadata(opened, len(data), 100)
        assert opened.tell() == 108


@pytest.mark.skipif(os.name != "posix", reason="names are Unicode on this system")
def test_files_whose_names_are_not_utf8_can_be_opened(tmp_path):
    for name in ("plain", "caf\udce9"):
        path = tmp_path / name
        path.write_bytes(save_tensors({"a": torch.arange(3)}))
        with path.open("rb") as file, safe_open(openable_path(path, file), framework="pt") as stored:
            assert stored.get_tensor("a").tolist() == [0, 1, 2]
    with pytest.raises(SafetensorError, match="UTF-8"):  # the reason for the function
        safe_open(path, framework="pt")
