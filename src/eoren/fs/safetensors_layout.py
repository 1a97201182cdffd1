"""Limits on the headers of safetensors files, for files from untrusted sources.

A file is eight bytes with the length of a JSON header, the header, and the numbers. The header gives each tensor's
type, shape and position, and may hold a ``__metadata__`` dictionary of strings. The package ``safetensors``, 0.7 and
later, rejects headers whose tensors leave holes, overlap, do not fill the file or do not match their shapes. It
accepts headers of up to 100 MB and shapes that PyTorch cannot represent, and does not return the metadata of a file
in memory: this module limits the former, before the rest of the file is read, and returns the latter. The package
refuses paths that are not valid UTF-8, which :func:`openable_path` replaces.
"""

import json
import os
from collections.abc import Sequence
from math import prod
from pathlib import Path

from eoren.fs.files import BinaryFile
from eoren.fs.names import as_utf8

MAX_HEADER = 1 << 20
"""Longest header that is accepted, in bytes. Headers that EoREN writes take a few thousand."""

MAX_AXES = 8
"""Most axes of a tensor. Tensors that EoREN writes have at most three."""

_MAX_NUMBERS = 2**62
_START = 8


class ForeignError(ValueError):
    """The file is not a safetensors file."""


class DamagedError(ValueError):
    """The file is a safetensors file with an invalid header."""


def read_metadata(file: BinaryFile, size: int, limit: int = MAX_HEADER) -> dict[str, str]:
    """Check the header at the current position of a file, and return its metadata; see :func:`parse_metadata`."""
    start = file.read(_START)
    return parse_metadata(start + file.read(min(int.from_bytes(start, "little"), limit)), size, limit)


def openable_path(path: Path, file: BinaryFile) -> Path:
    """Return a path of an open file that ``safetensors.safe_open`` takes while the file is open."""
    is_utf8 = str(path) == as_utf8(str(path))
    return path if is_utf8 or os.name != "posix" else Path(os.devnull).with_name("fd") / str(file.fileno())


def parse_metadata(start: bytes, size: int, limit: int = MAX_HEADER) -> dict[str, str]:
    """Check the header of a safetensors file against the limits, and return its metadata.

    Args:
        start: first bytes of the file, with the whole header: ``8 + limit`` bytes always suffice.
        size: size of the file, in bytes.
        limit: longest accepted header, in bytes.

    Raises:
        ForeignError: the bytes are not a safetensors file.
        DamagedError: the header is too long or incomplete, or a tensor in it has no shape or too many axes.
    """
    length = int.from_bytes(start[:_START], "little")
    if start[_START : _START + 1] != b"{":
        raise ForeignError("it does not start like a safetensors file")
    if length > limit:
        raise DamagedError(f"its header must have at most {limit} bytes, got {length}")
    if length > size - _START:
        raise DamagedError(f"its header must end within the {size} bytes of the file")
    try:
        header = json.loads(start[_START : _START + length])
    except (ValueError, RecursionError):
        raise ForeignError("its header is not JSON") from None
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ForeignError("its metadata is not a dictionary of strings")
    try:
        for name, tensor in header.items():
            _check_shape(name, tensor["shape"])
    except (KeyError, TypeError):
        raise DamagedError("its header has an entry that does not describe a tensor") from None
    return metadata


def _check_shape(name: str, shape: Sequence[int]) -> None:
    # Zero counts as one: PyTorch computes strides of empty tensors, too, and raises RuntimeError where they overflow.
    if len(shape) > MAX_AXES or prod(max(side, 1) for side in shape) > _MAX_NUMBERS:
        raise DamagedError(
            f"tensor {name!r:.40} must have at most {MAX_AXES} axes and 2^62 numbers, got {shape!r:.80}"
        )
