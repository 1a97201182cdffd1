"""The color decoder: colours as a pointwise function of features, with derivatives by the chain rule.

    colour = 1/2 + features M + SIREN(gain features)

The linear part M starts as the inverse of the colour transform, the SIREN at zero. Features are images, of which the
decoder knows value, derivatives and Laplacian at every point (:mod:`eoren.model.latents.features`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eoren.model.siren import Siren

COARSE_GAIN, DETAIL_GAIN = 3.0, 20.0
"""Factors of the features before the SIREN: most of the low-pass band and of the details are then within +-1."""
_FREQUENCY = 0.5  # standard deviation of the first sine layer's arguments for inputs of variance 1

# Luma, and the two colour differences, of equal norm: errors of features are errors of colours.
_OPPONENT = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]], dtype=torch.float64, device="cpu")


def color_transform(channels: int) -> Float[Tensor, "components channels"]:
    """Return the orthonormal transform of colours before the wavelet transform, float64; alpha is left alone."""
    transform = torch.eye(channels, dtype=torch.float64)
    if channels >= 3:
        transform[:3, :3] = _OPPONENT / _OPPONENT.norm(dim=1, keepdim=True)
    return transform


@dataclass(frozen=True, eq=False)
class ColorDecoder:
    """A pointwise function from F features to C channels.

    Attributes:
        linear: ``(F, C)``, the linear part M.
        siren: one SIREN with F inputs, or None for a linear decoder.
    """

    linear: Float[Tensor, "features channels"]
    siren: Siren | None = None

    @classmethod
    def init(
        cls, channels: int, groups: int, *, width: int = 0, generator: torch.Generator | None = None
    ) -> "ColorDecoder":
        """Create the decoder at the start of a fit: the inverse colour transform of the sum of all groups.

        Args:
            channels: channels of the image.
            groups: number of feature images of each channel.
            width: units of the SIREN's two sine layers, 0 for no SIREN.
            generator: random generator of the SIREN.
        """
        linear = color_transform(channels).repeat(groups, 1).float()
        if not width:
            return cls(linear)
        if generator is None:
            raise ValueError("a SIREN needs a generator")
        return cls(linear, _init_siren(len(linear), width, channels, generator))

    def __call__(
        self, streams: Float[Tensor, "streams points features"], *, laplacian: bool = False
    ) -> Float[Tensor, "streams points channels"]:
        """Compute colours, and their derivatives and Laplacian, from those of the features.

        Args:
            streams: value first, then derivatives; the Laplacian last, after d/dx and d/dy.
            laplacian: whether the last stream is the Laplacian.
        """
        colors = streams @ self.linear
        colors = torch.cat([colors[:1] + 0.5, colors[1:]])
        if self.siren is not None:
            colors = colors + self.siren.propagate((self.gains() * streams)[None], laplacian=laplacian)[0]
        return colors

    def gains(self) -> Float[Tensor, " features"]:
        """Return the factors of the features before the SIREN; the low-pass features come first."""
        features, channels = self.linear.shape
        return self.linear.new_tensor([COARSE_GAIN] * channels + [DETAIL_GAIN] * (features - channels))

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(t.numel() for t in self.tensors())

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all parameters: the linear part, then those of the SIREN."""
        return (self.linear, *(self.siren.tensors() if self.siren else ()))

    def with_tensors(self, tensors: Sequence[Tensor]) -> "ColorDecoder":
        """Return the same architecture with other parameters, in the order of :meth:`tensors`."""
        return ColorDecoder(tensors[0], self.siren.with_tensors(tensors[1:]) if self.siren else None)

    def to(self, *args: Any, **kwargs: Any) -> "ColorDecoder":
        """Return the same decoder on another device or in another precision, as ``Tensor.to``."""
        return replace(
            self, linear=self.linear.to(*args, **kwargs), siren=self.siren and self.siren.to(*args, **kwargs)
        )


def _init_siren(inputs: int, width: int, channels: int, generator: torch.Generator) -> Siren:
    """Draw a SIREN for inputs of variance 1, with random phases, whose output is zero."""
    sizes, factors = (inputs, width, width, channels), (_FREQUENCY, math.sqrt(2), 0.0)
    weights, biases = [], []
    for number, factor in enumerate(factors):
        shape = (1, sizes[number], sizes[number + 1])
        weights.append(torch.randn(shape, generator=generator, dtype=torch.float32) * (factor / math.sqrt(shape[1])))
        phases = torch.rand((1, 1, shape[2]), generator=generator, dtype=torch.float32) * (2 * math.pi)
        biases.append(phases if factor else torch.zeros_like(phases))
    return Siren(tuple(weights), tuple(biases), (1.0, 1.0))
