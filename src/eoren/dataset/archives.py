"""Pictures in zip and tar archives, which may be damaged, or lie about what is in them.

A member that is damaged is its own affair; an archive whose list of members is damaged is refused, for nobody knows
what is missing.
"""

import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, TypeVar, cast

from eoren.errors import EorenError
from eoren.fs.decompression import damaged_archive, is_packed, most_unpacked, open_decompressed

_Content = TypeVar("_Content")

# Of the other ways to pack, one takes as much memory as a member says, and one gives what it likes at a time.
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ZIP_ERRORS = (
    OSError, EOFError, ValueError, OverflowError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile
)  # fmt: skip
_TAR_ERRORS = (OSError, EOFError, ValueError, OverflowError, RecursionError, struct.error, tarfile.TarError)
# Headers that are about the next member: its name, and other texts.
_ABOUT = {*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE} - {tarfile.GNUTYPE_SPARSE}
# Each member goes through what is said of all: git says 52 bytes.
_MOST_FOR_ALL = 1 << 10
_SHARE_ABOUT = 8


def is_tar(start: bytes) -> bool:
    """Whether a file may be a tar archive, packed or not, by its first block.

    tarfile's own way to know tries all that it can unpack, and LZMA makes room for what it claims.
    """
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return is_packed(start)
    return True


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        name: its path there.
        read: gives its bytes, or why there are none.
    """

    name: str
    read: Callable[[], "bytes | EorenError"]


def zip_members(path: Path, wanted: Callable[[str], bool]) -> list[Member]:
    """The members of a zip archive, in the order of their names; each is read when asked for.

    Args:
        path: of the archive.
        wanted: whether to take a member of some name.

    Raises:
        EorenError: its list of members is damaged, or they would become too much together.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _ZIP_ERRORS as error:
        raise damaged_archive(path, error) from None
    found = [each for each in archive.infolist() if wanted(each.filename) and not each.is_dir()]
    most = most_unpacked(path.stat().st_size)
    # Together: members may share what is packed.
    if (claimed := sum(each.file_size for each in found)) > most:
        raise EorenError(
            f"{path}: its images would become {claimed} bytes, where {most} are the most for its size; "
            "replace it, or unpack it yourself"
        )
    found.sort(key=lambda each: each.filename)
    return [Member(each.filename, partial(_zipped, archive, each)) for each in found]


def _zipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> "bytes | EorenError":
    try:
        if member.compress_type not in _METHODS:
            raise ValueError(f"compression {member.compress_type}, where 0 and 8 are known")
        if member.flag_bits & 1:
            raise ValueError("it is encrypted")
        with archive.open(member) as file:
            return file.read(member.file_size)  # and no more, whatever is packed there
    except _ZIP_ERRORS as error:
        return EorenError(f"cannot be unpacked ({' '.join(str(error).split()):.200})")


def tar_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """The members of a tar archive, packed or not, in its order.

    They are read on the way: going back in a packed one would unpack it anew.

    Args:
        path: of the archive.
        wanted: whether to take a member of some name.

    Raises:
        EorenError: it is damaged, even if only behind its last member, or becomes too much.
    """
    with open_decompressed(path) as plain:
        try:
            header = _strict(most_unpacked(path.stat().st_size) // _SHARE_ABOUT)
            with tarfile.open(fileobj=cast("IO[bytes]", plain), mode="r:", tarinfo=header) as archive:
                while (member := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined] # it would keep them all
                    if member.size < 0:  # a text about it may say so
                        raise tarfile.ReadError(f"a member of {member.size} bytes")
                    if member.isfile() and wanted(member.name):
                        content = _tarred(archive, member)
                        yield Member(member.name, partial(itself, content))
            while block := plain.read(1 << 16):
                if block.strip(b"\0"):
                    raise EOFError("there is more behind its end")
        except _TAR_ERRORS as error:
            raise damaged_archive(path, error) from None


def _tarred(archive: tarfile.TarFile, member: tarfile.TarInfo) -> "bytes | EorenError":
    # A few bytes may say that there are zeros without end.
    file = None if member.issparse() else archive.extractfile(member)
    return EorenError("cannot be unpacked (it is sparse)") if file is None else file.read()


def itself(content: _Content) -> _Content:
    """What was read already, where a way to read is asked for; that has to be picklable."""
    return content


def _strict(most: int) -> type[tarfile.TarInfo]:
    """Headers of one archive; those that are damaged are said to be: tarfile takes them for its end.

    Args:
        most: bytes of all texts about members.
    """
    left, left_for_all = most, _MOST_FOR_ALL

    class Header(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Header":
            nonlocal left, left_for_all
            try:
                found = super().frombuf(buf, encoding, errors)
            except tarfile.HeaderError as error:
                if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                    raise  # the end
                raise tarfile.ReadError(str(error)) from None
            left -= found.size if found.type in _ABOUT else 0
            left_for_all -= found.size if found.type == tarfile.XGLTYPE else 0
            if found.size < 0 or left < 0 or left_for_all < 0:
                raise tarfile.ReadError(f"a header claims {found.size} bytes")
            return found

    return Header
