"""Progress of a running fit for the page: the current field, curves of PSNR, and the tiles being trained.

The fit hands over a copy of its field, which takes about a millisecond, when a page requests one; drawing it is the
work of the server's threads. Pages request a copy every four seconds, or more rarely, so that copying and drawing
take at most three hundredths of the processors' time. The page can also stop the fit, and let it go on.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from secrets import token_hex
from threading import Condition
from time import monotonic
from typing import Any

import numpy as np

from eoren.evaluation.metrics import finite
from eoren.field.field import Field
from eoren.image.arrays import Image
from eoren.training.result import Progress, RunningFit
from eoren.viewer.catalog import FieldCatalog, FieldEntry
from eoren.visualization.plots import Axis, Line, plot

# Seconds between two copies, at least: an image is less than five seconds old, and a browser on the same processors
# takes little from the fit.
_INTERVAL = 4.0
_SHARE = 0.03  # of the time of all processors, for copying and drawing, at most
# Seconds that a request of a page waits for the copy that it is due.
_LONGEST_WAIT = 1.0
_PROCESSORS = os.cpu_count() or 1
_SHORTEST_POLL, _LONGEST_POLL = 0.25, 4.0  # seconds between two polls of a page
_ACTIVITY_INTERVAL = 0.1
_CURVE_INTERVAL = 0.5
_MAX_CURVE_POINTS = 240


class LiveFit:
    """State of a running fit. The fit's thread calls :meth:`watch`, the server's threads call :meth:`status`."""

    def __init__(self, catalog: FieldCatalog, title: str, image: Image, render_seconds: Callable[[], float]) -> None:
        self._catalog, self._title, self._image, self._render_seconds = catalog, title, image, render_seconds
        self._changed = Condition()
        self._entries: list[FieldEntry] = []
        self._version = 0
        self._digest = token_hex(8)  # browsers cache tiles of earlier fits under the same addresses
        self._progress = Progress()
        self._curve: list[Progress] = []
        self._ended: str | None = None
        self._message = ""
        self._can_go_on = False
        self._is_stopping = False
        self._boxes: list[list[int]] = []
        self._activity = np.zeros(0)
        self._is_copy_requested = False
        self._copied = self._recorded = -_INTERVAL
        self._copy_seconds = self._render_seconds_at_copy = 0.0

    def watch(self, progress: Progress) -> bool:
        """Record the progress of the fit, and return whether the page stops it; for its ``watch`` callback."""
        now, run = monotonic(), progress.loop
        if now - self._recorded < _ACTIVITY_INTERVAL:
            return self._is_stopping
        self._recorded = now
        with self._changed:
            self._record(progress, run)
            is_copy_due = self._is_copy_requested and now >= self._next_copy()
        if run is not None and progress.steps and is_copy_due:
            field = run.field().to("cpu")
            with self._changed:
                self._is_copy_requested = False
                self._copied, self._render_seconds_at_copy = monotonic(), self._render_seconds()
                self._copy_seconds = self._copied - now
            # The page shows which step the field is of.
            self._display(replace(field, provenance=replace(field.provenance, steps=progress.steps)))
        return self._is_stopping

    @property
    def is_stopping(self) -> bool:
        """Whether the page has stopped the fit."""
        return self._is_stopping

    @property
    def has_ended(self) -> bool:
        """Whether the fit has ended, or has failed."""
        return self._ended is not None

    @property
    def current(self) -> FieldEntry | None:
        """The newest version of the field, if there is one."""
        return self._entries[-1] if self._entries else None

    @property
    def outdated(self) -> list[FieldEntry]:
        """Versions before the newest one that a page may still request."""
        return self._entries[:-1]

    def finish(self, field: Field, ended: str, *, can_go_on: bool = False, **described: str) -> None:
        """Record the fitted field, and why the fit ended: ``budget``, ``target`` or ``stopped``.

        After ``stopped`` the page offers to go on, if the fit can. The field's file, name and other attributes of
        :class:`FieldEntry` may be given.
        """
        self._display(field.to("cpu"), ended, can_go_on, **described)

    def fail(self, message: str) -> None:
        """Record that the fit ended without a field."""
        with self._changed:
            self._ended, self._message = "failed", message
            self._changed.notify_all()

    def stop(self) -> None:
        """Stop the fit, at its next call of :meth:`watch`."""
        with self._changed:
            self._is_stopping = self._ended is None

    def go_on(self) -> None:
        """Let a stopped fit go on."""
        with self._changed:
            if self._can_go_on:
                self._is_stopping = self._can_go_on = False
                self._ended = None

    def request_copy(self) -> None:
        """Request a copy of the current field, to be made once it is due."""
        with self._changed:
            self._is_copy_requested = True

    def status(self) -> dict[str, Any]:
        """Return the state of the fit for the page, as JSON. If a copy of the field is due, wait for it briefly."""
        self.request_copy()
        with self._changed:
            version = self._version
            if self._ended is None and monotonic() >= self._next_copy():
                self._changed.wait_for(lambda: self._version > version, _LONGEST_WAIT)
            progress = self._progress
            psnrs = {"psnr": progress.psnr, "gradient_psnr": progress.gradient_psnr}
            return {
                "entry": self._entries[-1].name if self._entries else None,
                "ended": self._ended,
                "message": self._message,
                "can_go_on": self._can_go_on,
                "stopping": self._is_stopping,
                "steps": progress.steps,
                "seconds": progress.seconds,
                "seconds_left": progress.seconds_left,
                "poll_after": self._seconds_to_next_poll(),
                "done": progress.done,
                **finite({name: value for name, value in psnrs.items() if value is not None}),
                "tiles": self._boxes,
                "activity": self._activity.round(2).tolist(),
                "curves": _plot_curves(self._curve),
            }

    def _seconds_to_next_poll(self) -> float:
        if self._is_stopping and self._ended is None:
            return _SHORTEST_POLL
        return min(max(_SHORTEST_POLL, self._next_copy() - monotonic()), _LONGEST_POLL)

    def _record(self, progress: Progress, run: RunningFit | None) -> None:
        if run is not None and not self._boxes:
            self._boxes = run.boxes()
            self._activity = np.zeros(len(self._boxes))
        is_trained = run.selected_tiles() if run is not None and progress.steps else np.zeros(len(self._boxes), bool)
        self._activity += 0.2 * (is_trained - self._activity)
        self._progress = replace(progress, loop=None)
        if not self._curve or progress.seconds - self._curve[-1].seconds >= _CURVE_INTERVAL:
            self._curve.append(self._progress)
            if len(self._curve) > 2 * _MAX_CURVE_POINTS:
                del self._curve[1::2]

    def _interval(self) -> float:
        """Seconds from one copy to the next."""
        # The fit, which uses all processors, waits while its field is copied; one thread draws.
        drawing = (self._render_seconds() - self._render_seconds_at_copy) / _PROCESSORS
        return max(_INTERVAL, (self._copy_seconds + drawing) / _SHARE)

    def _next_copy(self) -> float:
        return self._copied + self._interval()

    def _display(self, field: Field, ended: str | None = None, can_go_on: bool = False, **described: str) -> None:
        described = {"name": f"{self._title}-version-{self._version + 1}"} | described
        digest = f"{self._digest} {self._version + 1}"
        entry = self._catalog.add(self._title, field, digest=digest, image=self._image, **described)
        with self._changed:
            self._version += 1
            self._ended, self._can_go_on = ended, can_go_on
            self._entries.append(entry)
            # A page may still request tiles of the last entry, until its next poll.
            outdated, self._entries = self._entries[:-2], self._entries[-2:]
            self._changed.notify_all()
        for entry in outdated:
            self._catalog.remove(entry)


def _plot_curves(history: list[Progress]) -> str:
    """PSNR over time as SVG."""
    lines = []
    for name in ("psnr", "gradient_psnr"):
        points = [(moment.seconds, getattr(moment, name)) for moment in history if getattr(moment, name) is not None]
        if len(points) > 1:
            lines.append(Line(name, [seconds for seconds, _ in points], [psnr for _, psnr in points]))
    if not lines:
        return ""
    x = Axis.covering("seconds", [seconds for line in lines for seconds in line.x])
    y = Axis.covering("PSNR (dB)", [psnr for line in lines for psnr in line.y])
    last = ", ".join(f"{line.style.replace('_psnr', '')} {line.y[-1]:.1f} dB" for line in lines)
    return plot(lines, x, y, description=f"PSNR over time; latest: {last}")
