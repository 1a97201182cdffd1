import bz2
import gzip
import io
import lzma
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from eoren.dataset.sources import open_source
from eoren.errors import EorenError
from eoren.fs.decompression import FREE_BYTES

# Random bytes, which cannot be compressed.
CONTENTS = {f"x/{k}.png": np.random.default_rng(k).bytes(700) for k in range(5)}


def zipped(contents=CONTENTS, method=zipfile.ZIP_DEFLATED):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return data.getvalue()


def tarred(contents=CONTENTS, **options):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", **options) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


def sealed(data, at, **fields):
    """Replace bytes in a header of a tar archive and correct its checksum."""
    data = bytearray(data)
    for name, value in fields.items():
        start = at + int(name[1:])
        data[start : start + len(value)] = value
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    return bytes(data)


@pytest.fixture
def read(tmp_path):
    """Read all members of an archive."""

    def read(data):
        path = tmp_path / "archive"
        path.write_bytes(data)
        return {item.name: item.load().data for item in open_source(path)}

    return read


@pytest.fixture
def refuses(read):
    def refuses(data, match):
        with pytest.raises(EorenError) as raised:
            read(data)
        assert "\n" not in str(raised.value)
        assert match in str(raised.value)

    return refuses


PACKERS = {"plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
packers = pytest.mark.parametrize("packer", PACKERS.values(), ids=PACKERS)


@packers
def test_intact_tars_are_read(read, packer):
    assert read(packer(tarred())) == CONTENTS


def test_concatenated_gzip_members_are_read(read):
    data = tarred()
    assert read(gzip.compress(data[:3000]) + gzip.compress(data[3000:])) == CONTENTS


@packers
@pytest.mark.parametrize("member", range(1, 5))
def test_a_tar_with_a_damaged_header_is_refused(refuses, packer, member):
    data = bytearray(tarred())
    data[member * 1536 + 100] ^= 1
    refuses(packer(bytes(data)), "damaged archive (")


@packers
@pytest.mark.parametrize("member", range(1, 5))
def test_a_tar_with_a_blank_header_is_refused(refuses, packer, member):
    data = bytearray(tarred())
    data[member * 1536 :][:512] = data[member * 1536 : member * 1536 + 512] = bytes(512)
    refuses(packer(bytes(data)), "damaged archive (it has data after its end)")


@packers
@pytest.mark.parametrize("end", [5 * 1536, 4 * 1536, 4 * 1536 + 300, 4 * 1536 + 700, 2 * 1536])
def test_a_truncated_tar_is_refused(refuses, packer, end):
    refuses(packer(tarred()[:end]), "damaged archive (")


@pytest.mark.parametrize("packer", [*PACKERS.values()][1:], ids=[*PACKERS][1:])
def test_compressed_tars_are_checked_to_their_end(refuses, packer):
    data = packer(tarred())
    refuses(data[:-6] + bytes([data[-6] ^ 1]) + data[-5:], "damaged archive (")
    refuses(data[:-3], "damaged archive (")
    middle = len(data) // 2
    refuses(data[:middle] + bytes(200) + data[middle + 200 :], "damaged archive (")


def test_tar_headers_that_claim_too_much_are_refused(refuses):
    data = tarred()
    refuses(sealed(data, 1536, _124=b"\x80" + bytes(4) + b"\x7f" + bytes(6)), "unexpected end of data")
    other = tarred({"a.txt": b"text", **CONTENTS})
    refuses(sealed(other, 0, _124=b"\x80" + bytes(4) + b"\x7f" + bytes(6)), "must have at most")
    refuses(sealed(data, 1536, _124=b"\xff" * 12), "a header claims -1 bytes")
    refuses(sealed(data, 1536, _124=b"00010000000\0"), "unexpected end of data")
    for kind in b"xLKX":
        refuses(sealed(data, 1536, _124=b"00040000001\0", _156=bytes([kind])), "a header claims 8388609 bytes")
    refuses(sealed(data, 1536, _124=b"00000002001\0", _156=b"g"), "a header claims 1025 bytes")


def test_extended_headers_are_bounded_together(read, refuses):
    """Each is parsed, and global ones are applied to every member."""
    data = tarred({"x/0.png": b""})
    text = sealed(data, 0, _124=b"%011o\0" % 2**20, _156=b"x")[:512] + b"5 a=\n" * 209715 + b"\0"
    assert read((text + data[:512]) * 8 + bytes(1024)) == {"x/0.png": b""}
    refuses(gzip.compress((text + data[:512]) * 9 + bytes(1024)), "a header claims 1048576 bytes")
    text = sealed(data, 0, _124=b"%011o\0" % 512, _156=b"g")[:512] + b"512 comment=" + b"a" * 499 + b"\n"
    assert read((text + data[:512]) * 2 + bytes(1024)) == {"x/0.png": b""}
    refuses((text + data[:512]) * 3 + bytes(1024), "a header claims 512 bytes")


def test_negative_member_sizes_are_refused(refuses):
    """An extended header may claim one, which would lead back in the file."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("x/0.png")
        member.pax_headers = {"size": "-1536"}
        archive.addfile(member)
    refuses(data.getvalue(), "a member of -1536 bytes")


def test_a_sparse_member_affects_no_other(read):
    data = sealed(tarred(), 1536, _156=b"S", _386=b"%011o\0%011o\0" % (2**36, 0), _483=b"77777777777\0")
    contents = read(data)
    assert "sparse" in str(contents.pop("x/1.png"))
    assert contents == {name: content for name, content in CONTENTS.items() if name != "x/1.png"}


@packers
def test_tars_are_decompressed_within_bounds(read, refuses, packer):
    data = tarred({"x/0.npy": bytes(FREE_BYTES)})
    if packer is bytes:
        assert len(read(data)["x/0.npy"]) == FREE_BYTES  # it is not compressed
    else:
        refuses(packer(data), "must have at most 67108864 bytes")


def test_stored_and_deflated_members_of_a_zip_are_read(read):
    assert read(zipped()) == read(zipped(method=zipfile.ZIP_STORED)) == CONTENTS
    large = {"x/0.npy": np.random.default_rng(0).bytes(FREE_BYTES + 1)}
    assert read(zipped(large, zipfile.ZIP_STORED)) == large


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_methods_are_refused(read, method):
    assert "compression" in str(read(zipped(method=method))["x/0.png"])


def changed(data, record, offset, value):
    """Replace bytes in the first record of a kind."""
    at = data.index(record) + offset
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(
    "bad",
    [
        changed(zipped(), b"x/0.png", 7, b"\xff"),
        changed(zipped(), b"PK\1\2", 10, struct.pack("<H", 99)),
        changed(zipped(), b"PK\1\2", 8, struct.pack("<H", 1)),
        changed(zipped(), b"PK\3\4", 0, b"no"),
        changed(zipped(), b"PK\1\2", 24, struct.pack("<I", 10)),
        changed(zipped(), b"PK\1\2", 16, bytes(4)),
    ],
    ids=["deflate", "method", "encrypted", "header", "size", "checksum"],
)
def test_a_damaged_member_of_a_zip_affects_no_other(read, bad):
    contents = read(bad)
    error = contents.pop("x/0.png")
    assert str(error).startswith("cannot be unpacked (")
    assert "\n" not in str(error)
    assert contents == {name: content for name, content in CONTENTS.items() if name != "x/0.png"}


@pytest.mark.parametrize(
    "bad",
    [
        changed(zipped(), b"PK\1\2", 0, b"no"),
        changed(zipped(), b"PK\1\2", 6, struct.pack("<H", 99)),
        changed(changed(zipped(), b"PK\1\2", 8, struct.pack("<H", 1 << 11)), b"PK\1\2", 46, b"\xff\xfe"),
        changed(zipped(), b"PK\5\6", 12, b"\xff\xff\xff"),
    ],
    ids=["record", "version", "name", "size"],
)
def test_a_zip_with_a_damaged_directory_is_refused(refuses, bad):
    refuses(bad, "damaged archive (")


def test_zips_are_decompressed_within_bounds(read, refuses):
    half = bytes(FREE_BYTES // 2)
    assert len(read(zipped({"0.npy": half, "1.npy": half}))) == 2
    refuses(zipped({"0.npy": half, "1.npy": half, "2.npy": b"1"}), "must have at most 67108864 bytes, got 67108865")
    refuses(changed(zipped(), b"PK\1\2", 24, struct.pack("<I", 2**32 - 2)), "got 42949")


def test_a_member_is_read_up_to_its_claimed_size(read):
    """A member that decompresses to gigabytes may claim ten bytes."""
    data = changed(zipped({"0.npy": bytes(FREE_BYTES)}), b"PK\1\2", 24, struct.pack("<I", 10))
    tracemalloc.start()
    error = read(data)["0.npy"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "Bad CRC-32" in str(error)
    assert peak < FREE_BYTES / 8


def test_lzma_without_a_magic_number_is_not_tried(refuses, monkeypatch):
    """Thirteen bytes may claim a dictionary of four gigabytes."""
    monkeypatch.setattr(lzma, "LZMAFile", None)
    refuses(b"\x5d\0\0" + b"\xff" * 60, "is not an image, folder")
