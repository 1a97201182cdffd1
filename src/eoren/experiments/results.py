"""Results: resumable CSV tables, confidence intervals and Markdown tables."""

import csv
import io
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from eoren._version import __version__
from eoren.errors import EorenError
from eoren.fs.files import write_file

Value = str | float | int
Row = Mapping[str, Value]


class Table:
    """A CSV file of measurements, identified by the columns of ``key``, that is complete at any time.

    Rows are kept from run to run, so that an interrupted experiment skips what it has measured. All rows belong to
    one protocol and one version of the library; a file of another one is rejected and left untouched.
    """

    def __init__(self, path: Path, *, key: Sequence[str], protocol: str) -> None:
        self.path, self._key = path, tuple(key)
        self._common = {"protocol": protocol, "version": __version__}
        self.rows: list[Row] = self._read() if path.exists() else []

    def find(self, **values: Value | Container[Value]) -> list[Row]:
        """Return the rows with these values, or one of several values, in the order in which they were added."""
        choices = {name: [value] if isinstance(value, Value) else value for name, value in values.items()}
        return [row for row in self.rows if all(row[name] in choice for name, choice in choices.items())]

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows to the file; a row replaces an older one of the same key."""
        rows = [{**row, **self._common} for row in rows]
        new = {self._row_key(row) for row in rows}
        self.rows = [row for row in self.rows if self._row_key(row) not in new] + rows
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_file(self.path, text.getvalue())

    def _row_key(self, row: Row) -> tuple[Value, ...]:
        return tuple(row[name] for name in self._key)

    def _read(self) -> list[Row]:
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                lines = csv.DictReader(file, strict=True)
                rows: list[Row] = [{name: _value(text) for name, text in line.items()} for line in lines]
        except (OSError, UnicodeDecodeError, csv.Error, AttributeError, TypeError) as error:
            raise EorenError(f"{self.path}: cannot be read ({error}); delete it to start again") from None
        for row in rows:
            if not {*self._key, *self._common} <= row.keys():
                raise EorenError(f"{self.path}: is not a table of this experiment; choose another --output")
            for name, expected in self._common.items():
                if str(row[name]) != expected:
                    raise EorenError(
                        f"{self.path}: {name} must be {expected!r}, got {row[name]!r}; "
                        "choose another --output, or delete the file to start again"
                    )
        return rows


def _value(text: str) -> Value:
    """Convert text to a number if the number prints as the same text: names such as 0801 stay text."""
    kinds: tuple[type[int] | type[float], ...] = (int, float)
    for kind in kinds:
        with suppress(ValueError):
            if str(number := kind(text)) == text:
                return number
    return text


class Interval(NamedTuple):
    """An estimate with its confidence interval."""

    estimate: float
    low: float
    high: float
    size: int  # number of values in the sample

    @property
    def error(self) -> float:
        """Length of the error bar above the estimate, 0 for a single value."""
        return self.high - self.estimate if self.size > 1 else 0.0

    def __str__(self) -> str:
        return f"{self.estimate:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def interval(values: Sequence[float]) -> Interval:
    """Compute Student's 95 % interval of the mean of independent values; infinite for a single value."""
    count = len(values)
    mean = float(np.mean(values))
    if count < 2:
        return Interval(mean, float("-inf"), float("inf"), count)
    half = float(student.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half, count)


def per_image(rows: Iterable[Row], column: str) -> dict[Value, float]:
    """Average a column over the seeds of every image: images are independent, seeds of one image are not."""
    values: dict[Value, list[float]] = {}
    for row in rows:
        values.setdefault(row["image"], []).append(float(row[column]))
    return {name: float(np.mean(numbers)) for name, numbers in values.items()}


def mean_over_images(rows: Iterable[Row], column: str) -> float:
    """Average a column over the images, seeds of every image first."""
    return float(np.mean([*per_image(rows, column).values()]))


def paired_differences(first: Iterable[Row], second: Iterable[Row], column: str) -> dict[Value, float]:
    """Subtract the second rows from the first ones, for every image that both have."""
    minuend, subtrahend = per_image(first, column), per_image(second, column)
    return {name: value - subtrahend[name] for name, value in minuend.items() if name in subtrahend}


def paired(first: Iterable[Row], second: Iterable[Row], column: str) -> Interval:
    """Compute the confidence interval of the mean paired difference, first rows minus second ones."""
    return interval([*paired_differences(first, second, column).values()])


def counted(number: int, noun: str) -> str:
    """Format a count with its noun, in the plural unless it is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table; floats get two digits.

    Example:
        >>> print(markdown_table(["image", "dB"], [["baby", 31.234]]))
        | image | dB |
        |---|---|
        | baby | 31.23 |
    """
    lines = [header, ["---"] * len(header)]
    lines += [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- ", "|---").replace("---| ", "---|")
