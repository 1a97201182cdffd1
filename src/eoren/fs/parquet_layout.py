"""Bounds check of a Parquet file before pyarrow decodes it.

A page header of a few bytes may claim gigabytes, decoders allocate what it claims, and the footer does not bound it.
pyarrow 26.0 moreover aborts the process when it describes a column with invalid metadata. So footer and page headers
are parsed here first; both are in the compact protocol of Thrift
(https://parquet.apache.org/docs/file-format/metadata/).
"""

from collections.abc import Collection, Iterator
from io import SEEK_CUR, BytesIO
from typing import Any, NamedTuple

MAX_FOOTER = 1 << 20
"""Longest footer that is read, in bytes."""

_MAGIC = b"PAR1"
_CODECS = {0, 6}  # uncompressed, zstd
# Numbers from parquet.thrift.
_DICTIONARY_PAGE = 2
_HEADERS = {0: 5, _DICTIONARY_PAGE: 7, 3: 8}  # page type: field of its own header; other types hold no values
_ENCODING = {0: 2, _DICTIONARY_PAGE: 2, 3: 4}  # page type: field of the encoding in that header
_PLAIN = {0, 2, 3, 8}  # plain, run-length and dictionary encodings; the others build values from earlier ones
# Fields of a row group, a column chunk and its metadata without external files, encryption and filters.
_GROUP = {1, 2, 3, 5, 6, 7}
_CHUNK = {2, 3, 4, 5, 6, 7}
_METADATA = {1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 16}
_MAX_HEADER = 1 << 12
_MAX_DEPTH = 8
_MAX_DICTIONARY = 1 << 22  # writers stop at about 1 MiB; every row may repeat a value


class Chunk(NamedTuple):
    """The part of a column that belongs to one row group."""

    rows: int  # of the row group
    values: int
    start: int  # position of its first page in the file
    size: int  # of all its pages, in bytes
    codec: int


class Page(NamedTuple):
    """The header of a page."""

    size: int  # decompressed, in bytes
    values: int
    is_dictionary: bool  # other pages refer to these values by number


def check_pages(data: bytes, columns: Collection[int], max_rows: int, max_bytes: int) -> int:
    """Check that the pages of a Parquet file are where the footer places them, and bounded in size.

    The number of columns is one of ``columns``. All pages together may decompress to ``max_bytes``. Returns the size
    of the largest dictionary in bytes, at least 1. Raises ValueError if the file is damaged, exceeds a limit, or uses
    an unsupported codec or encoding.
    """
    footer_size = int.from_bytes(data[-8:-4], "little")
    if len(data) < 12 or data[:4] != _MAGIC or data[-4:] != _MAGIC:
        raise ValueError("it does not begin and end as Parquet does")
    if footer_size > min(MAX_FOOTER, len(data) - 12):
        raise ValueError(f"its footer claims {footer_size} bytes")
    end = len(data) - 8 - footer_size
    rows, groups = read_footer(data[end:-8])
    if not 1 <= rows <= max_rows:
        raise ValueError(f"it must have 1 to {max_rows} rows, got {rows}")
    if any(len(group) not in columns for group in groups) or sum(group[0].rows for group in groups) != rows:
        raise ValueError(f"its row groups do not have {max(columns)} columns and {rows} rows")
    position, largest = len(_MAGIC), 1
    for chunk in sorted((chunk for group in groups for chunk in group), key=lambda chunk: chunk.start):
        if chunk.codec not in _CODECS or chunk.values != chunk.rows:
            raise ValueError("a column has an unsupported compression, or another number of rows")
        if chunk.start < position or chunk.start + chunk.size > end:
            raise ValueError("its columns overlap or lie outside the file")
        position, missing = chunk.start + chunk.size, chunk.rows
        for page in read_pages(data, chunk.start, position):
            max_bytes -= page.size
            if page.is_dictionary:
                if page.size > _MAX_DICTIONARY:
                    raise ValueError(f"a dictionary must have at most {_MAX_DICTIONARY} bytes, got {page.size}")
                largest = max(largest, page.size)
            else:
                missing -= page.values
        if missing or max_bytes < 0:
            raise ValueError("its pages hold another number of values, or claim too many bytes")
    return largest


def read_footer(footer: bytes) -> tuple[int, list[list[Chunk]]]:
    """Parse the footer of a file: the number of rows, and the columns of each row group."""
    fields, size = _parse(footer)
    if size != len(footer):
        raise ValueError("its footer has bytes after its end")
    groups = [_restricted(group, _GROUP) for group in _field(fields, 4, list)]
    chunks = [[_chunk(chunk, _field(group, 3, int)) for chunk in _field(group, 1, list)] for group in groups]
    return _field(fields, 3, int), chunks


def _chunk(chunk: Any, rows: int) -> Chunk:
    metadata = _restricted(_restricted(chunk, _CHUNK).get(3), _METADATA)
    starts = [_field(metadata, number, int) for number in (9, 11) if number in metadata]
    if not starts or min(starts) != starts[-1]:  # a dictionary comes first
        raise ValueError("a column has no valid first page")
    return Chunk(rows, _field(metadata, 5, int), starts[-1], _field(metadata, 7, int), _field(metadata, 4, int))


def read_pages(data: bytes, start: int, end: int) -> Iterator[Page]:
    """Parse the page headers of one column, which its pages must fill from ``start`` to ``end``."""
    while start < end:
        header, header_size = _parse(data[start : min(start + _MAX_HEADER, end)])
        kind, size, packed = (_field(header, number, int) for number in (1, 2, 3))
        if kind not in _HEADERS:
            raise ValueError(f"it has a page of type {kind}")
        details = _field(header, _HEADERS[kind], dict)
        if _field(details, _ENCODING[kind], int) not in _PLAIN:
            raise ValueError("a page has an unsupported encoding")
        start += header_size + packed
        yield Page(max(size, packed), _field(details, 1, int), kind == _DICTIONARY_PAGE)
    if start != end:
        raise ValueError("a page reaches beyond its column")


def _restricted(fields: Any, allowed: set[int]) -> dict[int, Any]:
    if not isinstance(fields, dict) or not fields.keys() <= allowed:
        raise ValueError("its footer has features that a simple table does not need")
    return fields


def _field(fields: dict[int, Any], number: int, kind: type) -> Any:
    value = fields.get(number)
    if type(value) is not kind or (isinstance(value, int) and value < 0):
        raise ValueError("its footer or a page header has a missing or invalid field")
    return value


def _parse(data: bytes) -> tuple[dict[int, Any], int]:
    """Parse a Thrift struct at the start of some bytes, and return its size, too."""
    stream = BytesIO(data)
    try:
        return _read_value(stream, 12), stream.tell()
    except IndexError:
        raise ValueError("its footer or a page header is incomplete") from None


def _read_value(stream: BytesIO, kind: int, depth: int = 0) -> Any:
    """Read a value: integers, structs as {field: value} and lists; other types are skipped.

    https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
    """
    if depth > _MAX_DEPTH:
        raise ValueError("its footer or a page header is nested too deeply")
    if kind in (4, 5, 6):
        number = _read_varint(stream)
        return number >> 1 ^ -(number & 1)
    if kind == 9:
        start = stream.read(1)[0]
        count = _read_varint(stream) if start >> 4 == 15 else start >> 4
        if count > len(stream.getbuffer()) - stream.tell():  # each takes a byte at least
            raise ValueError("its footer or a page header has too long a list")
        return [_read_value(stream, start & 15, depth + 1) for _ in range(count)]
    if kind == 12:
        fields: dict[int, Any] = {}
        field = 0
        while start := stream.read(1)[0]:
            field = field + (start >> 4) if start >> 4 else _read_value(stream, 4)
            if field in fields:
                raise ValueError("its footer or a page header repeats a field")
            fields[field] = start & 15 == 1 if start & 15 in (1, 2) else _read_value(stream, start & 15, depth + 1)
        return fields
    if kind not in (1, 2, 3, 7, 8):
        raise ValueError("its footer or a page header has an unsupported type")
    size = _read_varint(stream) if kind == 8 else 8 if kind == 7 else 1
    if size > len(stream.getbuffer()) - stream.tell():
        raise IndexError
    stream.seek(size, SEEK_CUR)
    return None


def _read_varint(stream: BytesIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise ValueError("its footer or a page header has too long a number")
