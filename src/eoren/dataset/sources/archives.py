"""Members of zip and tar archives, which may be damaged or hostile.

A damaged member affects no other one; an archive with a damaged list of members is refused, since members may be
missing from it.
"""

import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, cast

from eoren.dataset.sources.items import constant
from eoren.errors import EorenError, format_error
from eoren.fs.decompression import damaged_archive, is_compressed, max_decompressed_size, open_decompressed
from eoren.fs.objects import ObjectPath

Member = tuple[str, Callable[[], bytes | EorenError]]
"""Path of a file in an archive, and a function that reads its bytes or explains why they cannot be read."""

# LZMA allocates what a member claims, and bzip2 does not bound its output blocks.
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ZIP_ERRORS = (
    OSError, EOFError, ValueError, OverflowError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile
)  # fmt: skip
_WINDOWS, _UTF8_FLAG = 0, 0x800
_TAR_ERRORS = (OSError, EOFError, ValueError, OverflowError, RecursionError, struct.error, tarfile.TarError)
# Types of extended headers, which describe the next member or all following ones.
_EXTENDED = {*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE} - {tarfile.GNUTYPE_SPARSE}
# Global headers are applied to every member, so they must be short: those of git take 52 bytes.
_MAX_GLOBAL = 1 << 10
_EXTENDED_SHARE = 8


def is_tar(start: bytes) -> bool:
    """Check the first block of a file for a tar archive or a compressed file.

    ``tarfile.is_tarfile`` tries every decompressor, and LZMA allocates what a header claims.
    """
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return is_compressed(start)
    return True


def zip_members(path: Path | ObjectPath, select: Callable[[str], bool]) -> list[Member]:
    """List the selected members of a zip archive in the order of their names.

    Raises EorenError if the list of members is damaged, or their decompressed size is too large.
    """
    try:
        # Of a remote one the list of members is read, and each member when it is needed.
        archive = zipfile.ZipFile(path.file() if isinstance(path, ObjectPath) else path)
    except _ZIP_ERRORS as error:
        raise damaged_archive(path, error) from None
    files = [(_zip_name(member), member) for member in archive.infolist()]
    members = [(name, member) for name, member in files if not name.endswith("/") and select(name)]
    limit = max_decompressed_size(path.size() or 0 if isinstance(path, ObjectPath) else path.stat().st_size)
    # The sum counts, because members may share compressed bytes.
    if (size := sum(member.file_size for _, member in members)) > limit:
        raise EorenError(
            f"{path}: decompressed images must have at most {limit} bytes, got {size}; unpack it yourself"
        )

    def read(member: zipfile.ZipInfo) -> bytes | EorenError:
        try:
            if member.compress_type not in _METHODS:
                raise ValueError(f"compression {member.compress_type} is not supported, only 0 and 8")
            if member.flag_bits & 1:
                raise ValueError("it is encrypted")
            with archive.open(member) as file:
                return file.read(member.file_size)  # never more than the size checked above
        except _ZIP_ERRORS as error:
            return EorenError(f"cannot be unpacked ({format_error(error)})")

    members.sort(key=lambda member: member[0])
    return [(name, partial(read, member)) for name, member in members]


def _zip_name(member: zipfile.ZipInfo) -> str:
    """Return the path of a member, with the separators and letters that its writer meant."""
    name = member.filename
    if member.create_system == _WINDOWS:
        name = name.replace("\\", "/")  # of .NET and older programs
    if not member.flag_bits & _UTF8_FLAG:
        with suppress(ValueError):  # zipfile decodes as code page 437, but macOS and others write UTF-8
            name = name.encode("cp437").decode()
    return name


def tar_members(
    path: Path | ObjectPath, select: Callable[[str], bool], on_share: Callable[[float], None] = lambda share: None
) -> Iterator[Member]:
    """Read the selected members of a tar archive, compressed or not, in its order.

    ``on_share`` receives the share of the archive, 0 to 1, that was read before each of them.

    All are read on the way, because a compressed archive cannot be rewound cheaply. Raises EorenError if the archive
    is damaged, even after its last member, or its decompressed size is too large.
    """
    with open_decompressed(path) as plain:
        try:
            header = _strict_header(plain.limit // _EXTENDED_SHARE)
            with tarfile.open(fileobj=cast("IO[bytes]", plain), mode="r:", tarinfo=header) as archive:
                while (member := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined] # it would keep them all in memory
                    if member.size < 0:  # possible in an extended header
                        raise tarfile.ReadError(f"a member of {member.size} bytes")
                    if member.isfile() and select(member.name):
                        # A sparse member may claim any number of zeros in a few bytes.
                        file = None if member.issparse() else archive.extractfile(member)
                        content = EorenError("cannot be unpacked (it is sparse)") if file is None else file.read()
                        on_share(plain.share())
                        yield member.name, constant(content)
            while block := plain.read(1 << 16):
                if block.strip(b"\0"):
                    raise EOFError("it has data after its end")
        except _TAR_ERRORS as error:
            raise damaged_archive(path, error) from None


def _strict_header(max_extended: int) -> type[tarfile.TarInfo]:
    """Create a header class that raises for a damaged header, which tarfile takes for the end of the archive.

    All extended headers together may have ``max_extended`` bytes.
    """
    left, left_global = max_extended, _MAX_GLOBAL

    class Header(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Header":
            nonlocal left, left_global
            try:
                header = super().frombuf(buf, encoding, errors)
            except tarfile.HeaderError as error:
                if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                    raise  # the regular end of an archive
                raise tarfile.ReadError(str(error)) from None
            left -= header.size if header.type in _EXTENDED else 0
            left_global -= header.size if header.type == tarfile.XGLTYPE else 0
            if header.size < 0 or left < 0 or left_global < 0:
                raise tarfile.ReadError(f"a header claims {header.size} bytes")
            return header

    return Header
