"""The color decoder: colours as a pointwise function of features, with derivatives by the chain rule.

    colour = 1/2 + features M + SIREN(4 features)

The linear part M starts as the inverse of the colour transform, the SIREN at zero. Features are images, of which the
decoder knows value, derivatives and Laplacian at every point (:mod:`eoren.field.latent_features`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eoren.model.siren import Siren

INPUT_GAIN = 4.0
"""Factor of the features before the SIREN: they are mostly smaller than 1/4."""

# Luma, and the two colour differences, of equal norm: errors of features are errors of colours.
_OPPONENT = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]], dtype=torch.float64)


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
        siren = Siren.init(
            1,
            inputs=len(linear),
            width=width,
            depth=2,
            channels=channels,
            omega_first=1.0,
            omega_hidden=1.0,
            generator=generator,
        )
        last = (siren.weights[-1], siren.biases[-1])
        zero = [torch.zeros_like(t) if any(t is end for end in last) else t for t in siren.tensors()]
        return cls(linear, siren.with_tensors(zero))

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
            colors = colors + self.siren.propagate(INPUT_GAIN * streams[None], laplacian=laplacian)[0]
        return colors

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
