"""Ctrl-C and SIGTERM: the only place of the command line that installs signal handlers."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from time import sleep

from eoren.cancellation import CancelToken
from eoren.cli import console

EXIT_STATUS = 130  # after Ctrl-C or SIGTERM


@contextmanager
def handle_signals(token: CancelToken | None = None) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM cancel the token, and the second raise KeyboardInterrupt.

    Without a token the first one raises it. The previous handlers are restored at the end.
    """

    def handle(*_: object) -> None:
        if token is None or token.is_cancelled():
            raise KeyboardInterrupt
        token.cancel()

    # Python raises KeyboardInterrupt for SIGINT itself, unless the shell started the process with SIGINT ignored.
    numbers = [signal.SIGTERM] if token is None else [signal.SIGTERM, signal.SIGINT]
    if current_thread() is not main_thread():  # Python allows signal handlers in the main thread only
        numbers = []
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def explain_interruption(message: str) -> Iterator[None]:
    """Print one line that says what an interruption left behind, and pass the interruption on."""
    try:
        yield
    except KeyboardInterrupt:
        console.notice(f"interrupted; {message}")
        raise


def wait_for_interruption(message: str, until: Callable[[], bool] = lambda: False) -> bool:
    """Print a line, then wait for Ctrl-C or SIGTERM, which is a regular end here, or until a condition holds.

    Returns:
        Whether the condition ended the wait.
    """
    token = CancelToken()
    with handle_signals(token):
        console.notice(message)
        while not token.is_cancelled():
            if until():
                return True
            sleep(0.1)
    return False
