"""The interface of a coder of blocks of latents, and the one in NumPy (:mod:`eoren.coding.block_coder`).

Implementations write the same bytes and choose the same latents.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from eoren.coding import block_coder
from eoren.coding.bands import Latents


@runtime_checkable
class BlockCoder(Protocol):
    """A way to code blocks of latents.

    ``threads`` is the number of threads for one block, by default that of PyTorch. Several threads of the caller may
    use a coder at once.
    """

    name: str  # native or numpy

    def encode(self, latents: Latents, *, threads: int | None = None) -> bytes:
        """Encode the latents of a block. A ValueError if one is larger than :data:`.bands.MAX_LATENT`."""

    def decode(self, data: bytes, latents: Latents, *, threads: int | None = None) -> None:
        """Decode a block into latents, which must be zero. A ValueError if the data are damaged."""

    def bits(self, latents: Latents, *, threads: int | None = None) -> float:
        """Compute the number of bits of a block, without coding it, to a few bits."""

    def quantize(
        self,
        coefficients: tuple[Float[np.ndarray, "channels _ _"], ...],
        latents: Latents,
        weight: float,
        *,
        threads: int | None = None,
    ) -> None:
        """Choose latents by rate and distortion, see :func:`.block_coder.quantize_block`."""


class NumpyCoder:
    """The reference, several times slower; it uses one thread."""

    name = "numpy"

    def encode(self, latents: Latents, *, threads: int | None = None) -> bytes:
        """Encode the latents of a block."""
        return block_coder.encode_block(latents)

    def decode(self, data: bytes, latents: Latents, *, threads: int | None = None) -> None:
        """Decode a block into latents, which must be zero."""
        block_coder.decode_block(data, latents)

    def bits(self, latents: Latents, *, threads: int | None = None) -> float:
        """Compute the number of bits of a block."""
        return block_coder.block_bits(latents)

    def quantize(
        self,
        coefficients: tuple[Float[np.ndarray, "channels _ _"], ...],
        latents: Latents,
        weight: float,
        *,
        threads: int | None = None,
    ) -> None:
        """Choose latents by rate and distortion."""
        block_coder.quantize_block(coefficients, latents, weight)
