"""Gradients of a training step by the parameters of a batch of SIRENs, written out by hand.

Formulas and streams are those of :mod:`eoren.model.siren`. PyTorch's own differentiation gives the same
numbers (tested); this does it in buffers that stay in the cache from chunk to chunk, with nothing allocated and two
passes over memory less for every layer.

For a sine layer, ``z0 = sin p0`` and ``zk = cos(p0) pk`` forward. Backward, with g the gradient by z::

    by pk = cos(p0) gk          by p0 = cos(p0) g0 - sin(p0) sum_k pk gk
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eoren.model.siren import Siren


@dataclass(frozen=True)
class _Buffers:
    """What one chunk's forward pass leaves for its backward pass, and two places for gradients.

    Attributes:
        p: pre-activations of every sine layer but the first, whose derivatives are constants; of the first the value.
        z: activations of every sine layer.
        cos: cosine of every layer's pre-activation.
        said: the output.
        gradients: by the activations, of one layer and the next, in turn.
    """

    p: list[Float[Tensor, "batch _ points width"]]
    z: list[Float[Tensor, "batch streams points width"]]
    cos: list[Float[Tensor, "batch 1 points width"]]
    said: Float[Tensor, "batch streams points channels"]
    gradients: list[Float[Tensor, "batch streams points width"]]


class Backpropagation:
    """Forward and backward passes of one batch of SIRENs, chunk after chunk.

    Args:
        siren: all the networks; their parameters may move between steps.

    Example:
        >>> from eoren.model.siren import initialise
        >>> siren = initialise(2, width=8, depth=2, channels=1, generator=torch.Generator().manual_seed(0))
        >>> passes = Backpropagation(siren)
        >>> said = passes.forward(slice(0, 2), torch.rand(2, 5, 2), axes=(0,), scale=torch.ones(2, 2))
        >>> passes.backward(said)  # the gradient of half the sum of squares
        >>> [tuple(gradient.shape) for gradient in passes.gradients]
        [(2, 2, 8), (2, 8, 8), (2, 8, 1), (2, 1, 8), (2, 1, 8), (2, 1, 1)]
    """

    def __init__(self, siren: Siren) -> None:
        """Make room for the gradients, zero."""
        self.gradients = [torch.zeros_like(tensor) for tensor in siren.tensors()]
        self._siren = siren
        self._shapes: dict[tuple[int, int, int], _Buffers] = {}

    def zero(self) -> None:
        """Forget what has been accumulated."""
        for gradient in self.gradients:
            gradient.zero_()

    def forward(
        self,
        networks: slice | Int[Tensor, " batch"],
        points: Float[Tensor, "batch points 2"],
        *,
        axes: Sequence[int],
        scale: Float[Tensor, "batch 2"],
    ) -> Float[Tensor, "batch streams points channels"]:
        """Like :func:`eoren.model.siren.propagate`, in a buffer that the next call overwrites."""
        own = self._siren.select(networks)
        kept = self._buffers(len(points), 1 + len(axes), points.shape[1])
        first, bias, omega = own.weights[0], own.biases[0], own.omegas[0]
        torch.baddbmm(omega * bias, points, omega * first, out=kept.p[0][:, 0])
        self._wave(kept, 0)
        tangents = [omega * first[:, axis, None] * scale[:, axis, None, None] for axis in axes]
        for stream, tangent in enumerate(tangents, 1):
            torch.mul(kept.cos[0][:, 0], tangent, out=kept.z[0][:, stream])
        for layer in range(1, own.depth):
            omega = own.omegas[layer]
            _product(kept.z[layer - 1], omega * own.weights[layer], kept.p[layer])
            kept.p[layer][:, 0].add_(own.biases[layer], alpha=omega)
            self._wave(kept, layer)
            torch.mul(kept.cos[layer], kept.p[layer][:, 1:], out=kept.z[layer][:, 1:])
        _product(kept.z[-1], own.weights[-1], kept.said)
        kept.said[:, 0].add_(own.biases[-1])
        self._last = networks, own, points, tangents, tuple(axes), scale, kept
        return kept.said

    def backward(self, by_said: Float[Tensor, "batch streams points channels"]) -> None:
        """Add the gradients of a scalar to :attr:`gradients`.

        Args:
            by_said: the scalar's gradient by what the last :meth:`forward` returned.
        """
        networks, own, points, tangents, axes, scale, kept = self._last
        layers = own.depth + 1
        by_weight = [gradient[networks] for gradient in self.gradients[:layers]]
        by_bias = [gradient[networks] for gradient in self.gradients[layers:]]

        rows = _rows(by_said)
        # The product is small and narrow: the other way round it is several times faster.
        by_weight[-1] += torch.bmm(rows.mT, _rows(kept.z[-1])).mT
        by_bias[-1] += by_said[:, 0].sum(1, keepdim=True)
        gradient, spare = kept.gradients
        torch.bmm(rows, own.weights[-1].mT, out=_rows(gradient))
        for layer in reversed(range(1, own.depth)):
            omega = own.omegas[layer]
            p, sin = kept.p[layer], kept.z[layer][:, 0]
            p[:, 1:] *= gradient[:, 1:]
            gradient *= kept.cos[layer]
            for stream in range(1, p.shape[1]):
                gradient[:, 0].addcmul_(p[:, stream], sin, value=-1)
            by_weight[layer].baddbmm_(_rows(kept.z[layer - 1]).mT, _rows(gradient), alpha=omega)
            by_bias[layer].add_(gradient[:, 0].sum(1, keepdim=True), alpha=omega)
            torch.bmm(_rows(gradient), (omega * own.weights[layer]).mT, out=_rows(spare))
            gradient, spare = spare, gradient

        omega, sin = own.omegas[0], kept.z[0][:, 0]
        bend = kept.p[0][:, 0].zero_()
        for stream, (axis, tangent) in enumerate(zip(axes, tangents, strict=True), 1):
            bend.addcmul_(gradient[:, stream], tangent)
            gradient[:, stream] *= kept.cos[0][:, 0]
            along = gradient[:, stream].sum(1) * scale[:, axis, None]
            by_weight[0][:, axis].add_(along, alpha=omega)
        value = gradient[:, 0].mul_(kept.cos[0][:, 0]).addcmul_(bend, sin, value=-1)
        by_weight[0].baddbmm_(points.mT, value, alpha=omega)
        by_bias[0].add_(value.sum(1, keepdim=True), alpha=omega)
        if isinstance(networks, Tensor):  # which made copies
            for whole, part in zip(self.gradients, [*by_weight, *by_bias], strict=True):
                whole[networks] = part

    def _wave(self, kept: _Buffers, layer: int) -> None:
        value = kept.p[layer][:, :1]
        torch.cos(value, out=kept.cos[layer])
        torch.sin(value, out=kept.z[layer][:, :1])

    def _buffers(self, batch: int, streams: int, points: int) -> _Buffers:
        """Buffers for a chunk of this shape. There are few shapes: whole chunks, and the rests."""
        key = batch, streams, points
        if key not in self._shapes:
            if len(self._shapes) >= 8:
                self._shapes.clear()
            siren = self._siren
            depth, width = siren.depth, siren.width

            def empty(count: int, features: int = width) -> Tensor:
                return siren.weights[0].new_empty(batch, count, points, features)

            self._shapes[key] = _Buffers(
                [empty(1), *(empty(streams) for _ in range(depth - 1))],
                [empty(streams) for _ in range(depth)],
                [empty(1) for _ in range(depth)],
                empty(streams, siren.channels),
                [empty(streams), empty(streams)],
            )
        return self._shapes[key]


def _rows(streams: Float[Tensor, "batch streams points features"]) -> Float[Tensor, "batch rows features"]:
    """All streams of all points, one below the other."""
    return streams.flatten(1, 2)


def _product(z: Tensor, weight: Tensor, out: Tensor) -> None:
    torch.bmm(_rows(z), weight, out=_rows(out))
