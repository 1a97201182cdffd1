"""The color decoder: colours as a pointwise function of features, with derivatives by the chain rule.

    colour = 1/2 + features M + SIREN(gain features)

The linear part M starts as the inverse of the colour transform, the SIREN at zero. Features are images, of which the
decoder knows value, derivatives and Laplacian at every point (:mod:`eoren.model.latents.features`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float64

from eoren.model.arrays import Array, as_tensor, like, namespace
from eoren.model.siren import Siren

if TYPE_CHECKING:
    import torch

COARSE_GAIN, DETAIL_GAIN = 3.0, 20.0
"""Factors of the features before the SIREN: most of the low-pass band and of the details are then within +-1."""
_FREQUENCY = 0.5  # standard deviation of the first sine layer's arguments for inputs of variance 1

# Luma, and the two colour differences, of equal norm: errors of features are errors of colours.
_OPPONENT = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]])


def color_transform(channels: int) -> Float64[np.ndarray, "components channels"]:
    """Return the orthonormal transform of colours before the wavelet transform; alpha is left alone."""
    transform = np.eye(channels)
    if channels >= 3:
        transform[:3, :3] = _OPPONENT / np.linalg.norm(_OPPONENT, axis=1, keepdims=True)
    return transform


@dataclass(frozen=True, eq=False)
class ColorDecoder:
    """A pointwise function from F features to C channels, whose parameters are NumPy arrays or tensors.

    Attributes:
        linear: ``(F, C)``, the linear part M.
        siren: one SIREN with F inputs, or None for a linear decoder.
    """

    linear: Float[Array, "features channels"]
    siren: Siren | None = None

    @classmethod
    def init(
        cls, channels: int, groups: int, *, width: int = 0, generator: "torch.Generator | None" = None
    ) -> "ColorDecoder":
        """Create the decoder at the start of a fit, of tensors: the inverse colour transform of all groups' sum.

        Args:
            channels: channels of the image.
            groups: number of feature images of each channel.
            width: units of the SIREN's two sine layers, 0 for no SIREN.
            generator: random generator of the SIREN.
        """
        linear = as_tensor(np.tile(color_transform(channels), (groups, 1)).astype(np.float32))
        if not width:
            return cls(linear)
        if generator is None:
            raise ValueError("a SIREN needs a generator")
        return cls(linear, _init_siren(len(linear), width, channels, generator))

    def __call__(
        self, streams: Float[Array, "streams points features"], *, laplacian: bool = False
    ) -> Float[Array, "streams points channels"]:
        """Compute colours, and their derivatives and Laplacian, from those of the features.

        Args:
            streams: value first, then derivatives; the Laplacian last, after d/dx and d/dy.
            laplacian: whether the last stream is the Laplacian.
        """
        colors = streams @ self.linear
        colors = namespace(colors).concatenate([colors[:1] + 0.5, colors[1:]])
        if self.siren is not None:
            colors = colors + self.siren.propagate((self.gains() * streams)[None], laplacian=laplacian)[0]
        return colors

    def gains(self) -> Float[Array, " features"]:
        """Return the factors of the features before the SIREN; the low-pass features come first."""
        features, channels = self.linear.shape
        return like(self.linear, [COARSE_GAIN] * channels + [DETAIL_GAIN] * (features - channels))

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(math.prod(t.shape) for t in self.tensors())

    def tensors(self) -> tuple[Array, ...]:
        """Return all parameters: the linear part, then those of the SIREN."""
        return (self.linear, *(self.siren.tensors() if self.siren else ()))

    def with_tensors(self, tensors: Sequence[Array]) -> "ColorDecoder":
        """Return the same architecture with other parameters, in the order of :meth:`tensors`."""
        return ColorDecoder(tensors[0], self.siren.with_tensors(tensors[1:]) if self.siren else None)

    def as_tensors(self) -> "ColorDecoder":
        """Return the same decoder with tensors for parameters."""
        siren = self.siren and self.siren.with_tensors([as_tensor(t) for t in self.siren.tensors()])
        return ColorDecoder(as_tensor(self.linear), siren)

    def to(self, *args: Any, **kwargs: Any) -> "ColorDecoder":
        """Return the same decoder as tensors on another device or in another precision, as ``Tensor.to``."""
        linear = as_tensor(self.linear).to(*args, **kwargs)
        return replace(self, linear=linear, siren=self.siren and self.siren.to(*args, **kwargs))


def _init_siren(inputs: int, width: int, channels: int, generator: "torch.Generator") -> Siren:
    """Draw a SIREN for inputs of variance 1, with random phases, whose output is zero."""
    import torch

    sizes, factors = (inputs, width, width, channels), (_FREQUENCY, math.sqrt(2), 0.0)
    weights, biases = [], []
    for number, factor in enumerate(factors):
        shape = (1, sizes[number], sizes[number + 1])
        weights.append(torch.randn(shape, generator=generator, dtype=torch.float32) * (factor / math.sqrt(shape[1])))
        phases = torch.rand((1, 1, shape[2]), generator=generator, dtype=torch.float32) * (2 * math.pi)
        biases.append(phases if factor else torch.zeros_like(phases))
    return Siren(tuple(weights), tuple(biases), (1.0, 1.0))
