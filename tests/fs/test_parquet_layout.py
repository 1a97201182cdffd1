"""The bounds check of Parquet files, against files that pyarrow writes and headers made by hand."""

import io

import pyarrow
import pyarrow.parquet
import pytest

from eoren.dataset.index import COLUMNS, schema
from eoren.fs.parquet_layout import Chunk, Page, read_footer, read_pages

COUNT = 30
ROW = {name: 7 if kind.startswith("int") else 0.5 if kind == "float" else "text" for name, kind in COLUMNS.items()}


def stored(**options):
    buffer = io.BytesIO()
    table = pyarrow.Table.from_pylist([ROW | {"number": number} for number in range(COUNT)], schema())
    pyarrow.parquet.write_table(table, buffer, **{"compression": "zstd"} | options)
    return buffer.getvalue()


# Pages, see https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.


def column(data, name):
    metadata = pyarrow.parquet.ParquetFile(io.BytesIO(data)).metadata
    chunk = metadata.row_group(0).column([*COLUMNS].index(name))
    start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    return start, start + chunk.total_compressed_size, chunk


def test_page_headers_agree_with_pyarrow():
    for options in ({}, {"compression": "none"}, {"use_dictionary": False}, {"data_page_version": "2.0"}):
        data = stored(write_statistics=False, **options)
        for name in COLUMNS:
            start, end, metadata = column(data, name)
            pages = [*read_pages(data, start, end)]
            assert [page.is_dictionary for page in pages] == [True, False][not metadata.has_dictionary_page :]
            assert pages[-1].values == COUNT
            # The size in the metadata includes the headers.
            assert 0 < metadata.total_uncompressed_size - sum(page.size for page in pages) < 120


def header(kind=0, size=5, packed=5, values=1, encoding=0, more=b""):
    """A page's header in Thrift's compact protocol, built by hand, and five bytes behind it."""

    def number(value):
        value, encoded = (value << 1) ^ (value >> 63), b""
        while value > 127:
            encoded, value = encoded + bytes([value & 127 | 128]), value >> 7
        return encoded + bytes([value])

    details = b"\x15" + number(values) + b"\x15" + number(encoding) + b"\x00"
    field = {0: b"\x2c", 2: b"\x4c"}.get(kind, b"\x2c")
    return (
        b"\x15"
        + number(kind)
        + b"\x15"
        + number(size)
        + b"\x15"
        + number(packed)
        + field
        + details
        + more
        + b"\0"
        + bytes(5)
    )


def test_a_page_built_by_hand():
    data = header(size=2**31 - 1, values=9)
    assert [*read_pages(b"...." + data, 4, 4 + len(data))] == [Page(2**31 - 1, 9, False)]
    assert [*read_pages(header(kind=2) * 2, 0, 2 * len(header()))] == [Page(5, 1, True)] * 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header(kind=1), "a page of type 1"),
        (header(encoding=7), "an unsupported encoding"),
        (header(packed=6), "reaches beyond its column"),
        (header(packed=-5), "a missing or invalid field"),
        (header(values=-1), "a missing or invalid field"),
        (header()[:8], "incomplete"),
        (header(more=b"\x15\x80" + b"\x80" * 20), "too long a number"),
        (header(more=b"\x1c" * 20), "too deeply"),
        (header(more=b"\x19\xf5\xff\xff\xff\xff\x0f"), "too long a list"),
        (header(more=b"\x1b\x00"), "an unsupported type"),
        (header(more=b"\x05\x02\x00"), "repeats a field"),
        (header(more=b"\x18\xff\xff\x7f"), "incomplete"),
    ],
)
def test_invalid_pages_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        list(read_pages(data, 0, len(data)))


def footer(data):
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


@pytest.mark.parametrize("options", [{}, {"row_group_size": 7}, {"use_dictionary": False, "compression": "none"}])
def test_footers_agree_with_pyarrow(options):
    data = stored(**options)
    metadata = pyarrow.parquet.ParquetFile(io.BytesIO(data)).metadata
    expected = []
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        columns = [group.column(number) for number in range(group.num_columns)]
        starts = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in columns]
        expected.append(
            [
                Chunk(
                    group.num_rows,
                    chunk.num_values,
                    start,
                    chunk.total_compressed_size,
                    0 if options.get("compression") else 6,
                )
                for chunk, start in zip(columns, starts, strict=True)
            ]
        )
    assert read_footer(footer(data)) == (COUNT, expected)


# Thrift's compact protocol: three rows in one group of one column.
DESCRIPTION = b"\x15\x02\x19\x15\x00\x19\x18\x01a\x15\x0c\x16\x06\x16\x14\x16\x14"
COLUMN = b"\x26\x08\x1c%b\x00\x00"
GROUP = b"\x19\x1c%b\x16\x14\x16\x06\x00"
FOOTER = b"\x15\x02\x19\x0c\x16\x06\x19\x1c%b\x00"


def of_one_column(description=DESCRIPTION + b"\x26\x08", column=COLUMN):
    return FOOTER % (GROUP % (column % description))


def test_a_footer_made_by_hand():
    assert read_footer(of_one_column()) == (3, [[Chunk(3, 3, 4, 10, 6)]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (of_one_column() + b"\0", "bytes after its end"),
        (of_one_column()[:-3], "incomplete"),
        (of_one_column(DESCRIPTION), "no valid first page"),
        (of_one_column(DESCRIPTION + b"\x26\x08\x26\x0a"), "no valid first page"),  # a dictionary after the values
        (
            of_one_column(DESCRIPTION + b"\x26\x08\x16\x02\x26\x08\x36\x0a"),
            "a simple table does not",
        ),  # a filter
        (of_one_column(column=b"\x18\x01a" + COLUMN), "a simple table does not"),  # in another file
        (of_one_column(column=b"\x26\x08%b\x00"[:2] + b"%.0b\x00"), "a simple table does not"),  # no description
        (FOOTER % b"\x00", "a missing or invalid field"),
        (b"\x15\x02\x29\x0c\x16\x06\x00", "a missing or invalid field"),
    ],
)
def test_invalid_footers_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        read_footer(data)
