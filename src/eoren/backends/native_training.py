"""Training on the native backend: the gradient of a loss, and optimizers, on tensors in place.

ctypes releases the interpreter lock while the library works.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eoren.backends.base import StepBatch, TargetGradient, Training
from eoren.backends.native import check_status, data_ptr, describe_networks, set_pointers
from eoren.backends.native_library import (
    AdamStep,
    ChannelTuning,
    MuonStep,
    Step,
    StopCallback,
    loaded_library,
    thread_count,
)
from eoren.backends.optimizers import ITERATIONS, NEWTON_SCHULZ, Adam, Muon
from eoren.model.loss import Pass
from eoren.model.moments import Moments
from eoren.model.siren import Siren
from eoren.model.tile_pixels import TilePixels


class FusedAdam(Adam):
    """Adam in one pass over memory."""

    def _update(self, gradients: Sequence[Tensor], lr: float, denominator: float, networks: slice | Tensor) -> None:
        parameters = self.parameters
        indices = _indices(networks, parameters[0])
        step = AdamStep(tiles=len(indices), tile=data_ptr(indices, "int64"), tensors=len(parameters))
        step.size[: len(parameters)] = [p[0].numel() for p in parameters]
        set_pointers(step, value=parameters, gradient=gradients, mean=self.exp_avg, square=self.exp_avg_sq)
        step.first, step.second = self.betas
        step.rate, step.scale, step.epsilon = lr, denominator, self.eps
        check_status(loaded_library().eoren_adam_step(step, thread_count()))


class FusedMuon(Muon):
    """Muon, one network after the other in the cache."""

    def step(self, gradients: Sequence[Tensor], lr: float, networks: slice | Tensor = slice(None)) -> None:
        """Make one step, see :class:`eoren.backends.optimizers.Muon`."""
        parameters = self.parameters
        if not parameters:
            return
        indices = _indices(networks, parameters[0])
        step = MuonStep(tiles=len(indices), tile=data_ptr(indices, "int64"), tensors=len(parameters))
        set_pointers(step, value=parameters, gradient=gradients, mean=self.momentum_buffer)
        step.n, step.iterations = parameters[0].shape[-1], ITERATIONS
        step.momentum, step.rate = self.momentum, lr
        step.coefficient[:] = NEWTON_SCHULZ
        check_status(loaded_library().eoren_muon_step(step, thread_count()))


class NativeLossGradient:
    """The gradient of a training loss, by the fused kernel."""

    def __init__(self, siren: Siren, pixels: TilePixels, target_gradient: TargetGradient) -> None:
        self.gradients = [torch.zeros_like(t) for t in siren.tensors()]
        self._channels = siren.channels
        # The structure has addresses alone: keep what they point to.
        self._tensors = (siren, self.gradients, pixels, target_gradient)
        self._step = Step(
            network=describe_networks(siren),
            gradient=describe_networks(siren.with_tensors(self.gradients)),
            columns=pixels.columns,
            box=data_ptr(pixels.boxes, "int64"),
            centre=data_ptr(pixels.centres),
            half=data_ptr(pixels.half_extents),
            color=data_ptr(pixels.color),
            slope=None if target_gradient is None else data_ptr(target_gradient),
        )

    def networks_per_chunk(self, points_per_network: int, passes: Sequence[Pass]) -> int:
        """Return 1: any number is as efficient as any other."""
        return 1

    def __call__(
        self, batch: StepBatch, moments: Moments | None, should_stop: Callable[[], bool]
    ) -> Float[Tensor, "networks 2"] | None:
        """Compute the gradient of the loss for one step, see :class:`eoren.backends.base.LossGradient`."""
        if should_stop():
            return None
        networks, points, passes = batch.networks, batch.pixel_numbers, batch.passes
        errors = torch.empty(len(networks), 2, dtype=torch.float64)
        sums = None if moments is None else torch.empty(len(networks), self._channels, 5, dtype=torch.float64)
        step = self._step
        step.tuning = ChannelTuning(data_ptr(batch.tuning.alpha), data_ptr(batch.tuning.beta))
        step.tiles, step.tile = len(networks), data_ptr(networks, "int64")
        step.points, step.point = len(points), data_ptr(points, "int64")
        step.passes = len(passes)
        for struct, loss_pass in zip(step.pass_, passes, strict=False):
            axes, weights = loss_pass.axes, loss_pass.weights
            struct.axes, struct.axis[: len(axes)] = len(axes), axes
            struct.offset[:], struct.weight[: len(weights)] = loss_pass.offset, weights
        step.error = data_ptr(errors, "float64")
        step.moments = None if sums is None else data_ptr(sums, "float64")
        raised: list[BaseException] = []

        def poll() -> int:
            # ctypes would discard an exception here, Ctrl-C included.
            try:
                return int(should_stop())
            except BaseException as error:
                raised.append(error)
                return 1

        status = loaded_library().eoren_gradients(step, thread_count(), StopCallback(poll))
        if raised:
            raise raised[0]
        if not check_status(status):
            return None
        if moments is not None and sums is not None:
            moments.add_sums(networks, sums, len(points) * len(passes))
        return errors.float()


def _indices(networks: slice | Tensor, like: Tensor) -> Int[Tensor, " networks"]:
    return networks if isinstance(networks, Tensor) else torch.arange(len(like))[networks]


TRAINING = Training(FusedAdam, FusedMuon, NativeLossGradient)
