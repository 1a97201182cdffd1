"""One way to stop long work early, from a signal handler, another thread or a callback."""

from threading import Event


class Cancelled(Exception):
    """Work was stopped by its :class:`CancelToken` before it was complete."""


class CancelToken:
    """A thread-safe flag that long work polls. A cancelled parent also cancels this token."""

    def __init__(self, parent: "CancelToken | None" = None) -> None:
        self._event, self._parent = Event(), parent

    def cancel(self) -> None:
        """Cancel the work. Calling it again has no effect."""
        self._event.set()

    def is_cancelled(self) -> bool:
        """Whether this token or one of its parents was cancelled."""
        return self._event.is_set() or (self._parent is not None and self._parent.is_cancelled())

    def raise_if_cancelled(self) -> None:
        """Raise :class:`Cancelled` if this token or one of its parents was cancelled."""
        if self.is_cancelled():
            raise Cancelled
