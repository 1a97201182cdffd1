"""Bounded decompression of gzip, bzip2 and xz files from untrusted sources."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BufferedIOBase, BufferedReader
from pathlib import Path

from eoren.errors import EorenError, format_error
from eoren.fs.files import open_regular
from eoren.fs.objects import ObjectPath

FREE_BYTES = 1 << 26
"""Decompressed size that any file may have, in bytes: that of an image of 2^24 pixels."""
_MAX_RATIO = 64
_BLOCK = 1 << 20
GZIP = b"\x1f\x8b"
"""First bytes of a gzip file."""


def max_decompressed_size(size: int) -> int:
    """Return the limit on the decompressed size of a file of `size` bytes: 64 times as many beyond `FREE_BYTES`."""
    return max(FREE_BYTES, _MAX_RATIO * size)


# First bytes -> the function that opens a file for decompression.
_OPENERS: Mapping[bytes, Callable[[BufferedReader], BufferedIOBase]] = {
    GZIP: gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": partial(lzma.open, format=lzma.FORMAT_XZ),
}


class DecompressedFile:
    """The decompressed content of a file, up to `limit` bytes, read forwards, with the methods that tarfile needs."""

    def __init__(self, path: Path | ObjectPath, file: BufferedIOBase, packed: BufferedReader, size: int) -> None:
        self._path, self._file, self.limit = path, file, max_decompressed_size(size)
        self._packed, self._size = packed, size

    def share(self) -> float:
        """Return the share of the bytes of the file, 0 to 1, that were needed so far."""
        return self._packed.tell() / max(1, self._size)

    def tell(self) -> int:
        """Return the position in the decompressed content."""
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes, or all that follow, in blocks: a false size in a header allocates no memory."""
        blocks, left = [], self.limit + 1 if size < 0 else size
        with self._errors():
            while left > 0 and (block := self._file.read(min(left, _BLOCK))):
                blocks.append(block)
                left -= len(block)
                self._check(self.tell())
        return b"".join(blocks)

    def seek(self, position: int) -> None:
        """Skip the content before `position`, which must not lie behind the current one."""
        with self._errors():
            self._check(position)
            if position < self.tell():
                raise EOFError("an offset leads backwards")
            self._file.seek(position)

    def _check(self, position: int) -> None:
        if position > self.limit:
            raise EorenError(
                f"{self._path}: its decompressed content must have at most {self.limit} bytes at this file size; "
                "replace the file, or decompress it yourself"
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, OverflowError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise damaged_archive(self._path, error) from None


@contextmanager
def open_decompressed(path: Path | ObjectPath) -> Iterator[DecompressedFile]:
    """Open a regular file, or an object, decompressing it if it is a gzip, bzip2 or xz file."""
    with open_regular(path) as (file, size):
        start = file.read(max(map(len, _OPENERS)))
        file.seek(0)
        opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
        yield DecompressedFile(path, opener(file) if opener else file, file, size)


def is_compressed(start: bytes) -> bool:
    """Whether :func:`open_decompressed` decompresses files that start with these bytes."""
    return start.startswith(tuple(_OPENERS))


def damaged_archive(path: Path | ObjectPath, error: Exception) -> EorenError:
    """Return the error to raise for a damaged archive."""
    return EorenError(f"{path}: damaged archive ({format_error(error)}); replace it")
