"""Output of the commands: results on stdout, notices, progress and log records on stderr.

Names of files are escaped twice: what is not printable by :func:`eoren.fs.names.as_line`, and what the encoding of a
stream does not have by :func:`escape_unencodable`.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import pairwise
from time import monotonic
from typing import Any

from eoren.fs.names import as_line

LINE_EVERY = 10.0  # seconds between lines of progress if stderr is not a terminal
ONE_LINE = 80  # columns of a terminal that bar and description fit into


def notice(message: str) -> None:
    """Print one line for the user to stderr."""
    print(f"eoren: {as_line(message.strip())}", file=sys.stderr)


@contextmanager
def escape_unencodable() -> Iterator[None]:
    """Let stdout escape characters that its encoding does not have, as stderr always does."""
    stream = sys.stdout
    if not isinstance(stream, TextIOWrapper):  # closed, or replaced by an object that has no encoding
        yield
        return
    errors = stream.errors
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        stream.reconfigure(errors=errors)


def print_result(
    values: Mapping[str, Any],
    rows: Mapping[str, str] | None = None,
    *,
    as_json: bool,
    quiet: bool = False,
    to_stderr: bool = False,
) -> None:
    """Print one JSON object or, unless quiet, a table of two columns; to stderr where stdout has other data."""
    file = sys.stderr if to_stderr else sys.stdout
    if as_json:
        print(json.dumps(values, allow_nan=False), file=file)
    elif rows and not quiet:
        lines = {as_line(name): as_line(value) for name, value in rows.items()}
        width = max(map(len, lines))
        for name, value in lines.items():
            print(f"{name:<{width}}  {value}", file=file)


@contextmanager
def progress(quiet: bool, *, percent: bool = True) -> Iterator[Callable[[str, float], None]]:
    """Yield a function that shows a description and the completed share of the work, 0..1, on stderr.

    A terminal shows a bar, with the description in a second line if one is too narrow for both; other streams get a
    line every ten seconds. ``percent`` adds percentage and remaining time.
    """
    if quiet:
        yield lambda description, share: None
        return

    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        last = monotonic()

        def show(description: str, share: float) -> None:
            nonlocal last
            if share < 1 and monotonic() - last >= LINE_EVERY:
                last = monotonic()
                line = " ".join(description.split())  # numbers are padded for the bar
                notice(f"{line}, {share:.0%} of everything" if percent else line)

        yield show
        return
    numbers = (TaskProgressColumn(), TimeRemainingColumn()) if percent else ()
    is_narrow = console.width < ONE_LINE

    class Bar(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            if is_narrow:
                yield from (Text(task.description, no_wrap=True, overflow="ellipsis") for task in self.tasks)

    text = () if is_narrow else (TextColumn("{task.description}"),)
    with Bar(BarColumn(bar_width=20), *numbers, *text, console=console, transient=True) as bar:
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


def decibels(value: float | None) -> str:
    """Format decibels; a perfect match, None or infinity, is ``exact``."""
    return "exact" if value is None or value == float("inf") else f"{value:.2f} dB"


def format_metric(name: str, value: float | None, missing: str = "exact") -> str:
    """Format a measure of quality: SSIM as a number, ``-`` if the image is too small for it; others in decibels."""
    if value is None:
        return missing
    if value != value:  # NaN
        return "-"
    return f"{value:.4f}" if name == "ssim" else decibels(value)


def byte_size(count: int) -> str:
    """Format a size in bytes with a decimal unit, such as ``1.06 MB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def duration(seconds: float) -> str:
    """Format a time in its two largest units, such as ``2 h 5 min``."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (unit, size), (smaller, part) in pairwise(units):
        if seconds >= size:
            return f"{int(seconds // size):,} {unit} {int(seconds % size // part)} {smaller}"
    return f"{seconds:.3g} s"


def channel_names(channels: int) -> str:
    """Return the name of a number of channels, 1..4."""
    return ("gray", "gray and alpha", "RGB", "RGBA")[channels - 1]
