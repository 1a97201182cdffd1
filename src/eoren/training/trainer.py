"""The training engine: one step of a batch of networks, each on its own tile of an image, or its own image.

One network on the whole image, the EoREN paper's case, is a batch of one. What a step is stands here; how its
gradient is computed, in :mod:`eoren.backends.dispatch`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from math import isfinite

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eoren.backends.base import StepBatch, chunk_points
from eoren.backends.dispatch import choose_backend
from eoren.backends.optimizers import Optimizer
from eoren.backends.tile_evaluation import tuning_moments
from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.image.gradients import SPLINE, STENCILS, pixel_gradient
from eoren.model.channel_tuning import Moments, Tuning
from eoren.model.loss import Pass
from eoren.model.quantization import rounded
from eoren.model.siren import Siren
from eoren.model.tile_pixels import TilePixels
from eoren.model.tiling import MAX_OVERLAP, Tiling
from eoren.training.divergence import LOOK_EVERY, DivergenceMonitor
from eoren.training.settings import Settings
from eoren.training.tile_scheduler import TileScheduler

# A channel flatter than this is not stretched to variance one: that would make a fuss of rounding noise.
_FLAT = 1 / 255
# Detail of a flat pixel, intensity per pixel: it keeps tiles without edges from growing without end.
_LEAST_DETAIL = 0.01
_STRIP_PIXELS = 1 << 22

TILES_AT_ONCE = 256
"""Tiles of a large image that are trained together: enough to share the cost of a step's every operation."""


@dataclass(frozen=True)
class StepErrors:
    """Mean squared errors over the points of one step, before it moved the networks.

    Attributes:
        color: after channel tuning where the objective leaves colours alone; none where no colour was asked.
        gradient: per pixel, mean over axes; none where no gradient was asked.

    Tiles count by their area; those that sat the step out, with what their last one found.
    """

    color: float | None
    gradient: float | None


class Trainer:
    """Networks in training, with everything that a step needs and everything that a resumed run needs.

    Args:
        settings: see :class:`eoren.training.settings.Settings`.
        patches: every network's pixels.
        siren: the networks, untrained.
        gradient_target: of the pixels of ``patches``, intensity per pixel; none where only colours are fitted.
        seed: of the order of the pixels, which is the same for all networks.
        share_effort: let networks that have little left to learn sit steps out, for the others' sake.
    """

    def __init__(
        self,
        settings: Settings,
        patches: TilePixels,
        siren: Siren,
        gradient_target: Float[Tensor, "pixels channels 2"] | None,
        *,
        seed: int,
        share_effort: bool = True,
    ) -> None:
        """Choose an engine and optimisers."""
        self.settings = settings
        self.objective = settings.weights()
        self.device = siren.device
        self.patches = patches
        self.siren = siren
        self.gradient_target = gradient_target
        self.steps_done = 0
        self._seed = seed
        self._effort, self._share_effort = TileScheduler(patches.areas), share_effort
        # Per network, what its last step found: mean squared errors of colour (tuned) and slope (sum over axes).
        self._errors = torch.zeros(siren.batch, 2, device=self.device)
        self._shares = (patches.areas / patches.areas.sum())[:, None]
        self._epoch: tuple[int, Tensor] | None = None
        self._parameters = self.siren.tensors()
        self._backend = choose_backend(self.siren, warn=True)
        self._loss_gradient = self._backend.loss_gradient(self.siren, self.patches, self.gradient_target)
        self._optimizers = self._choose_optimizers()
        # The optimisers' counters of steps belong to no single network.
        memories = [t for t in self._memories() if t.ndim]
        self._guard = DivergenceMonitor(self._parameters, [*memories, self._errors, self._effort.errors])
        self.tuning = self._starting_tuning()

    @classmethod
    def of_picture(
        cls,
        image: Float[np.ndarray, "height width channels"],
        settings: Settings,
        *,
        seed: int,
        device: torch.device,
        tiling: Tiling | None = None,
        tiles: slice = slice(None),
        gradient: Float[np.ndarray, "height width channels 2"] | None = None,
        at: tuple[int, int] = (0, 0),
    ) -> "Trainer":
        """One image, a network for every tile.

        Args:
            image: ``(H, W, C)``, values in [0, 1].
            settings: see :class:`eoren.training.settings.Settings`.
            seed: of the networks and of the order of the pixels.
            device: where to work.
            tiling: of the image; by default what :func:`build_tiling` makes of it.
            tiles: which of its tiles to train; all by default. The others' pixels are not kept.
            gradient: to fit instead of the image's own, ``(H, W, C, 2)`` in intensity per pixel, where
                ``settings.filter`` puts it.
            at: column and row of the image's first pixel in the image, where the image is what
                :func:`eoren.image.gradients.around` leaves of it.
        """
        tiling = tiling or build_tiling(image, settings)
        x0, y0, x1, y1 = tiling.box(tiles)
        box = (x0 - at[0], y0 - at[1], x1 - at[0], y1 - at[1])
        patches = TilePixels.of_tiles(image, tiling, tiles, at=at, device=device)
        siren = init_networks(settings, tiling, image.shape[2], count=len(patches.boxes), seed=seed).to(device)
        target = None
        if settings.weights().gradient:
            x0, y0, x1, y1 = box
            found = pixel_gradient(image, settings.filter, box=box) if gradient is None else gradient[y0:y1, x0:x1]
            target = torch.from_numpy(found).flatten(0, 1).to(device)
        return cls(settings, patches, siren, target, seed=seed)

    @classmethod
    def of_pictures(
        cls,
        images: Float[np.ndarray, "pictures height width channels"],
        settings: Settings,
        *,
        seed: int,
        device: torch.device,
        same_start: bool = False,
    ) -> "Trainer":
        """Many images of one size at once, one network each, whatever ``settings.tile`` says.

        Every image is fitted as if it were alone: its network is the one that :meth:`of_picture` draws for
        :func:`picture_seed`, so it depends neither on the other images nor on their order; its target ends at its
        border; and none sits a step out for another. All see their pixels in one order.

        Args:
            images: ``(B, H, W, C)``, values in [0, 1].
            settings: see :class:`eoren.training.settings.Settings`.
            seed: of the networks and of the order of the pixels.
            device: where to work.
            same_start: begin with one network for all, that of ``seed``, so that their weights can be compared.
        """
        _, height, width, channels = images.shape
        single = Tiling.single(width, height)
        alone = replace(settings, tile=None)
        seeds = [seed if same_start else picture_seed(image, seed) for image in images]
        drawn = [init_networks(alone, single, channels, count=1, seed=each) for each in seeds]
        tensors = zip(*(siren.tensors() for siren in drawn), strict=True)
        siren = drawn[0].with_tensors([torch.cat(each) for each in tensors]).to(device)
        target = None
        if settings.weights().gradient:
            found = np.concatenate([pixel_gradient(image, settings.filter) for image in images])
            target = torch.from_numpy(found).flatten(0, 1).to(device)
        patches = TilePixels.of_images(images, device=device)
        return cls(settings, patches, siren, target, seed=seed, share_effort=False)

    def _choose_optimizers(self) -> list[tuple[Optimizer, list[int], float]]:
        """Each with the indices of its parameters and its learning rate."""
        every = list(range(len(self._parameters)))
        if self.settings.optimizer == "adam":
            return [(self._backend.adam(self._parameters), every, self.settings.rate)]
        hidden = every[1 : self.settings.depth]
        rest = [i for i in every if i not in hidden]
        return [
            (self._backend.muon([self._parameters[i] for i in hidden]), hidden, self.settings.rate),
            (self._backend.adam([self._parameters[i] for i in rest]), rest, self.settings.rate_beside_muon),
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
        for tile, points in self.patches.every_pixel(chunk_points(self.siren, streams=1)):
            color = self.patches.color[self.patches.pixels(tile, points)[0]]
            moments.add(tile, color, color)
        mean, deviation = moments.target_mean_and_deviation()
        return Tuning(deviation.clamp(min=_FLAT), mean)

    @property
    def gradients(self) -> list[Tensor]:
        """Gradients of the objective by the parameters, from the last step."""
        return self._loss_gradient.gradients

    @property
    def points_per_step(self) -> int:
        """Points that every network sees in one step, at most."""
        return min(self.settings.batch or self.patches.most, self.patches.most)

    def step(self, rate: float, stop: Callable[[], bool] = lambda: False) -> StepErrors | None:
        """One step of every network, or of those that need it most: see :mod:`eoren.training.tile_scheduler`.

        Args:
            rate: what the learning rates are multiplied with, 0..1.
            stop: asked after every chunk. Once it says yes the step is abandoned and nothing has moved.

        Returns:
            The errors found, or none for an abandoned step.
        """
        points, passes = self._points_of_step(self.steps_done), self._passes()
        multiple = self.siren.batch
        if self._share_effort:
            multiple = self._loss_gradient.networks_per_chunk(len(points), passes)
        awake = self._effort.select(multiple)
        # Channel tuning stands in for the colours where the objective leaves them alone.
        moments = Moments(self.siren.batch, self.siren.channels, self.device) if self.objective.color == 0 else None
        squares = self._loss_gradient(StepBatch(awake, points, passes, self.tuning), moments, stop)
        if squares is None:
            return None
        axes = sum(len(each.axes) for each in passes)
        self._errors[awake] = squares / (len(points) * self.siren.channels)
        if moments is not None:
            self._errors[awake, 0] = moments.squared_errors().mean((1, 2))[awake].to(squares)
        weights = squares.new_tensor([self.objective.color, self.objective.gradient])
        self._effort.update(awake, (self._errors[awake] * weights).sum(1))
        # Of all tiles, by area: those at rest keep what they had.
        color, slope = ((self._shares * self._errors).sum(0)).tolist()
        # Errors are those of the parameters as they stand: so the guard looks before these move.
        wrong = not isfinite(color + slope)
        due = wrong or self.steps_done % LOOK_EVERY == 0
        diverged = self._guard.check_and_rollback(self._effort.errors, step=self.steps_done) if due else awake[:0]
        if len(diverged):
            # The gradients of these are of no use, and the errors of all are not what they were.
            awake = awake[~torch.isin(awake, diverged)]
        self._move(rate, awake)
        self.steps_done += 1
        if len(diverged):
            return StepErrors(None, None)
        between = any(each.offset != (0.0, 0.0) for each in passes)
        return StepErrors(None if between else color, slope / axes if axes else None)

    def _move(self, rate: float, awake: Int[Tensor, " awake"]) -> None:
        networks = awake if len(awake) < self.siren.batch else slice(None)
        with self._guard.scaled_updates():
            for optimizer, indices, own_rate in self._optimizers:
                optimizer.step([self.gradients[i] for i in indices], rate * own_rate, networks)

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
        """Which pixels, numbered within a tile, a step sees: a slice of the epoch's shuffled order.

        The order follows from seed and epoch alone, so a resumed run needs no generator's state.
        """
        pixels = self.patches.most
        steps = -(-pixels // self.points_per_step)
        epoch, place = divmod(step, steps)
        if self._epoch is None or self._epoch[0] != epoch:
            if steps == 1:
                order = torch.arange(pixels)
            else:
                generator = torch.Generator().manual_seed((self._seed + 1) * 1_000_003 + epoch)
                order = torch.randperm(pixels, generator=generator)
            self._epoch = epoch, order.to(self.device)
        # Even slices: a short one would move the networks as far on the word of a few points.
        return self._epoch[1].tensor_split(steps)[place]

    def networks(self) -> Siren:
        """The networks as they stand; those that have just diverged, as they were when last seen well."""
        return self.siren.with_tensors(self._guard.last_finite_parameters(self._effort.errors))

    @property
    def awake(self) -> Bool[Tensor, " networks"]:
        """Which networks the latest steps trained."""
        return self._effort.chosen

    def current_tuning(self) -> Tuning:
        """What makes colours of what the networks say as they stand; the closed form where no step fits colours."""
        return self.tuning if self.objective.color else tuning_moments(self.siren, self.patches).tuning()

    def color_error(self) -> float:
        """Mean squared colour error of the networks as the file will hold them, over all their pixels.

        Each network on its own: where tiles blend, the field's error is about as large or smaller.
        """
        error = tuning_moments(rounded(self.networks(), self.settings.bits), self.patches).squared_errors()
        areas = self.patches.areas.to(error)
        return float((error.mean((1, 2)) * areas).sum() / areas.sum())

    def state(self) -> list[Tensor]:
        """Every tensor that changes from step to step, itself: parameters, then memories."""
        return [
            *self._parameters,
            *self._memories(),
            *self._guard.state(),
            self._errors,
            *self._effort.state(),
        ]

    def _memories(self) -> list[Tensor]:
        return [t for optimizer, _, _ in self._optimizers for t in optimizer.state_dict().values()]

    def restore(self, state: list[Tensor], steps_done: int) -> None:
        """Go on where :meth:`state` was taken, after ``steps_done`` steps."""
        for own, stored in zip(self.state(), state, strict=True):
            own.copy_(stored)
        self.steps_done = steps_done
        self._guard.restored()


def build_tiling(image: Float[np.ndarray, "height width channels"], settings: Settings) -> Tiling:
    """One tile, or tiles with equal shares of the gradient's magnitude.

    Args:
        image: ``(H, W, C)``.
        settings: which say how many tiles, and how they overlap.

    Raises:
        EorenError: a halo that is much larger than tiles are.
    """
    height, width, channels = image.shape
    count, _ = settings.architecture(width, height, channels)
    if count == 1:
        return Tiling.single(width, height)
    detail = np.empty((height, width), np.float32)
    strip = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, strip):
        # The spline's, whatever the target.
        slope = pixel_gradient(image, box=(0, top, width, min(top + strip, height)))
        # The exponent was measured: docs/measurements.md.
        detail[top : top + strip] = np.sqrt(np.einsum("hwca,hwca->hw", slope, slope) + _LEAST_DETAIL**2)
    side = (width * height / count) ** 0.5
    tiling = Tiling.by_detail(detail, count=count, halo=settings.halo, smallest=max(4, int(side / 4)))
    if tiling.max_overlap > MAX_OVERLAP:  # nobody would read its file
        raise EorenError(
            f"halo is {settings.halo:g}: up to {tiling.max_overlap} tiles would answer for one point, where "
            f"{MAX_OVERLAP} are the most; give a smaller halo, or larger tiles"
        )
    return tiling


def init_networks(settings: Settings, tiling: Tiling, channels: int, *, count: int, seed: int) -> Siren:
    """Untrained networks for ``count`` of the tiles.

    They are drawn on the CPU, so that a seed means the same networks everywhere.
    """
    _, width = settings.architecture(tiling.width, tiling.height, channels)
    return Siren.init(
        count,
        width=width,
        depth=settings.depth,
        channels=channels,
        omega_first=settings.starting_omega(float(tiling.half_extents.max())),
        omega_hidden=settings.omega_hidden,
        generator=torch.Generator().manual_seed(seed),
    )


def picture_seed(image: Float[np.ndarray, "height width channels"], seed: int) -> int:
    """The seed of one image's network among many: of its pixels and the seed of all.

    Example:
        >>> black, gray = np.zeros((4, 4, 1), np.float32), np.full((4, 4, 1), 0.5, np.float32)
        >>> len({picture_seed(black, 0), picture_seed(gray, 0), picture_seed(black, 1)})
        3
    """
    return int.from_bytes(sha256(seed.to_bytes(8, "little") + image.tobytes()).digest()[:4], "little")


def assemble_field(
    siren: Siren, tiling: Tiling, image: Float[np.ndarray, "height width channels"], *, bits: int
) -> Field:
    """The field of some networks: weights as the file will hold them, and channel tuning over all pixels.

    Tuning comes after rounding, so it takes back what rounding did to mean and contrast. A network of zeros
    becomes the mean of its pixels.

    Args:
        siren: a network for every tile.
        tiling: of the image.
        image: ``(H, W, C)``.
        bits: that a weight takes in the file.
    """
    siren = rounded(siren, bits)
    parts = [tuning_of(siren, tiling, image, tiles) for tiles in tiling.groups(TILES_AT_ONCE)]
    tuning = Tuning(torch.cat([part.alpha for part in parts]), torch.cat([part.beta for part in parts]))
    return Field(SirenMosaic(siren, tuning, tiling, bits))


def tuning_of(
    siren: Siren, tiling: Tiling, image: Float[np.ndarray, "height width channels"], tiles: slice
) -> Tuning:
    """Channel tuning, over all their pixels, of the networks of some of the tiles."""
    patches = TilePixels.of_tiles(image, tiling, tiles, device=siren.device)
    return tuning_moments(siren.select(tiles), patches).tuning()
