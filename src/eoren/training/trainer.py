"""One training step of a batch of networks, each on its own tile of an image, or on its own image.

One network on the whole image, the EoREN paper's case, is a batch of one. The gradient of the loss is computed by
:mod:`eoren.backends.dispatch`.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eoren.backends.base import StepBatch, chunk_points
from eoren.backends.dispatch import choose_backend, training_of
from eoren.backends.optimizers import Optimizer
from eoren.backends.tile_evaluation import tuning_moments
from eoren.image.arrays import Gradient, Image
from eoren.image.gradients import SPLINE, STENCILS, pixel_gradient
from eoren.model.channel_tuning import Tuning
from eoren.model.loss import Pass
from eoren.model.moments import Moments
from eoren.model.quantization import rounded
from eoren.model.siren import Siren
from eoren.model.tile_pixels import TilePixels
from eoren.model.tiling import Tiling
from eoren.training.assembly import build_tiling, image_seed, init_networks
from eoren.training.divergence import CHECK_EVERY, DivergenceMonitor
from eoren.training.settings import Settings
from eoren.training.tile_scheduler import TileScheduler

_log = logging.getLogger(__name__)

# Least standard deviation to which a channel is standardized: below it, rounding noise would be amplified.
_FLAT = 1 / 255


@dataclass(frozen=True)
class StepErrors:
    """Mean squared errors over the points of one step, before it moved the networks.

    Tiles count by their area; those that did not take part in the step, with the error of their last one. None stands
    for an error that the step did not compute.
    """

    color: float | None  # after channel tuning if the loss has no colour term
    gradient: float | None  # in intensity per pixel, mean over axes


class Trainer:
    """Networks in training, with the data for their steps and the state for resuming.

    ``gradient_target`` holds the gradients at ``tile_pixels`` in intensity per pixel; None if only colours are
    fitted. ``seed`` gives the order of the pixels, the same for all networks. With ``schedule_tiles``, networks with
    small errors are left out of some steps in favour of the others.
    """

    def __init__(
        self,
        settings: Settings,
        tile_pixels: TilePixels,
        siren: Siren,
        gradient_target: Float[Tensor, "pixels channels 2"] | None,
        *,
        seed: int,
        schedule_tiles: bool = True,
    ) -> None:
        self.settings = settings
        self.objective = settings.loss
        self.device = siren.device
        self.siren, self.tile_pixels, self.gradient_target = siren, tile_pixels, gradient_target
        self.steps_done = 0
        self._seed = seed
        self._scheduler, self._schedule_tiles = TileScheduler(tile_pixels.areas), schedule_tiles
        # Of each network's last step: mean squared error of colour (tuned) and of gradient (sum over axes).
        self._errors = siren.weights[0].new_zeros(siren.batch, 2)
        self._shares = (tile_pixels.areas / tile_pixels.areas.sum())[:, None]
        self._epoch: tuple[int, Tensor] | None = None
        self._parameters = self.siren.tensors()
        self._backend = choose_backend(self.siren, warn=True)
        self._training = training_of(self._backend)
        self._loss_gradient = self._training.loss_gradient(self.siren, self.tile_pixels, self.gradient_target)
        self.gradients = self._loss_gradient.gradients
        _log.debug("%d networks are trained by the %s backend", siren.batch, self._backend.name)
        self._optimizers = self._choose_optimizers()
        # The optimisers' step counters belong to no single network.
        per_network = [t for t in self._optimizer_state().values() if t.ndim]
        self._monitor = DivergenceMonitor(self._parameters, [*per_network, self._errors, self._scheduler.errors])
        self.tuning = self._initial_tuning()

    @classmethod
    def of_image(
        cls,
        image: Image,
        settings: Settings,
        *,
        seed: int,
        device: torch.device,
        tiling: Tiling | None = None,
        tiles: slice = slice(None),
        gradient: Gradient | None = None,
        at: tuple[int, int] = (0, 0),
    ) -> "Trainer":
        """Prepare the training of one image with one network per tile of the range ``tiles``.

        Pixels of other tiles are not kept. ``gradient`` replaces the image's own, in intensity per pixel at the
        points of ``settings.filter``. ``at`` is the column and row of the first pixel of ``image`` in the whole
        image, if ``image`` is a crop by :func:`eoren.image.gradients.crop_with_margin`.
        """
        tiling = tiling or build_tiling(image, settings)
        x0, y0, x1, y1 = tiling.box(tiles)
        box = (x0 - at[0], y0 - at[1], x1 - at[0], y1 - at[1])
        tile_pixels = TilePixels.of_tiles(image, tiling, tiles, at=at, device=device)
        siren = init_networks(settings, tiling, image.shape[2], count=len(tile_pixels.boxes), seed=seed).to(device)
        target = None
        if settings.loss.gradient:
            x0, y0, x1, y1 = box
            cropped = pixel_gradient(image, settings.filter, box=box) if gradient is None else gradient[y0:y1, x0:x1]
            target = torch.from_numpy(cropped).flatten(0, 1).to(device)
        return cls(settings, tile_pixels, siren, target, seed=seed)

    @classmethod
    def of_images(
        cls,
        images: Float[np.ndarray, "images height width channels"],
        settings: Settings,
        *,
        seed: int,
        device: torch.device,
        same_start: bool = False,
    ) -> "Trainer":
        """Prepare the training of many images of one size, one network each; ``settings.tile`` is ignored.

        Every image is fitted as if it were alone: its initial network is the one that :meth:`of_image` draws for
        :func:`image_seed`, so that it depends neither on the other images nor on their order; its target gradient
        ends at its border; and it takes part in every step. All images see their pixels in the same order.

        With ``same_start`` all images start from one network, that of ``seed``, so that weights are comparable.
        """
        _, height, width, channels = images.shape
        single = Tiling.single(width, height)
        untiled = replace(settings, tile=None)
        seeds = [seed if same_start else image_seed(image, seed) for image in images]
        networks = [init_networks(untiled, single, channels, count=1, seed=number) for number in seeds]
        tensors = zip(*(siren.tensors() for siren in networks), strict=True)
        siren = networks[0].with_tensors([torch.cat(parts) for parts in tensors]).to(device)
        target = None
        if settings.loss.gradient:
            gradients = np.concatenate([pixel_gradient(image, settings.filter) for image in images])
            target = torch.from_numpy(gradients).flatten(0, 1).to(device)
        tile_pixels = TilePixels.of_images(images, device=device)
        return cls(settings, tile_pixels, siren, target, seed=seed, schedule_tiles=False)

    def _choose_optimizers(self) -> list[tuple[Optimizer, list[int], float]]:
        """Create the optimisers, each with the indices of its parameters and its learning rate."""
        settings, indices = self.settings, list(range(len(self._parameters)))
        if settings.optimizer == "adam":
            return [(self._training.adam(self._parameters), indices, settings.learning_rate)]
        hidden = indices[1 : settings.depth]
        others = [i for i in indices if i not in hidden]
        return [
            (self._training.muon([self._parameters[i] for i in hidden]), hidden, settings.learning_rate),
            (self._training.adam([self._parameters[i] for i in others]), others, settings.learning_rate_beside_muon),
        ]

    def _initial_tuning(self) -> Tuning:
        """Compute the tuning that gives every network targets of mean 0 and variance 1 in each channel.

        Without ``standardize`` targets have the paper's range, [-0.5, 0.5].
        """
        batch, channels = self.siren.batch, self.siren.channels
        if not self.settings.standardize:
            ones = self.siren.weights[0].new_ones(batch, 1, channels)
            return Tuning(ones, 0.5 * ones)
        moments = Moments(batch, channels, self.device)
        for tile, points in self.tile_pixels.every_pixel(chunk_points(self.siren, streams=1)):
            color = self.tile_pixels.color[self.tile_pixels.pixels(tile, points)[0]]
            moments.add(tile, color, color)
        mean, deviation = moments.target_mean_and_deviation()
        return Tuning(deviation.clamp(min=_FLAT), mean)

    @property
    def points_per_step(self) -> int:
        """Largest number of points that a network sees in one step."""
        return min(self.settings.batch or self.tile_pixels.most, self.tile_pixels.most)

    def step(self, lr_scale: float, should_stop: Callable[[], bool] = lambda: False) -> StepErrors | None:
        """Train the networks that :mod:`eoren.training.tile_scheduler` selects; return the errors before the step.

        ``lr_scale`` is the factor of the learning rates, 0..1. ``should_stop`` is polled before every chunk of work.
        Once it returns true the step is abandoned: the networks have not moved, and the result is None.
        """
        points, passes = self._points_of_step(self.steps_done), self._passes()
        multiple = self.siren.batch
        if self._schedule_tiles:
            multiple = self._loss_gradient.networks_per_chunk(len(points), passes)
        selected = self._scheduler.select(multiple)
        # Where the loss has no colour term, channel tuning stands in for the colours.
        moments = Moments(self.siren.batch, self.siren.channels, self.device) if self.objective.color == 0 else None
        squares = self._loss_gradient(StepBatch(selected, points, passes, self.tuning), moments, should_stop)
        if squares is None:
            return None
        axes = sum(len(part.axes) for part in passes)
        self._errors[selected] = squares / (len(points) * self.siren.channels)
        if moments is not None:
            self._errors[selected, 0] = moments.squared_errors().mean((1, 2))[selected].to(squares)
        weights = squares.new_tensor([self.objective.color, self.objective.gradient])
        self._scheduler.update(selected, (self._errors[selected] * weights).sum(1))
        color, gradient = ((self._shares * self._errors).sum(0)).tolist()
        # The errors belong to the current parameters, so the check comes before these move.
        diverged = selected[:0]
        if not isfinite(color + gradient) or self.steps_done % CHECK_EVERY == 0:
            diverged = self._monitor.check_and_rollback(self._scheduler.errors, step=self.steps_done)
        if len(diverged):
            # The gradients of these networks are invalid, and so are the errors over all of them.
            selected = selected[~torch.isin(selected, diverged)]
        self._update(lr_scale, selected)
        self.steps_done += 1
        if len(diverged):
            return StepErrors(None, None)
        between_pixels = any(part.offset != (0.0, 0.0) for part in passes)
        return StepErrors(None if between_pixels else color, gradient / axes if axes else None)

    def _update(self, lr_scale: float, selected: Int[Tensor, " selected"]) -> None:
        networks = selected if len(selected) < self.siren.batch else slice(None)
        with self._monitor.scaled_updates():
            for optimizer, indices, learning_rate in self._optimizers:
                optimizer.step([self.gradients[i] for i in indices], lr_scale * learning_rate, networks)

    def _passes(self) -> list[Pass]:
        settings, objective = self.settings, self.objective
        if objective.gradient == 0:
            return [Pass((), objective.stream_weights(()))]
        offset = 0.0 if settings.filter == SPLINE else STENCILS[settings.filter].offset
        if settings.alternate or offset:
            in_turn = settings.alternate
            sides = [
                Pass((axis,), objective.stream_weights((axis,), in_turn=in_turn), at)
                for axis, at in enumerate([(offset, 0.0), (0.0, offset)])
            ]
            return [sides[self.steps_done % 2]] if in_turn else sides
        return [Pass((0, 1), objective.stream_weights((0, 1)))]

    def _points_of_step(self, step: int) -> Int[Tensor, " points"]:
        """Return the pixels of a step, numbered within a tile: a slice of the epoch's shuffled order.

        The order depends on seed and epoch alone, so that resuming a fit needs no generator state.
        """
        count = self.tile_pixels.most
        steps = -(-count // self.points_per_step)
        epoch, part = divmod(step, steps)
        if self._epoch is None or self._epoch[0] != epoch:
            if steps == 1:
                order = torch.arange(count)
            else:
                generator = torch.Generator().manual_seed((self._seed + 1) * 1_000_003 + epoch)
                order = torch.randperm(count, generator=generator)
            self._epoch = epoch, order.to(self.device)
        # Slices of equal size: a short one would move the networks as far for a few points.
        return self._epoch[1].tensor_split(steps)[part]

    def networks(self) -> Siren:
        """Return the current networks, with those that have just diverged in their last good state."""
        return self.siren.with_tensors(self._monitor.last_finite_parameters(self._scheduler.errors))

    @property
    def selected(self) -> Bool[Tensor, " networks"]:
        """Whether each network takes part in the current step."""
        return self._scheduler.selected

    def current_tuning(self) -> Tuning:
        """Return the tuning for the current networks: the closed form if the loss has no colour term."""
        return self.tuning if self.objective.color else tuning_moments(self.siren, self.tile_pixels).tuning()

    def color_error(self) -> float:
        """Compute the mean squared colour error over all pixels of the networks as the file will store them.

        Each network is measured by itself; where tiles blend, the field's error is about as large or smaller.
        """
        error = tuning_moments(rounded(self.networks(), self.settings.bits), self.tile_pixels).squared_errors()
        areas = self.tile_pixels.areas.to(error)
        return float((error.mean((1, 2)) * areas).sum() / areas.sum())

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that change from step to step, not copies.

        Earlier checkpoints have the tensors in this order and no names, so append new ones at the end.
        """
        return {
            **{f"parameters.{k}": t for k, t in enumerate(self._parameters)},
            **self._optimizer_state(),
            **{f"monitor.{name}": t for name, t in self._monitor.state_dict().items()},
            "errors": self._errors,
            **{f"scheduler.{name}": t for name, t in self._scheduler.state_dict().items()},
        }

    def _optimizer_state(self) -> dict[str, Tensor]:
        return {
            f"optimizer.{k}.{name}": t
            for k, (optimizer, _, _) in enumerate(self._optimizers)
            for name, t in optimizer.state_dict().items()
        }

    def restore(self, state: Mapping[str, Tensor], steps_done: int) -> None:
        """Restore a :meth:`state_dict` that was taken after ``steps_done`` steps."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])
        self.steps_done = steps_done
        self._monitor.find_slowed()
