"""The columns and pages of a Parquet file, walked before a decoder sees them: where they are, and what they claim.

A page of a few bytes may claim two gigabytes, and decoders make room for what is claimed. The footer does not bound
that; what does stands before every page. And pyarrow ends the process (26.0) when it is asked for the description of
a column in which something cannot be, so that nobody may ask. Both are in Thrift's compact protocol, of which this
reads as much as there is in them: https://parquet.apache.org/docs/file-format/metadata/.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

# By their numbers in parquet.thrift.
_DICTIONARY_PAGE = 2
_HEADERS = {0: 5, _DICTIONARY_PAGE: 7, 3: 8}  # kind of page: field of its own header. Others have no values
_ENCODING = {0: 2, _DICTIONARY_PAGE: 2, 3: 4}  # the field of that which says how values are written
_PLAIN = {0, 2, 3, 8}  # values, runs, indices of a dictionary: no values that repeat parts of others
# Fields that the columns of a simple table may have: no other file, no keys, no filters.
_GROUP = {1, 2, 3, 5, 6, 7}
_COLUMN = {2, 3, 4, 5, 6, 7}
_DESCRIPTION = {1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 16}
_LONGEST_HEADER = 1 << 12
_DEEPEST = 8


class Chunk(NamedTuple):
    """The part of a column that belongs to some rows.

    Attributes:
        rows: that it is of.
        values: that it says it has.
        start: where its first page begins.
        size: bytes of all its pages.
        codec: the number of how they are packed.
    """

    rows: int
    values: int
    start: int
    size: int
    codec: int


class Page(NamedTuple):
    """What stands before a page.

    Attributes:
        size: bytes that it becomes.
        values: that it has.
        is_dictionary: whether they are those that other pages name by number.
    """

    size: int
    values: int
    is_dictionary: bool


def chunks(footer: bytes) -> tuple[int, list[list[Chunk]]]:
    """What a file's footer says of its columns.

    Args:
        footer: all of it.

    Returns:
        The rows of the file, and for every group of them its columns.

    Raises:
        ValueError: it is none, or has what a simple table lacks.
    """
    found, end = _struct(footer, 0)
    if end != len(footer):
        raise ValueError("its footer ends too soon")
    groups = [_fields(group, _GROUP) for group in _list(found, 4)]
    return _whole(found, 3), [[_chunk(column, _whole(group, 3)) for column in _list(group, 1)] for group in groups]


def _chunk(column: Any, rows: int) -> Chunk:
    own = _fields(_fields(column, _COLUMN).get(3), _DESCRIPTION)
    starts = [_whole(own, field) for field in (9, 11) if field in own]
    if not starts or min(starts) != starts[-1]:  # a dictionary comes first
        raise ValueError("a column begins nowhere")
    return Chunk(rows, _whole(own, 5), starts[-1], _whole(own, 7), _whole(own, 4))


def pages(data: bytes, start: int, end: int) -> Iterator[Page]:
    """The pages of one column, which fill a part of a file.

    Args:
        data: of the file.
        start: where the first begins.
        end: where the last ends.

    Raises:
        ValueError: they do not fill it, or are none that a simple table has.
    """
    while start < end:
        header, start = _struct(data[start : min(start + _LONGEST_HEADER, end)], start)
        kind, size, packed = (_whole(header, field) for field in (1, 2, 3))
        if kind not in _HEADERS:
            raise ValueError(f"a page of kind {kind}")
        own = header.get(_HEADERS[kind])
        if not isinstance(own, dict) or _whole(own, _ENCODING[kind]) not in _PLAIN:
            raise ValueError("a page's values are written in no simple way")
        start += packed
        yield Page(max(size, packed), _whole(own, 1), kind == _DICTIONARY_PAGE)
    if start != end:
        raise ValueError("a page ends behind its column")


def _fields(found: Any, allowed: set[int]) -> dict[int, Any]:
    if not isinstance(found, dict) or not found.keys() <= allowed:
        raise ValueError("its footer has what a simple table lacks")
    return found


def _list(fields: dict[int, Any], number: int) -> list[Any]:
    value = fields.get(number)
    if not isinstance(value, list):
        raise ValueError("its footer lacks a list")
    return value


def _whole(fields: dict[int, Any], number: int) -> int:
    value = fields.get(number)
    if type(value) is not int or value < 0:
        raise ValueError("its footer or a page's header lacks a number")
    return value


def _struct(data: bytes, start: int) -> tuple[dict[int, Any], int]:
    """A Thrift struct, and where in the file it ends."""
    reader = _Reader(data)
    try:
        return reader.struct(0), start + reader.at
    except IndexError:
        raise ValueError("its footer or a page's header has no end") from None


class _Reader:
    """Thrift's compact protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _DEEPEST:
            raise ValueError("its footer or a page's header is too deep")
        found: dict[int, Any] = {}
        field = 0
        while (start := self._byte()) != 0:
            field = field + (start >> 4) if start >> 4 else self._number()
            if field in found:
                raise ValueError("its footer or a page's header says a thing twice")
            kind = start & 15
            found[field] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (4, 5, 6):
            return self._number()
        if kind == 12:
            return self.struct(depth + 1)
        if kind == 8:
            return self._skip(self._varint())
        if kind == 9:
            return self._list(depth + 1)
        if kind in (1, 2, 3, 7):
            return self._skip(8 if kind == 7 else 1)
        raise ValueError("its footer or a page's header has what none needs")

    def _list(self, depth: int) -> list[Any]:
        start = self._byte()
        kind, count = start & 15, start >> 4
        if count == 15:
            count = self._varint()
        if depth > _DEEPEST or count > len(self.data) - self.at:  # each takes a byte at least
            raise ValueError("a list is too deep, or too long")
        return [self._value(kind, depth) for _ in range(count)]

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.data):
            raise IndexError

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("its footer or a page's header has a number without end")

    def _number(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
