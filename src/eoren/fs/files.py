"""Whole files or none: what is written appears under its name complete, or not at all."""

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from eoren.errors import EorenError

_TEMPORARY = re.compile(r"\.eoren-[0-9a-f]{16}-[0-9a-f]{16}(\..*)?", re.DOTALL)
# A disk that is full, broken, or read-only since it broke.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 digest of a file.

    Args:
        path: A regular file.

    Returns:
        64 hexadecimal digits.

    Raises:
        EorenError: The file is missing, cannot be read, or is not a regular file.
    """
    digest = hashlib.sha256()
    with open_regular(path) as (file, _):
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def open_regular(path: str | Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file for reading that is one: a named pipe would block, /dev/zero would never end.

    Args:
        path: A regular file.

    Yields:
        The file, and how many bytes it has.

    Raises:
        EorenError: The file is missing, cannot be read, or is not a regular file.
    """
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
    """Whether there is a folder; unlike pathlib's, it raises nothing where a name is too long."""
    return os.path.isdir(path)  # noqa: PTH112


def check_writable(target: str | Path) -> None:
    """Fail now if `target` could not be written, before minutes of work are spent on its content.

    Nothing is created or touched.

    Args:
        target: The file to be written later; it may exist.

    Raises:
        EorenError: The folder is missing or not writable, or `target` is no regular file or protected.
    """
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
    """Write a file so that no reader, crash or interrupt ever finds half of it.

    The body writes to the temporary path it is given. If it succeeds, that file is flushed to the disk and
    renamed over `target`, keeping the permission bits `target` had. If it raises anything, KeyboardInterrupt
    included, the temporary file is removed and `target` stays as it was. A symbolic link is written through.

    Args:
        target: The file to write; it may exist.

    Yields:
        A new empty file in the same folder, hidden, with the same suffix and a name no other run has.

    Raises:
        EorenError: `target` cannot be written (see `check_writable`), or the disk is full or fails.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp(), "answer.txt")
        >>> with atomic_path(target) as path:
        ...     _ = path.write_text("42")
        >>> target.read_text()
        '42'
    """
    target = Path(target)
    check_writable(target)
    destination = _destination(target)
    temporary = destination.with_name(f"{_hidden(destination)}{secrets.token_hex(8)}{target.suffix}")
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
    """Keep other processes from working on `target` meanwhile: two at once would undo each other's work.

    What a killed process was writing of `target` is swept away: nobody else is at it now.

    The operating system holds the lock, on a file beside `target` with `.lock` at the end, and lets it go however
    this process ends: a lock file that a kill left behind stands in nobody's way.

    Args:
        target: The file that this process will write; it need not exist.

    Raises:
        EorenError: Another process has it, or `target` cannot be written (see `check_writable`).

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with locked(folder / "a.eoren"):
        ...     [each.name for each in folder.iterdir()]
        ['a.eoren.lock']
        >>> [*folder.iterdir()]
        []
    """
    target = Path(target)
    check_writable(target)
    destination = _destination(target)
    busy = f"{target}: another process is working on it; wait until it has ended, or choose another path"
    with exclusive(destination.with_name(destination.name + ".lock"), busy):
        remove_stale_temporaries(destination.parent, destination)
        yield


@contextmanager
def exclusive(lock_file: Path, busy: str) -> Iterator[None]:
    """Hold a lock that the operating system keeps on a file, and lets go of however this process ends.

    Args:
        lock_file: Made for it, and removed at the end.
        busy: What to say if another process has it.

    Raises:
        EorenError: Another process has it, the file cannot be made, or it has content: then it is somebody's own.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(lock_file)
    try:
        # Our locks are empty. The library would empty this one, and the end below would remove it.
        if lock_file.exists() and lock_file.stat().st_size > 0:
            raise EorenError(f"{lock_file}: has content, so it is not ours; rename it, or choose another path")
        lock.acquire(blocking=False)
    except Timeout:
        raise EorenError(busy) from None
    except OSError as error:
        raise _cannot_write(lock_file, error) from error
    try:
        yield
    finally:
        # While the lock is held. Whoever opened the file meanwhile sees that it is gone, and makes a new one.
        # Windows removes no open file; there the library does, on release.
        with suppress(OSError):
            lock_file.unlink()
        lock.release()


def is_temporary(name: str, start: str = ".eoren-") -> bool:
    """Whether a file of this name is what `atomic_path` writes to, of any target."""
    return bool(_TEMPORARY.fullmatch(name)) and name.startswith(start)


def remove_stale_temporaries(folder: Path, destination: Path | None = None) -> None:
    """Remove what killed processes were writing in a folder, while nobody writes there.

    Args:
        folder: that is swept, without what is below it.
        destination: whose files alone are swept; by default those of all.
    """
    start = ".eoren-" if destination is None else _hidden(destination)
    for path in folder.iterdir():
        if is_temporary(path.name, start):
            with suppress(OSError):
                path.unlink()


def _hidden(destination: Path) -> str:
    """What the names of a file's temporary ones begin with. The name itself might make them too long."""
    return f".eoren-{hashlib.sha256(os.fsencode(destination.name)).hexdigest()[:16]}-"


def write_text(target: str | Path, text: str) -> None:
    """Write UTF-8 text: the file appears complete or not at all, see `atomic_path`."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(folder: Path, *, parents: bool = False) -> None:
    """Make a folder, unless it is there.

    Args:
        folder: Where.
        parents: Make what it lies in, too.

    Raises:
        EorenError: It cannot be made, or is a file.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise EorenError(f"{folder}: is a file; choose a folder")
        folder.mkdir(parents=parents, exist_ok=True)
    except OSError as error:
        raise EorenError(f"{folder}: cannot be made ({_reason(error)}); choose another path") from error


def _destination(target: Path) -> Path:
    """Return the file behind a symbolic link: renaming over the link itself would cut it."""
    return Path(os.path.realpath(target))


def _sync_folder(folder: Path) -> None:
    """Flush the renaming itself; systems that cannot open a folder (Windows) order it themselves."""
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
