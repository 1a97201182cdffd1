"""The descent of an image: block after block, within a budget, watched, and resumed from checkpoints."""

import logging
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
from eoren.training.compact.descent import BlockDescent
from eoren.training.compact.settings import CompactSettings
from eoren.training.loop import CHECKPOINT_EVERY
from eoren.training.result import Ended, Progress

_log = logging.getLogger(__name__)

_HISTORY_EVERY = 0.5


class CompactLoop:
    """The descent of all latents of an image, one block after the other; see :class:`.RunningFit`.

    Args:
        image: point values ``(H, W, C)``.
        field: field to begin with: rounded latents and a linear decoder.
        coefficients: coefficients of all bands in quantisation steps; they are changed.
        key: settings, seed and digest of the image. The settings are those of a compact fit.
        price: what one bit is worth, in squared errors summed over pixels and averaged over channels.
        device: device to compute on.
        start: start of the fit on the clock of :func:`time.monotonic`.
        seconds: time limit from the start on; None for no limit.
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
        price: float,
        device: torch.device,
        start: float,
        seconds: float | None,
        watch: Callable[[Progress], bool | None] | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        assert isinstance(key.settings, CompactSettings)
        self.history: list[Progress] = []
        self.coefficients = coefficients
        self._image, self._field, self._key, self._price, self._device = image, field, key, price, device
        self._settings, self._start, self._seconds = key.settings, start, seconds
        self._watch, self._checkpoint = watch, checkpoint
        self._boxes = blocks(*field.size, field.latents.levels)
        self._state, self._stopped, self._saved_at = LoopState(0.0, group_started=self.elapsed()), False, monotonic()
        stored = read_checkpoint(checkpoint, key) if checkpoint is not None and checkpoint.exists() else None
        if stored is not None:
            self._start -= stored.state.seconds
            self._state = stored.state
        self._begin_block(stored)

    @property
    def steps(self) -> int:
        """Number of steps, averaged over all blocks, rounded up."""
        return -(-(self._state.earlier_steps + self._descent.steps) // len(self._boxes))

    def elapsed(self) -> float:
        """Return the seconds of this fit, with those before an interruption."""
        return monotonic() - self._start

    def field(self) -> Field:
        """Copy the current field. The fit is not affected."""
        self._collect()
        latents = Latents.zeros(
            self._field.channels, self._field.height, self._field.width, self._field.latents.levels
        )
        for latent, values in zip(latents.bands(), self.coefficients.bands(), strict=True):
            latent[:] = np.rint(values)
        return Field(replace(self._field, latents=latents))

    def boxes(self) -> list[list[int]]:
        """Return the boxes of the blocks."""
        return [list(box) for box in self._boxes]

    def selected_tiles(self) -> Bool[np.ndarray, " tiles"]:
        """Return which block the current step changes."""
        selected = np.zeros(len(self._boxes), bool)
        selected[self._state.group] = True
        return selected

    def run(self) -> Ended:
        """Descend in block after block, and return what ended the last one."""
        while True:
            ended = self._run_block()
            self._collect()
            last = self._state.group + 1 == len(self._boxes)
            if ended == "interrupted" or last:
                return ended
            steps, now = self._state.earlier_steps + self._descent.steps, self.elapsed()
            self._state = LoopState(now, group=self._state.group + 1, group_started=now, earlier_steps=steps)
            self._begin_block(None)

    def save_checkpoint(self) -> None:
        """Write the checkpoint, if the fit has one; a warning says so if it cannot be written."""
        if self._checkpoint is None:
            return
        state = replace(self._state, seconds=self.elapsed())
        try:
            stored = Checkpoint(state, self._descent.steps, self._descent.tensors() | self._finished())
            write_checkpoint(self._checkpoint, self._key, stored)
        except EorenError as error:
            warnings.warn(f"{error}; the fit goes on without this checkpoint", FitWarning, stacklevel=2)
        self._saved_at = monotonic()

    def _begin_block(self, stored: Checkpoint | None) -> None:
        number = self._state.group
        if number >= len(self._boxes):
            assert self._checkpoint is not None
            raise damaged(self._checkpoint)
        box = self._boxes[number]
        tensors = {}
        if stored is not None and self._checkpoint is not None:
            expected = self._finished()
            moments = [
                f"{kind}.{k}"
                for kind in ("latent", "mean", "square")
                for k in range(3 * self._field.latents.levels + 1)
            ]
            bands = self.coefficients.block(box).bands()
            expected |= {
                name: torch.from_numpy(np.ascontiguousarray(bands[int(name.split(".")[1])])) for name in moments
            }
            tensors = match_tensors(self._checkpoint, stored.tensors, expected)
            if not all(bool(t.isfinite().all()) for t in tensors.values()):
                raise damaged(self._checkpoint)
            for finished in range(number):
                for k, band in enumerate(self.coefficients.block(self._boxes[finished]).bands()):
                    band[:] = tensors[f"finished.{finished}.{k}"].numpy()
        self._descent = BlockDescent(
            self._image,
            self.field_of_finished(number),
            box,
            list(self.coefficients.block(box).bands()),
            gradient_weight=self._settings.gradient_weight,
            price=self._price,
            seed=self._key.seed * len(self._boxes) + number,
            device=self._device,
        )
        if stored is not None:
            for name, tensor in self._descent.tensors().items():
                tensor.copy_(tensors[name])
            self._descent.steps = stored.steps
        pixels = [(b.x1 - b.x0) * (b.y1 - b.y0) for b in self._boxes]
        seconds = None
        if self._seconds is not None:
            share = pixels[number] / sum(pixels[number:])
            seconds = max(0.0, self._seconds - self._state.group_started) * share
        self._budget = Budget(self._settings.steps, seconds)

    def field_of_finished(self, count: int) -> WaveletSiren:
        """Return the field at the start, with the latents of the first blocks as the descent left them."""
        for box in self._boxes[max(0, count - 1) : count]:
            values = self.coefficients.block(box).bands()
            for latent, value in zip(self._field.latents.block(box).bands(), values, strict=True):
                latent[:] = np.rint(value)
        return self._field

    def _finished(self) -> dict[str, torch.Tensor]:
        """Return the coefficients of the blocks before the current one."""
        return {
            f"finished.{number}.{k}": torch.from_numpy(np.ascontiguousarray(band))
            for number in range(self._state.group)
            for k, band in enumerate(self.coefficients.block(self._boxes[number]).bands())
        }

    def _collect(self) -> None:
        values = self._descent.coefficients()
        for band, value in zip(self.coefficients.block(self._boxes[self._state.group]).bands(), values, strict=True):
            band[:] = value

    def _run_block(self) -> Ended:
        while True:
            used = self._budget.used(self._descent.steps, self.elapsed() - self._state.group_started)
            if self._report(min(used, 1.0)):
                return "interrupted"
            if used >= 1:
                return "budget"
            self._descent.step(used, self._budget.total_steps(self._descent.steps, used))
            if monotonic() - self._saved_at >= CHECKPOINT_EVERY:
                self.save_checkpoint()

    def _report(self, used: float) -> bool:
        """Tell the watcher, and return whether it stops the fit."""
        box, count = self._boxes[self._state.group], self._field.width * self._field.height
        done = sum((b.x1 - b.x0) * (b.y1 - b.y0) for b in self._boxes[: self._state.group])
        share = (done + used * (box.x1 - box.x0) * (box.y1 - box.y0)) / count
        psnr = gradient = None
        if self._descent.steps:
            pixels = self._descent.pixels
            psnr, gradient = (
                decibel(self._descent.color_error / pixels),
                decibel(self._descent.gradient_error / pixels),
            )
        progress = Progress(self.steps, self.elapsed(), share, psnr, gradient)
        if not self.history or progress.seconds - self.history[-1].seconds >= _HISTORY_EVERY:
            self.history.append(progress)
        if self._watch is not None and not self._stopped:
            self._stopped = bool(self._watch(replace(progress, loop=self)))
        return self._stopped
