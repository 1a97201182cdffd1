"""Refinement of the latents of one block: rounding around coefficients that make up for the errors of other latents.

Rounding by rate and distortion treats the errors of coefficients as if they were independent. They are not, because
the wavelets overlap, and their slopes more so. The gradient of the distortion at the latents says where each
coefficient should be, given the rounding errors of all others. In every step, coefficients move a part of the way
there, and latents are rounded again: a damped Jacobi iteration on the quadratic distortion, with the bits in every
rounding. It converges in some twelve steps; docs/measurements.md compares it with a descent under noise.
"""

import numpy as np
import torch

from eoren.coding.bands import Box, Latents
from eoren.field.wavelet_siren import WaveletSiren
from eoren.image.arrays import Image
from eoren.model.latents.distortion import Distortion
from eoren.model.latents.features import LatentFeatures
from eoren.training.compact.rounding import BIT_PRICE, round_block
from eoren.training.compact.window import BlockWindow

_DAMPING = (0.3, 0.2, 0.12)
"""Parts of the way that coefficients move, of levels 1, 2, and the coarser ones, which diverge at larger parts."""


class BlockRefinement:
    """The refinement of one block, while the rest of the image stays as it is.

    Args:
        image: point values of the whole image.
        field: field with a linear decoder; its latents in the block are changed.
        colors: its colours, see :func:`.linear_colors`; all blocks can share them.
        box: the block.
        coefficients: coefficients of the whole image in quantisation steps, float32, which the latents were rounded
            from; those of the block are changed.
        gradient_weight: weight of the gradients' errors.
        device: device that computes the distortion.
    """

    def __init__(
        self,
        image: Image,
        field: WaveletSiren,
        colors: LatentFeatures,
        box: Box,
        coefficients: Latents,
        *,
        gradient_weight: float,
        device: torch.device,
    ) -> None:
        self._window = BlockWindow(image, colors, box, gradient_weight=gradient_weight, device=device)
        self._coefficients, self._latents = coefficients.block(box), field.latents.block(box)
        self._shifts, self._device = field.shifts, device
        # What an error of one step in a coefficient alone adds to the distortion, in all bands.
        self._curvature = field.step**2 / field.channels
        self.steps = 0
        self.pixels = self._window.pixels
        self.errors: Distortion | None = None  # before the last step

    def step(self) -> None:
        """Move the coefficients, and round the latents again."""
        latents = [torch.from_numpy(np.ascontiguousarray(band, np.float32)) for band in self._latents.bands()]
        variables = [latent.to(self._device).detach().requires_grad_() for latent in latents]
        with torch.enable_grad():
            errors = self._window.distortion(variables)
        gradient = torch.autograd.grad(errors.total, variables, allow_unused=True)
        for k, (band, latent, by_latent) in enumerate(
            zip(self._coefficients.bands(), latents, gradient, strict=True)
        ):
            if by_latent is not None:  # the coarse latents of an image of several blocks stay
                target = latent - by_latent.cpu() / (2 * self._curvature)
                band += _damping(k) * (target.numpy() - band)
        round_block(self._coefficients, self._latents, BIT_PRICE, self._shifts)
        self.errors = errors._replace(total=errors.total.detach())
        self.steps += 1


def _damping(band: int) -> float:
    """Return the part of the way that the coefficients of a band move, the bands in the order of a file."""
    level = (band + 2) // 3
    return _DAMPING[min(level, len(_DAMPING)) - 1]  # -1 for the coarse band
