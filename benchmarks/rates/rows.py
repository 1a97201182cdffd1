"""The file of measurements: JSON lines, appended one by one, so that an interrupted run continues.

A line is either a row (codec, picture, setting and the columns of ``Measurement``) or the conditions of a run
(command, commit, hardware, versions, seed), which hold for the rows after it.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.rates.bd_rate import BdRate, Point, bd_rate

MEASURES = ("psnr", "gradient_psnr")
"""The two measures of distortion: columns of a row."""


class Key(NamedTuple):
    """The columns that identify a row."""

    codec: str
    picture: str
    setting: float


Rows = dict[Key, dict[str, Any]]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read all lines of a file, without one that an interrupted run did not complete; none if there is no file."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return lines


def read_rows(path: Path) -> Rows:
    """Read the rows of a file; of several with one key, the last."""
    rows = (line for line in read_lines(path) if "codec" in line)
    return {Key(row["codec"], row["picture"], row["setting"]): row for row in rows}


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one line, on a line of its own even after an interrupted run."""
    with path.open("a+b") as file:
        file.seek(max(0, file.seek(0, 2) - 1))
        prefix = b"\n" if file.read(1) not in (b"", b"\n") else b""
        file.write(prefix + json.dumps(line).encode() + b"\n")


def curve_points(rows: Rows, codec: str, picture: str, measure: str) -> list[Point]:
    """Collect (bits per pixel, dB) of one codec on one picture."""
    return [
        (row["bits_per_pixel"], row[measure])
        for key, row in rows.items()
        if (key.codec, key.picture) == (codec, picture)
    ]


def names(rows: Rows, column: str) -> list[str]:
    """List the codecs or pictures of the rows, in the order in which they come."""
    return list(dict.fromkeys(str(row[column]) for row in rows.values()))


def bd_rate_against(
    points: Iterable[Point], path: Path, picture: str, *, reference: str = "jpeg2000", measure: str = "psnr"
) -> BdRate:
    """Compare points of any codec on one picture with the rows of a reference codec in a file.

    Args:
        points: bits per pixel of whole files, and quality in dB.
        path: file of measurements.
        picture: stem of the picture's file, such as kodim05.
        reference: name of the reference codec.
        measure: ``psnr`` or ``gradient_psnr``.
    """
    return bd_rate(points, curve_points(read_rows(path), reference, picture, measure))
