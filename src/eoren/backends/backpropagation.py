"""Hand-written backpropagation through a batch of SIRENs and their derivatives.

Formulas and streams are those of :mod:`eoren.model.siren`. Automatic differentiation gives the same numbers (tested);
this implementation reuses buffers that stay in the cache from chunk to chunk, and makes two passes over memory less
per layer: 2.3 ms against 6.9 ms a step.

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
    """Results of the forward pass of one chunk that its backward pass needs, and space for gradients."""

    # Pre-activations of every sine layer; of the first the value alone, whose derivatives are constants.
    p: list[Float[Tensor, "batch _ points width"]]
    z: list[Float[Tensor, "batch streams points width"]]
    cos: list[Float[Tensor, "batch 1 points width"]]
    prediction: Float[Tensor, "batch streams points channels"]
    gradients: list[Float[Tensor, "batch streams points width"]]  # by the activations of two layers, alternating


class Backpropagation:
    """Forward and backward passes of one batch of SIRENs, whose parameters may move between steps."""

    def __init__(self, siren: Siren) -> None:
        self.gradients = [torch.zeros_like(tensor) for tensor in siren.tensors()]
        self._siren = siren
        self._shapes: dict[tuple[int, int, int], _Buffers] = {}

    def zero(self) -> None:
        """Set the accumulated gradients to zero."""
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
        """Evaluate some networks, see :class:`eoren.model.siren.Siren`, in a buffer that the next call overwrites."""
        siren = self._siren.select(networks)
        buffers = self._buffers(len(points), 1 + len(axes), points.shape[1])
        first, bias, omega = siren.weights[0], siren.biases[0], siren.omegas[0]
        torch.baddbmm(omega * bias, points, omega * first, out=buffers.p[0][:, 0])
        self._wave(buffers, 0)
        tangents = [omega * first[:, axis, None] * scale[:, axis, None, None] for axis in axes]
        for stream, tangent in enumerate(tangents, 1):
            torch.mul(buffers.cos[0][:, 0], tangent, out=buffers.z[0][:, stream])
        for layer in range(1, siren.depth):
            omega = siren.omegas[layer]
            _product(buffers.z[layer - 1], omega * siren.weights[layer], buffers.p[layer])
            buffers.p[layer][:, 0].add_(siren.biases[layer], alpha=omega)
            self._wave(buffers, layer)
            torch.mul(buffers.cos[layer], buffers.p[layer][:, 1:], out=buffers.z[layer][:, 1:])
        _product(buffers.z[-1], siren.weights[-1], buffers.prediction)
        buffers.prediction[:, 0].add_(siren.biases[-1])
        self._last = networks, siren, points, tangents, tuple(axes), scale, buffers
        return buffers.prediction

    def backward(self, output_gradient: Float[Tensor, "batch streams points channels"]) -> None:
        """Add to :attr:`gradients` those of a scalar, given its gradient by the result of :meth:`forward`."""
        networks, siren, points, tangents, axes, scale, buffers = self._last
        layers = siren.depth + 1
        weight_gradients = [gradient[networks] for gradient in self.gradients[:layers]]
        bias_gradients = [gradient[networks] for gradient in self.gradients[layers:]]

        rows = _rows(output_gradient)
        # A small and narrow product: transposed it is several times faster.
        weight_gradients[-1] += torch.bmm(rows.mT, _rows(buffers.z[-1])).mT
        bias_gradients[-1] += output_gradient[:, 0].sum(1, keepdim=True)
        gradient, spare = buffers.gradients
        torch.bmm(rows, siren.weights[-1].mT, out=_rows(gradient))
        for layer in reversed(range(1, siren.depth)):
            omega = siren.omegas[layer]
            p, sin = buffers.p[layer], buffers.z[layer][:, 0]
            p[:, 1:] *= gradient[:, 1:]
            gradient *= buffers.cos[layer]
            for stream in range(1, p.shape[1]):
                gradient[:, 0].addcmul_(p[:, stream], sin, value=-1)
            weight_gradients[layer].baddbmm_(_rows(buffers.z[layer - 1]).mT, _rows(gradient), alpha=omega)
            bias_gradients[layer].add_(gradient[:, 0].sum(1, keepdim=True), alpha=omega)
            torch.bmm(_rows(gradient), (omega * siren.weights[layer]).mT, out=_rows(spare))
            gradient, spare = spare, gradient

        omega, sin = siren.omegas[0], buffers.z[0][:, 0]
        curvature = buffers.p[0][:, 0].zero_()
        for stream, (axis, tangent) in enumerate(zip(axes, tangents, strict=True), 1):
            curvature.addcmul_(gradient[:, stream], tangent)
            gradient[:, stream] *= buffers.cos[0][:, 0]
            along = gradient[:, stream].sum(1) * scale[:, axis, None]
            weight_gradients[0][:, axis].add_(along, alpha=omega)
        value = gradient[:, 0].mul_(buffers.cos[0][:, 0]).addcmul_(curvature, sin, value=-1)
        weight_gradients[0].baddbmm_(points.mT, value, alpha=omega)
        bias_gradients[0].add_(value.sum(1, keepdim=True), alpha=omega)
        if isinstance(networks, Tensor):  # an index makes copies
            for whole, part in zip(self.gradients, [*weight_gradients, *bias_gradients], strict=True):
                whole[networks] = part

    def _wave(self, buffers: _Buffers, layer: int) -> None:
        value = buffers.p[layer][:, :1]
        torch.cos(value, out=buffers.cos[layer])
        torch.sin(value, out=buffers.z[layer][:, :1])

    def _buffers(self, batch: int, streams: int, points: int) -> _Buffers:
        """Return buffers for a chunk of this shape. There are few shapes: whole chunks, and remainders."""
        key = batch, streams, points
        if key not in self._shapes:
            if len(self._shapes) >= 8:
                self._shapes.clear()
            siren = self._siren
            depth, width = siren.depth, siren.width

            def empty(count: int, features: int = width) -> Tensor:
                memory: Tensor = siren.weights[0].new_empty(batch, count, points, features)
                return memory

            self._shapes[key] = _Buffers(
                [empty(1), *(empty(streams) for _ in range(depth - 1))],
                [empty(streams) for _ in range(depth)],
                [empty(1) for _ in range(depth)],
                empty(streams, siren.channels),
                [empty(streams), empty(streams)],
            )
        return self._shapes[key]


def _rows(streams: Float[Tensor, "batch streams points features"]) -> Float[Tensor, "batch rows features"]:
    """Join all streams of all points along one axis."""
    return streams.flatten(1, 2)


def _product(z: Tensor, weight: Tensor, out: Tensor) -> None:
    torch.bmm(_rows(z), weight, out=_rows(out))
