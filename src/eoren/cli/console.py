"""What the commands share: arguments, input and output files, numbers on the screen."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event, current_thread, main_thread
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from eoren.errors import EorenError

if TYPE_CHECKING:
    from eoren.image.io import SourceImage

INTERRUPTED = 130
"""Exit status after Ctrl-C or SIGTERM."""

LINE_EVERY = 10.0
"""Seconds between lines of progress, where there is no terminal to draw on."""

_MAX_SEED = 2**32 - 1

FieldFile = Annotated[Path, typer.Argument(metavar="FILE", help="An .eoren file.")]
ImageFile = Annotated[str, typer.Argument(metavar="IMAGE", help="An image file, or sample:astronaut.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="PATH", help="File to write, in the format of its suffix.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Of the random numbers.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="Where to compute: auto, cpu, cuda or mps.")]

NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only say the page's address.")]


def check_output(path: Path, source: str | Path, overwrite: bool) -> None:
    """Refuse, before any work is done, an output that cannot be written or would replace what a user has.

    Args:
        path: the file to write.
        source: the file it is made from, which nothing may replace.
        overwrite: whether the user gave --overwrite.
    """
    from eoren.fs.files import check_writable

    check_writable(path)
    if path.exists():
        if Path(source).exists() and path.samefile(source):
            raise EorenError(f"{path}: is the input; choose another --output")
        if not overwrite:
            raise EorenError(f"{path}: exists; give --overwrite to replace it, or another --output")


def check_seed(seed: int) -> None:
    """Refuse a seed that random generators do not take."""
    if not 0 <= seed <= _MAX_SEED:
        raise EorenError(f"--seed is {seed}, but must lie between 0 and {_MAX_SEED}")


def read_source_image(image: str, *, quiet: bool = False) -> "SourceImage":
    """An image; what had to be changed in reading it is said on stderr."""
    from eoren.image.io import read_source_image

    picture = read_source_image(image)
    if not quiet:
        for note in picture.notes:
            notice(f"{image}: {note}")
    return picture


def check_viewer() -> None:
    """Refuse, before any work is done, what needs packages that are not here."""
    if any(find_spec(name) is None for name in ("fastapi", "uvicorn")):
        raise EorenError("the page needs FastAPI and uvicorn; pip install 'eoren[view]'")


def show_page(address: str, no_browser: bool) -> None:
    """Say where a page is, and open it where there is a screen."""
    notice(f"the page is at {address}")
    # Without one, some systems would start a browser of text in this terminal.
    screen = sys.platform in ("darwin", "win32") or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))
    if screen and not no_browser:
        import webbrowser

        webbrowser.open(address)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does: files that are half written are removed, and the status is 130."""
    if current_thread() is not main_thread():  # others may not say what signals do
        yield
        return

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    kept = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, kept)


def wait_for_interruption(message: str) -> None:
    """Say something, then wait for Ctrl-C or SIGTERM, which is a good end here."""
    over = Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    kept = {number: signal.signal(number, lambda *_: over.set()) for number in numbers}
    try:
        notice(message)
        while not over.wait(1.0):  # for ever would be deaf to signals on Windows
            pass
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def notice(message: str) -> None:
    """Tell the user something, in one line on stderr: stdout is for results."""
    print(f"eoren: {_printable(' '.join(message.split()))}", file=sys.stderr)


def print_json(values: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    typer.echo(json.dumps(values, allow_nan=False))


def print_table(rows: Mapping[str, str]) -> None:
    """Names and values in two columns on stdout."""
    width = max(len(name) for name in rows)
    for name, value in rows.items():
        typer.echo(f"{_printable(name):<{width}}  {_printable(value)}")


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """A bar on a terminal, a line now and then elsewhere, nothing if quiet. All on stderr.

    Yields:
        What to call with what is being done and the share of all the work that is done, 0..1.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        shown = monotonic()

        def say(what: str, share: float) -> None:
            nonlocal shown
            if not quiet and monotonic() - shown >= LINE_EVERY:
                shown = monotonic()
                notice(f"{what}, {share:.0%} of everything")

        yield say
        return
    columns = (BarColumn(bar_width=20), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("preparing", total=1.0)
        yield lambda what, share: bar.update(task, completed=share, description=what)


def _printable(text: str) -> str:
    """Without what would steer the terminal: names of files, and what is in them, come from strangers."""
    return "".join(c if c.isprintable() else "?" for c in text)


def decibels(value: float | None) -> str:
    """``38.12 dB``; a perfect match has no finite number.

    Example:
        >>> decibels(38.123), decibels(None)
        ('38.12 dB', 'exact')
    """
    return "exact" if value is None or value == float("inf") else f"{value:.2f} dB"


def byte_size(count: int) -> str:
    """A size in bytes for people.

    Example:
        >>> byte_size(1058828)
        '1.06 MB'
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def channel_names(channels: int) -> str:
    """What so many channels are called."""
    return ("gray", "gray and alpha", "RGB", "RGBA")[channels - 1]
