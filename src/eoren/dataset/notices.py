"""Notices of a run: what reading changed in the images, and why some failed. They need memory for few of them."""

from collections.abc import Iterable, Mapping
from heapq import nsmallest
from typing import Any, NamedTuple

NOTICE_COLUMNS = ["number", "name", "status", "error", "notes"]
"""Columns of the index that :meth:`Notices.add` needs."""

_MOST_NOTES = 1000  # different ones that are counted
_MOST_ERRORS = 3


class Notice(NamedTuple):
    """A note on the pixels of some images."""

    text: str
    first: str  # name of the first of these images
    images: int  # number of them


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
