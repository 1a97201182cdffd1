"""Pages of a Parquet file, walked before a decoder sees them: how much they claim to become, and by what means.

A page of a few bytes may claim two gigabytes, and decoders make room for what is claimed. Parquet's footer does not
bound that; what does stands before every page, in Thrift's compact protocol, of which this reads as much as there is
in such a header: https://parquet.apache.org/docs/file-format/data-pages/.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

# By their numbers in parquet.thrift.
_DICTIONARY_PAGE = 2
_HEADERS = {0: 5, _DICTIONARY_PAGE: 7, 3: 8}  # kind of page: field of its own header. Others have no values
_ENCODING = {0: 2, _DICTIONARY_PAGE: 2, 3: 4}  # the field of that which says how values are written
_PLAIN = {0, 2, 3, 8}  # values, runs, indices of a dictionary: no values that repeat parts of others
_LONGEST_HEADER = 1 << 12
_DEEPEST = 8


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


def _whole(fields: dict[int, Any], number: int) -> int:
    value = fields.get(number)
    if type(value) is not int or value < 0:
        raise ValueError("a page's header lacks a number")
    return value


def _struct(data: bytes, start: int) -> tuple[dict[int, Any], int]:
    """A Thrift struct, and where in the file it ends."""
    reader = _Reader(data)
    try:
        return reader.struct(0), start + reader.at
    except IndexError:
        raise ValueError("a page's header has no end") from None


class _Reader:
    """Thrift's compact protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _DEEPEST:
            raise ValueError("a page's header is too deep")
        found: dict[int, Any] = {}
        field = 0
        while (start := self._byte()) != 0:
            field = field + (start >> 4) if start >> 4 else self._number()
            if field in found:
                raise ValueError("a page's header says a thing twice")
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
        if kind in (1, 2, 3, 7):
            return self._skip(8 if kind == 7 else 1)
        raise ValueError("a page's header has what none needs")

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
                raise ValueError("a page's header has a number without end")

    def _number(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
