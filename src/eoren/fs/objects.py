"""Objects in S3, Google Cloud Storage, on the Hugging Face Hub and in memory, by fsspec.

A request that fails for a passing reason (throttling, a cut connection, an error of the service) is repeated after
growing pauses, half a minute in all, besides what the client of the service repeats itself. Other failures, and those
that do not pass, become an :class:`EorenError` of one line.
"""

import errno
import io
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, wraps
from time import sleep
from typing import Any, Concatenate, ParamSpec, TypeVar

from eoren.errors import EorenError, format_error

_logger = logging.getLogger(__name__)
_P = ParamSpec("_P")
_R = TypeVar("_R")

_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before a request is repeated
_BLOCK = 1 << 22  # bytes of a request of a file that is read forwards
_SCHEME = re.compile(r"([a-z][a-z0-9+]+)://")
# Services that can create an object on the condition that it does not exist.
_CONDITIONAL = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"}
_EXTRAS = {"s3": "'eoren[s3]'", "s3a": "'eoren[s3]'"}  # where it is not the name of the package

_LASTING = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)
_LASTING_NUMBERS = {errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG, errno.EMSGSIZE, errno.ENOENT}
# Names of exceptions of botocore and aiohttp, which are no OSErrors.
_PASSING = re.compile("Connect|Timeout|IncompleteRead|HTTPClient|Payload|Disconnected|ResponseParser")
_EXPIRED = re.compile("Expired", re.IGNORECASE)


class MissingObjectError(EorenError):
    """There is no object of this name."""


def is_address(path: object) -> bool:
    """Whether a path is the address of an object or a folder of objects, such as ``s3://bucket/store``."""
    return isinstance(path, ObjectPath) or (isinstance(path, str) and bool(_SCHEME.match(path)))


def local_path(path: str) -> str | None:
    """Return the path that a ``file://`` address names; None for another address."""
    return path.removeprefix("file://") if path.startswith("file://") else None


def _translated(
    method: Callable[Concatenate["ObjectPath", _P], _R],
) -> Callable[Concatenate["ObjectPath", _P], _R]:
    """Turn what a service raises into an EorenError."""

    @wraps(method)
    def run(self: "ObjectPath", *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(self, *args, **kwargs)
        except (EorenError, MemoryError):
            raise
        except Exception as error:  # each service has its own
            raise self._explain(error) from error

    return run  # type: ignore[return-value]  # wraps() gives self a name


class ObjectPath:
    """The address of an object, or of a folder of objects, and what can be done there.

    Args:
        address: address with a scheme that fsspec knows, such as ``s3://bucket/folder``.
    """

    def __init__(self, address: str) -> None:
        match = _SCHEME.match(address)
        assert match, address
        self._scheme = match[1]
        self._address = match[0] + (address[match.end() :].rstrip("/"))

    def __str__(self) -> str:
        return self._address

    def __repr__(self) -> str:
        return f"ObjectPath({self._address!r})"

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(f"{self._address}/{name}")

    @property
    def name(self) -> str:
        """The part behind the last slash."""
        return self._address.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The suffix of the name, with its dot."""
        return "." + self.name.rpartition(".")[2] if "." in self.name else ""

    def with_name(self, name: str) -> "ObjectPath":
        """Return the address of another object of the same folder."""
        return ObjectPath(f"{self._address.rpartition('/')[0]}/{name}")

    @property
    def is_conditional(self) -> bool:
        """Whether the service can create an object on the condition that it does not exist."""
        return self._scheme in _CONDITIONAL

    @_translated
    def read(self, start: int | None = None, end: int | None = None) -> bytes:
        """Read an object, or the bytes from ``start`` to ``end`` of it."""
        return self._read(start, end)

    @_translated
    def read_existing(self, limit: int | None = None) -> bytes | None:
        """Read an object, of which at most ``limit`` bytes; None if it does not exist."""
        try:
            return self._read(0 if limit else None, limit)
        except FileNotFoundError as error:
            if _is_bucket_missing(error):
                raise
            return None

    @_translated
    def write(self, content: bytes) -> None:
        """Write an object as a whole: readers see the former content or this one."""
        self._request("pipe_file", self._address, content)

    @_translated
    def create(self, content: bytes) -> bool:
        """Write an object unless there is one with another content; return whether it has this content now.

        Without such a request of the service (``is_conditional``), the object is looked up first.
        """
        if not self.is_conditional and (there := self.read_existing()) is not None:
            return there == content
        try:
            if self.is_conditional:
                self._request("pipe_file", self._address, content, mode="create")
            else:
                self._request("pipe_file", self._address, content)
        except OSError as error:
            if not isinstance(error, FileExistsError) and _code(error) not in ("PreconditionFailed", "412"):
                raise
            # The answer to an earlier request for it may have been lost.
            return self.read_existing() == content
        return True

    @_translated
    def remove(self) -> None:
        """Remove an object, if there is one."""
        with suppress(FileNotFoundError):
            self._request("rm_file", self._address)

    @_translated
    def size(self) -> int | None:
        """Return the size of an object in bytes, None for a folder."""
        try:
            found = self._request("info", self._address)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not _is_bucket_missing(error):
                raise
            # Answers to HEAD do not give the reason; this one does.
            self._request("cat_file", self._address, start=0, end=1)
            raise
        return None if found["type"] == "directory" else int(found["size"])

    @_translated
    def entries(self) -> list[tuple[str, int | None]]:
        """List the names in a folder in the order of their paths, with the sizes of objects, None for folders."""
        try:
            listed = self._request("ls", self._address, detail=True)
        except FileNotFoundError as error:
            if _is_bucket_missing(error):
                raise
            return []
        path = self._system()._strip_protocol(self._address)
        entries = [
            (entry["name"].rstrip("/").rpartition("/")[2], None if entry["type"] == "directory" else entry["size"])
            for entry in listed
            if entry["name"].rstrip("/") != path  # some programs make an object for a folder
        ]
        return sorted(entries, key=lambda entry: entry[0] + "/" * (entry[1] is None))

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield the paths and sizes of all objects below this folder in the order of the paths, folder by folder."""
        waiting = [("", self.entries())]
        while waiting:
            folder, entries = waiting.pop()
            for number, (name, size) in enumerate(entries, 1):
                path = f"{folder}{name}"
                if size is not None:
                    yield path, size
                    continue
                waiting.append((folder, entries[number:]))
                waiting.append((f"{path}/", (self / path).entries()))
                break

    @_translated
    def matches(self) -> "list[tuple[ObjectPath, int | None]]":
        """List what a pattern as this address matches, in order, with the sizes of objects, None for folders."""
        system = self._system()
        return [
            (ObjectPath(system.unstrip_protocol(name)), None if found["type"] == "directory" else int(found["size"]))
            for name, found in sorted(self._request("glob", self._address, detail=True).items())
        ]

    def exists(self) -> bool:
        """Whether there is an object of this name that is not empty."""
        return bool(self.read_existing(1))

    def file(self) -> io.BufferedReader:
        """Open an object as a file, of which only the parts that are read are transferred."""
        if (size := self.size()) is None:
            raise EorenError(f"{self}: is a folder; give the address of a file")
        return io.BufferedReader(_Ranges(self, size), _BLOCK)

    def _system(self) -> Any:
        """Return the client of the service; a process that was forked needs another one."""
        try:
            return client(self._scheme, os.getpid())
        except ImportError as error:
            from fsspec.registry import known_implementations

            known: str = known_implementations.get(self._scheme, {}).get("class", self._scheme)
            package = known.partition(".")[0].replace("_", "-")
            install = f"pip install {_EXTRAS.get(self._scheme, package)}"
            raise EorenError(f"{self}: addresses of {self._scheme}:// need {package}; {install}") from error
        except ValueError as error:
            raise EorenError(f"{self}: {self._scheme}:// is not known ({format_error(error)}); use s3://") from error

    def _read(self, start: int | None, end: int | None) -> bytes:
        return bytes(self._request("cat_file", self._address, start=start, end=end))

    def _request(self, name: str, *args: Any, **options: Any) -> Any:
        """Call a method of the client, and repeat it where that may help."""
        for pause in (*_PAUSES, None):
            try:
                return getattr(self._system(), name)(*args, **options)
            except Exception as error:
                if pause is None or not _is_passing(error):
                    raise
                _logger.info("%s: %s again in %g s (%s)", self, name, pause, format_error(error))
                sleep(pause)
        raise AssertionError

    def _explain(self, error: Exception) -> EorenError:
        if isinstance(error, EorenError):
            return error
        code, text = _code(error), format_error(error)
        reason = f"{code}: {text}" if code and code not in text else text
        if isinstance(error, FileNotFoundError):
            if _is_bucket_missing(error):
                return EorenError(f"{self}: there is no such bucket; create it, or check the address")
            return MissingObjectError(f"{self}: there is no such object; check the address")
        if _EXPIRED.search(reason):
            return EorenError(f"{self}: the credentials have expired ({reason}); renew them and run the same again")
        if type(error).__name__ == "NoCredentialsError":
            return EorenError(f"{self}: there are no credentials; set those of the service, see docs/scaling.md")
        if isinstance(error, PermissionError):
            return EorenError(f"{self}: no permission ({reason}); check the credentials and their policy")
        if _is_passing(error):
            return EorenError(f"{self}: the service does not answer ({reason}); run the same again later")
        return EorenError(f"{self}: cannot be read or written ({reason}); check the address")


@lru_cache
def client(scheme: str, process: int) -> Any:
    """Create the client of a service in a process; its threads share the connections. fsspec keeps one for each."""
    import fsspec

    return fsspec.filesystem(scheme, use_listings_cache=False)


def read_objects(paths: Sequence[ObjectPath], limit: int | None = None) -> list[bytes | EorenError]:
    """Read objects of a service at the same time, of each at most ``limit`` bytes; errors take the places of some."""
    if not paths:
        return []
    start = None if limit is None else 0
    try:
        parts = paths[0]._request("cat_ranges", [*map(str, paths)], starts=start, ends=limit, on_error="return")
    except Exception:  # each is read alone, below
        parts = [TimeoutError()] * len(paths)
    contents: list[bytes | EorenError] = []
    for path, part in zip(paths, parts, strict=True):
        if isinstance(part, Exception) and _is_passing(part):
            try:
                part = path.read(start, limit)
            except EorenError as error:
                part = error
        elif isinstance(part, Exception):
            part = path._explain(part)
        contents.append(part if isinstance(part, EorenError) else bytes(part))
    return contents


class _Ranges(io.RawIOBase):
    """An object as a file that is read by ranges."""

    def __init__(self, path: ObjectPath, size: int) -> None:
        self._path, self._size, self._position = path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        content = self._path.read(self._position, end)
        if not 0 < len(content) <= len(buffer):
            raise EorenError(f"{self._path}: its size has changed; run the same again")
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def _is_passing(error: Exception) -> bool:
    """Whether the same request may succeed in a moment."""
    if isinstance(error, _LASTING):
        return False
    if isinstance(error, OSError):
        return error.errno not in _LASTING_NUMBERS
    return any(_PASSING.search(kind.__name__) for kind in type(error).__mro__)


def _code(error: BaseException) -> str:
    """Return the code that S3 gave for an error, or nothing."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _is_bucket_missing(error: Exception) -> bool:
    return _code(error) == "NoSuchBucket" or "bucket does not exist" in str(error)
