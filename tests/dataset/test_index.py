"""Reading of the index, against files that pyarrow writes."""

import io
from math import inf, nan

import pyarrow
import pyarrow.parquet
import pytest

from eoren.dataset.index import COLUMNS, decode_rows, encode_rows, schema

SHARD, SIZE = 4, 100


def row(number, **other):
    values = {"number": SHARD * SIZE + number, "name": f"image {number}", "label": str(number % 3), "width": 28}
    values |= {"height": 27, "channels": 3, "sha256": "ab" * 32, "seed": 7, "status": "done", "error": None}
    values |= {"networks": 1, "parameters": 609, "steps": 130, "psnr": 30.5, "psnr_8bit": 30.25, "gradient_psnr": inf}
    values |= {"ssim": None, "shard": SHARD, "group": number // 10, "offset": number % 10}
    return values | {"notes": "first of 31 frames", "profile": None} | other


def failed(number):
    kept = ("number", "name", "shard")
    return {name: value if name in kept else None for name, value in row(number).items()} | {
        "status": "failed",
        "error": "not an image",
    }


GOOD = [*map(row, range(30)), failed(30)]


def stored(rows=GOOD, columns=None, **options):
    buffer = io.BytesIO()
    table = pyarrow.Table.from_pylist(rows, columns or schema())
    pyarrow.parquet.write_table(table, buffer, **{"compression": "zstd"} | options)
    return buffer.getvalue()


def read(data, size=SIZE):
    return decode_rows(data, SHARD, size)


def test_rows_come_back(tmp_path):
    (tmp_path / "a.parquet").write_bytes(encode_rows(GOOD))
    assert read(encode_rows(GOOD)).to_pylist() == GOOD
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist() == GOOD


def test_nan_is_written_as_null():
    assert read(encode_rows([row(0, ssim=nan)]))["ssim"].null_count == 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zstd"},
        {"compression": "none", "use_dictionary": False},
        {"compression": "none", "data_page_version": "2.0", "data_page_size": 8, "row_group_size": 7},
    ],
    ids=str,
)
def test_files_of_other_writers_are_read(options):
    data = stored(**options)
    assert read(data).to_pylist() == GOOD


def without(name):
    return pyarrow.schema([field for field in schema() if field.name != name])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin and end"),
        (b"PAR1" + bytes(20) + b"PARE", "does not begin and end"),
        (b"PAR1" + bytes(20) + (10**6).to_bytes(4, "little") + b"PAR1", "its footer claims 1000000 bytes"),
        (stored(compression="gzip"), "unsupported compression"),
        (stored([{k: v for k, v in entry.items() if k != "ssim"} for entry in GOOD], without("ssim")), "22 columns"),
        (stored(columns=schema().set(0, pyarrow.field("number", "int32"))), "other columns"),
        (stored(columns=schema().set(1, pyarrow.field("name", pyarrow.large_string()))), "other columns"),
        (stored([]), "no valid first page"),
        (stored([row(number % 100) for number in range(101)]), "1 to 100 rows, got 101"),
        (stored(column_encoding={"name": "DELTA_BYTE_ARRAY"}, use_dictionary=False), "unsupported encoding"),
        (stored([row(0, name=None)]), "no number, name, status or shard"),
        (stored([row(1)]), "belong to another shard"),
        (stored([row(0, shard=5)]), "belong to another shard"),
        (stored([row(0, status="fine")]), "neither done nor failed"),
        (stored([row(0, width=None)]), "no valid width"),
        (stored([row(0, channels=0)]), "no valid channels"),
        (stored([row(0, channels=5)]), "too large"),
        (stored([row(0, width=2**30, height=2)]), "too large"),
        (stored([row(0, offset=-1)]), "no valid offset"),
        (stored([row(0, sha256=None)]), "no sha256"),
        (stored([row(0, profile="../" + 61 * "a")]), "profile of a row is not a digest"),
        (stored([row(0), row(1, offset=0)]), "two rows refer to the same networks"),
        (stored([row(0, psnr=nan)]), "the psnr of a row is not"),
        (stored([row(0, gradient_psnr=-inf)]), "the gradient_psnr of a row is not"),
    ],
)
def test_invalid_files_and_rows_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        read(data)


def test_a_name_that_is_not_utf8_is_refused():
    data = stored([row(0, name="picture")], compression="none", use_dictionary=False)
    assert data.count(b"picture") >= 1
    with pytest.raises(ValueError, match="UTF8"):
        read(data.replace(b"picture", b"pict\xffre"))


def test_damage_is_detected():
    data = bytearray(encode_rows([row(0)]))
    metadata = pyarrow.parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column([*COLUMNS].index("sha256"))
    data[metadata.data_page_offset + metadata.total_compressed_size - 1] ^= 1
    with pytest.raises(ValueError, match="CRC"):
        read(bytes(data))


def test_dictionaries_are_decoded_within_bounds():
    """A dictionary with one long name repeated by all rows: megabytes of text from a few bytes."""
    name = "a" * 30_000
    data = stored([row(number, name=name) for number in range(90)])
    assert read(data)["name"].to_pylist() == [name] * 90
    name = "a" * 2_000_000
    with pytest.raises(ValueError, match="would decode to more than 67108864 bytes"):
        read(stored([row(number, name=name) for number in range(90)]))
    with pytest.raises(ValueError, match="a dictionary must have at most 4194304 bytes"):
        read(stored([row(0, name="a" * 5_000_000)]))
