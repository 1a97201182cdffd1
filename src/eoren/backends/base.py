"""The interface of a numerical backend.

A backend evaluates SIRENs, renders a mosaic of them on a grid, differentiates a training loss by their parameters,
and brings its own optimizers. Implementations agree to rounding, and the state of a fit is the same tensors for all
of them, so that a fit may continue on another backend.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eoren.backends.optimizers import Adam, Muon
from eoren.model.channel_tuning import Moments, Tuning
from eoren.model.loss import Pass
from eoren.model.siren import Siren
from eoren.model.tile_pixels import TilePixels
from eoren.model.tiling import Tiling

# Bytes of the activations of one layer in one chunk. On a CPU they should stay in the second-level cache; a GPU is
# faster with large chunks. Measured in docs/measurements.md.
_CHUNK_BYTES = {"cpu": 1 << 21}
_CHUNK_BYTES_ACCELERATOR = 1 << 26


def chunk_points(siren: Siren, streams: int) -> int:
    """Compute the number of points whose activations in one layer, all streams, fill the cache of the device."""
    size = _CHUNK_BYTES.get(siren.device.type, _CHUNK_BYTES_ACCELERATOR)
    return max(16, size // (streams * siren.width * siren.weights[0].element_size()))


@dataclass(frozen=True, eq=False)
class StepBatch:
    """The part of the training data that one step sees.

    Attributes:
        networks: ``(n,)``, indices of the networks to train, ascending.
        points: ``(m,)``, pixel numbers within a tile; a tile with fewer pixels starts again from its first.
        passes: which derivatives to compare at these points, and with which weights.
        tuning: channel tuning of all networks.
    """

    networks: Int[Tensor, " networks"]
    points: Int[Tensor, " points"]
    passes: Sequence[Pass]
    tuning: Tuning


@runtime_checkable
class LossGradient(Protocol):
    """The gradient of a training loss by the parameters of a batch of networks.

    Attributes:
        gradients: gradients of the last call, in the order of ``siren.tensors()``.
    """

    gradients: list[Tensor]

    def networks_per_chunk(self, points: int, passes: Sequence[Pass]) -> int:
        """Return the number of networks that the backend processes together most efficiently."""

    def __call__(
        self, batch: StepBatch, moments: Moments | None, should_stop: Callable[[], bool]
    ) -> Float[Tensor, "networks 2"] | None:
        """Compute the gradient of the loss for one step.

        Args:
            batch: networks, pixels and loss terms of the step.
            moments: running sums for channel tuning that receive prediction and target, or None.
            should_stop: function that the backend polls; once it returns True the step is abandoned.

        Returns:
            Sums of squared errors of every network in the batch, of colour and of gradient (both axes); None if the
            step was abandoned.
        """


@runtime_checkable
class Backend(Protocol):
    """A way to compute with batches of SIRENs.

    Attributes:
        name: ``native`` or ``torch``.
        adam: Adam for the tensors of this backend.
        muon: Muon for the tensors of this backend.
    """

    name: str
    adam: type[Adam]
    muon: type[Muon]

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
        """Evaluate every network at its own points, see :meth:`eoren.model.siren.Siren.__call__`.

        Args:
            siren: B networks.
            points: ``(N, 2)``, local coordinates, sorted by network.
            counts: ``(B,)``, number of points of each network.
            tuning: channel tuning of each network; None leaves the predictions as they are.
            axes: derivatives to compute, 0 for d/dx and 1 for d/dy.
            scale: ``(B, 2)``, local coordinates per unit of x and y of each network; ones by default.
            laplacian: whether to compute the Laplacian, too; needs ``axes=(0, 1)``.

        Returns:
            ``(N, 1 + len(axes) + laplacian, C)``.
        """

    def render(
        self,
        siren: Siren,
        tuning: Tuning,
        tiling: Tiling,
        x: Float[Tensor, " columns"],
        y: Float[Tensor, " rows"],
        *quantities: str,
        extent: tuple[float, float],
    ) -> tuple[Tensor, ...]:
        """Sample a mosaic on a grid, tiles blended.

        Args:
            siren: one network per tile.
            tuning: channel tuning of each network.
            tiling: places of the tiles.
            x: float64 positions of the columns in the unit square, ascending or descending.
            y: float64 positions of the rows, likewise.
            quantities: any of ``color``, ``gradient`` and ``laplacian``.
            extent: width and height of the image in the units of the derivatives.

        Returns:
            ``(rows, columns, C)`` per quantity, ``(rows, columns, C, 2)`` for the gradient.
        """

    def loss_gradient(
        self, siren: Siren, pixels: TilePixels, target_gradient: Float[Tensor, "pixels channels 2"] | None
    ) -> LossGradient:
        """Prepare the gradient of a training loss.

        Args:
            siren: networks whose parameters the optimizers move in place.
            pixels: pixels of every network, with the target colours.
            target_gradient: target gradients of the same pixels in intensity per pixel; None for colours alone.
        """


def network_indices(networks: slice | Tensor, like: Tensor) -> Int[Tensor, " networks"]:
    """Return the indices that a slice or a tensor of indices selects along the first axis of a tensor."""
    return networks if isinstance(networks, Tensor) else torch.arange(len(like))[networks]
