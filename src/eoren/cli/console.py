"""Output of the commands: results on stdout, notices, progress and log records on stderr."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

import typer

LINE_EVERY = 10.0  # seconds between lines of progress if stderr is not a terminal


def notice(message: str) -> None:
    """Print one line for the user to stderr."""
    print(f"eoren: {_printable(' '.join(message.split()))}", file=sys.stderr)


def print_result(
    values: Mapping[str, Any], rows: Mapping[str, str] | None = None, *, as_json: bool, quiet: bool = False
) -> None:
    """Print to stdout one JSON object or, unless quiet, a table of two columns."""
    if as_json:
        typer.echo(json.dumps(values, allow_nan=False))
    elif rows and not quiet:
        width = max(len(name) for name in rows)
        for name, value in rows.items():
            typer.echo(f"{_printable(name):<{width}}  {_printable(value)}")


@contextmanager
def progress(quiet: bool, *, percent: bool = True) -> Iterator[Callable[[str, float], None]]:
    """Yield a function that shows a description and the completed share of the work, 0..1, on stderr.

    A terminal shows a bar, other streams a line every ten seconds; ``percent`` adds percentage and remaining time.
    """
    if quiet:
        yield lambda description, share: None
        return

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        last = monotonic()

        def show(description: str, share: float) -> None:
            nonlocal last
            if share < 1 and monotonic() - last >= LINE_EVERY:
                last = monotonic()
                notice(f"{description}, {share:.0%} of everything" if percent else description)

        yield show
        return
    numbers = (TaskProgressColumn(), TimeRemainingColumn()) if percent else ()
    columns = (BarColumn(bar_width=20), *numbers, TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("preparing", total=1.0)
        yield lambda description, share: bar.update(task, completed=share, description=description)


@contextmanager
def log_to_stderr(verbosity: int) -> Iterator[None]:
    """Print the log records of the library to stderr: none for 0, from INFO for 1, from DEBUG for 2."""
    if not verbosity:
        yield
        return

    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notice(f"{record.levelname}: {record.name}: {record.getMessage()}")

    logger, handler = logging.getLogger("eoren"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbosity == 1 else logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _printable(text: str) -> str:
    """Replace control characters: file names and their contents must not control the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def decibels(value: float | None) -> str:
    """Format decibels; a perfect match, None or infinity, is ``exact``."""
    return "exact" if value is None or value == float("inf") else f"{value:.2f} dB"


def format_metric(name: str, value: float | None, missing: str = "exact") -> str:
    """Format a measure of quality: SSIM as a number, the others in decibels."""
    if value is None:
        return missing
    return f"{value:.4f}" if name == "ssim" else decibels(value)


def byte_size(count: int) -> str:
    """Format a size in bytes with a decimal unit, such as ``1.06 MB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def channel_names(channels: int) -> str:
    """Return the name of a number of channels, 1..4."""
    return ("gray", "gray and alpha", "RGB", "RGBA")[channels - 1]
