"""The interface of a numerical backend.

A backend evaluates SIRENs and renders a mosaic of them on a grid. For training, it differentiates a loss by their
parameters, and brings its own optimizers. Implementations agree to rounding, and the state of a fit is the same
tensors for all of them, so that a fit may continue on another backend.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Int

from eoren.model.arrays import Array, Tensor
from eoren.model.channel_tuning import Tuning
from eoren.model.loss import Pass
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling

if TYPE_CHECKING:  # they import PyTorch, which evaluation does not always need
    from eoren.backends.optimizers import Adam, Muon
    from eoren.model.moments import Moments
    from eoren.model.tile_pixels import TilePixels

# Bytes of the activations of one layer in one chunk. On a CPU they should stay in the second-level cache; a GPU is
# faster with large chunks. Measured in docs/measurements.md.
_CHUNK_BYTES = {"cpu": 1 << 21}
_CHUNK_BYTES_ACCELERATOR = 1 << 26


def chunk_points(siren: Siren, streams: int) -> int:
    """Compute the number of points whose activations in one layer, all streams, fill the cache of the device."""
    size = _CHUNK_BYTES.get(siren.device.type, _CHUNK_BYTES_ACCELERATOR)
    return max(16, size // (streams * siren.width * int(siren.weights[0].element_size())))


# Target gradients of the pixels in intensity per pixel; None for a loss of colours alone.
TargetGradient = Float[Tensor, "pixels channels 2"] | None


@dataclass(frozen=True, eq=False)
class StepBatch:
    """The part of the training data that one step sees."""

    networks: Int[Tensor, " networks"]  # indices of the networks to train, ascending
    pixel_numbers: Int[Tensor, " points"]  # within every tile, see TilePixels.pixels
    passes: Sequence[Pass]
    tuning: Tuning  # of all networks


@runtime_checkable
class LossGradient(Protocol):
    """The gradient of a training loss by the parameters of a batch of networks.

    The optimizers move the parameters of ``siren`` in place. ``gradients`` are those of the last call, in the order
    of ``siren.tensors()``.
    """

    gradients: list[Tensor]

    def __init__(self, siren: Siren, pixels: "TilePixels", target_gradient: TargetGradient) -> None: ...

    def networks_per_chunk(self, points_per_network: int, passes: Sequence[Pass]) -> int:
        """Return the number of networks that the backend processes together most efficiently."""

    def __call__(
        self, batch: StepBatch, moments: "Moments | None", should_stop: Callable[[], bool]
    ) -> Float[Tensor, "networks 2"] | None:
        """Compute the gradient of the loss for one step.

        Moments receive prediction and target, for channel tuning. The backend polls ``should_stop``; once it returns
        True, the step is abandoned and the result is None. Otherwise the result is the sum of squared errors of every
        network in the batch, of colour and of gradient (both axes).
        """


class Training(NamedTuple):
    """What a backend trains networks with: loss gradient and optimizers of PyTorch tensors."""

    adam: "type[Adam]"
    muon: "type[Muon]"
    loss_gradient: type[LossGradient]


@runtime_checkable
class Backend(Protocol):
    """A way to compute with batches of SIRENs."""

    name: str  # native or torch

    def evaluate(
        self,
        siren: Siren,
        points: Float[Array, "points 2"],
        counts: Int[Array, " batch"],
        *,
        tuning: Tuning | None = None,
        axes: Sequence[int] = (),
        scale: Float[Array, "batch 2"] | None = None,
        laplacian: bool = False,
    ) -> Float[Array, "points streams channels"]:
        """Evaluate every network at its own points, see :meth:`eoren.model.siren.Siren.__call__`.

        Points are local coordinates, sorted by network, ``counts`` of them per network. Without tuning, predictions
        are returned as they are. The streams are the value, derivatives along ``axes``, and the Laplacian.
        """

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
        """Sample a mosaic on a grid, tiles blended.

        Positions of columns and rows in the unit square are ascending or descending. Quantities are any of
        ``color``, ``gradient`` and ``laplacian``, derivatives in the units of an image of ``extent``. Returns
        ``(rows, columns, C)`` per quantity, ``(rows, columns, C, 2)`` for the gradient.
        """
