"""Folders whose files appear complete or not at all: on this machine, or in object storage.

Files are named by their path in the folder, with slashes, at most one subfolder deep.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from safetensors import safe_open

from eoren.errors import EorenError
from eoren.fs.files import hold_lock, is_folder, is_temporary, make_folder, open_regular, remove_stale_temporaries
from eoren.fs.files import write_file as write_atomically
from eoren.fs.leases import Lease
from eoren.fs.objects import MissingObjectError, ObjectPath, is_address, local_path, read_objects
from eoren.fs.ranged_tensors import RangedTensors
from eoren.fs.safetensors_layout import openable_path, read_metadata

LOCK = ".lock"
"""Name of the file, or the object, that shows that a process writes to a folder."""

Tensors: TypeAlias = tuple[dict[str, str], Any]
"""Metadata of a safetensors file, and the open file: ``safetensors.safe_open``, or :class:`RangedTensors`."""


@runtime_checkable
class Folder(Protocol):
    """Interface of a folder."""

    @property
    def path(self) -> Path | None:
        """Path of a folder on this machine."""

    def names(self, subfolder: str) -> list[str]:
        """List the names of the files in a subfolder, in no order."""

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""

    def read(self, name: str, limit: int) -> bytes:
        """Read a file; EorenError if it is missing, ValueError if it has more than ``limit`` bytes."""

    def read_many(self, names: Sequence[str], limit: int) -> "list[bytes | Exception]":
        """Read files, at the same time where that is faster; an error as of :meth:`read` takes the place of one."""

    def tensors(self, name: str, limit: int) -> AbstractContextManager[Tensors]:
        """Open a safetensors file whose header has at most ``limit`` bytes."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it."""

    def add(self, name: str, content: bytes) -> None:
        """Write a file that does not exist; in object storage, refuse to replace the file of another process."""

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""

    def is_free(self, subfolders: Collection[str]) -> bool:
        """Whether it has no files but leftovers of a process that was killed before it wrote any."""

    def locked(self, busy: str) -> AbstractContextManager[None]:
        """Create the folder and lock it; ``busy`` is the message if another process has."""

    def prepare(self, subfolders: Collection[str]) -> None:
        """Create subfolders and remove the temporary files of killed processes; the folder must be locked."""

    def bytes(self) -> int:
        """Return the size of all files."""


def open_folder(path: "str | PathLike[str] | LocalFolder | RemoteFolder") -> "LocalFolder | RemoteFolder":
    """Open a folder of this machine, or of an address such as ``s3://bucket/store``; it need not exist."""
    if isinstance(path, LocalFolder | RemoteFolder):
        return path
    if isinstance(path, str) and is_address(path):
        local = local_path(path)
        return RemoteFolder(ObjectPath(path)) if local is None else LocalFolder(Path(local))
    return LocalFolder(Path(path))


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def names(self, subfolder: str) -> list[str]:
        """List the names of the files in a subfolder."""
        return [path.name for path in (self.path / subfolder).glob("*")]

    def has(self, name: str) -> bool:
        """Whether there is a regular file of this name."""
        return os.path.isfile(self.path / name)  # noqa: PTH113  pathlib raises for too long a name

    def read(self, name: str, limit: int) -> bytes:
        """Read a regular file."""
        with open_regular(self.path / name) as (file, size):
            _check_size(size, limit)
            return file.read(size)

    def read_many(self, names: Sequence[str], limit: int) -> "list[bytes | Exception]":
        """Read files one after the other."""
        contents: list[bytes | Exception] = []
        for name in names:
            try:
                contents.append(self.read(name, limit))
            except (EorenError, ValueError) as error:
                contents.append(error)
        return contents

    @contextmanager
    def tensors(self, name: str, limit: int) -> Iterator[Tensors]:
        """Open a safetensors file, which is mapped into memory."""
        path = self.path / name
        with open_regular(path) as (file, size):
            metadata = read_metadata(file, size, limit)
            with safe_open(openable_path(path, file), framework="np") as stored:
                yield metadata, stored

    def write(self, name: str, content: bytes) -> None:
        """Write a file under a temporary name, and rename it."""
        write_atomically(self.path / name, content)

    def add(self, name: str, content: bytes) -> None:
        """Write a file; the lock keeps other processes away."""
        self.write(name, content)

    def remove(self, name: str) -> None:
        """Remove a file."""
        with suppress(OSError):  # such as a folder of that name
            (self.path / name).unlink()

    def is_free(self, subfolders: Collection[str]) -> bool:
        """Whether it does not exist, or has only empty subfolders, a lock and temporary files."""
        if not os.path.exists(self.path):  # noqa: PTH110  pathlib raises for too long a name
            return True
        return is_folder(self.path) and all(
            path.name == LOCK
            or is_temporary(path.name)
            or (path.name in subfolders and path.is_dir() and not any(path.iterdir()))
            for path in self.path.iterdir()
        )

    @contextmanager
    def locked(self, busy: str) -> Iterator[None]:
        """Create the folder and hold a lock, which the system releases when the process dies."""
        is_new = not os.path.exists(self.path)  # noqa: PTH110  pathlib raises for too long a name
        make_folder(self.path, parents=True)
        try:
            with hold_lock(self.path / LOCK, busy):
                yield
        finally:
            if is_new:
                with suppress(OSError):  # it is usually not empty
                    self.path.rmdir()

    def prepare(self, subfolders: Collection[str]) -> None:
        """Create subfolders, which a copy may have omitted, and remove temporary files."""
        for folder in (self.path, *(self.path / name for name in subfolders)):
            make_folder(folder)
            remove_stale_temporaries(folder)

    def bytes(self) -> int:
        """Return the size of all files."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())


class RemoteFolder:
    """A folder of objects. Each file is written by one request, which replaces the whole object or nothing."""

    path = None

    def __init__(self, address: ObjectPath) -> None:
        self.address = address
        self._lease: Lease | None = None

    def __str__(self) -> str:
        return str(self.address)

    def names(self, subfolder: str) -> list[str]:
        """List the names of the objects in a subfolder."""
        return [name for name, size in (self.address / subfolder).entries() if size is not None]

    def has(self, name: str) -> bool:
        """Whether there is an object of this name that is not empty."""
        return (self.address / name).exists()

    def read(self, name: str, limit: int) -> bytes:
        """Read an object by one request."""
        path = self.address / name
        content = path.read_existing(limit + 1)
        if content is None:
            raise MissingObjectError(f"{path}: there is no such object; check the address")
        _check_size(len(content), limit)
        return content

    def read_many(self, names: Sequence[str], limit: int) -> "list[bytes | Exception]":
        """Read objects at the same time."""
        contents: list[bytes | Exception] = []
        for content in read_objects([self.address / name for name in names], limit + 1):
            try:
                if not isinstance(content, EorenError):
                    _check_size(len(content), limit)
                contents.append(content)
            except ValueError as error:
                contents.append(error)
        return contents

    @contextmanager
    def tensors(self, name: str, limit: int) -> Iterator[Tensors]:
        """Open a safetensors file by one request; each tensor, or slice of one, takes another."""
        stored = RangedTensors((self.address / name).read, limit)
        yield stored.metadata, stored

    def write(self, name: str, content: bytes) -> None:
        """Write an object by one request, while the lease holds."""
        self._check_lease()
        (self.address / name).write(content)

    def add(self, name: str, content: bytes) -> None:
        """Create an object that must not exist, where the service can check that, while the lease holds."""
        self._check_lease()
        path = self.address / name
        if not path.create(content):
            raise EorenError(f"{path}: another run has written it meanwhile; run the same again when that has ended")

    def remove(self, name: str) -> None:
        """Remove an object, while the lease holds."""
        self._check_lease()
        (self.address / name).remove()

    def is_free(self, subfolders: Collection[str]) -> bool:
        """Whether it has no objects but that of a lease; some programs make objects for empty subfolders."""
        return all(
            name == LOCK or (name in subfolders and not (self.address / name).entries())
            for name, _ in self.address.entries()
        )

    @contextmanager
    def locked(self, busy: str) -> Iterator[None]:
        """Hold a lease, see :mod:`eoren.fs.leases`."""
        self._lease = Lease(self.address / LOCK, busy)
        try:
            with self._lease.hold():
                yield
        finally:
            self._lease = None

    def prepare(self, subfolders: Collection[str]) -> None:
        """Do nothing: object storage has no folders, and no half-written objects."""

    def bytes(self) -> int:
        """Return the size of all objects."""
        return sum(size for _, size in self.address.files())

    def _check_lease(self) -> None:
        if self._lease:
            self._lease.check()


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(f"it has {size} bytes or more, more than the limit of {limit}")
