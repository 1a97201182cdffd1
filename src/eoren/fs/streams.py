"""Inputs and outputs that need not be files with a path: bytes, and binary file objects such as pipes.

File objects belong to the caller: they are read and written from where they are, and never closed.
"""

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from eoren.errors import EorenError, format_error
from eoren.fs.files import BinaryFile, atomic_path, open_regular, write_file

MAX_STREAM = 2**30
"""Bytes that are read from a file object at most, because all of them are kept in memory."""

_BLOCK = 1 << 20


@runtime_checkable
class Reader(Protocol):
    """A binary file object that can be read."""

    def read(self, size: int = -1, /) -> bytes:
        """Read at most ``size`` bytes, b"" at the end."""


@runtime_checkable
class Writer(Protocol):
    """A binary file object that can be written."""

    def write(self, data: Any, /) -> Any:
        """Write bytes."""


Readable: TypeAlias = str | PathLike[str] | bytes | bytearray | memoryview | Reader
"""A path, the content of a file, or a binary file object."""

Writable: TypeAlias = str | PathLike[str] | Writer
"""A path, or a binary file object."""


class Input(NamedTuple):
    """An open input: a file that can be read anywhere, its size in bytes, and its name for messages."""

    file: BinaryFile
    size: int
    name: str


@contextmanager
def open_input(source: Readable) -> Iterator[Input]:
    """Open an input. File objects are read to their end, into memory."""
    if isinstance(source, str | PathLike):
        with open_regular(Path(source)) as (file, size):
            yield Input(file, size, stream_name(source))
        return
    if isinstance(source, bytes | bytearray | memoryview):
        content, size = io.BytesIO(source), memoryview(source).nbytes
    else:
        content = read_stream(source)
        size = content.getbuffer().nbytes
    with content:
        yield Input(content, size, stream_name(source))


def read_stream(stream: Reader) -> io.BytesIO:
    """Read a file object to its end.

    Raises:
        EorenError: it is not a binary file that can be read, or has more than `MAX_STREAM` bytes.
    """
    name, content = stream_name(stream), io.BytesIO()
    if _is_text(stream) or not hasattr(stream, "read"):
        raise EorenError(f"{name}: must be a path, bytes or a file opened with 'rb', got {type(stream).__name__}")
    try:
        while block := stream.read(_BLOCK):
            content.write(block)
            if content.tell() > MAX_STREAM:
                raise EorenError(f"{name}: must have at most {MAX_STREAM:,} bytes; write them to a file")
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise EorenError(f"{name}: cannot be read ({format_error(error)}); check the file") from error
    content.seek(0)
    return content


@contextmanager
def open_output(target: Writable) -> Iterator[Path]:
    """Yield the path of a new empty file, which is written to the target if the body succeeds.

    A path gets it atomically, see :func:`eoren.fs.files.atomic_path`; a file object gets nothing before the end.
    """
    if isinstance(target, str | PathLike):
        with atomic_path(Path(target)) as temporary:
            yield temporary
        return
    _check_writer(target)
    try:
        folder = tempfile.TemporaryDirectory(prefix="eoren-", ignore_cleanup_errors=True)
    except OSError as error:
        reason = error.strerror or format_error(error)
        raise EorenError(f"temporary files cannot be written ({reason}); free space, or set TMPDIR") from error
    with folder:
        output = Path(folder.name, "output")
        with atomic_path(output) as temporary:
            yield temporary
        with output.open("rb") as content:
            _copy(content, target)


def write_output(target: Writable, content: bytes) -> None:
    """Write bytes to a path, atomically, or to a file object."""
    if isinstance(target, str | PathLike):
        write_file(Path(target), content)
    else:
        _check_writer(target)
        _copy(io.BytesIO(content), target)


def stream_name(stream: object) -> str:
    """Return a path as text, the name of a file object, or if it has none that of its type, such as ``BytesIO``."""
    if isinstance(stream, str | PathLike):
        return str(Path(stream))
    name = getattr(stream, "name", None)  # an integer for a descriptor
    return name if isinstance(name, str) and name else type(stream).__name__


def _is_text(stream: object) -> bool:
    return isinstance(stream, io.TextIOBase)


def _check_writer(target: Writer) -> None:
    if _is_text(target) or not hasattr(target, "write"):
        kind = type(target).__name__
        raise EorenError(f"{stream_name(target)}: must be a path or a file opened with 'wb', got {kind}")


def _copy(content: BinaryFile, target: Writer) -> None:
    """Copy to a file object. A stopped reader of a pipe is no error of the target: BrokenPipeError is passed on."""
    try:
        while block := content.read(_BLOCK):
            _write(target, block)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise EorenError(
            f"{stream_name(target)}: cannot be written ({format_error(error)}); check the file"
        ) from error


def _write(target: Writer, block: bytes) -> None:
    if not isinstance(target, io.RawIOBase):
        target.write(block)
        return
    rest = memoryview(block)
    while rest:  # a raw file may write less than it is given
        written = target.write(rest)
        if written is None:
            raise BlockingIOError("it does not accept more now")
        rest = rest[written:]
