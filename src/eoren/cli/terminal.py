"""What the commands share: arguments, input and output files, numbers on the screen."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eoren.errors import EorenError

if TYPE_CHECKING:
    from eoren.images import Picture

FieldFile = Annotated[Path, typer.Argument(metavar="FILE", help="An .eoren file.")]
ImageFile = Annotated[str, typer.Argument(metavar="IMAGE", help="A picture file, or sample:astronaut.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="PATH", help="File to write, in the format of its suffix.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="Where to compute: auto, cpu, cuda or mps.")]


def check_output(path: Path, source: str | Path, overwrite: bool) -> None:
    """Refuse, before any work is done, an output that cannot be written or would replace what a user has.

    Args:
        path: the file to write.
        source: the file it is made from, which nothing may replace.
        overwrite: whether the user gave --overwrite.
    """
    from eoren.files import check_writable

    check_writable(path)
    if path.exists():
        if Path(source).exists() and path.samefile(source):
            raise EorenError(f"{path}: is the input; choose another --output")
        if not overwrite:
            raise EorenError(f"{path}: exists; give --overwrite to replace it, or another --output")


def read_picture(image: str, *, quiet: bool = False) -> "Picture":
    """A picture; what had to be changed in reading it is said on stderr."""
    from eoren.images import read_picture

    picture = read_picture(image)
    if not quiet:
        for note in picture.notes:
            notice(f"{image}: {note}")
    return picture


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
