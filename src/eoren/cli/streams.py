"""Standard input, standard output and pipes as inputs and outputs of the commands.

``-`` is the standard input or output. Other pipes have paths: those of ``mkfifo``, and of process substitution in a
shell. Binary data are never read from or written to a terminal.
"""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eoren.errors import EorenError

if TYPE_CHECKING:
    from io import BytesIO

STANDARD = "-"


def read_once(path: str | Path) -> "str | Path | BytesIO":
    """Return the content of the standard input or a pipe, which can be read once only; other paths as they are."""
    if str(path) == STANDARD:
        if sys.stdin is None:
            raise EorenError("standard input is closed; redirect a file to it")
        if sys.stdin.isatty():
            raise EorenError("standard input is a terminal; redirect a file to it")
        return _content(sys.stdin.buffer, "standard input")
    if stat.S_ISFIFO(_mode(path)):
        with Path(path).open("rb") as pipe:
            return _content(pipe, str(path))
    return path


def byte_count(source: "str | Path | BytesIO") -> int:
    """Return the size in bytes of what :func:`read_once` returned."""
    return Path(source).stat().st_size if isinstance(source, str | Path) else source.getbuffer().nbytes


def is_stream(output: Path) -> bool:
    """Whether an output is the standard output, a pipe, or a device such as the null device."""
    mode = _mode(output)
    return is_standard_output(output) or stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def is_standard_output(output: Path) -> bool:
    """Whether an output is ``-``, or a path of the standard output such as that of its descriptor."""
    if str(output) == STANDARD:
        return True
    try:
        return os.path.samestat(output.stat(), os.fstat(sys.stdout.fileno()))
    except (AttributeError, OSError, ValueError):  # it is closed, replaced by an object in memory, or does not exist
        return False


def check_output(output: Path) -> None:
    """Refuse a terminal or a closed standard output, before any work."""
    if is_standard_output(output):
        if sys.stdout is None:
            raise EorenError("standard output is closed; redirect it to a file")
        is_terminal = sys.stdout.isatty()
    else:
        is_terminal = stat.S_ISCHR(_mode(output)) and _is_terminal(output)
    if is_terminal:
        raise EorenError(f"{output}: is a terminal, which shows no binary data; redirect it, or give a file")


@contextmanager
def opened(output: Path) -> Iterator[Any]:
    """Yield what to write to: a binary file for a stream, or the path itself."""
    if is_standard_output(output):
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif is_stream(output):
        with output.open("wb") as stream:
            yield stream
    else:
        yield output


def format_of(output: Path, given: str | None) -> str | None:
    """Return the format of an output if its suffix does not select it: the given one, or PNG for a stream."""
    return given or ("png" if is_stream(output) and not output.suffix else None)


def _content(stream: Any, name: str) -> "BytesIO":
    from eoren.fs.streams import read_stream

    content = read_stream(stream)
    content.name = name  # begins messages
    return content


def _mode(path: str | Path) -> int:
    try:
        return os.stat(path).st_mode  # noqa: PTH116  pathlib raises for some names
    except (OSError, ValueError):
        return 0


def _is_terminal(device: Path) -> bool:
    with device.open("wb") as file:
        return file.isatty()
