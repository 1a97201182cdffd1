"""A batch of independent SIRENs: value, Jacobian and Laplacian, computed in one forward pass.

One network of the batch is (arXiv 2006.09661)::

    (u, v) --> [ sin(w1 (. W + b)) ] --> [ sin(w (. W + b)) ] x (depth - 1) --> [ . W + b ] --> C channels
               2 -> width                width -> width                        width -> channels

Derivatives are propagated beside the value, as *streams*. With the pre-activation ``p`` of a layer,
``z = sin p``, ``dz = cos p dp`` and ``Lz = cos p Lp - sin p |dp|^2``, where ``L`` is the Laplacian. A matrix
product is linear, so all streams of a layer share one; the bias belongs to the value alone. Nothing is
differentiated twice, so a gradient objective costs as much per stream as a colour objective.

Parameters are NumPy arrays or PyTorch tensors, see :mod:`eoren.model.arrays`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, Int

from eoren.model.arrays import Array, Tensor, as_tensor, namespace

if TYPE_CHECKING:
    import torch

Streams = Float[Array, "batch streams points features"]

MAX_SINE_LAYERS = 64
"""Largest number of sine layers of a network that is fitted or read. The presets have three to five."""


@dataclass(frozen=True, eq=False)
class Siren:
    """A batch of B SIRENs of one shape: per layer, ``(B, inputs, outputs)`` weights and ``(B, 1, outputs)`` biases.

    Example:
        >>> import torch
        >>> siren = Siren.init(1, width=16, depth=2, channels=3, generator=torch.Generator().manual_seed(0))
        >>> siren(torch.rand(1, 5, 2), axes=(0, 1)).shape  # value, d/du and d/dv at five points
        torch.Size([1, 3, 5, 3])
    """

    weights: tuple[Float[Array, "batch _ _"], ...]
    biases: tuple[Float[Array, "batch 1 _"], ...]
    omegas: tuple[float, ...]  # frequency factor of each sine layer

    @classmethod
    def init(
        cls,
        batch: int,
        *,
        width: int,
        depth: int,
        channels: int,
        omega_first: float = 30.0,
        omega_hidden: float = 30.0,
        generator: "torch.Generator",
    ) -> "Siren":
        """Draw a batch of SIRENs by the published rule (arXiv 2006.09661, section 3.2 and its supplement).

        With ``n`` inputs to a layer, weights are uniform in +-1/n for the first layer and +-sqrt(6/n)/omega for
        the others, which gives every sine unit a pre-activation of unit variance; biases are uniform in
        +-1/sqrt(n), PyTorch's default, which the official code keeps. ``omega_first`` is the highest frequency at the
        start of a fit. The networks are float32 tensors on the device of the generator.
        """
        sizes = [2, *[width] * depth, channels]
        omegas = (omega_first, *[omega_hidden] * (depth - 1))
        weights, biases = [], []
        for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
            bound = 1 / inputs if layer == 0 else sqrt(6 / inputs) / omega_hidden
            weights.append(_uniform((batch, inputs, outputs), bound, generator))
            biases.append(_uniform((batch, 1, outputs), 1 / sqrt(inputs), generator))
        return cls(tuple(weights), tuple(biases), omegas)

    def __call__(
        self,
        points: Float[Array, "batch points 2"],
        *,
        axes: Sequence[int] = (),
        scale: Float[Array, "batch 2"] | None = None,
        laplacian: bool = False,
    ) -> Streams:
        """Evaluate every network and its derivatives at its own points.

        Args:
            points: ``(B, N, 2)`` in the networks' local coordinates ``(u, v)``.
            axes: derivatives to compute, 0 for d/dx and 1 for d/dy. Their streams follow the value in this order.
            scale: ``(B, 2)``, ``(du/dx, dv/dy)`` of every network, for derivatives in the units of x and y.
            laplacian: whether to compute the sum of second derivatives as the last stream; needs ``axes=(0, 1)``.

        Returns:
            ``(B, 1 + len(axes) + laplacian, N, C)``. PyTorch can differentiate it any number of times, by parameters
            and by points.
        """
        return self.propagate(_input_streams(points, axes, scale, laplacian), laplacian=laplacian)

    def propagate(self, z: Streams, *, laplacian: bool = False) -> Float[Array, "batch streams points outputs"]:
        """Evaluate every network for inputs that are functions of x and y themselves, by the chain rule.

        Args:
            z: ``(B, streams, N, inputs)``: the inputs, their derivatives, and last, if wanted, their Laplacians.
            laplacian: whether the last stream is the Laplacian; the streams before it are d/dx and d/dy then.

        Returns:
            ``(B, streams, N, C)``: the outputs, their derivatives and Laplacians.
        """
        xp = namespace(z)
        for weight, bias, omega in zip(self.weights, self.biases, self.omegas, strict=False):
            p = _affine(z, weight, bias, omega)
            sin, cos = xp.sin(p[:, :1]), xp.cos(p[:, :1])
            streams = [sin, cos * p[:, 1:]]
            if laplacian:
                squared_gradient = xp.square(p[:, 1:-1]).sum(1, keepdims=True)
                streams = [sin, cos * p[:, 1:-1], cos * p[:, -1:] - sin * squared_gradient]
            z = xp.concatenate(streams, 1) if z.shape[1] > 1 else sin
        return _affine(z, self.weights[-1], self.biases[-1], 1.0)

    @property
    def batch(self) -> int:
        """Number of networks."""
        return int(self.weights[0].shape[0])

    @property
    def width(self) -> int:
        """Units of a hidden layer."""
        return int(self.weights[0].shape[2])

    @property
    def depth(self) -> int:
        """Number of sine layers."""
        return len(self.omegas)

    @property
    def channels(self) -> int:
        """Number of outputs of a network."""
        return int(self.weights[-1].shape[2])

    @property
    def device(self) -> "torch.device":
        """Device of the parameters."""
        return as_tensor(self.weights[0]).device

    @property
    def parameters_per_network(self) -> int:
        """Number of parameters of one network."""
        return sum(prod(tensor.shape[1:]) for tensor in self.tensors())

    def tensors(self) -> tuple[Array, ...]:
        """Return all parameters: the weights, then the biases."""
        return (*self.weights, *self.biases)

    def with_tensors(self, tensors: Sequence[Array]) -> "Siren":
        """Return the same architecture with other parameters, in the order of :meth:`tensors`."""
        layers = len(self.weights)
        return replace(self, weights=tuple(tensors[:layers]), biases=tuple(tensors[layers:]))

    def select(self, networks: slice | Int[Array, " networks"]) -> "Siren":
        """Return some networks of the batch: a view for a slice, a copy for an array of indices."""
        return self.with_tensors([tensor[networks] for tensor in self.tensors()])

    def to(self, *args: Any, **kwargs: Any) -> "Siren":
        """Return the same networks as tensors on another device or in another precision, as ``Tensor.to``."""
        return self.with_tensors([as_tensor(t).to(*args, **kwargs) for t in self.tensors()])


def parameter_count(width: int, depth: int, channels: int) -> int:
    """Count the parameters of one SIREN with two inputs and ``channels`` outputs."""
    return 3 * width + (depth - 1) * (width + 1) * width + (width + 1) * channels


def training_flops(siren: Siren, streams: int) -> int:
    """Count the floating-point operations of one training step at one point of one network, matrix products alone.

    Three products per layer (forward, by the weights, by the inputs), two for the first, whose inputs are given.
    """
    products: list[int] = [2 * weight.shape[1] * weight.shape[2] * streams for weight in siren.weights]
    return 3 * sum(products) - products[0]


def _uniform(shape: tuple[int, ...], bound: float, generator: "torch.Generator") -> Tensor:
    import torch

    unit = torch.rand(shape, generator=generator, dtype=torch.float32, device=generator.device)
    return (2 * unit - 1) * bound


def _input_streams(
    points: Float[Array, "batch points 2"],
    axes: Sequence[int],
    scale: Float[Array, "batch 2"] | None,
    laplacian: bool,
) -> Streams:
    """Stack the points, their derivatives (du/dx, 0) and (0, dv/dy), and a Laplacian of zero."""
    if laplacian and tuple(axes) != (0, 1):
        raise ValueError(f"the Laplacian needs both derivatives, axes=(0, 1), got {tuple(axes)}")
    xp, streams = namespace(points), [points]
    for axis in axes:
        tangent = xp.zeros_like(points)
        tangent[..., axis] = 1 if scale is None else scale[:, axis, None]
        streams.append(tangent)
    if laplacian:
        streams.append(xp.zeros_like(points))
    return xp.stack(streams, 1)


def _affine(z: Streams, weight: Array, bias: Array, omega: float) -> Float[Array, "batch streams points outputs"]:
    """Compute ``omega (z W + b)`` for the value and ``omega z W`` for the derivatives, in one product."""
    batch, streams, points, inputs = z.shape
    p = z.reshape(batch, streams * points, inputs) @ (omega * weight)
    p = p.reshape(batch, streams, points, weight.shape[2])
    if streams == 1:
        return p + omega * bias[:, None]
    return namespace(p).concatenate([p[:, :1] + omega * bias[:, None], p[:, 1:]], 1)
