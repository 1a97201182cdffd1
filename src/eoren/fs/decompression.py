"""Packed files of strangers: what becomes of one is bounded by what it is, and read to its end."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from eoren.errors import EorenError
from eoren.fs.files import open_regular

FREE_BYTES = 1 << 26
"""What anything may become: what an image of 2^24 pixels takes."""
_TIMES = 64
_BLOCK = 1 << 20
GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"


def most_unpacked(size: int) -> int:
    """How many bytes a packed file of so many may become: beyond `FREE_BYTES` it needs one for every 64."""
    return max(FREE_BYTES, _TIMES * size)


@runtime_checkable
class _File(Protocol):
    """What files have in common, and those that gzip, bz2 and lzma make."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, position: int, /) -> int: ...
    def tell(self) -> int: ...


class Unpacked:
    """A file as it was before it was packed, read from its beginning to its end.

    It has as much of a file's methods as tarfile wants.

    Args:
        path: what to call it.
        file: what comes out of it.
        most: bytes that may come out.
    """

    def __init__(self, path: Path, file: _File, most: int) -> None:
        """Nothing is read yet."""
        self._path, self._file, self._most = path, file, most

    def tell(self) -> int:
        """Bytes that were read or passed over."""
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or all that follow. What a header claims is not made room for.

        Raises:
            EorenError: it becomes too much, or is damaged.
        """
        blocks, left = [], self._most + 1 if size < 0 else size
        with self._one_line():
            while left > 0 and (block := self._file.read(min(left, _BLOCK))):
                blocks.append(block)
                left -= len(block)
                self._check(self.tell())
        return b"".join(blocks)

    def seek(self, position: int) -> None:
        """Pass over what comes before a position.

        Raises:
            EorenError: it lies behind all that may come out, or behind what was read, or the file is damaged.
        """
        with self._one_line():
            self._check(position)
            if position < self.tell():
                raise EOFError("it leads back to where it has been")
            self._file.seek(position)

    def _check(self, position: int) -> None:
        if position > self._most:
            raise EorenError(
                f"{self._path}: would become more than {self._most} bytes, too many for its size, or claims to; "
                "replace it, or unpack it yourself"
            )

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, OverflowError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise damaged(self._path, error) from None


@contextmanager
def unpacked(path: Path) -> Iterator[Unpacked]:
    """Open a file that may be packed by gzip, bzip2 or xz.

    Args:
        path: of a regular file.

    Yields:
        What it was before; the file itself if it is not packed.

    Raises:
        EorenError: it cannot be read.
    """
    with open_regular(path) as (file, size):
        magic = file.read(len(_XZ))
        file.seek(0)
        if magic.startswith(GZIP):
            with gzip.GzipFile(fileobj=file) as plain:
                yield Unpacked(path, plain, most_unpacked(size))
        elif magic.startswith(_BZIP2):
            with bz2.BZ2File(file) as plain:
                yield Unpacked(path, plain, most_unpacked(size))
        elif magic.startswith(_XZ):
            with lzma.LZMAFile(file, format=lzma.FORMAT_XZ) as plain:
                yield Unpacked(path, plain, most_unpacked(size))
        else:
            yield Unpacked(path, file, most_unpacked(size))


def is_packed(magic: bytes) -> bool:
    """Whether a file that begins so is one that :func:`unpacked` unpacks."""
    return magic.startswith((GZIP, _BZIP2, _XZ))


def damaged(path: Path, error: Exception) -> EorenError:
    """One line about a damaged archive."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return EorenError(f"{path}: damaged archive ({reason:.200}); replace it")
