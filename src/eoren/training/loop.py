"""The loop of a fit: groups of tiles one after the other, running estimates, targets and checkpoints.

A large image is trained group by group, each through its whole schedule, so that memory beyond the image and the
networks' parameters is that of one group: targets, optimiser state, gradients.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from jaxtyping import Bool

from eoren.errors import EorenError, FitWarning
from eoren.evaluation.metrics import decibel
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.provenance import Provenance
from eoren.image.arrays import Gradient, Image
from eoren.model.channel_tuning import Tuning
from eoren.model.tiling import Tiling
from eoren.training.assembly import TILES_AT_ONCE, init_networks, tuning_of
from eoren.training.budget import Budget
from eoren.training.checkpoint import (
    Checkpoint,
    CheckpointKey,
    LoopState,
    damaged,
    match_tensors,
    read_checkpoint,
    write_checkpoint,
)
from eoren.training.result import Ended, Progress
from eoren.training.settings import Settings
from eoren.training.trainer import Trainer

_log = logging.getLogger(__name__)

CHECKPOINT_EVERY = 30.0
"""Seconds between checkpoints: a killed fit loses at most this much work."""

_HISTORY_EVERY = 0.5
# Share of the running error that each step replaces: steps see different pixels.
_SMOOTHING = 0.1


class FitLoop:
    """Training of one image from the first step, or from a checkpoint, to the last.

    ``key`` holds settings, seed and digest of the image. ``start`` is the start of the fit on the clock of
    :func:`time.monotonic`. ``watch`` returns True to stop the fit. The state is stored in ``checkpoint``, and resumed
    from it if it exists. ``gradient`` replaces the image's own, see :meth:`.Trainer.of_image`.
    """

    def __init__(
        self,
        image: Image,
        tiling: Tiling,
        key: CheckpointKey,
        *,
        device: torch.device,
        start: float,
        watch: Callable[[Progress], bool | None] | None = None,
        checkpoint: Path | None = None,
        gradient: Gradient | None = None,
    ) -> None:
        self.history: list[Progress] = []  # about two per second
        self.tiling = tiling
        self._image, self._gradient, self._key, self._device = image, gradient, key, device
        self._start, self._watch, self._checkpoint = start, watch, checkpoint
        assert isinstance(key.settings, Settings)
        self._settings = key.settings
        self._limit = self._settings.time_limit(tiling.width, tiling.height)
        self._groups = tiling.groups(TILES_AT_ONCE)
        one = init_networks(self._settings, tiling, image.shape[2], count=1, seed=0).to(device)
        # The networks of all tiles; those of groups that were not trained yet are zero.
        self.siren = one.with_tensors([t.new_zeros(tiling.count, *t.shape[1:]) for t in one.tensors()])
        # Channel tuning of finished groups, computed when a watcher requests the field.
        self._tunings: dict[int, Tuning] = {}
        self._stopped = False
        self._progress = Progress()
        if checkpoint is not None and checkpoint.exists():
            self._resume(checkpoint)
        else:
            self._begin_group(LoopState(0.0))
        self._saved_at = monotonic()

    @property
    def steps(self) -> int:
        """Number of steps, averaged over all tiles, rounded up."""
        return -(-self._tile_steps // self.tiling.count)

    def boxes(self) -> list[list[int]]:
        """Return the boxes of all tiles, ``[column0, row0, column1, row1]``."""
        boxes: list[list[int]] = self.tiling.boxes.tolist()
        return boxes

    @property
    def _tile_steps(self) -> int:
        return self._state.earlier_steps + self._trainer.steps_done * self._trainer.siren.batch

    def elapsed(self) -> float:
        """Return the seconds of this fit, with those before an interruption."""
        return monotonic() - self._start

    def field(self) -> Field:
        """Copy the current field; tiles that were not trained yet are gray. The fit is not affected."""
        self._collect()
        ones = self.siren.weights[0].new_ones(self.tiling.count, 1, self.siren.channels)
        tuning = Tuning(ones, 0.5 * ones)
        for number in range(self._state.group + 1):
            part = self._group_tuning(number)
            tuning.alpha[self._groups[number]], tuning.beta[self._groups[number]] = part.alpha, part.beta
        siren = self.siren.with_tensors([t.clone() for t in self.siren.tensors()])
        return Field(SirenMosaic(siren, tuning, self.tiling), Provenance(self._settings.as_dict()))

    def selected_tiles(self) -> Bool[np.ndarray, " tiles"]:
        """Return which tiles the current step trains."""
        selected = np.zeros(self.tiling.count, bool)
        selected[self._groups[self._state.group]] = self._trainer.selected.cpu().numpy()
        return selected

    def run(self) -> Ended:
        """Train group after group and return what ended the last one."""
        while True:
            ended = self._run_group()
            _log.info("tiles %s: %s after %d steps", self._groups[self._state.group], ended, self._trainer.steps_done)
            if ended != "interrupted" or self._trainer.steps_done:
                self._collect()
            group, now = self._state.group + 1, self.elapsed()
            if ended == "interrupted" or group == len(self._groups):
                return ended
            if self._limit is not None and now >= self._limit:
                return "budget"
            steps = self._tile_steps
            # Frees one group's memory before the next one is prepared.
            del self._trainer
            self._begin_group(LoopState(now, group=group, group_started=now, earlier_steps=steps))

    def save_checkpoint(self) -> None:
        """Write the checkpoint, if the fit has one.

        If it cannot be written, for example on a full disk, a warning is emitted and the fit goes on. A state with
        parameters that are not finite is not stored: the checkpoint before it leads to the same rollback.
        """
        if self._checkpoint is None or not _all_finite(self._trainer.siren.tensors()):
            return
        state = replace(self._state, seconds=self.elapsed())
        stored = Checkpoint(state, self._trainer.steps_done, self._trainer.state_dict() | self._finished())
        try:
            write_checkpoint(self._checkpoint, self._key, stored)
            _log.debug("checkpoint %s written at step %d", self._checkpoint, self._trainer.steps_done)
        except EorenError as error:
            warnings.warn(f"{error}; the fit goes on without this checkpoint", FitWarning, stacklevel=2)
        self._saved_at = monotonic()

    def _begin_group(self, state: LoopState) -> None:
        self._state = replace(state, worth_measuring=state.worth_measuring or self._settings.until_psnr)
        tiles = self._groups[state.group]
        self._trainer = Trainer.of_image(
            self._image,
            self._settings,
            seed=self._key.seed,
            device=self._device,
            tiling=self.tiling,
            tiles=tiles,
            gradient=self._gradient,
        )
        seconds = None
        if self._limit is not None:
            # The group's share of the time that was left when it began.
            share: float = self._trainer.siren.batch / (self.tiling.count - tiles.start)
            seconds = (self._limit - state.group_started) * share
        self._budget = Budget(self._settings.steps, seconds).paced_from(0, self._group_seconds())

    def _group_seconds(self) -> float:
        return self.elapsed() - self._state.group_started

    def _resume(self, path: Path) -> None:
        stored = read_checkpoint(path, self._key)
        if stored.state.group >= len(self._groups):
            raise damaged(path)
        self._start -= stored.state.seconds
        self._begin_group(stored.state)
        finished = self._finished()
        tensors = match_tensors(path, stored.tensors, self._trainer.state_dict() | finished)
        # Parameters are finite, int64 tensors the step counts of optimizers, and the bool tensor the selected tiles.
        if not _all_finite([t for name, t in tensors.items() if name.startswith("parameters.")]):
            raise damaged(path)
        for t in tensors.values():
            if (t.dtype == torch.int64 and int(t) != stored.steps) or (t.dtype == torch.bool and not bool(t.any())):
                raise damaged(path)
        self._trainer.restore(tensors, stored.steps)
        self._budget = self._budget.paced_from(stored.steps, self._group_seconds())
        for name, parameters in finished.items():
            parameters.copy_(tensors[name])
        _log.info("resumed from %s at step %d of group %d", path, stored.steps, stored.state.group + 1)

    def _finished(self) -> dict[str, torch.Tensor]:
        """Return the parameters, as views, of the networks of the groups before the current one."""
        count = self._groups[self._state.group].start
        return {f"finished.{k}": t[:count] for k, t in enumerate(self.siren.tensors())} if count else {}

    def _group_tuning(self, number: int) -> Tuning:
        if number == self._state.group:
            return self._trainer.current_tuning()
        if number not in self._tunings:
            self._tunings[number] = tuning_of(self.siren, self.tiling, self._image, self._groups[number])
        return self._tunings[number]

    def _collect(self) -> None:
        """Copy the networks of the current group to those of all tiles."""
        for whole, part in zip(self.siren.tensors(), self._trainer.networks().tensors(), strict=True):
            whole[self._groups[self._state.group]] = part

    def _run_group(self) -> Ended:
        while True:
            steps = self._trainer.steps_done
            used = self._budget.used(steps, self._group_seconds())
            errors = self._state.color_error, self._state.gradient_error
            color, gradient = (None if error is None else decibel(error) for error in errors)
            finished: int = self._groups[self._state.group].start
            done = (finished + min(used, 1.0) * self._trainer.siren.batch) / self.tiling.count
            self._progress = Progress(self.steps, self.elapsed(), done, color, gradient)
            self._record()
            if self._watcher_stops(self._progress):
                return "interrupted"
            if used >= 1:
                return "budget"
            if self._target_reached():
                return "target"
            lr_scale = self._settings.schedule(used, self._budget.total_steps(steps, used))
            step_errors = self._trainer.step(lr_scale, self._should_stop)
            if step_errors is not None:
                self._state.color_error = _smooth(self._state.color_error, step_errors.color)
                self._state.gradient_error = _smooth(self._state.gradient_error, step_errors.gradient)

    def _should_stop(self) -> bool:
        """Whether to abandon a step: the time is over or the watcher stops the fit."""
        if self._trainer.steps_done > 0 and self._budget.time_used(self._group_seconds()) > 1:
            return True
        return self._watcher_stops(replace(self._progress, seconds=self.elapsed()))

    def _watcher_stops(self, progress: Progress) -> bool:
        if self._watch is not None and not self._stopped:
            self._stopped = bool(self._watch(replace(progress, loop=self)))
        return self._stopped

    def _record(self) -> None:
        if not self.history or self._progress.seconds - self.history[-1].seconds >= _HISTORY_EVERY:
            self.history.append(self._progress)
        if monotonic() - self._saved_at >= CHECKPOINT_EVERY:
            self.save_checkpoint()

    def _target_reached(self) -> bool:
        target, estimate, steps = self._settings.until_psnr, self._progress.psnr, self._trainer.steps_done
        if target is None or steps == 0:
            return False
        if estimate is None and steps < self._state.measure_at:
            return False
        if estimate is not None and estimate < (self._state.worth_measuring or target):
            return False
        # Without an estimate the error is measured at growing intervals.
        self._state.measure_at = steps + max(10, steps // 5)
        measured = decibel(self._trainer.color_error())
        if estimate is not None and measured < target:
            # Measuring takes time: wait until the estimate has grown by the difference.
            self._state.worth_measuring = estimate + max(0.1, target - measured)
        return measured >= target


def _all_finite(tensors: Sequence[torch.Tensor]) -> bool:
    return all(bool(t.isfinite().all()) for t in tensors)


def _smooth(old: float | None, new: float | None) -> float | None:
    return new if old is None or new is None else old + _SMOOTHING * (new - old)
