"""The interface of a coder of blocks of latents, and the one in NumPy (:mod:`eoren.coding.block_coder`).

Implementations write the same bytes and choose the same latents.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64

from eoren.coding import block_coder
from eoren.coding.bands import Latents
from eoren.coding.context_model import Shifts

Bits = Float64[np.ndarray, " offsets"]


@runtime_checkable
class BlockCoder(Protocol):
    """A way to code blocks of latents. Several threads of the caller may use a coder at once.

    ``shifts`` are differences of the image's scales from those of the context model.
    """

    name: str  # native or numpy

    def encode(self, latents: Latents, *, shifts: Shifts | None = None) -> bytes:
        """Encode the latents of a block. A ValueError if one is larger than :data:`.bands.MAX_LATENT`."""

    def decode(self, data: bytes, latents: Latents, *, shifts: Shifts | None = None) -> None:
        """Decode a block into latents, which must be zero. A ValueError if the data are damaged."""

    def bits(self, latents: Latents, *, shifts: Shifts | None = None) -> Bits:
        """Compute the bits of the latents of each offset, see :func:`.block_coder.block_bits`."""

    def quantize(
        self,
        coefficients: tuple[Float[np.ndarray, "channels _ _"], ...],
        latents: Latents,
        weight: float,
        *,
        shifts: Shifts | None = None,
    ) -> None:
        """Choose latents by rate and distortion, see :func:`.block_coder.quantize_block`."""


class NumpyCoder:
    """The reference, several times slower; it uses one thread."""

    name = "numpy"

    def encode(self, latents: Latents, *, shifts: Shifts | None = None) -> bytes:
        """Encode the latents of a block."""
        return block_coder.encode_block(latents, shifts)

    def decode(self, data: bytes, latents: Latents, *, shifts: Shifts | None = None) -> None:
        """Decode a block into latents, which must be zero."""
        block_coder.decode_block(data, latents, shifts)

    def bits(self, latents: Latents, *, shifts: Shifts | None = None) -> Bits:
        """Compute the bits of the latents of each offset."""
        return block_coder.block_bits(latents, shifts)

    def quantize(
        self,
        coefficients: tuple[Float[np.ndarray, "channels _ _"], ...],
        latents: Latents,
        weight: float,
        *,
        shifts: Shifts | None = None,
    ) -> None:
        """Choose latents by rate and distortion."""
        block_coder.quantize_block(coefficients, latents, weight, shifts)
