"""The training engine: one step of a batch of networks, each on its own tile of the picture.

One network on the whole picture, the EoREN paper's case, is a batch of one. Work is cut into chunks of networks
and points whose activations stay in the processor's cache; nothing larger is kept but parameters, picture and target.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eoren.backpropagation import Backpropagation
from eoren.errors import EorenError
from eoren.field import Field, chunk_points
from eoren.gradients import STENCILS, adjusted_gradient, reference_gradient
from eoren.optimizers import Adam, Muon, Optimizer
from eoren.presets import SPLINE, Settings
from eoren.quantization import rounded
from eoren.siren import initialise, propagate
from eoren.tiling import Tiling
from eoren.tuning import Moments, Tuning

# A channel flatter than this is not stretched to variance one: that would make a fuss of rounding noise.
_FLAT = 1 / 255
# Detail of a flat pixel, intensity per pixel: it keeps tiles without edges from growing without end.
_LEAST_DETAIL = 0.01


@dataclass(frozen=True)
class StepErrors:
    """Mean squared errors over the points of one step, before it moved the networks.

    Attributes:
        color: after channel tuning where the objective leaves colours alone; none where no colour was asked.
        gradient: per pixel, mean over axes; none where no gradient was asked.
    """

    color: float | None
    gradient: float | None


@dataclass(frozen=True)
class _Pass:
    """Points of a step that are propagated together.

    Attributes:
        axes: the derivatives compared there.
        offset: of the points from the pixel centres, in pixels: forward differences sit half a pixel off.
        in_turn: the step has no other pass for the other axis.
    """

    axes: tuple[int, ...]
    offset: tuple[float, float] = (0.0, 0.0)
    in_turn: bool = True


class Trainer:
    """Networks in training, with everything that a step needs and everything that a resumed run needs.

    Args:
        image: ``(H, W, C)``, values in [0, 1].
        settings: see :class:`eoren.presets.Settings`.
        seed: of the networks and of the order of the pixels.
        device: where to work.
    """

    def __init__(
        self,
        image: Float[np.ndarray, "height width channels"],
        settings: Settings,
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        """Prepare targets and draw the networks."""
        height, width, channels = image.shape
        self.settings = settings
        self.objective = settings.weights()
        self.device = device
        count, hidden = settings.architecture(width, height, channels)
        # Tiles follow the spline's gradient whatever the target; it is computed once for both.
        splined = self.objective.gradient > 0 and settings.filter == SPLINE
        extent = (float(width), float(height))
        slope = reference_gradient(image, extent=extent) if splined or count > 1 else None
        self.tiling = _tiling((width, height), slope, count, settings.halo)
        self.steps_done = 0
        self._seed = seed
        self._color = torch.from_numpy(image).reshape(-1, channels).to(device)
        if self.objective.gradient and not splined:
            slope = adjusted_gradient(image, settings.filter, extent=extent)
        # In intensity per pixel; none where only colours are fitted.
        self.gradient_target = (
            torch.from_numpy(slope).reshape(-1, channels, 2).to(device)
            if self.objective.gradient and slope is not None
            else None
        )
        self._boxes = self.tiling.pixel_boxes.to(device)
        self._centres = self.tiling.centres.float().to(device)
        self._halves = self.tiling.halves.float().to(device)
        spans = self._boxes[:, 2:] - self._boxes[:, :2]
        self._pixels = int(spans.prod(1).max())
        self._epoch: tuple[int, Tensor] | None = None
        # Drawn on the CPU, so that a seed means the same networks everywhere.
        self.siren = initialise(
            self.tiling.count,
            width=hidden,
            depth=settings.depth,
            channels=channels,
            omega_first=settings.starting_omega(float(self.tiling.halves.max())),
            omega_hidden=settings.omega_hidden,
            generator=torch.Generator().manual_seed(seed),
        ).to(device)
        self._parameters = self.siren.tensors()
        self._backpropagation = Backpropagation(self.siren)
        self._optimizers = self._choose_optimizers()
        self.tuning = self._starting_tuning()

    def _choose_optimizers(self) -> list[tuple[Optimizer, list[int], float]]:
        """Each with the indices of its parameters and its learning rate."""
        every = list(range(len(self._parameters)))
        if self.settings.optimizer == "adam":
            return [(Adam(self._parameters), every, self.settings.rate)]
        hidden = every[1 : self.settings.depth]
        rest = [i for i in every if i not in hidden]
        return [
            (Muon([self._parameters[i] for i in hidden]), hidden, self.settings.rate),
            (Adam([self._parameters[i] for i in rest]), rest, self.settings.rate_beside_muon),
        ]

    def _starting_tuning(self) -> Tuning:
        """Colours with mean 0 and variance 1 for every network, so that one learning rate suits them all.

        Without ``standardize`` it is the paper's range, [-0.5, 0.5].
        """
        batch, channels = self.siren.batch, self.siren.channels
        if not self.settings.standardize:
            ones = torch.ones(batch, 1, channels, device=self.device)
            return Tuning(ones, 0.5 * ones)
        moments = Moments(batch, channels, self.device)
        for tile, points in self._every_pixel():
            color = self._color[self._pixel_indices(tile, points)[0]]
            moments.add(tile, color, color)
        mean, deviation = moments.target_mean_and_deviation()
        return Tuning(deviation.clamp(min=_FLAT), mean)

    @property
    def gradients(self) -> list[Tensor]:
        """Gradients of the objective by the parameters, from the last step."""
        return self._backpropagation.gradients

    @property
    def points_per_step(self) -> int:
        """Points that every network sees in one step, at most."""
        return min(self.settings.batch or self._pixels, self._pixels)

    def step(self, rate: float, stop: Callable[[], bool] = lambda: False) -> StepErrors | None:
        """One step of every network.

        Args:
            rate: what the learning rates are multiplied with, 0..1.
            stop: asked after every chunk. Once it says yes the step is abandoned and nothing has moved.

        Returns:
            The errors found, or none for an abandoned step.
        """
        points = self._points_of_step(self.steps_done)
        self._backpropagation.zero()
        passes = self._passes()
        moments = Moments(self.siren.batch, self.siren.channels, self.device)
        color = torch.zeros((), device=self.device)
        slope = torch.zeros((), device=self.device)
        for each in passes:
            for tiles, part in self._chunks(points, streams=1 + len(each.axes)):
                if stop():
                    return None
                found = self._accumulate(each, tiles, part, len(points), moments)
                color += found[0]
                slope += found[1:].sum()
        for optimizer, indices, own_rate in self._optimizers:
            optimizer.step([self.gradients[i] for i in indices], rate * own_rate)
        self.steps_done += 1
        count = len(points) * self._color.shape[1] * self.siren.batch
        between = any(each.offset != (0.0, 0.0) for each in passes)
        tuned = moments.squared_error() if self.objective.color == 0 else color / count
        axes = sum(len(each.axes) for each in passes)
        return StepErrors(None if between else float(tuned), float(slope) / (count * axes) if axes else None)

    def _passes(self) -> list[_Pass]:
        settings = self.settings
        if self.objective.gradient == 0:
            return [_Pass(())]
        offset = 0.0 if settings.filter == SPLINE else STENCILS[settings.filter].offset
        if offset:
            alone = settings.alternate
            sides = [_Pass((0,), (offset, 0.0), alone), _Pass((1,), (0.0, offset), alone)]
            return [sides[self.steps_done % 2]] if alone else sides
        return [_Pass((self.steps_done % 2,) if settings.alternate else (0, 1))]

    def _accumulate(
        self, each: _Pass, tiles: slice, part: Int[Tensor, " points"], count: int, moments: Moments
    ) -> Float[Tensor, " streams"]:
        """Add one chunk's share to the gradients; returns the sums of squared errors, stream by stream."""
        pixels, positions = self._pixel_indices(tiles, part)
        target = [self._color[pixels]]
        if each.axes:
            assert self.gradient_target is not None
            slope = self.gradient_target[pixels]
            target += [slope[..., axis] for axis in each.axes]
        per_pixel = (1 / self._halves[tiles, None]).expand(-1, 2)
        said = self._backpropagation.forward(
            tiles, self._local(positions, tiles, each.offset), axes=each.axes, scale=per_pixel
        )
        tuning = self.tuning.select(tiles)
        error = tuning.apply(said) - torch.stack(target, 1)
        if self.objective.color == 0:
            moments.add(tiles, said[:, 0], target[0])
        weights = error.new_tensor(self.objective.stream_weights(each.axes, in_turn=each.in_turn))
        squares = error.square().sum((0, 2, 3))
        # Mean over points and channels.
        error *= weights[:, None, None] * (2 / (count * error.shape[-1])) * tuning.alpha.unsqueeze(1)
        self._backpropagation.backward(error)
        return squares

    def _points_of_step(self, step: int) -> Int[Tensor, " points"]:
        """Which pixels, numbered within a tile, a step sees: a slice of the epoch's shuffled order.

        The order follows from seed and epoch alone, so a resumed run needs no generator's state.
        """
        steps = -(-self._pixels // self.points_per_step)
        epoch, place = divmod(step, steps)
        if self._epoch is None or self._epoch[0] != epoch:
            if steps == 1:
                order = torch.arange(self._pixels)
            else:
                generator = torch.Generator().manual_seed((self._seed + 1) * 1_000_003 + epoch)
                order = torch.randperm(self._pixels, generator=generator)
            self._epoch = epoch, order.to(self.device)
        # Even slices: a short one would move the networks as far on the word of a few points.
        return self._epoch[1].tensor_split(steps)[place]

    def _chunks(self, points: Int[Tensor, " points"], streams: int) -> Iterator[tuple[slice, Int[Tensor, " part"]]]:
        """Cut networks x points into pieces that fit the cache."""
        size = chunk_points(self.siren, streams)
        parts = points.split(-(-len(points) // -(-len(points) // size)))
        together = max(1, size // len(parts[0]))
        for start in range(0, self.siren.batch, together):
            for part in parts:
                yield slice(start, min(start + together, self.siren.batch)), part

    def _every_pixel(self) -> Iterator[tuple[slice, Int[Tensor, " part"]]]:
        """All pixels of every tile, each once, one tile at a time."""
        size = chunk_points(self.siren, streams=1)
        for tile, box in enumerate(self._boxes.tolist()):
            pixels = (box[2] - box[0]) * (box[3] - box[1])
            for start in range(0, pixels, size):
                part = torch.arange(start, min(start + size, pixels), device=self.device)
                yield slice(tile, tile + 1), part

    def _pixel_indices(
        self, tiles: slice, points: Int[Tensor, " points"]
    ) -> tuple[Int[Tensor, "tiles points"], Int[Tensor, "tiles points 2"]]:
        """Pixels of the picture that the tiles' points are: as indices, and as (column, row).

        Tiles differ in size; a small one sees its pixels again while a large one goes through its own.
        """
        x0, y0, x1, y1 = self._boxes[tiles, :, None].unbind(1)
        within = points[None] % ((x1 - x0) * (y1 - y0))
        column, row = x0 + within % (x1 - x0), y0 + within // (x1 - x0)
        return row * self.tiling.width + column, torch.stack([column, row], -1)

    def _local(
        self, positions: Int[Tensor, "tiles points 2"], tiles: slice, offset: tuple[float, float]
    ) -> Float[Tensor, "tiles points 2"]:
        # Whole and half pixels are exact in float32, whatever the picture's size.
        shift = self._centres.new_tensor(offset) + 0.5
        return (positions - self._centres[tiles, None] + shift) / self._halves[tiles, None, None]

    def tuned(self) -> Field:
        """The field as it stands: weights as the file will hold them, and channel tuning over all pixels.

        Tuning comes after rounding, so it takes back what rounding did to mean and contrast.

        Raises:
            EorenError: the numbers have grown beyond all bounds.
        """
        if not all(bool(p.isfinite().all()) for p in self._parameters):
            raise EorenError(f"the fit diverged; give a smaller rate than {self.settings.rate:g}")
        siren = rounded(self.siren, self.settings.bits)
        moments = Moments(siren.batch, siren.channels, self.device)
        with torch.no_grad():
            for tile, points in self._every_pixel():
                pixels, positions = self._pixel_indices(tile, points)
                said = propagate(siren.select(tile), self._local(positions, tile, (0.0, 0.0)))
                moments.add(tile, said[:, 0], self._color[pixels])
        return Field(siren, moments.tuning(), self.tiling, bits=self.settings.bits)

    def state(self) -> list[Tensor]:
        """Every tensor that changes from step to step, itself: parameters, then optimisers' memories."""
        return [*self._parameters, *(t for optimizer, _, _ in self._optimizers for t in optimizer.state())]

    def restore(self, state: list[Tensor], steps_done: int) -> None:
        """Go on where :meth:`state` was taken, after ``steps_done`` steps."""
        for own, stored in zip(self.state(), state, strict=True):
            own.copy_(stored)
        self.steps_done = steps_done


def _tiling(
    size: tuple[int, int], slope: Float[np.ndarray, "height width channels 2"] | None, count: int, halo: float
) -> Tiling:
    """One tile, or tiles with equal shares of the gradient's magnitude.

    The exponent was measured: docs/measurements.md.
    """
    if count == 1 or slope is None:
        return Tiling.single(*size)
    detail = np.sqrt(np.einsum("hwca,hwca->hw", slope, slope) + _LEAST_DETAIL**2)
    side = (size[0] * size[1] / count) ** 0.5
    return Tiling.of(detail, count=count, halo=halo, smallest=max(4, int(side / 4)))
