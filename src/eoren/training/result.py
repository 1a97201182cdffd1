"""What a fit approximates, what it reports while it runs, and what it returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property
from time import monotonic
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from eoren._version import __version__
from eoren.evaluation.metrics import Metrics
from eoren.field.field import Field
from eoren.field.serialization import dumps
from eoren.image.arrays import Gradient, Image
from eoren.training.compact.settings import CompactSettings
from eoren.training.settings import Settings

Ended = Literal["budget", "target", "interrupted"]

LINE_LENGTH = 78  # of a description of :class:`Progress`
_PRINT_EVERY = 0.2  # seconds between lines of a printed progress


@runtime_checkable
class RunningFit(Protocol):
    """A fit under way, for those who watch it."""

    def field(self) -> Field:
        """Copy the current field. The fit is not affected."""

    def boxes(self) -> list[list[int]]:
        """Return the boxes of the parts that are fitted apart, ``[column0, row0, column1, row1]``."""

    def selected_tiles(self) -> Bool[np.ndarray, " tiles"]:
        """Return which of these parts the current step changes."""


@dataclass(frozen=True)
class Progress:
    """State of a running fit.

    Attributes:
        steps: number of steps so far, averaged over all tiles, rounded up.
        seconds: duration so far.
        done: share of the budget that is used up, 0..1.
        psnr: dB, running estimate over the pixels of recent steps; None if no colours are fitted at pixels.
        gradient_psnr: dB, running estimate against the target gradients; None if no gradients are fitted.
        loop: the running fit, whose current field :meth:`RunningFit.field` returns within ``watch``; None between the
            trials by which a compact fit meets a size or a quality. Do not keep it: it refers to all memory of the
            training.
    """

    steps: int = 0
    seconds: float = 0.0
    done: float = 0.0
    psnr: float | None = None
    gradient_psnr: float | None = None
    loop: "RunningFit | None" = dataclass_field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        """Describe the state in one line of constant length."""
        bar = "#" * round(16 * self.done)
        left = "-" if self.seconds_left is None else f"{self.seconds_left:,.0f} s"
        return f"[{bar:-<16}] {self.numbers()}, {left:>7} left"

    def numbers(self) -> str:
        """Describe steps and quality at constant length, so that nothing moves where the line is rewritten."""
        psnr, gradient = ("-" if db is None else f"{db:.1f} dB" for db in (self.psnr, self.gradient_psnr))
        return f"step {self.steps:>6,}, PSNR {psnr:>8}, gradient {gradient:>8}"

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end of the budget; None before the first step."""
        return self.seconds * (1 - self.done) / self.done if self.done > 0 else None


Watch = Callable[[Progress], bool | None]
"""Called after every chunk of work; returns true to stop the fit early."""


def printing(watch: Watch | None = None) -> Watch:
    """Return a function that watches a fit and rewrites a line of text, which terminals and notebooks show in place.

    Args:
        watch: function to call, too; its result is passed on.
    """
    printed = -_PRINT_EVERY

    def show(progress: Progress) -> bool | None:
        nonlocal printed
        if progress.done >= 1 or monotonic() - printed >= _PRINT_EVERY:
            printed = monotonic()
            print(f"\r{progress}", end="", flush=True)
        return None if watch is None else watch(progress)

    return show


@dataclass(frozen=True, eq=False)
class FitResult:
    """Result of :func:`fit`.

    Attributes:
        field: the fitted field, as read back from its file, on the device of the fit.
        metrics: quality of that field against the image, measured over all pixels.
        history: running estimates of quality, about two per second.
        settings: every setting of the fit.
        seed: seed of the random generators.
        steps: number of steps, averaged over all tiles; easy tiles take part in fewer steps.
        seconds: duration of the fit, with preparing the targets but without the final measurement.
        ended: ``target`` if the field reaches ``until_psnr`` (a compact field to 0.05 dB), ``interrupted`` if
            ``watch`` stopped the fit, else ``budget``.
        version: version of eoren.
    """

    field: Field
    metrics: Metrics
    history: tuple[Progress, ...] = dataclass_field(repr=False)
    settings: Settings | CompactSettings = dataclass_field(repr=False)
    seed: int
    steps: int
    seconds: float
    ended: Ended
    version: str = __version__

    @cached_property
    def bytes(self) -> int:
        """Size of the field's file in bytes."""
        return len(dumps(self.field))

    @property
    def bits_per_pixel(self) -> float:
        """Size of the field's file in bits, per pixel of the image."""
        width, height = self.field.size
        return 8 * self.bytes / (width * height)


@dataclass(frozen=True, eq=False)
class FitTarget:
    """The image or gradient field that a fit approximates; the shape of ``image`` is ``(H, W, C)``."""

    image: Image
    sha256: str  # digest of the target, for the checkpoint and the field's file
    # To fit instead of the image's own, in intensity per pixel at the points of settings.filter.
    gradient: Gradient | None = None
    # Pixels whose colours count for the channel tuning of a single network: all if None or False everywhere.
    known: Bool[np.ndarray, "height width"] | None = None
    # To measure the field against, instead of the image.
    reference: Image | None = None
    # Description of the operation that made the image, for the field's file.
    composition: Mapping[str, Any] = dataclass_field(default_factory=dict)
    profile: bytes = b""  # ICC profile of the colours, for the field's file
