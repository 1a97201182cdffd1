"""The run of a fit: groups of tiles one after the other, budget, running estimates, checkpoints.

A large image is trained group by group, each through its whole schedule, so that what is in memory beside the
image and the networks' parameters is one group's: targets, optimisers' memories, gradients.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from time import monotonic
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float

from eoren.errors import EorenError, FitWarning
from eoren.evaluation.metrics import decibel
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.model.channel_tuning import Tuning
from eoren.model.tiling import Tiling
from eoren.training.checkpoint import (
    Checkpoint,
    CheckpointKey,
    LoopState,
    check_like,
    damaged,
    read_checkpoint,
    write_checkpoint,
)
from eoren.training.trainer import TILES_AT_ONCE, StepErrors, Trainer, init_networks, tuning_of

# A kill loses at most this much work, in seconds.
CHECKPOINT_EVERY = 30.0
_HISTORY_EVERY = 0.5
# How much of the running error each step replaces: steps see different pixels.
_SMOOTHING = 0.1

Ended = Literal["budget", "target", "interrupted"]


@dataclass(frozen=True)
class Progress:
    """Where a fit stands.

    Attributes:
        steps: made so far, in the mean over all tiles, rounded up.
        seconds: taken so far.
        done: share of the budget that is used up, 0..1.
        psnr: dB, a running estimate over the pixels of recent steps; none where no colour is fitted at pixels.
        gradient_psnr: dB, likewise, against the target gradients; none where no gradient is fitted.
        run: the fit itself, to be asked within ``watch`` what it has come to (:meth:`FitLoop.field`). Not to be
            kept: it holds all that training needs.
    """

    steps: int = 0
    seconds: float = 0.0
    done: float = 0.0
    psnr: float | None = None
    gradient_psnr: float | None = None
    run: "FitLoop | None" = field(default=None, repr=False, compare=False)

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end of the budget at this pace; none before the first step."""
        return self.seconds * (1 - self.done) / self.done if self.done > 0 else None


class FitLoop:
    """Training from the first step to the last, or from a checkpoint on.

    Args:
        image: ``(H, W, C)``.
        tiling: of the image.
        identity: settings, seed and image.
        device: where to train.
        start: when the fit began, on :func:`time.monotonic`'s clock.
        watch: called after every chunk of work; returns true to stop.
        checkpoint: a file to keep the state in, and to go on from if it exists.
        gradient: to fit instead of the image's own, see :meth:`eoren.training.trainer.Trainer.of_picture`.

    Attributes:
        siren: the networks of all tiles. Those that had no turn yet are zero.
        history: running estimates, about two a second.
    """

    def __init__(
        self,
        image: Float[np.ndarray, "height width channels"],
        tiling: Tiling,
        identity: CheckpointKey,
        *,
        device: torch.device,
        start: float,
        watch: Callable[[Progress], bool | None] | None = None,
        checkpoint: Path | None = None,
        gradient: Float[np.ndarray, "height width channels 2"] | None = None,
    ) -> None:
        """Go to where the checkpoint stands, or to the beginning."""
        self.history: list[Progress] = []
        self._gradient = gradient
        self._image, self._tiling, self._identity, self._device = image, tiling, identity, device
        self._start, self._watch, self._checkpoint = start, watch, checkpoint
        self._settings = identity.settings
        self._limit = self._settings.time_limit(tiling.width, tiling.height)
        self._groups = tiling.groups(TILES_AT_ONCE)
        one = init_networks(self._settings, tiling, image.shape[2], count=1, seed=0).to(device)
        self.siren = one.with_tensors([t.new_zeros(tiling.count, *t.shape[1:]) for t in one.tensors()])
        # Of the groups whose networks need no more training, as far as anybody asked.
        self._tunings: dict[int, Tuning] = {}
        self._stopped = False
        self._progress = Progress()
        if checkpoint is not None and checkpoint.exists():
            self._resume(checkpoint)
        else:
            self._begin(LoopState(0.0))
        self._kept = monotonic()

    @property
    def steps(self) -> int:
        """Steps made, in the mean over all tiles, rounded up."""
        return -(-self._tile_steps // self._tiling.count)

    @property
    def _tile_steps(self) -> int:
        return self._standing.earlier_steps + self._trainer.steps_done * self._trainer.siren.batch

    def elapsed(self) -> float:
        """Seconds of this fit, those before an interruption included."""
        return monotonic() - self._start

    @property
    def tiling(self) -> Tiling:
        """Of the image."""
        return self._tiling

    def field(self) -> Field:
        """The field as it stands, a copy; gray where no training has been yet. Changes nothing of the fit.

        Raises:
            EorenError: the fit diverged.
        """
        self._collect()
        ones = torch.ones(self._tiling.count, 1, self.siren.channels, device=self._device)
        tuning = Tuning(ones, 0.5 * ones)
        for number in range(self._standing.group + 1):
            part = self._tuning(number)
            tuning.alpha[self._groups[number]], tuning.beta[self._groups[number]] = part.alpha, part.beta
        siren = self.siren.with_tensors([t.clone() for t in self.siren.tensors()])
        return Field(SirenMosaic(siren, tuning, self._tiling))

    def awake(self) -> Bool[np.ndarray, " tiles"]:
        """Which tiles the step at hand trains."""
        found = np.zeros(self._tiling.count, bool)
        found[self._groups[self._standing.group]] = self._trainer.awake.cpu().numpy()
        return found

    def run(self) -> Ended:
        """Train group after group until something ends it: what ended the last group."""
        while True:
            ended = self._until_the_end_of_the_group()
            if ended != "interrupted" or self._trainer.steps_done:
                self._collect()
            group, now = self._standing.group + 1, self.elapsed()
            if ended == "interrupted" or group == len(self._groups):
                return ended
            if self._limit is not None and now >= self._limit:
                return "budget"
            steps = self._tile_steps
            # Not two groups in memory at a time.
            del self._trainer
            self._begin(LoopState(now, group=group, group_started=now, earlier_steps=steps))

    def keep(self) -> None:
        """Write the checkpoint, if there is to be one.

        If it cannot be written, on a full disk say, that is said and the fit goes on: its work is not lost by that.
        Networks that have just diverged are not kept: the checkpoint before leads to them and back.
        """
        if self._checkpoint is not None and _finite(self._trainer.siren.tensors()):
            standing = replace(
                self._standing,
                seconds=self.elapsed(),
                color_error=self._errors.color,
                gradient_error=self._errors.gradient,
                worth_measuring=self._worth_measuring,
                measure_at=self._measure_at,
            )
            finished = self._finished(standing.group)
            stored = Checkpoint(standing, self._trainer.steps_done, self._trainer.state(), finished)
            try:
                write_checkpoint(self._checkpoint, self._identity, stored)
            except EorenError as error:
                warnings.warn(f"{error}; the fit goes on without this checkpoint", FitWarning, stacklevel=2)
            self._kept = monotonic()

    def _begin(self, standing: LoopState) -> None:
        """Come to a group of tiles."""
        self._standing = standing
        self._errors = StepErrors(standing.color_error, standing.gradient_error)
        # Above this running estimate it is worth measuring whether the target is reached.
        self._worth_measuring = standing.worth_measuring or self._settings.until_psnr
        self._measure_at = standing.measure_at
        self._trainer = Trainer.of_picture(
            self._image,
            self._settings,
            seed=self._identity.seed,
            device=self._device,
            tiling=self._tiling,
            tiles=self._groups[standing.group],
            gradient=self._gradient,
        )
        # Steps made, and the share of the budget used, when the steps at hand began.
        self._paced_from = 0, self._done()

    def _resume(self, path: Path) -> None:
        stored = read_checkpoint(path, self._identity)
        if stored.standing.group >= len(self._groups):
            raise damaged(path)
        self._start -= stored.standing.seconds
        self._begin(stored.standing)
        finished = self._finished(stored.standing.group)
        check_like(path, stored.state, self._trainer.state())
        check_like(path, stored.finished, finished)
        if not _finite(stored.state[: len(self._trainer.siren.tensors())]):
            raise damaged(path)
        # Counters that disagree, or nobody awake: no trainer leaves such a state.
        for t in stored.state:
            if (t.dtype == torch.int64 and int(t) != stored.steps) or (t.dtype == torch.bool and not bool(t.any())):
                raise damaged(path)
        self._trainer.restore([*stored.state], stored.steps)
        self._paced_from = stored.steps, self._done()
        for own, found in zip(finished, stored.finished, strict=True):
            own.copy_(found)

    def _finished(self, group: int) -> list[torch.Tensor]:
        """Parameters, in place, of the networks before a group."""
        return [t[: self._groups[group].start] for t in self.siren.tensors()] if group else []

    def _tuning(self, number: int) -> Tuning:
        """Of a group: what makes colours of what its networks say."""
        if number == self._standing.group:
            return self._trainer.current_tuning()
        if number not in self._tunings:
            self._tunings[number] = tuning_of(self.siren, self._tiling, self._image, self._groups[number])
        return self._tunings[number]

    def _collect(self) -> None:
        """Take the networks of the group over."""
        for whole, part in zip(self.siren.tensors(), self._trainer.networks().tensors(), strict=True):
            whole[self._groups[self._standing.group]] = part

    def _until_the_end_of_the_group(self) -> Ended:
        while True:
            done = self._done()
            color, gradient = (None if e is None else decibel(e) for e in (self._errors.color, self._errors.gradient))
            self._progress = Progress(self.steps, self.elapsed(), self._done_of_all(min(done, 1.0)), color, gradient)
            self._remember()
            if self._wants_to_stop(self._progress):
                return "interrupted"
            if done >= 1:
                return "budget"
            if self._reached():
                return "target"
            errors = self._trainer.step(self._settings.schedule(done, self._steps_in_all(done)), self._stop)
            if errors is not None:
                self._errors = _blend(self._errors, errors)

    def _done(self) -> float:
        """Share of the group's budget that is used up."""
        steps = self._settings.steps
        by_steps = 1.0 if steps == 0 else self._trainer.steps_done / (steps or inf)
        # However short the time, one step is made: an untrained network is no answer.
        by_time = self._time_used() if self._trainer.steps_done else min(self._time_used(), 0.999)
        return max(by_steps, by_time)

    def _steps_in_all(self, done: float) -> float:
        """Steps that the group's budget allows, at the pace so far; what came before the steps does not count."""
        if self._limit is None:
            return float(self._settings.steps or 1)
        made, (made_before, done_before) = self._trainer.steps_done, self._paced_from
        if made > made_before and done > done_before:
            return made + (1 - done) * (made - made_before) / (done - done_before)
        return made / done if made else float(self._settings.steps or 1000)

    def _time_used(self) -> float:
        """Share of the group's time: what was left of the whole when it began, by its share of the tiles left."""
        if self._limit is None:
            return 0.0
        began, start = self._standing.group_started, self._groups[self._standing.group].start
        share: float = self._trainer.siren.batch / (self._tiling.count - start)
        own = (self._limit - began) * share
        return (self.elapsed() - began) / own if own > 0 else 1.0

    def _done_of_all(self, done: float) -> float:
        start: int = self._groups[self._standing.group].start
        return (start + done * self._trainer.siren.batch) / self._tiling.count

    def _stop(self) -> bool:
        """Within a step: give it up when time is over or the user says so."""
        if self._trainer.steps_done > 0 and self._time_used() > 1:
            return True
        return self._wants_to_stop(replace(self._progress, seconds=self.elapsed()))

    def _wants_to_stop(self, progress: Progress) -> bool:
        if self._watch is not None and not self._stopped:
            self._stopped = bool(self._watch(replace(progress, run=self)))
        return self._stopped

    def _remember(self) -> None:
        if not self.history or self._progress.seconds - self.history[-1].seconds >= _HISTORY_EVERY:
            self.history.append(self._progress)
        if monotonic() - self._kept >= CHECKPOINT_EVERY:
            self.keep()

    def _reached(self) -> bool:
        target, estimate = self._settings.until_psnr, self._progress.psnr
        if target is None or self._trainer.steps_done == 0:
            return False
        if estimate is not None and self._worth_measuring is not None and estimate < self._worth_measuring:
            return False
        if estimate is None and self._trainer.steps_done < self._measure_at:
            return False
        # Nothing to estimate from: look ever more rarely.
        self._measure_at = self._trainer.steps_done + max(10, self._trainer.steps_done // 5)
        measured = decibel(self._trainer.color_error())
        if estimate is not None and measured < target:
            # Estimate and measurement differ; measuring takes time, so wait until it may be enough.
            self._worth_measuring = estimate + max(0.1, target - measured)
        return measured >= target


def _finite(parameters: Sequence[torch.Tensor]) -> bool:
    return all(bool(t.isfinite().all()) for t in parameters)


def _blend(before: StepErrors, now: StepErrors) -> StepErrors:
    def mix(old: float | None, new: float | None) -> float | None:
        return new if old is None or new is None else old + _SMOOTHING * (new - old)

    return StepErrors(mix(before.color, now.color), mix(before.gradient, now.gradient))
