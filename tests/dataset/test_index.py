"""What a part of the index may say, against files that pyarrow itself writes."""

import io
from math import inf, nan

import pyarrow
import pyarrow.parquet
import pytest

from eoren.dataset.index import COLUMNS, read_rows, schema, write_rows
from eoren.dataset.parquet import Chunk, Page, chunks, pages
from eoren.errors import EorenError

SHARD, SIZE = 4, 100


def row(place, **other):
    said = {"number": SHARD * SIZE + place, "name": f"picture {place}", "label": str(place % 3), "width": 28}
    said |= {"height": 27, "channels": 3, "sha256": "ab" * 32, "seed": 7, "status": "done", "error": None}
    said |= {"networks": 1, "parameters": 609, "steps": 130, "psnr": 30.5, "psnr_8bit": 30.25, "gradient_psnr": inf}
    return said | {"ssim": None, "shard": SHARD, "group": place // 10, "offset": place % 10} | other


def failed(place):
    kept = ("number", "name", "shard")
    return {name: value if name in kept else None for name, value in row(place).items()} | {
        "status": "failed",
        "error": "no picture",
    }


GOOD = [*map(row, range(30)), failed(30)]


def stored(rows=GOOD, own=None, **options):
    buffer = io.BytesIO()
    table = pyarrow.Table.from_pylist(rows, own or schema())
    pyarrow.parquet.write_table(table, buffer, **{"compression": "zstd"} | options)
    return buffer.getvalue()


def read(tmp_path, data, size=SIZE):
    path = tmp_path / "0000004.parquet"
    path.write_bytes(data)
    return read_rows(path, SHARD, size)


def test_rows_come_back(tmp_path):
    write_rows(tmp_path / "a.parquet", GOOD)
    assert read_rows(tmp_path / "a.parquet", SHARD, SIZE).to_pylist() == GOOD
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist() == GOOD  # as anybody reads it


def test_what_is_no_number_is_null(tmp_path):
    write_rows(tmp_path / "a.parquet", [row(0, ssim=nan)])
    assert read_rows(tmp_path / "a.parquet", SHARD, SIZE)["ssim"].null_count == 1


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
def test_files_of_other_writers_are_read(tmp_path, options):
    data = stored(**options)
    assert read(tmp_path, data).to_pylist() == GOOD


def without(name):
    return pyarrow.schema([field for field in schema() if field.name != name])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin and end"),
        (b"PAR1" + bytes(20) + b"PARE", "does not begin and end"),
        (b"PAR1" + bytes(20) + (10**6).to_bytes(4, "little") + b"PAR1", "its footer claims 1000000 bytes"),
        (stored(compression="gzip"), "packed in an unknown way"),
        (stored([{k: v for k, v in each.items() if k != "ssim"} for each in GOOD], without("ssim")), "other columns"),
        (stored(own=schema().set(0, pyarrow.field("number", "int32"))), "other columns"),
        (stored(own=schema().set(1, pyarrow.field("name", pyarrow.large_string()))), "other columns"),
        (stored([]), "begins nowhere"),
        (stored([row(place % 100) for place in range(101)]), "it has 101 rows, where 100"),
        (stored(column_encoding={"name": "DELTA_BYTE_ARRAY"}, use_dictionary=False), "in no simple way"),
        (stored([row(0, name=None)]), "no name or no place"),
        (stored([row(1)]), "of another shard"),
        (stored([row(0, shard=5)]), "of another shard"),
        (stored([row(0, status="fine")]), "no status"),
        (stored([row(0, width=None)]), "no width"),
        (stored([row(0, channels=0)]), "no channels"),
        (stored([row(0, channels=5)]), "too large"),
        (stored([row(0, width=2**30, height=2)]), "too large"),
        (stored([row(0, offset=-1)]), "no offset"),
        (stored([row(0, sha256=None)]), "no sha256"),
        (stored([row(0), row(1, offset=0)]), "two rows have the same networks"),
        (stored([row(0, psnr=nan)]), "psnr is no number"),
        (stored([row(0, gradient_psnr=-inf)]), "gradient_psnr is no number"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, data)


def test_a_name_that_is_no_text_is_refused(tmp_path):
    data = stored([row(0, name="picture")], compression="none", use_dictionary=False)
    assert data.count(b"picture") >= 1
    with pytest.raises(ValueError, match="UTF8"):
        read(tmp_path, data.replace(b"picture", b"pict\xffre"))


def test_damage_is_noticed(tmp_path):
    path = tmp_path / "a.parquet"
    write_rows(path, [row(0)])
    data = bytearray(path.read_bytes())
    data[column(bytes(data), "sha256")[1] - 1] ^= 1
    with pytest.raises(ValueError, match="CRC"):
        read(tmp_path, bytes(data))


def test_values_that_grow_are_read_some_at_a_time(tmp_path):
    """A dictionary of one long name that a thousand rows name: 30 MB of text from a few bytes."""
    name = "a" * 30_000
    data = stored([row(place, name=name) for place in range(90)])
    assert read(tmp_path, data)["name"].to_pylist() == [name] * 90
    name = "a" * 10_000_000
    with pytest.raises(ValueError, match="becomes more than 67108864 bytes"):
        read(tmp_path, stored([row(place, name=name) for place in range(90)]))


def test_a_folder_is_no_part(tmp_path):
    with pytest.raises(EorenError, match="is a folder"):
        read_rows(tmp_path, SHARD, SIZE)


# Pages, as https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift has them.


def column(data, name):
    metadata = pyarrow.parquet.ParquetFile(io.BytesIO(data)).metadata
    found = metadata.row_group(0).column([*COLUMNS].index(name))
    start = found.dictionary_page_offset if found.has_dictionary_page else found.data_page_offset
    return start, start + found.total_compressed_size, found


def test_pages_claim_what_pyarrow_counts():
    for options in ({}, {"compression": "none"}, {"use_dictionary": False}, {"data_page_version": "2.0"}):
        data = stored(write_statistics=False, **options)
        for name in COLUMNS:
            start, end, metadata = column(data, name)
            found = [*pages(data, start, end)]
            assert [page.is_dictionary for page in found] == [True, False][not metadata.has_dictionary_page :]
            assert found[-1].values == len(GOOD)
            # Its sum has the headers too.
            assert 0 < metadata.total_uncompressed_size - sum(page.size for page in found) < 120


def header(kind=0, size=5, packed=5, values=1, encoding=0, more=b""):
    """A page's header in Thrift's compact protocol, built by hand, and five bytes behind it."""

    def number(value):
        value, found = (value << 1) ^ (value >> 63), b""
        while value > 127:
            found, value = found + bytes([value & 127 | 128]), value >> 7
        return found + bytes([value])

    own = b"\x15" + number(values) + b"\x15" + number(encoding) + b"\x00"
    place = {0: b"\x2c", 2: b"\x4c"}.get(kind, b"\x2c")
    return (
        b"\x15"
        + number(kind)
        + b"\x15"
        + number(size)
        + b"\x15"
        + number(packed)
        + place
        + own
        + more
        + b"\0"
        + bytes(5)
    )


def test_a_page_built_by_hand():
    data = header(size=2**31 - 1, values=9)
    assert [*pages(b"...." + data, 4, 4 + len(data))] == [Page(2**31 - 1, 9, False)]
    assert [*pages(header(kind=2) * 2, 0, 2 * len(header()))] == [Page(5, 1, True)] * 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header(kind=1), "a page of kind 1"),
        (header(encoding=7), "in no simple way"),
        (header(packed=6), "ends behind its column"),
        (header(packed=-5), "lacks a number"),
        (header(values=-1), "lacks a number"),
        (header()[:8], "no end"),
        (header(more=b"\x15\x80" + b"\x80" * 20), "without end"),
        (header(more=b"\x1c" * 20), "too deep"),
        (header(more=b"\x19\xf5\xff\xff\xff\xff\x0f"), "too long"),
        (header(more=b"\x1b\x00"), "what none needs"),
        (header(more=b"\x05\x02\x00"), "says a thing twice"),
        (header(more=b"\x18\xff\xff\x7f"), "no end"),
    ],
)
def test_pages_that_are_none(data, message):
    with pytest.raises(ValueError, match=message):
        list(pages(data, 0, len(data)))


def footer(data):
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


@pytest.mark.parametrize("options", [{}, {"row_group_size": 7}, {"use_dictionary": False, "compression": "none"}])
def test_a_footer_says_what_pyarrow_reads_in_it(options):
    data = stored(**options)
    metadata = pyarrow.parquet.ParquetFile(io.BytesIO(data)).metadata
    expected = []
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        columns = [group.column(number) for number in range(group.num_columns)]
        starts = [each.dictionary_page_offset or each.data_page_offset for each in columns]
        expected.append(
            [
                Chunk(
                    group.num_rows,
                    each.num_values,
                    start,
                    each.total_compressed_size,
                    0 if options.get("compression") else 6,
                )
                for each, start in zip(columns, starts, strict=True)
            ]
        )
    assert chunks(footer(data)) == (len(GOOD), expected)


# Thrift's compact protocol: three rows in one group of one column.
DESCRIPTION = b"\x15\x02\x19\x15\x00\x19\x18\x01a\x15\x0c\x16\x06\x16\x14\x16\x14"
COLUMN = b"\x26\x08\x1c%b\x00\x00"
GROUP = b"\x19\x1c%b\x16\x14\x16\x06\x00"
FOOTER = b"\x15\x02\x19\x0c\x16\x06\x19\x1c%b\x00"


def of_one_column(description=DESCRIPTION + b"\x26\x08", column=COLUMN):
    return FOOTER % (GROUP % (column % description))


def test_a_footer_made_by_hand():
    assert chunks(of_one_column()) == (3, [[Chunk(3, 3, 4, 10, 6)]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (of_one_column() + b"\0", "ends too soon"),
        (of_one_column()[:-3], "no end"),
        (of_one_column(DESCRIPTION), "begins nowhere"),
        (of_one_column(DESCRIPTION + b"\x26\x08\x26\x0a"), "begins nowhere"),  # a dictionary after the values
        (of_one_column(DESCRIPTION + b"\x26\x08\x16\x02\x26\x08\x36\x0a"), "a simple table lacks"),  # a filter
        (of_one_column(column=b"\x18\x01a" + COLUMN), "a simple table lacks"),  # in another file
        (of_one_column(column=b"\x26\x08%b\x00"[:2] + b"%.0b\x00"), "a simple table lacks"),  # no description
        (FOOTER % b"\x00", "lacks a list"),
        (b"\x15\x02\x29\x0c\x16\x06\x00", "lacks a list"),
    ],
)
def test_footers_that_are_none(data, message):
    with pytest.raises(ValueError, match=message):
        chunks(data)
