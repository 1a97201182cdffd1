"""Progress of a running fit for the page: the current field, curves of PSNR, and the tiles being trained.

The fit hands over a copy of its networks, which takes about a millisecond; drawing it is the work of the server's
threads. Copies are made only while a page polls, and rarely enough that drawing them takes at most a hundredth of the
time. As a fit improves more and more slowly, polls become less frequent too: each costs the browser a tenth of a
second of a core.
"""

from collections.abc import Callable
from dataclasses import replace
from secrets import token_hex
from threading import Lock
from time import monotonic
from typing import Any

import numpy as np

from eoren.evaluation.metrics import finite
from eoren.field.field import Field
from eoren.image.arrays import Image
from eoren.training.result import Progress, RunningFit
from eoren.viewer.catalog import FieldCatalog, FieldEntry
from eoren.visualization.plots import Axis, Line, plot

# Seconds between two polls of a page: a tenth of the fit's duration so far, within these bounds.
_SHORTEST_INTERVAL, _LONGEST_INTERVAL = 2.0, 6.0
# The next copy waits for this multiple of the time that copying and drawing the last one took.
_COST_FACTOR = 100
# A page that has not polled for this time, in seconds, counts as closed; hidden pages poll half as often.
_PAGE_TIMEOUT = 2.5 * _LONGEST_INTERVAL
_ACTIVITY_INTERVAL = 0.1
_CURVE_INTERVAL = 0.5
_MAX_CURVE_POINTS = 240


class LiveFit:
    """State of a running fit. The fit's thread calls :meth:`watch`, the server's threads call :meth:`status`."""

    def __init__(self, catalog: FieldCatalog, title: str, image: Image, render_seconds: Callable[[], float]) -> None:
        self._catalog, self._title, self._image, self._render_seconds = catalog, title, image, render_seconds
        self._lock = Lock()
        self._entries: list[FieldEntry] = []
        self._version = 0
        self._digest = token_hex(8)  # browsers cache tiles of earlier fits under the same addresses
        self._progress = Progress()
        self._curve: list[Progress] = []
        self._ended: str | None = None
        self._boxes: list[list[int]] = []
        self._activity = np.zeros(0)
        self._polled = -_PAGE_TIMEOUT
        self._copied = self._recorded = -_LONGEST_INTERVAL
        self._copy_seconds = self._render_seconds_at_copy = 0.0

    def watch(self, progress: Progress) -> None:
        """Record the progress of the fit; to be called from its ``watch`` callback."""
        now, run = monotonic(), progress.loop
        if now - self._recorded < _ACTIVITY_INTERVAL:
            return
        self._recorded = now
        with self._lock:
            self._record(progress, run)
        if run is not None and progress.steps and self._copy_is_due(now):
            field = run.field().to("cpu")
            self._copied, self._render_seconds_at_copy = monotonic(), self._render_seconds()
            self._copy_seconds = self._copied - now
            self._display(field)

    def finish(self, field: Field, ended: str) -> None:
        """Record the fitted field and why the fit ended: ``budget``, ``target`` or ``interrupted``."""
        self._display(field.to("cpu"))
        with self._lock:
            self._ended = ended

    def status(self) -> dict[str, Any]:
        """Return the state of the fit for the page, as JSON. The call counts as a poll of the page."""
        with self._lock:
            self._polled = monotonic()
            progress = self._progress
            psnrs = {"psnr": progress.psnr, "gradient_psnr": progress.gradient_psnr}
            return {
                "entry": self._entries[-1].name if self._entries else None,
                "ended": self._ended,
                "steps": progress.steps,
                "seconds": progress.seconds,
                "seconds_left": progress.seconds_left,
                "poll_after": _seconds_to_next_poll(progress),
                "done": progress.done,
                **finite({name: value for name, value in psnrs.items() if value is not None}),
                "tiles": self._boxes,
                "activity": self._activity.round(2).tolist(),
                "curves": _plot_curves(self._curve),
            }

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

    def _copy_is_due(self, now: float) -> bool:
        with self._lock:
            page_is_open = now - self._polled < _PAGE_TIMEOUT
        cost = self._copy_seconds + self._render_seconds() - self._render_seconds_at_copy
        return page_is_open and now - self._copied >= max(_interval(self._progress), _COST_FACTOR * cost)

    def _display(self, field: Field) -> None:
        self._version += 1
        name, digest = f"{self._title}-{self._version}", f"{self._digest} {self._version}"
        entry = self._catalog.add(self._title, field, digest=digest, image=self._image, name=name)
        with self._lock:
            self._entries.append(entry)
            # A page may still request tiles of the last entry, until its next poll.
            outdated, self._entries = self._entries[:-2], self._entries[-2:]
        for entry in outdated:
            self._catalog.remove(entry)


def _interval(progress: Progress) -> float:
    """Seconds between two polls."""
    return min(max(_SHORTEST_INTERVAL, progress.seconds / 10), _LONGEST_INTERVAL)


def _seconds_to_next_poll(progress: Progress) -> float:
    """Like :func:`_interval`, but soon after the expected end of the fit."""
    left = 0.0 if progress.done >= 1 else progress.seconds_left
    return _interval(progress) if left is None else min(_interval(progress), max(_SHORTEST_INTERVAL, left))


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
