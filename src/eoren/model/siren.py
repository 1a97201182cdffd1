"""A batch of independent SIRENs: value, Jacobian and Laplacian, all carried forward through the layers.

One network of the batch is (arXiv 2006.09661)::

    (u, v) --> [ sin(w1 (. W + b)) ] --> [ sin(w (. W + b)) ] x (depth - 1) --> [ . W + b ] --> C channels
               2 -> width                width -> width                        width -> channels

Derivatives travel beside the value, as *streams*. With the pre-activation ``p`` of a layer,
``z = sin p``, ``dz = cos p dp`` and ``Lz = cos p Lp - sin p |dp|^2``, where ``L`` is the Laplacian. A matrix
product is linear, so all the streams of a layer share one; the bias belongs to the value alone. Nothing is
differentiated twice, which is what makes a gradient objective as cheap as a colour objective per stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Streams = Float[Tensor, "batch streams points features"]

# Activations of one layer in one chunk. On a CPU they should stay in the second-level cache; a GPU wants them
# large. Measured in docs/measurements.md.
_CHUNK_BYTES = {"cpu": 1 << 21}
_CHUNK_BYTES_ACCELERATOR = 1 << 26

MOST_LAYERS = 64
"""Sine layers of a network that is fitted or read. Ours have three to five."""


@dataclass(frozen=True, eq=False)
class Siren:
    """The parameters of a batch of B SIRENs of one shape.

    Attributes:
        weights: one ``(B, inputs, outputs)`` tensor a layer, first to last.
        biases: one ``(B, 1, outputs)`` tensor a layer.
        omegas: the frequency factor of each sine layer, one fewer than there are layers.

    Example:
        >>> siren = initialise(1, width=16, depth=2, channels=3, generator=torch.Generator().manual_seed(0))
        >>> siren.parameters_per_network, [tuple(weight.shape) for weight in siren.weights]
        (371, [(1, 2, 16), (1, 16, 16), (1, 16, 3)])
    """

    weights: tuple[Float[Tensor, "batch _ _"], ...]
    biases: tuple[Float[Tensor, "batch 1 _"], ...]
    omegas: tuple[float, ...]

    @property
    def batch(self) -> int:
        """How many networks there are."""
        return self.weights[0].shape[0]

    @property
    def width(self) -> int:
        """Units of a hidden layer."""
        return self.weights[0].shape[2]

    @property
    def depth(self) -> int:
        """Sine layers."""
        return len(self.omegas)

    @property
    def channels(self) -> int:
        """Outputs of a network."""
        return self.weights[-1].shape[2]

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.weights[0].device

    @property
    def parameters_per_network(self) -> int:
        """Numbers that one network stores."""
        return parameter_count(self.width, self.depth, self.channels)

    def tensors(self) -> tuple[Tensor, ...]:
        """All parameters: the weights, then the biases."""
        return (*self.weights, *self.biases)

    def with_tensors(self, tensors: Sequence[Tensor]) -> "Siren":
        """The same network with other numbers, in the order of :meth:`tensors`."""
        layers = len(self.weights)
        return replace(self, weights=tuple(tensors[:layers]), biases=tuple(tensors[layers:]))

    def select(self, networks: slice | Tensor) -> "Siren":
        """Some networks of the batch: a view for a slice, a copy for a tensor of indices."""
        return self.with_tensors([tensor[networks] for tensor in self.tensors()])

    def to(self, *args: Any, **kwargs: Any) -> "Siren":
        """The same networks on another device or in another precision, as ``Tensor.to``."""
        return self.with_tensors([tensor.to(*args, **kwargs) for tensor in self.tensors()])


def parameter_count(width: int, depth: int, channels: int) -> int:
    """Parameters of one SIREN from the plane to ``channels`` numbers.

    Example:
        >>> parameter_count(256, 5, 3)  # the network of the EoREN paper
        264707
    """
    return 3 * width + (depth - 1) * (width + 1) * width + (width + 1) * channels


def initialise(
    batch: int,
    *,
    width: int,
    depth: int,
    channels: int,
    omega_first: float = 30.0,
    omega_hidden: float = 30.0,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Siren:
    """Draw a batch of SIRENs by the official rule (arXiv 2006.09661, section 3.2 and its supplement).

    With ``n`` inputs to a layer, weights are uniform in +-1/n for the first layer and +-sqrt(6/n)/omega for
    the others, which gives every sine unit a pre-activation of unit variance; biases are uniform in
    +-1/sqrt(n), PyTorch's own default, which the official code keeps.

    Args:
        batch: how many networks.
        width: units of a hidden layer.
        depth: sine layers, at least one.
        channels: outputs.
        omega_first: frequency factor of the first layer: the highest frequency that the network starts with.
        omega_hidden: frequency factor of the other sine layers.
        generator: where the numbers come from. Networks are drawn on its device.
        dtype: precision of the parameters.
    """
    sizes = [2, *[width] * depth, channels]
    omegas = (omega_first, *[omega_hidden] * (depth - 1))
    weights, biases = [], []
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        bound = 1 / inputs if layer == 0 else sqrt(6 / inputs) / omega_hidden
        weights.append(_uniform((batch, inputs, outputs), bound, generator, dtype))
        biases.append(_uniform((batch, 1, outputs), 1 / sqrt(inputs), generator, dtype))
    return Siren(tuple(weights), tuple(biases), omegas)


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    unit = torch.rand(shape, generator=generator, dtype=dtype, device=generator.device)
    return (2 * unit - 1) * bound


def propagate(
    siren: Siren,
    points: Float[Tensor, "batch points 2"],
    *,
    axes: Sequence[int] = (),
    scale: Float[Tensor, "batch 2"] | None = None,
    laplacian: bool = False,
) -> Streams:
    """Value and derivatives of every network at its own points.

    Args:
        siren: B networks.
        points: ``(B, N, 2)`` in the networks' own coordinates ``(u, v)``.
        axes: derivatives wanted, 0 for d/dx and 1 for d/dy. Streams come in this order after the value.
        scale: ``(B, 2)``, every network's ``(du/dx, dv/dy)``, so that derivatives come in the units of x and y;
            ones by default.
        laplacian: the sum of second derivatives as one more stream, the last. It needs ``axes=(0, 1)``.

    Returns:
        ``(B, 1 + len(axes) + laplacian, N, C)``. Differentiable by PyTorch as often as one likes, by parameters
        and by points.
    """
    z = _seed(points, axes, scale, laplacian)
    for weight, bias, omega in zip(siren.weights, siren.biases, siren.omegas, strict=False):
        p = _affine(z, weight, bias, omega)
        sin, cos = p[:, :1].sin(), p[:, :1].cos()
        streams = [sin, cos * p[:, 1:]]
        if laplacian:
            curvature = p[:, 1:-1].square().sum(1, keepdim=True)
            streams = [sin, cos * p[:, 1:-1], cos * p[:, -1:] - sin * curvature]
        z = torch.cat(streams, 1) if z.shape[1] > 1 else sin
    return _affine(z, siren.weights[-1], siren.biases[-1], 1.0)


def _seed(
    points: Float[Tensor, "batch points 2"],
    axes: Sequence[int],
    scale: Float[Tensor, "batch 2"] | None,
    laplacian: bool,
) -> Streams:
    """The streams at the input: the points, (du/dx, 0) or (0, dv/dy), and a Laplacian of zero."""
    if laplacian and tuple(axes) != (0, 1):
        raise ValueError(f"the Laplacian needs both derivatives, axes=(0, 1), got {tuple(axes)}")
    streams = [points]
    for axis in axes:
        tangent = torch.zeros_like(points)
        tangent[..., axis] = 1 if scale is None else scale[:, axis, None]
        streams.append(tangent)
    if laplacian:
        streams.append(torch.zeros_like(points))
    return torch.stack(streams, 1)


def _affine(z: Streams, weight: Tensor, bias: Tensor, omega: float) -> Float[Tensor, "batch streams points outputs"]:
    """``omega (z W + b)`` for the value stream, ``omega z W`` for the derivatives, in one product."""
    batch, streams, points, _ = z.shape
    p = torch.bmm(z.reshape(batch, streams * points, -1), omega * weight)
    p = p.view(batch, streams, points, -1)
    if streams == 1:
        return p + omega * bias.unsqueeze(1)
    return torch.cat([p[:, :1] + omega * bias.unsqueeze(1), p[:, 1:]], 1)


def flops(siren: Siren, streams: int) -> int:
    """Multiply-adds times two of the matrix products of one training step on one point of one network.

    Forward, by the weights and by the inputs: three products a layer, two for the first, whose inputs are given.
    """
    products = [2 * weight.shape[1] * weight.shape[2] * streams for weight in siren.weights]
    return 3 * sum(products) - products[0]


def chunk_points(siren: Siren, streams: int) -> int:
    """Points whose activations in one layer, all streams, fill the cache of the device."""
    size = _CHUNK_BYTES.get(siren.device.type, _CHUNK_BYTES_ACCELERATOR)
    return max(16, size // (streams * siren.width * siren.weights[0].element_size()))
