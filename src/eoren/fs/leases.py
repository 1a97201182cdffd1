"""Leases: objects that show that a process is at work in a folder of objects.

A file system releases a lock when its owner dies; object storage does not. So the owner of a lease renews it every
few seconds. Another process that sees it renewed gives up; if it does not see that for four times as long, the owner
has died, and the lease is taken over. No clocks are compared.
"""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from time import sleep

from eoren.errors import EorenError
from eoren.fs.objects import ObjectPath

_logger = logging.getLogger(__name__)
RENEWAL_SECONDS = 10.0
_MISSED = 4  # renewals after whose absence the owner has died
_LIMIT = 1 << 10


class Lease:
    """A lease on an object, which must not be used for anything else.

    Args:
        path: address of the object.
        busy: error message if another process holds the lease.
    """

    def __init__(self, path: ObjectPath, busy: str) -> None:
        self._path, self._busy = path, busy
        self._owner, self._renewals = secrets.token_hex(8), 0
        self._lost, self._ended = Event(), Event()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Acquire the lease and renew it until the end of the body; the lease of a dead process takes a while."""
        self._acquire()
        thread = Thread(target=self._renew_until_ended, name="eoren-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()
            with suppress(EorenError):  # a lease that is left is taken over later
                if self._is_own():
                    self._path.remove()

    def check(self) -> None:
        """Raise :class:`EorenError` if another process has taken the lease over.

        It is read: a process that was suspended may go on before its next renewal notices the loss.
        """
        if self._lost.is_set() or not self._is_own():
            raise EorenError(self._busy)

    def _acquire(self) -> None:
        while not self._path.create(self._content()):
            former = self._read()
            if former is not None:
                _logger.info("%s: waiting for the end of another lease", self._path)
            for _ in range(_MISSED):
                if former is None:
                    break
                sleep(RENEWAL_SECONDS)
                if (now := self._read()) != former:
                    if now is None:
                        break  # its owner has ended
                    raise EorenError(self._busy)
            else:
                self._path.write(self._content())
                if not self._is_own():
                    raise EorenError(self._busy)
                return

    def _renew_until_ended(self) -> None:
        while not self._ended.wait(RENEWAL_SECONDS):
            try:
                if not self._is_own():
                    self._lost.set()
                    return
                self._renewals += 1
                self._path.write(self._content())
            except EorenError as error:  # what the process itself writes raises it, too
                _logger.info("%s: not renewed (%s)", self._path, error)

    def _content(self) -> bytes:
        return f"{self._owner} {self._renewals}\n".encode()

    def _read(self) -> bytes | None:
        return self._path.read_existing(_LIMIT)

    def _is_own(self) -> bool:
        return (self._read() or b"").startswith(self._owner.encode())
