"""Files of representations that consist of parts, such as the tiles of a mosaic: format versions 1 and 2.

Tensors are those of the representation, with the parts along their first axis, and ``checksums``. The JSON header
holds the format version, the header of the representation, and the provenance. Files of version 1 have no checksums.
A checksum per part locates damage.
"""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable
from zlib import crc32

import numpy as np
from jaxtyping import Int32

from eoren.fs.safetensors_layout import DamagedError

VERSION = 2


@runtime_checkable
class Parted(Protocol):
    """What a representation that consists of parts stores.

    Attributes:
        shared_tensors: names of stored tensors without an axis of parts.
    """

    shared_tensors: ClassVar[tuple[str, ...]]

    def header(self) -> dict[str, Any]:
        """Return the description that a file stores as JSON."""

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the tensors that a file stores, as contiguous arrays."""

    @classmethod
    def check_stored(cls, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> int:
        """Check names, types and shapes of stored tensors, and return the number of parts.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: header or tensors are damaged.
        """

    @classmethod
    def locate_part(cls, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray], part: int) -> str:
        """Describe where a part lies in the image, given checked shared tensors."""

    @classmethod
    def from_stored(cls, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Any:
        """Build the function from checked tensors; a ValueError if a value is invalid."""


def encode_parts(
    representation: Parted, kind: Mapping[str, str], provenance: Mapping[str, Any]
) -> tuple[str, dict[str, np.ndarray]]:
    """Return JSON header and tensors of a file; see :meth:`.Representation.encode`."""
    header = {"format_version": VERSION, **kind, **representation.header(), "provenance": provenance}
    text = json.dumps(header, sort_keys=True, allow_nan=False)
    tensors = representation.tensors()
    tensors["checksums"] = _checksums(tensors, representation.shared_tensors, text)
    return text, tensors


def decode_parts(
    kind: type[Any], text: str, header: Mapping[str, Any], tensors: dict[str, np.ndarray]
) -> tuple[Any, Mapping[str, Any]]:
    """Check and read a file of a class that is :class:`Parted`; see :meth:`.Representation.decode`."""
    if header["format_version"] > VERSION:
        raise ValueError(f"version {header['format_version']} holds no such field")
    checksums = tensors.pop("checksums", None)
    parts = kind.check_stored(header, tensors)
    if header["format_version"] > 1:
        if checksums is None or checksums.dtype != np.int32 or checksums.shape != (parts + 1,):
            raise ValueError("tensor checksums does not fit the others")
        damaged = np.flatnonzero(checksums != _checksums(tensors, kind.shared_tensors, text)).tolist()
        if parts in damaged:
            shared = " or ".join(("header", *kind.shared_tensors))
            raise DamagedError(f"its {shared} does not match the checksum")
        if damaged:
            first = kind.locate_part(header, tensors, damaged[0])
            count = f"{len(damaged)} of {parts} parts"
            raise DamagedError(f"{count} do not match their checksums, the first is {first}")
    elif checksums is not None:
        raise ValueError("tensor checksums is unexpected in version 1")
    return kind.from_stored(header, tensors), header["provenance"]


def _checksums(
    tensors: Mapping[str, np.ndarray], shared: tuple[str, ...], text: str
) -> Int32[np.ndarray, " parts_and_one"]:
    """Compute the CRC-32 of each part, tensors in the order of their names, and last of header and shared tensors."""
    arrays = [_little_endian(tensor) for name, tensor in sorted(tensors.items()) if name not in shared]
    checksums = []
    for part in range(len(arrays[0])):
        value = 0
        for array in arrays:
            value = crc32(array[part].data, value)
        checksums.append(value)
    value = crc32(text.encode())
    for name in shared:
        value = crc32(_little_endian(tensors[name]).data, value)
    return np.array([*checksums, value], np.uint32).view(np.int32)


def _little_endian(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
