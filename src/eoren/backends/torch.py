"""The PyTorch backend: batched matrix products, on any device, differentiable by points and by parameters."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from eoren.backends.backpropagation import Backpropagation
from eoren.backends.base import StepBatch, TargetGradient, Training, chunk_points
from eoren.backends.mosaic_evaluation import evaluate_mosaic
from eoren.backends.optimizers import Adam, Muon
from eoren.model.arrays import as_tensor
from eoren.model.channel_tuning import Tuning
from eoren.model.devices import widest_float_dtype
from eoren.model.loss import Pass
from eoren.model.moments import Moments
from eoren.model.siren import Siren
from eoren.model.tile_pixels import TilePixels
from eoren.model.tiling import Tiling


class TorchLossGradient:
    """The gradient of a training loss, by :class:`eoren.backends.backpropagation.Backpropagation`."""

    def __init__(self, siren: Siren, pixels: TilePixels, target_gradient: TargetGradient) -> None:
        self._siren, self._pixels, self._target_gradient = siren, pixels, target_gradient
        self._backpropagation = Backpropagation(siren)
        self.gradients = self._backpropagation.gradients

    def networks_per_chunk(self, points_per_network: int, passes: Sequence[Pass]) -> int:
        """Return the number of networks that fill the cache; fewer would leave a part of it unused."""
        return self._chunk_shape(points_per_network, passes[0])[0]

    def __call__(
        self, batch: StepBatch, moments: Moments | None, should_stop: Callable[[], bool]
    ) -> Float[Tensor, "networks 2"] | None:
        """Compute the gradient of the loss for one step, see :class:`eoren.backends.base.LossGradient`."""
        self._backpropagation.zero()
        squares: Tensor = self._siren.weights[0].new_zeros(self._siren.batch, 2)
        for loss_pass in batch.passes:
            for networks, points in self._chunks(batch, loss_pass):
                if should_stop():
                    return None
                squares[networks] += self._accumulate(batch, loss_pass, networks, points, moments)
        return squares[batch.networks]

    def _accumulate(
        self,
        batch: StepBatch,
        loss_pass: Pass,
        networks: slice | Tensor,
        points: Int[Tensor, " chunk"],
        moments: Moments | None,
    ) -> Float[Tensor, "networks 2"]:
        """Add the gradients of one chunk, and return its sums of squared errors."""
        pixels = self._pixels
        index, positions = pixels.pixels(networks, points)
        target = [pixels.color[index]]
        if loss_pass.axes:
            assert self._target_gradient is not None
            target_gradient = self._target_gradient[index]
            target += [target_gradient[..., axis] for axis in loss_pass.axes]
        per_pixel = (1 / pixels.half_extents[networks, None]).expand(-1, 2)
        local = pixels.local(positions, networks, loss_pass.offset)
        prediction = self._backpropagation.forward(networks, local, axes=loss_pass.axes, scale=per_pixel)
        tuning = batch.tuning.select(networks)
        error = tuning.apply(prediction) - torch.stack(target, 1)
        if moments is not None:
            moments.add(networks, prediction[:, 0], target[0])
        squares = error.square().sum((2, 3))
        squares = torch.stack([squares[:, 0], squares[:, 1:].sum(1)], 1)
        # The loss is a mean over points and channels.
        weights = error.new_tensor(loss_pass.weights)
        error *= weights[:, None, None] * (2 / (len(batch.pixel_numbers) * error.shape[-1])) * tuning.alpha[:, None]
        self._backpropagation.backward(error)
        return squares

    def _chunk_shape(self, points: int, loss_pass: Pass) -> tuple[int, int]:
        """Return the networks per chunk, and the number of parts that the points are cut into."""
        size = chunk_points(self._siren, streams=1 + len(loss_pass.axes))
        parts = -(-points // size)
        return max(1, size // -(-points // parts)), parts

    def _chunks(self, batch: StepBatch, loss_pass: Pass) -> Iterator[tuple[slice | Tensor, Int[Tensor, " chunk"]]]:
        networks, points = batch.networks, batch.pixel_numbers
        size, parts = self._chunk_shape(len(points), loss_pass)
        is_every = len(networks) == self._siren.batch  # then slices avoid copies of the parameters
        for start in range(0, len(networks), size):
            end = min(start + size, len(networks))
            for part in points.split(-(-len(points) // parts)):
                yield slice(start, end) if is_every else networks[start:end], part


class TorchBackend:
    """PyTorch, in chunks of networks and points whose activations stay in the cache."""

    name = "torch"

    def evaluate(
        self,
        siren: Siren,
        points: Float[Tensor, "points 2"],
        counts: Int[Tensor, " batch"],
        *,
        tuning: Tuning | None = None,
        axes: Sequence[int] = (),
        scale: Float[Tensor, "batch 2"] | None = None,
        laplacian: bool = False,
    ) -> Float[Tensor, "points streams channels"]:
        """Evaluate every network at its own points, see :class:`eoren.backends.base.Backend`.

        The points of each network are cut into blocks of one length, so that many networks form one batched product.
        The last block of a network repeats its last point.
        """
        streams = 1 + len(axes) + laplacian
        chunk = chunk_points(siren, streams)
        block = int(min(chunk, max(16, -(-len(points) // max(1, int((counts > 0).sum()))))))
        blocks = -(-counts // block)
        owner = torch.repeat_interleave(blocks)
        first_point = counts.cumsum(0) - counts
        block_of_owner = torch.arange(len(owner), device=points.device) - (blocks.cumsum(0) - blocks)[owner]
        offset = block_of_owner[:, None] * block + torch.arange(block, device=points.device)
        rows = first_point[owner, None] + torch.minimum(offset, counts[owner, None] - 1)
        is_own = offset < counts[owner, None]
        outputs = []
        blocks_per_chunk = max(1, chunk // block)
        for start in range(0, len(owner), blocks_per_chunk):
            part = slice(start, start + blocks_per_chunk)
            networks = owner[part]
            per_unit = None if scale is None else scale[networks]
            prediction = siren.select(networks)(points[rows[part]], axes=axes, scale=per_unit, laplacian=laplacian)
            if tuning is not None:
                prediction = tuning.select(networks).apply(prediction)
            outputs.append(prediction.movedim(1, 2).flatten(0, 1)[is_own[part].flatten()])
        return torch.cat(outputs) if outputs else points.new_zeros(0, streams, siren.channels)

    def render(
        self,
        siren: Siren,
        tuning: Tuning,
        tiling: Tiling,
        x: Float64[np.ndarray, " columns"],
        y: Float64[np.ndarray, " rows"],
        *quantities: str,
        extent: tuple[float, float],
    ) -> tuple[np.ndarray, ...]:
        """Sample a mosaic on a grid, see :class:`eoren.backends.base.Backend`."""
        points = torch.stack(torch.meshgrid(as_tensor(x), as_tensor(y), indexing="xy"), -1).reshape(-1, 2)
        points = points.to(siren.device, widest_float_dtype(siren.device))
        derivatives = {name: name in quantities for name in ("gradient", "laplacian")}
        with torch.no_grad():
            jet = evaluate_mosaic(self.evaluate, siren, tuning, tiling, points, extent=extent, **derivatives)
        values = (getattr(jet, quantity).cpu().numpy() for quantity in quantities)
        return tuple(array.reshape(len(y), len(x), *array.shape[1:]) for array in values)


TRAINING = Training(Adam, Muon, TorchLossGradient)
