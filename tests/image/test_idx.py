import gzip
import os

import numpy as np
import pytest

from eoren.errors import EorenError
from eoren.fs.decompression import FREE_BYTES
from eoren.image.idx import read_idx


def test_values_are_read_and_damage_is_refused(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
    header = bytes([0, 0, 8, 3]) + np.array(values.shape, ">u4").tobytes()
    path = tmp_path / "values.gz"
    path.write_bytes(gzip.compress(header + values.tobytes()))
    np.testing.assert_array_equal(read_idx(path), values)
    for wrong in (b"", b"\0\0\x08", header, header + values.tobytes()[1:], b"\0\0\x0d" + header[3:] + bytes(60)):
        path.write_bytes(gzip.compress(wrong))
        with pytest.raises(EorenError, match="not an IDX file"):
            read_idx(path)
    path.write_bytes(gzip.compress(header)[:-3])
    with pytest.raises(EorenError, match="damaged archive"):
        read_idx(path)


def idx(*shape, data=b""):
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes() + data


@pytest.mark.parametrize(
    "data",
    [
        b"plain",
        bytes([0, 0, 8, 0]) + bytes(1),
        idx(0, 2**32 - 1, 2**32 - 1),
        idx(2, 0, 4),
        idx(*[1] * 5, data=b"1"),
        idx(*[1] * 255, data=b"1"),
        idx(2**32 - 1, 2**32 - 1, 2),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_invalid_shapes_are_refused(tmp_path, data, packed):
    path = tmp_path / "values"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(EorenError, match=r"^[^\n]*not an IDX file of bytes[^\n]*$"):
        read_idx(path)


def test_decompression_is_bounded(tmp_path):
    path = tmp_path / "values.gz"
    path.write_bytes(gzip.compress(idx(FREE_BYTES - 8, data=bytes(FREE_BYTES - 8))))
    assert len(read_idx(path)) == FREE_BYTES - 8
    path.write_bytes(gzip.compress(idx(FREE_BYTES, data=bytes(FREE_BYTES))))
    with pytest.raises(EorenError, match="must have at most 67108864 bytes"):
        read_idx(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EorenError, match="device"):
        read_idx(tmp_path / "pipe")
