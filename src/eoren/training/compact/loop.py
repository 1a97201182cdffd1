"""The refinement of an image: block after block, within a budget, watched, and resumed from checkpoints."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from jaxtyping import Bool

from eoren.coding.bands import Latents, blocks
from eoren.errors import EorenError, FitWarning
from eoren.evaluation.metrics import decibel
from eoren.field.field import Field
from eoren.field.provenance import Provenance
from eoren.field.wavelet_siren import WaveletSiren
from eoren.image.arrays import Image
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
from eoren.training.compact.refinement import BlockRefinement
from eoren.training.compact.rounding import BIT_PRICE, round_block
from eoren.training.compact.settings import CompactSettings
from eoren.training.compact.window import linear_colors
from eoren.training.loop import CHECKPOINT_EVERY
from eoren.training.result import Progress

_HISTORY_EVERY = 0.5
_SIREN_SHARE = 0.7  # of the time budget and of the progress, for the SIREN if there is one


class CompactLoop:
    """The refinement of all latents of an image, one block after the other; see :class:`.RunningFit`.

    Args:
        image: point values ``(H, W, C)``.
        field: field to begin with: rounded latents and a linear decoder; it is not changed.
        coefficients: coefficients in quantisation steps that the latents were rounded from; they are changed.
        key: settings, seed and digest of the image. The settings are those of a compact fit.
        device: device to compute on.
        start: start of the fit on the clock of :func:`time.monotonic`.
        watch: function that returns true to stop the fit.
        checkpoint: file for the state, which is resumed if it exists.
    """

    def __init__(
        self,
        image: Image,
        field: WaveletSiren,
        coefficients: Latents,
        key: CheckpointKey,
        *,
        device: torch.device,
        start: float,
        watch: Callable[[Progress], bool | None] | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        assert isinstance(key.settings, CompactSettings)
        self.history: list[Progress] = []
        self.interrupted = False
        self.result = replace(field, latents=field.latents.copy())
        self._image, self._coefficients, self._key, self._device = image, coefficients, key, device
        self._settings, self._start = key.settings, start
        self._watch, self._checkpoint = watch, checkpoint
        # Blocks share the low-pass band: in an image of several blocks neither the coarse band nor the details above
        # level 3 change. No gradient reaches their coefficients, and rounding these from coarse to fine again gives
        # the same latents.
        self._colors = linear_colors(self.result)
        self._boxes = blocks(*field.size, field.latents.levels)
        ends = np.cumsum([(box.x1 - box.x0) * (box.y1 - box.y0) for box in self._boxes])
        self._pixel_ends = [0, *map(int, ends)]
        self._siren_share = _SIREN_SHARE if key.settings.siren_width else 0.0
        self._state, self._saved_at = LoopState(0.0, group_started=self.elapsed()), monotonic()
        stored = read_checkpoint(checkpoint, key) if checkpoint is not None and checkpoint.exists() else None
        if stored is not None:
            self._state = stored.state
            self._restore(stored)
            self._start = monotonic() - stored.state.seconds  # which include those of the same start
        self._begin_block(0 if stored is None else stored.steps)

    @property
    def steps(self) -> int:
        """Number of steps, averaged over all blocks, rounded up."""
        return -(-(self._state.earlier_steps + self._block.steps) // len(self._boxes))

    def elapsed(self) -> float:
        """Return the seconds of this fit, with those before an interruption."""
        return monotonic() - self._start

    def field(self) -> Field:
        """Copy the current field. The fit is not affected."""
        settings = self._settings.as_dict()
        return Field(replace(self.result, latents=self.result.latents.copy()), Provenance(settings))

    def report_siren(self, used: float) -> bool:
        """Report the training of the SIREN after :meth:`run`, and return whether the watcher stops it.

        Args:
            used: share of its budget that is used up.
        """
        return self._report(1 - self._siren_share * (1 - min(used, 1.0)))

    def report_trial(self) -> bool:
        """Report a trial of the last rounding after :meth:`run`, and return whether the watcher stops the fit."""
        return self._report(1.0, is_running=False)

    def boxes(self) -> list[list[int]]:
        """Return the boxes of the blocks."""
        return [list(box) for box in self._boxes]

    def selected_tiles(self) -> Bool[np.ndarray, " tiles"]:
        """Return which block the current step changes."""
        selected = np.zeros(len(self._boxes), bool)
        selected[self._state.group] = True
        return selected

    def run(self) -> None:
        """Refine block after block, until the watcher stops the fit or all are done."""
        while True:
            self._run_block()
            if self.interrupted or self._state.group + 1 == len(self._boxes):
                return
            steps, now = self._state.earlier_steps + self._block.steps, self.elapsed()
            self._state = LoopState(now, group=self._state.group + 1, group_started=now, earlier_steps=steps)
            self._begin_block(0)

    def save_checkpoint(self) -> None:
        """Write the checkpoint, if the fit has one; a warning says so if it cannot be written."""
        if self._checkpoint is None:
            return
        state = replace(self._state, seconds=self.elapsed())
        try:
            stored = Checkpoint(state, self._block.steps, self._tensors(state.group))
            write_checkpoint(self._checkpoint, self._key, stored)
        except EorenError as error:
            warnings.warn(f"{error}; the fit goes on without this checkpoint", FitWarning, stacklevel=2)
        self._saved_at = monotonic()

    def _restore(self, stored: Checkpoint) -> None:
        """Take the coefficients of a checkpoint, and round the latents of its blocks as they were."""
        assert self._checkpoint is not None
        if self._state.group >= len(self._boxes):
            raise damaged(self._checkpoint)
        expected = self._tensors(self._state.group)
        tensors = match_tensors(self._checkpoint, stored.tensors, expected)
        if not all(bool(t.isfinite().all()) for t in tensors.values()):
            raise damaged(self._checkpoint)
        left = [tensors[name].numpy() for name in expected]
        for box in self._boxes[: self._state.group + 1]:
            coefficients = self._coefficients.block(box)
            for k, band in enumerate(coefficients.bands()):
                band[:], left[k] = left[k][: band.size].reshape(band.shape), left[k][band.size :]
            round_block(coefficients, self.result.latents.block(box), BIT_PRICE, self.result.shifts)

    def _begin_block(self, steps: int) -> None:
        number = self._state.group
        self._block = BlockRefinement(
            self._image,
            self.result,
            self._colors,
            self._boxes[number],
            self._coefficients,
            gradient_weight=self._settings.gradient_weight,
            device=self._device,
        )
        self._block.steps = steps
        seconds = self._settings.time_limit(*self.result.size)
        if seconds is not None:
            seconds *= 1 - self._siren_share
            before, after, count = *self._pixel_ends[number : number + 2], self._pixel_ends[-1]
            share = (after - before) / (count - before)
            seconds = max(0.0, seconds - self._state.group_started) * share
        self._budget = Budget(self._settings.steps, seconds)

    def _tensors(self, last: int) -> dict[str, torch.Tensor]:
        """Return the coefficients of the first blocks up to a number, by band: one block after the other.

        A tensor for each band of each block would make the header of the file longer than readers accept.
        """
        bands = zip(*(self._coefficients.block(box).bands() for box in self._boxes[: last + 1]), strict=True)
        flat = (np.concatenate([band.ravel() for band in blocks]) for blocks in bands)
        return {f"coefficients.{k}": torch.from_numpy(values) for k, values in enumerate(flat)}

    def _run_block(self) -> None:
        while True:
            used = self._budget.used(self._block.steps, self.elapsed() - self._state.group_started)
            if self._report_block(min(used, 1.0)) or used >= 1:
                return
            self._block.step()
            if monotonic() - self._saved_at >= CHECKPOINT_EVERY:
                self.save_checkpoint()

    def _report_block(self, used: float) -> bool:
        before, after = self._pixel_ends[self._state.group : self._state.group + 2]
        share = (before + used * (after - before)) / self._pixel_ends[-1]
        return self._report((1 - self._siren_share) * share)

    def _report(self, done: float, *, is_running: bool = True) -> bool:
        """Tell the watcher, and return whether it stops the fit."""
        errors, pixels = self._block.errors, self._block.pixels
        psnr = None if errors is None else decibel(errors.color / pixels)
        gradient = None if errors is None else decibel(errors.gradient / pixels)
        progress = Progress(self.steps, self.elapsed(), done, psnr, gradient)
        if not self.history or progress.seconds - self.history[-1].seconds >= _HISTORY_EVERY:
            self.history.append(progress)
        if self._watch is not None and not self.interrupted:
            self.interrupted = bool(self._watch(replace(progress, loop=self if is_running else None)))
        return self.interrupted
