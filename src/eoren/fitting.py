"""fit(): from a picture to a Field."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from math import cos, pi
from operator import index
from os import PathLike
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from eoren._version import __version__
from eoren.checkpoint import Identity, Standing, restore_checkpoint, write_checkpoint
from eoren.devices import choose_device
from eoren.errors import EorenError
from eoren.field import Field, Provenance
from eoren.files import check_writable
from eoren.images import Picture, as_image, read_picture
from eoren.metrics import Metrics, decibel, evaluate, psnr
from eoren.presets import Settings, resolve
from eoren.storage import dumps, loads
from eoren.training import StepErrors, Trainer

# A kill loses at most this much work, in seconds.
CHECKPOINT_EVERY = 30.0
_HISTORY_EVERY = 0.5
# How much of the running error each step replaces: steps see different pixels.
_SMOOTHING = 0.1
_MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Progress:
    """Where a fit stands.

    Attributes:
        steps: made so far.
        seconds: taken so far.
        done: share of the budget that is used up, 0..1.
        psnr: dB, a running estimate over the pixels of recent steps; none where no colour is fitted at pixels.
        gradient_psnr: dB, likewise, against the target gradients; none where no gradient is fitted.
    """

    steps: int = 0
    seconds: float = 0.0
    done: float = 0.0
    psnr: float | None = None
    gradient_psnr: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end of the budget at this pace; none before the first step."""
        return self.seconds * (1 - self.done) / self.done if self.done > 0 else None


@dataclass(frozen=True, eq=False)
class FitResult:
    """What :func:`fit` found, and how.

    Attributes:
        field: the fitted field, as it comes back from its file, on the device of the fit.
        metrics: of that field against the picture, measured over all pixels.
        history: running estimates, about two a second.
        settings: every setting of the fit.
        seed: of the random numbers.
        steps: that were made.
        seconds: that the fit took, targets included, final measuring not.
        ended: by its ``budget``, on reaching its ``target``, or ``interrupted``.
        version: of eoren.
    """

    field: Field
    metrics: Metrics
    history: tuple[Progress, ...]
    settings: Settings
    seed: int
    steps: int
    seconds: float
    ended: Literal["budget", "target", "interrupted"]
    version: str = __version__


def fit(
    image: ArrayLike | str | PathLike[str] | Picture,
    *,
    preset: str = "balanced",
    seconds: float | None = None,
    steps: int | None = None,
    until_psnr: float | None = None,
    seed: int = 0,
    device: str = "auto",
    watch: Callable[[Progress], bool | None] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    **settings: Any,
) -> FitResult:
    """Turn a picture into a continuous function whose colours and derivatives are right.

    With a budget in steps, and a fixed number of threads, the same picture and seed give the same field, bit for
    bit, on a CPU; interrupted and taken up again too.

    Args:
        image: ``(H, W)`` or ``(H, W, C)`` array, C in 1..4, values in [0, 1] or whole numbers of 8 or 16 bits; or
            a picture file, or ``sample:astronaut``.
        preset: ``fast``, ``balanced`` and ``best`` are mosaics; ``single`` is one network; ``paper`` is the protocol
            of arXiv 2209.11697.
        seconds: time budget.
        steps: budget of steps. With neither, the preset's.
        until_psnr: stop as soon as the colours, measured over all pixels, are this good (dB).
        seed: of the random numbers.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        watch: called after every chunk of work; return true to stop early with what there is.
        checkpoint: a file that keeps the state twice a minute and at the end. If it exists, the fit goes on from
            it. Delete it once the result is safe.
        settings: any field of :class:`eoren.presets.Settings`, such as ``objective="gradient"``, or
            ``bits=8`` for a small file. The result is what the file holds.

    Raises:
        EorenError: a picture, setting or checkpoint that cannot be used.

    Example:
        >>> import eoren, numpy as np
        >>> ramp = np.linspace(0, 1, 32, dtype=np.float32)[None, :, None].repeat(8, 0)
        >>> result = eoren.fit(ramp, steps=200, width=16, depth=2, seed=1)
        >>> result.metrics.psnr > 30, result.metrics.gradient_psnr > 30
        (True, True)
    """
    budget = {"seconds": seconds, "steps": steps, "until_psnr": until_psnr}
    given = {name: value for name, value in budget.items() if value is not None}
    chosen = resolve(preset, **given, **settings)
    seed = _seed(seed)
    if checkpoint is not None:
        check_writable(Path(checkpoint))
    pixels, digest = _picture(image)
    start = monotonic()
    trainer = Trainer(pixels, chosen, seed=seed, device=choose_device(device))
    run = _Run(trainer, pixels, Identity(chosen, seed, digest), start, watch, checkpoint)
    ended = run.until_the_end()
    run.keep()
    field = trainer.tuned()
    taken = run.elapsed()
    provenance = Provenance(chosen.as_dict(), seed, trainer.steps_done, round(taken, 3), digest, version=__version__)
    field = loads(dumps(replace(field, provenance=provenance))).to(trainer.device)
    measured = evaluate(field, pixels)
    quality = {name: value for name, value in measured.as_dict().items() if "psnr" in name or name == "ssim"}
    field = replace(field, provenance=replace(provenance, metrics=quality))
    stored = len(dumps(field))
    metrics = replace(measured, bytes=stored, bits_per_pixel=8 * stored / (pixels.shape[0] * pixels.shape[1]))
    return FitResult(field, metrics, tuple(run.history), chosen, seed, trainer.steps_done, taken, ended)


class _Run:
    """The loop around :meth:`Trainer.step`: budget, running estimates, checkpoints."""

    def __init__(
        self,
        trainer: Trainer,
        pixels: Float[np.ndarray, "height width channels"],
        identity: Identity,
        start: float,
        watch: Callable[[Progress], bool | None] | None,
        checkpoint: str | PathLike[str] | None,
    ) -> None:
        self.history: list[Progress] = []
        self._trainer = trainer
        self._pixels = pixels
        self._identity = identity
        self._start = start
        self._watch = watch
        self._checkpoint = None if checkpoint is None else Path(checkpoint)
        self._stopped = False
        self._measure_at = 0
        self._errors = StepErrors(None, None)
        self._progress = Progress()
        # Above this running estimate it is worth measuring whether the target is reached.
        self._worth_measuring = identity.settings.until_psnr
        if self._checkpoint is not None and self._checkpoint.exists():
            stood = restore_checkpoint(self._checkpoint, trainer, identity)
            self._start -= stood.seconds
            self._errors = StepErrors(stood.color_error, stood.gradient_error)
            self._worth_measuring = stood.worth_measuring
        self._kept = monotonic()

    def elapsed(self) -> float:
        """Seconds of this fit, those before an interruption included."""
        return monotonic() - self._start

    def until_the_end(self) -> Literal["budget", "target", "interrupted"]:
        """Step until something ends it."""
        settings = self._identity.settings
        while True:
            done = self._done()
            self._progress = Progress(
                self._trainer.steps_done,
                self.elapsed(),
                min(done, 1.0),
                *(None if e is None else decibel(e) for e in (self._errors.color, self._errors.gradient)),
            )
            self._remember()
            if self._wants_to_stop(self._progress):
                return "interrupted"
            if done >= 1:
                return "budget"
            if self._reached():
                return "target"
            rate = settings.decay + (1 - settings.decay) * (1 + cos(pi * done)) / 2
            errors = self._trainer.step(rate, self._stop)
            if errors is not None:
                self._errors = _blend(self._errors, errors)

    def keep(self) -> None:
        """Write the checkpoint, if there is to be one."""
        if self._checkpoint is not None:
            standing = Standing(self.elapsed(), self._errors.color, self._errors.gradient, self._worth_measuring)
            write_checkpoint(self._checkpoint, self._trainer, self._identity, standing)
            self._kept = monotonic()

    def _done(self) -> float:
        settings = self._identity.settings
        by_steps = 1.0 if settings.steps == 0 else self._trainer.steps_done / (settings.steps or np.inf)
        # However short the time, one step is made: an untrained network is no answer.
        by_time = self.elapsed() / (settings.seconds or np.inf)
        if self._trainer.steps_done == 0:
            by_time = min(by_time, 0.999)
        return max(by_steps, by_time)

    def _stop(self) -> bool:
        """Within a step: give it up when time is over or the user says so."""
        seconds = self._identity.settings.seconds
        if seconds is not None and self.elapsed() > seconds and self._trainer.steps_done > 0:
            return True
        return self._wants_to_stop(replace(self._progress, seconds=self.elapsed()))

    def _wants_to_stop(self, progress: Progress) -> bool:
        self._stopped = self._stopped or bool(self._watch is not None and self._watch(progress))
        return self._stopped

    def _remember(self) -> None:
        if not self.history or self._progress.seconds - self.history[-1].seconds >= _HISTORY_EVERY:
            self.history.append(self._progress)
        if monotonic() - self._kept >= CHECKPOINT_EVERY:
            self.keep()

    def _reached(self) -> bool:
        target, estimate = self._identity.settings.until_psnr, self._progress.psnr
        if target is None or self._trainer.steps_done == 0:
            return False
        if estimate is not None and self._worth_measuring is not None and estimate < self._worth_measuring:
            return False
        if estimate is None and self._trainer.steps_done < self._measure_at:
            return False
        # Nothing to estimate from: look ever more rarely.
        self._measure_at = self._trainer.steps_done + max(10, self._trainer.steps_done // 5)
        field = self._trainer.tuned()
        measured = psnr(field.render(), self._pixels)
        if estimate is not None:
            # Estimate and measurement differ; measuring takes time, so wait until it may be enough.
            self._worth_measuring = estimate + max(0.1, target - measured)
        return measured >= target


def _seed(seed: int) -> int:
    try:
        number = -1 if isinstance(seed, bool) else index(seed)
    except TypeError:
        number = -1
    if not 0 <= number <= _MAX_SEED:
        raise EorenError(f"seed is {seed!r}, but must be a whole number from 0 to {_MAX_SEED}")
    return number


def _blend(before: StepErrors, now: StepErrors) -> StepErrors:
    def mix(old: float | None, new: float | None) -> float | None:
        return new if old is None or new is None else old + _SMOOTHING * (new - old)

    return StepErrors(mix(before.color, now.color), mix(before.gradient, now.gradient))


def _picture(
    image: ArrayLike | str | PathLike[str] | Picture,
) -> tuple[Float[np.ndarray, "height width channels"], str]:
    """Pixels and SHA-256: of the file, or of shape and numbers of an array."""
    if isinstance(image, str | PathLike):
        image = read_picture(image if isinstance(image, str) else Path(image))
    if isinstance(image, Picture):
        return image.pixels, image.sha256
    pixels = as_image(image)
    return pixels, sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
