"""What the commands share: output files, numbers on the screen."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from eoren.errors import EorenError

FieldFile = Annotated[Path, typer.Argument(metavar="FILE", help="An .eoren file.")]
ImageFile = Annotated[str, typer.Argument(metavar="IMAGE", help="A picture, or sample:astronaut.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse an output that cannot be written, or would replace what a user has, before any work is done."""
    from eoren.files import check_writable

    if path.exists() and not path.is_dir() and not overwrite:
        raise EorenError(f"{path}: exists; give --overwrite to replace it, or another --output")
    check_writable(path)


def notice(message: str) -> None:
    """Tell the user something, on stderr: stdout is for results."""
    print(f"eoren: {message}", file=sys.stderr)


def print_json(values: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    typer.echo(json.dumps(values, allow_nan=False))


def print_table(rows: Mapping[str, str]) -> None:
    """Names and values in two columns on stdout."""
    width = max(len(name) for name in rows)
    for name, value in rows.items():
        typer.echo(f"{name:<{width}}  {value}")


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
