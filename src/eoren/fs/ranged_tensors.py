"""Tensors of a safetensors file of which only the parts that are read are transferred."""

import json
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from eoren.fs.safetensors_layout import DamagedError, parse_metadata

ReadRange = Callable[[int, int], bytes]
"""Function that reads the bytes of a file from a position to another."""

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}
_START = 1 << 14  # bytes of the first request, in which most headers end
_LENGTH = 8


class RangedTensors:
    """The tensors of a file, with the methods of an open file of ``safetensors``.

    Args:
        read: function that reads a range of the file; it may return less at its end.
        limit: longest accepted header, in bytes.

    Raises:
        ValueError: the file is not a safetensors file, or damaged.
    """

    def __init__(self, read: ReadRange, limit: int) -> None:
        start = read(0, _START)
        end = _LENGTH + int.from_bytes(start[:_LENGTH], "little")
        if _START < end <= _LENGTH + limit:
            start += read(_START, end)
        self.metadata = parse_metadata(start, max(end, len(start)), limit)
        if len(start) < end:
            raise DamagedError("its header is incomplete")
        entries: dict[str, Any] = json.loads(start[_LENGTH:end])
        entries.pop("__metadata__", None)
        self._read, self._content, self._entries = read, end, entries

    def keys(self) -> list[str]:
        """Return the names of all tensors."""
        return [*self._entries]

    def get_tensor(self, name: str) -> np.ndarray:
        """Read a whole tensor."""
        return self.get_slice(name)[:]

    def get_slice(self, name: str) -> "TensorRange":
        """Return a tensor of which parts can be read."""
        entry = self._entries[name]
        kind, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if kind not in _TYPES:
            raise DamagedError(f"tensor {name!r:.40} has the type {kind!r:.40}")
        if not 0 <= first <= last or last - first != prod(shape) * np.dtype(_TYPES[kind]).itemsize:
            raise DamagedError(f"tensor {name!r:.40} does not have the size of its shape")
        return TensorRange(self._read, kind, shape, self._content + first)


class TensorRange:
    """A tensor of a file, of which rows are read when they are selected by a slice."""

    def __init__(self, read: ReadRange, kind: str, shape: list[int], position: int) -> None:
        self._read, self._kind, self._shape, self._position = read, kind, shape, position

    def get_shape(self) -> list[int]:
        """Return the sides of the tensor."""
        return self._shape

    def get_dtype(self) -> str:
        """Return the type of the numbers, as the file names it."""
        return self._kind

    def __getitem__(self, rows: slice) -> np.ndarray:
        kind = np.dtype(_TYPES[self._kind])
        start, stop, step = rows.indices(self._shape[0])
        shape = (max(0, stop - start), *self._shape[1:])
        size, row = prod(shape) * kind.itemsize, prod(shape[1:]) * kind.itemsize
        if step != 1:
            raise IndexError("rows must be consecutive")
        position = self._position + start * row
        content = self._read(position, position + size) if size else b""
        if len(content) != size:
            raise DamagedError("the file ends within a tensor")
        return np.frombuffer(content, kind).reshape(shape)
