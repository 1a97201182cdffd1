"""A fit while it runs: the field as it stands every now and then, curves, and which tiles are at work.

A fit does nothing for those who watch but hand a copy of its networks over, a millisecond's work. Images are made
of that by the same code as those of any field, when a page asks for them, and the next copy waits until what the last
one cost is a hundredth of the time that went by. A fit gains less and less in a second, so looks become rarer too, as
each costs the browser a tenth of a second of a core. If nobody looks, nothing is made.
"""

from collections.abc import Callable
from secrets import token_hex
from threading import Lock
from time import monotonic
from typing import Any

import numpy as np
from jaxtyping import Float

from eoren.evaluation.metrics import finite
from eoren.field.field import Field
from eoren.training.loop import FitLoop, Progress
from eoren.viewer.catalog import FieldCatalog, FieldEntry
from eoren.visualization.plots import Axis, Line, plot

# Seconds between two looks: a tenth of how long the fit has gone on, within these.
_SOONEST, _LATEST = 2.0, 6.0
# A copy is no sooner than so many times what the last one cost.
_RARELY = 100
# A page that has not asked for so many seconds is not there; hidden ones ask half as often.
_GONE = 2.5 * _LATEST
_TILES_EVERY = 0.1
_CURVE_EVERY = 0.5
_MOST_POINTS = 240


class Live:
    """What a page can know of a fit. One thread fits and calls :meth:`watch`, others ask :meth:`standing`.

    Args:
        gallery: where the field is on show.
        title: of the exhibit.
        picture: ``(H, W, C)`` that is fitted.
        drawn: seconds that drawing has taken so far.
    """

    def __init__(
        self,
        gallery: FieldCatalog,
        title: str,
        picture: Float[np.ndarray, "height width channels"],
        drawn: Callable[[], float],
    ) -> None:
        """Nothing is known yet."""
        self._gallery, self._title, self._picture, self._drawn = gallery, title, picture, drawn
        self._lock = Lock()
        self._shown: list[FieldEntry] = []
        self._version = 0
        self._token = token_hex(8)  # browsers keep what they saw of the fit before at this address
        self._progress = Progress()
        self._curve: list[Progress] = []
        self._ended: str | None = None
        self._boxes: list[list[int]] = []
        self._busy = np.zeros(0)
        self._asked = -_GONE
        self._copied = self._looked = -_LATEST
        self._cost = self._drawn_before = 0.0

    def watch(self, progress: Progress) -> None:
        """Take note of where a fit stands. To be called from within its ``watch``."""
        now, run = monotonic(), progress.loop
        if run is None or now - self._looked < _TILES_EVERY:
            return
        self._looked = now
        with self._lock:
            self._note(progress, run)
        if progress.steps and self._due(now):
            field = run.field().to("cpu")
            self._copied, self._drawn_before = monotonic(), self._drawn()
            self._cost = self._copied - now
            self._show(field)

    def finish(self, field: Field | None, ended: str) -> None:
        """The fit is over.

        Args:
            field: that came of it; none if there is none.
            ended: how.
        """
        if field is not None:
            self._show(field.to("cpu"))
        with self._lock:
            self._ended = ended

    def standing(self) -> dict[str, Any]:
        """What a page shows beside the image, as JSON; it counts as somebody looking."""
        with self._lock:
            self._asked = monotonic()
            progress = self._progress
            numbers = {"psnr": progress.psnr, "gradient_psnr": progress.gradient_psnr}
            return {
                "exhibit": self._shown[-1].name if self._shown else None,
                "ended": self._ended,
                "steps": progress.steps,
                "seconds": progress.seconds,
                "seconds_left": progress.seconds_left,
                "again": _again(progress),
                "done": progress.done,
                **finite({name: value for name, value in numbers.items() if value is not None}),
                "tiles": self._boxes,
                "busy": self._busy.round(2).tolist(),
                "curves": _curves(self._curve),
            }

    def _note(self, progress: Progress, run: FitLoop) -> None:
        if not self._boxes:
            self._boxes = run.tiling.boxes.tolist()
            self._busy = np.zeros(len(self._boxes))
        awake = run.selected_tiles() if progress.steps else np.zeros(len(self._boxes), bool)
        self._busy += 0.2 * (awake - self._busy)
        self._progress = known = Progress(
            progress.steps, progress.seconds, progress.done, progress.psnr, progress.gradient_psnr
        )
        if not self._curve or known.seconds - self._curve[-1].seconds >= _CURVE_EVERY:
            self._curve.append(known)
            if len(self._curve) > 2 * _MOST_POINTS:
                del self._curve[1::2]

    def _due(self, now: float) -> bool:
        with self._lock:
            looking = now - self._asked < _GONE
        spent = self._cost + self._drawn() - self._drawn_before
        return looking and now - self._copied >= max(_rhythm(self._progress), _RARELY * spent)

    def _show(self, field: Field) -> None:
        self._version += 1

        def make(name: str) -> FieldEntry:
            return FieldEntry(name, self._title, field, f"{self._token} {self._version}", self._picture)

        shown = self._gallery.show(f"{self._title}-{self._version}", make)
        with self._lock:
            self._shown.append(shown)
            # A page that asks for the one before is just about to hear of the new one.
            old = self._shown[:-2]
            del self._shown[:-2]
        for exhibit in old:
            self._gallery.remove(exhibit)


def _rhythm(progress: Progress) -> float:
    """Seconds from one look at a fit to the next."""
    return min(max(_SOONEST, progress.seconds / 10), _LATEST)


def _again(progress: Progress) -> float:
    """Seconds until a page should ask again: none misses a fit's end by long."""
    if progress.done >= 1:
        return _SOONEST
    left = progress.seconds_left
    return _rhythm(progress) if left is None else min(_rhythm(progress), max(_SOONEST, left))


def _curves(history: list[Progress]) -> str:
    """PSNR over time as SVG."""
    lines = []
    for style in ("psnr", "gradient_psnr"):
        points = [(each.seconds, getattr(each, style)) for each in history if getattr(each, style) is not None]
        if len(points) > 1:
            lines.append(Line(style, [second for second, _ in points], [value for _, value in points]))
    if not lines:
        return ""
    x = Axis.covering("seconds", [value for line in lines for value in line.x])
    y = Axis.covering("PSNR (dB)", [value for line in lines for value in line.y])
    last = ", ".join(f"{line.style.replace('_psnr', '')} {line.y[-1]:.1f} dB" for line in lines)
    return plot(lines, x, y, description=f"PSNR over time; at last {last}")
