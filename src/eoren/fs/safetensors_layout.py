"""Safetensors files from strangers: what the header says is checked against the bytes that there are, first of all.

A file is eight bytes with the length of a JSON header, the header, and numbers. The header names each tensor's type,
shape and place among the numbers, and may carry texts. The package `safetensors` reads the numbers; that a header is
short, and that its tensors fill the file without hole or overlap, is seen to here first, so that no promise of ours
hangs on another's. Nothing is allocated for a header that lies.
"""

import json
from collections.abc import Mapping
from math import prod
from typing import Any, BinaryIO

MAX_HEADER = 1 << 20
"""Longest header that is read, in bytes. Ours take a few thousand."""

MAX_AXES = 8
"""Of a tensor. Ours have three at most. The product of half a million sides would take seconds."""

_START = 8
# Bytes of a number, by the names that safetensors gives to its types.
_SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}


class ForeignError(ValueError):
    """The file is of another kind."""


class DamagedError(ValueError):
    """The file is of this kind, and its header does not fit its bytes."""


def read_checked(file: BinaryIO, size: int) -> bytes:
    """The bytes of a safetensors file whose header has been checked before the rest is read.

    Args:
        file: at its beginning.
        size: of the file, in bytes.

    Raises:
        ForeignError, DamagedError: see :func:`check_layout`.
    """
    check_file(file, size)
    file.seek(0)
    return file.read(size)


def check_file(file: BinaryIO, size: int, most: int = MAX_HEADER) -> dict[str, str]:
    """:func:`check_layout` of a file at its beginning."""
    start = file.read(_START)
    return check_layout(start + file.read(min(int.from_bytes(start, "little"), most)), size, most)


def check_layout(start: bytes, size: int, most: int = MAX_HEADER) -> dict[str, str]:
    """The texts in the header of a safetensors file, once the header fits the file.

    Args:
        start: the file's first bytes, its whole header among them: ``8 + most`` bytes are always enough.
        size: of the file, in bytes.
        most: bytes of the longest header that is read.

    Raises:
        ForeignError: it is no safetensors file.
        DamagedError: its header is too long, or its tensors do not fill it from end to end.

    Example:
        >>> import torch
        >>> from safetensors.torch import save
        >>> data = save({"a": torch.ones(3)}, {"title": "three"})
        >>> check_layout(data, len(data))
        {'title': 'three'}
    """
    length = int.from_bytes(start[:_START], "little")
    if start[_START : _START + 1] != b"{":
        raise ForeignError("it does not begin as a safetensors file does")
    if length > most:
        raise DamagedError(f"its header claims {length} bytes, where {most} are the most")
    if length > size - _START:
        raise DamagedError(f"it ends after {size} bytes")
    try:
        header = json.loads(start[_START : _START + length], object_pairs_hook=_without_twins)
        texts = header.pop("__metadata__", {})
    except (ValueError, AttributeError, RecursionError):
        raise ForeignError("its header is not JSON") from None
    end = 0
    try:
        for name, tensor in sorted(header.items(), key=lambda item: _span(item[1])):
            end = _checked_end(name, tensor, end)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(str(error) if isinstance(error, DamagedError) else "its header names no tensors") from None
    if _START + length + end != size:
        raise DamagedError(f"its tensors end at byte {_START + length + end} of {size}")
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ForeignError("its texts are none")
    return texts


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One entry a name: of two, readers may take either."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _span(tensor: Mapping[str, Any]) -> tuple[int, int]:
    start, end = tensor["data_offsets"]
    if type(start) is not int or type(end) is not int:
        raise TypeError("a place is no number")
    return start, end


def _checked_end(name: str, tensor: Mapping[str, Any], begin: int) -> int:
    """Where a tensor ends that has to begin at some byte of the numbers."""
    start, end = _span(tensor)
    shape = tensor["shape"]
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise DamagedError(f"tensor {name!r:.40} has no shape")
    if len(shape) > MAX_AXES:
        raise DamagedError(f"tensor {name!r:.40} has {len(shape)} axes, where {MAX_AXES} are the most")
    if start != begin:
        raise DamagedError(f"there is {'a hole' if start > begin else 'an overlap'} before tensor {name!r:.40}")
    if tensor["dtype"] not in _SIZES or end - start != prod(shape) * _SIZES[tensor["dtype"]]:
        raise DamagedError(f"tensor {name!r:.40} is not as large as its shape says")
    return end
