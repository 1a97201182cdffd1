"""Progress and result of a run, and the record of it in the store, which other machines can read."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from heapq import nsmallest
from math import isfinite
from time import time
from typing import Any, NamedTuple

from eoren.dataset.store import Store
from eoren.errors import EorenError

NOTICE_COLUMNS = ["number", "name", "status", "error", "notes"]
"""Columns of the index that :meth:`Notices.add` needs."""

_MOST_NOTES = 1000  # different ones that are counted
_MOST_ERRORS = 3
_RECORD_SECONDS = 10.0  # between two records


@dataclass(frozen=True)
class Progress:
    """Progress of :func:`eoren.fit_many`, in images."""

    pictures: float  # completed, also by earlier runs; running ones count in part
    total: int | None  # None if the length of the source is unknown
    failed: int  # could not be fitted
    earlier: int  # completed by earlier runs


class Notice(NamedTuple):
    """A note on the pixels of some images."""

    text: str
    first: str  # name of the first of these images
    images: int  # number of them


@dataclass(frozen=True)
class Summary:
    """Result of :func:`eoren.fit_many`, in images."""

    pictures: int  # in the store, failed ones included
    failed: int  # could not be read or fitted; the index has the reasons
    earlier: int  # completed by earlier runs
    notes: tuple[Notice, ...] = ()  # what reading changed in the images, the commonest first
    errors: tuple[tuple[str, str], ...] = ()  # names of the first images that failed, and the reasons


@dataclass(frozen=True)
class RunRecord:
    """The state of a run when it last wrote to the store; a complete run leaves no record."""

    pictures: int  # completed, also by earlier runs
    failed: int
    earlier: int
    total: int | None
    started: float  # seconds since 1970
    updated: float

    @property
    def rate(self) -> float | None:
        """Images of this run in a second; None if it is too early to tell."""
        seconds = self.updated - self.started
        return (self.pictures - self.earlier) / seconds if seconds > 0 and self.pictures > self.earlier else None

    @property
    def seconds_left(self) -> float | None:
        """Time that the rest takes at this rate; None if it is unknown."""
        return (self.total - self.pictures) / self.rate if self.total is not None and self.rate else None

    def summary(self, now: float) -> dict[str, Any]:
        """Return all values, and those that follow from them, for ``eoren info``."""
        derived = {"rate": self.rate, "seconds_left": self.seconds_left, "seconds_ago": max(0.0, now - self.updated)}
        return asdict(self) | derived


class RunRecorder:
    """Writes the record of a run to its store every few seconds."""

    def __init__(self, store: Store, total: int | None) -> None:
        self._store, self._total, self._started, self._updated = store, total, time(), 0.0

    def update(self, pictures: int, failed: int, earlier: int) -> None:
        """Write a record, unless the last one is new enough."""
        now = time()
        if abs(now - self._updated) >= _RECORD_SECONDS:
            self._updated = now
            record = RunRecord(pictures, failed, earlier, self._total, self._started, now)
            self._store.write_record(json.dumps(asdict(record)).encode())

    def end(self) -> None:
        """Remove the record of a complete run."""
        self._store.write_record(None)


def read_record(store: Store) -> RunRecord | None:
    """Read the record of a run that has not ended, or was stopped; None if there is no valid one."""
    try:
        values = dict(json.loads(store.read_record() or b""))
        record = RunRecord(**values)
        counts = [record.pictures, record.failed, record.earlier, *([] if record.total is None else [record.total])]
        times = [float(record.started), float(record.updated)]
    except (EorenError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    is_valid = all(type(count) is int and 0 <= count < 2**53 for count in counts) and all(map(isfinite, times))
    return record if is_valid else None


class Notices:
    """The notes and errors of all rows of a run."""

    def __init__(self) -> None:
        self._notes: dict[str, tuple[int, str, int]] = {}  # number and name of the first image, count
        self._errors: list[tuple[int, str, str]] = []

    def add(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add rows of the index, in any order, and return how many of them failed."""
        failed = 0
        for row in rows:
            number, name, error, note = row["number"], row["name"], row.get("error"), row.get("notes")
            if row["status"] == "failed":
                failed += 1
                self._errors.append((number, name, error or ""))
            if note and (note in self._notes or len(self._notes) < _MOST_NOTES):
                *first, count = self._notes.get(note, (number, name, 0))
                self._notes[note] = (*min(first, [number, name]), count + 1)
        self._errors = nsmallest(_MOST_ERRORS, self._errors)
        return failed

    def summary(self) -> tuple[tuple[Notice, ...], tuple[tuple[str, str], ...]]:
        """Return the notes, the commonest first, and the errors of the first images that failed."""
        ordered = sorted(self._notes.items(), key=lambda item: (-item[1][2], item[1][0]))
        notes = tuple(Notice(text, name, count) for text, (_, name, count) in ordered)
        return notes, tuple((name, error) for _, name, error in self._errors)
