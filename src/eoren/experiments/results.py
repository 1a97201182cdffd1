"""Raw numbers as CSV, from which an interrupted experiment goes on, and what is concluded from them as Markdown."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.stats import t as student

from eoren._version import __version__
from eoren.errors import EorenError
from eoren.experiments.machine import machine
from eoren.fs.files import write_text

Value = str | float | int
Item = TypeVar("Item")
Row = Mapping[str, Value]
Watch = Callable[[str, float], bool | None]
"""Called with what is being done and the share of the whole that is done; returns true to stop."""


class Table:
    """A CSV file of measurements that grows row by row and is whole at any time.

    Rows are kept from run to run: what a row's key names is not measured again. They all belong to one protocol and
    one version of the library; a file of another one is refused, not mixed in and not replaced.

    Args:
        path: of the file, which may exist.
        key: columns that tell measurements apart.
        protocol: what the measurements have in common, in words and numbers.

    Raises:
        EorenError: the file is no such table, or of another protocol or version.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "rows.csv")
        >>> table = Table(path, key=("image", "seed"), protocol="10 epochs")
        >>> table.add([{"image": "baby", "seed": 0, "psnr": 31.5}])
        >>> again = Table(path, key=("image", "seed"), protocol="10 epochs")
        >>> again.find(image="baby", seed=0)[0]["psnr"], again.find(image="bird")
        (31.5, [])
    """

    def __init__(self, path: Path, *, key: Sequence[str], protocol: str) -> None:
        """Read what there is."""
        self.path, self._key = path, tuple(key)
        self._common = {"protocol": protocol, "version": __version__}
        self.rows: list[Row] = self._read() if path.exists() else []

    def find(self, **values: Value) -> list[Row]:
        """Rows that have these values, in the order in which they came."""
        return [row for row in self.rows if all(row[name] == value for name, value in values.items())]

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows to the file; those of a key that is there already replace it."""
        rows = [{**row, **self._common} for row in rows]
        new = {self._identity(row) for row in rows}
        self.rows = [row for row in self.rows if self._identity(row) not in new] + rows
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())

    def _identity(self, row: Row) -> tuple[Value, ...]:
        return tuple(row[name] for name in self._key)

    def _read(self) -> list[Row]:
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = [
                    {name: _value(text) for name, text in row.items()} for row in csv.DictReader(file, strict=True)
                ]
        except (OSError, UnicodeDecodeError, csv.Error, AttributeError, TypeError) as error:
            raise EorenError(f"{self.path}: cannot be read ({error}); delete it to start anew") from None
        for row in rows:
            if not {*self._key, *self._common} <= row.keys():
                raise EorenError(f"{self.path}: is not a table of this experiment; choose another --output")
            for name, mine in self._common.items():
                if str(row[name]) != mine:
                    raise EorenError(
                        f"{self.path}: has rows of another {name}, {row[name]!r}, here it is {mine!r}; "
                        "choose another --output, or delete it to start anew"
                    )
        return list(rows)


def _value(text: str) -> Value:
    """A number where the text is one as it would be written here: names such as 0801 stay names."""
    kinds: tuple[type[int] | type[float], ...] = (int, float)
    for kind in kinds:
        with suppress(ValueError):
            if str(number := kind(text)) == text:
                return number
    return text


def in_turn(
    rounds: Sequence[tuple[str, Item]], watch: Watch
) -> Iterator[tuple[Item, Callable[[float], bool | None]]]:
    """One round after the other, with what to call as it goes on: the progress of each is a part of the whole.

    Args:
        rounds: what watchers see of each, and what it is.
        watch: see :data:`Watch`.

    Yields:
        What a round is, and what watches it, given the share of the round that is done.

    Raises:
        KeyboardInterrupt: ``watch`` said so before a round.

    Example:
        >>> said = []
        >>> for item, show in in_turn([("first", 1), ("second", 2)], lambda *now: said.append(now)):
        ...     _ = show(0.5)
        >>> said
        [('first', 0.0), ('first', 0.25), ('second', 0.5), ('second', 0.75)]
    """
    for index, (label, item) in enumerate(rounds):

        def show(done: float, index: int = index, label: str = label) -> bool | None:
            return watch(label, (index + done) / len(rounds))

        if show(0.0):
            raise KeyboardInterrupt
        yield item, show


class Interval(NamedTuple):
    """A mean with its confidence interval.

    Attributes:
        mean: of the sample.
        low: end of the interval.
        high: likewise.
        size: how many values there are.
    """

    mean: float
    low: float
    high: float
    size: int

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's t interval of the mean of independent values; endless for one value alone.

    Example:
        >>> str(interval([1.0, 2.0, 3.0]))
        '+2.00 [-0.48, +4.48]'
    """
    count = len(values)
    mean = float(np.mean(values))
    if count < 2:
        return Interval(mean, float("-inf"), float("inf"), count)
    half = float(student.ppf((1 + level) / 2, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half, count)


def per_image(rows: Iterable[Row], column: str, image: str = "image") -> dict[Value, float]:
    """Each image's mean over seeds: images are what is independent, seeds of one image are not."""
    found: dict[Value, list[float]] = {}
    for row in rows:
        found.setdefault(row[image], []).append(float(row[column]))
    return {name: float(np.mean(values)) for name, values in found.items()}


def paired(first: Iterable[Row], second: Iterable[Row], column: str) -> Interval:
    """By how much the first rows are above the second ones, over the images that both have."""
    mine, theirs = per_image(first, column), per_image(second, column)
    return interval([mine[name] - theirs[name] for name in mine if name in theirs])


def counted(number: int, noun: str) -> str:
    """In words.

    Example:
        >>> counted(1, "seed"), counted(3, "seed")
        ('1 seed', '3 seeds')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Cells as they print; floats with two digits.

    Example:
        >>> print(markdown_table(["picture", "dB"], [["baby", 31.234]]))
        | image | dB |
        |---|---|
        | baby | 31.23 |
    """
    lines = [header, ["---"] * len(header)]
    lines += [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- ", "|---").replace("---| ", "---|")


def summary(title: str, command: str, protocol: str, parts: Sequence[str]) -> str:
    """A Markdown page: title, parts, and what they were measured with."""
    conditions = [f"- command: `{command}`", f"- protocol: {protocol}"]
    conditions += [f"- {name}: {value}" for name, value in machine().items()]
    return "\n\n".join([f"# {title}", *parts, "## Conditions", "\n".join(conditions)]) + "\n"
