"""Atomic file writes and inter-process locks."""

import errno
import hashlib
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path
from typing import TypeAlias

from eoren.errors import EorenError
from eoren.fs.objects import ObjectPath

BinaryFile: TypeAlias = BufferedReader | BytesIO | FileIO
"""An open binary file, or one in memory."""

_LOG = logging.getLogger(__name__)
_TEMPORARY = re.compile(r"\.eoren-[0-9a-f]{16}-[0-9a-f]{16}(\..*)?", re.DOTALL)
# Errors of a disk that is full, broken, or mounted read-only after it broke.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def sha256(path: str | Path) -> str:
    """Compute the SHA-256 digest of a regular file, as 64 hexadecimal digits."""
    with open_regular(path) as (file, _):
        return hash_file(file)


def hash_file(file: BinaryFile) -> str:
    """Compute the SHA-256 digest of the rest of an open file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


@contextmanager
def open_regular(path: str | Path | ObjectPath) -> Iterator[tuple[BufferedReader, int]]:
    """Open a regular file, or an object, for reading, and yield it with its size in bytes.

    Other files are refused: a named pipe would block, /dev/zero would never end.
    """
    if isinstance(path, ObjectPath):
        with path.file() as remote:
            yield remote, path.size() or 0
        return
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise EorenError(f"{path}: is a folder or a device; give the path of a file")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise _cannot_read(path, error) from error
    with file:
        try:
            yield file, os.fstat(file.fileno()).st_size
        except OSError as error:
            raise _cannot_read(path, error) from error


def is_folder(path: str | Path) -> bool:
    """Whether a folder exists at this path; unlike pathlib, without an error for a name that is too long."""
    return os.path.isdir(path)  # noqa: PTH112


def check_writable(target: str | Path) -> None:
    """Check that a file can be written or replaced, before minutes of work are spent on its content."""
    target = Path(target)
    try:
        folder = _destination(target).parent
        if not folder.is_dir():
            raise EorenError(f"{target}: there is no folder {folder}; create it or choose another path")
        if target.is_dir():
            raise EorenError(f"{target}: is a folder; give the path of a file")
        if target.exists() and not target.is_file():
            raise EorenError(f"{target}: is not a regular file; choose another path")
        protected = target.exists() and not os.access(target, os.W_OK)
        if protected or not os.access(folder, os.W_OK | os.X_OK):
            raise EorenError(f"{target}: no permission to write; choose another path")
    except (OSError, ValueError) as error:
        raise _cannot_write(target, error) from error


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Write a file atomically: it appears complete or not at all.

    Yields the path of a new empty file in the same folder: hidden, with the same suffix and a unique name. If the
    body succeeds, this file is flushed to the disk and renamed over `target`, keeping the permission bits `target`
    had. If the body raises anything, KeyboardInterrupt included, this file is removed and `target` stays as it was.
    Errors of the disk become EorenErrors. A symbolic link is written through.
    """
    target = Path(target)
    check_writable(target)
    destination = _destination(target)
    temporary = destination.with_name(f"{_prefix(destination)}{secrets.token_hex(8)}{target.suffix}")
    try:
        # Not tempfile: undoing its mode 0600 needs the umask, which cannot be read without setting it.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise _cannot_write(target, error) from error
    written = False
    try:
        yield temporary
        written = True
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        if destination.exists():
            temporary.chmod(stat.S_IMODE(destination.stat().st_mode))
        temporary.replace(destination)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and (written or error.errno in _DISK or error.filename == str(temporary)):
            raise _cannot_write(target, error) from error
        raise
    _sync_folder(destination.parent)


@contextmanager
def locked(target: str | Path) -> Iterator[None]:
    """Lock a file against other processes of EoREN, and remove stale temporary files of earlier writes to it.

    The operating system holds the lock on a file beside `target` with the suffix `.lock`, and releases it when the
    process ends, however it ends: a stale lock file is harmless.
    """
    target = Path(target)
    check_writable(target)
    destination = _destination(target)
    busy = f"{target}: another process is working on it; wait until it has ended, or choose another path"
    with hold_lock(destination.with_name(destination.name + ".lock"), busy):
        remove_stale_temporaries(destination.parent, destination)
        yield


@contextmanager
def hold_lock(lock_file: Path, busy: str) -> Iterator[None]:
    """Hold an exclusive lock on an empty file, which is created, and removed at the end.

    `busy` is the error message if another process holds the lock.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(lock_file)
    try:
        # filelock would truncate a file that is not ours, and the end of this function would remove it.
        if lock_file.exists() and lock_file.stat().st_size > 0:
            raise EorenError(f"{lock_file}: has content, so it is not a lock file; rename it, or choose another path")
        lock.acquire(blocking=False)
    except Timeout:
        raise EorenError(busy) from None
    except OSError as error:
        raise _cannot_write(lock_file, error) from error
    try:
        yield
    finally:
        # Removed while locked: a process that has opened it meanwhile sees that it is gone, and creates a new one.
        # Windows cannot remove an open file; there filelock does so on release.
        with suppress(OSError):
            lock_file.unlink()
        lock.release()


def is_temporary(name: str) -> bool:
    """Whether a file name is one that `atomic_path` gives to temporary files."""
    return bool(_TEMPORARY.fullmatch(name))


def remove_stale_temporaries(folder: Path, destination: Path | None = None) -> None:
    """Remove the temporary files that killed processes left in a folder, of one file or of all.

    No other process may be writing to that file, or to the folder.
    """
    prefix = "" if destination is None else _prefix(destination)
    for path in folder.iterdir():
        if is_temporary(path.name) and path.name.startswith(prefix):
            with suppress(OSError):
                path.unlink()
                _LOG.debug("removed the stale temporary file %s", path)


def _prefix(destination: Path) -> str:
    # A digest, because the name of the file may be too long.
    return f".eoren-{hashlib.sha256(os.fsencode(destination.name)).hexdigest()[:16]}-"


def write_file(target: str | Path, content: bytes | memoryview | str) -> None:
    """Write bytes, or text as UTF-8, atomically: see `atomic_path`."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def make_folder(folder: Path, *, parents: bool = False) -> None:
    """Create a folder unless it exists."""
    try:
        if folder.exists() and not folder.is_dir():
            raise EorenError(f"{folder}: is a file; choose a folder")
        folder.mkdir(parents=parents, exist_ok=True)
    except OSError as error:
        raise EorenError(f"{folder}: cannot be created ({_reason(error)}); choose another path") from error


def _destination(target: Path) -> Path:
    # The file behind a symbolic link: renaming would replace the link.
    return Path(os.path.realpath(target))


def _sync_folder(folder: Path) -> None:
    """Flush a rename to the disk. Systems that cannot open a folder (Windows) do so themselves."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _cannot_read(path: Path, error: Exception) -> EorenError:
    return EorenError(f"{path}: cannot be read ({_reason(error)}); check the path")


def _cannot_write(target: Path, error: Exception) -> EorenError:
    return EorenError(f"{target}: cannot be written ({_reason(error)}); free space or choose another path")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
