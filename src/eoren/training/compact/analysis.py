"""The start of a compact fit: wavelet coefficients of an image, and what an error of each is worth."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int16

from eoren.coding.bands import Latents, band_shapes, choose_levels
from eoren.field.wavelet_siren import STEP_FRACTION
from eoren.image.arrays import Image
from eoren.image.spline import reference_gradient
from eoren.model.latents.color_decoder import color_transform
from eoren.model.latents.wavelet import analyze, flatten, synthesize, unflatten

_PROBE = 8  # sides, in coarsest places, of the image in which basis functions are measured
_DEEPEST = 5  # level below which the weights of a band no longer change


class Coefficients(NamedTuple):
    """The coefficients of an image in the components of the colour transform, in the order of :class:`.Latents`."""

    bands: tuple[Float[np.ndarray, "channels rows columns"], ...]
    width: int
    height: int

    @property
    def levels(self) -> int:
        """Number of levels."""
        return len(self.bands) // 3

    def zeros(self) -> Latents:
        """Create latents of this size, all zero."""
        return Latents.zeros(len(self.bands[0]), self.height, self.width, self.levels)


def analyze_image(image: Image) -> Coefficients:
    """Transform an image ``(H, W, C)``, by the colour transform of its channels and the wavelet transform."""
    height, width, channels = image.shape
    levels = choose_levels(width, height)
    pixels = torch.from_numpy(image).flatten(0, 1)
    shapes = band_shapes((channels, height, width), levels)
    bands = tuple(np.empty(shape, np.float32) for shape in shapes)
    for channel, weights in enumerate(
        torch.from_numpy(color_transform(channels)).float()
    ):  # one by one, to save memory
        component = (pixels.float() @ weights - 0.5 * weights.sum()).view(1, height, width)
        for band, values in zip(bands, flatten(analyze(component, levels)), strict=True):
            band[channel] = values.numpy()[0]
    return Coefficients(bands, width, height)


def step_offsets(levels: int, channels: int, gradient_weight: float) -> Int16[np.ndarray, "bands channels"]:
    """Return the offsets of the steps of bands that make an error of one step equally expensive in all of them."""
    energies = band_energies(levels, gradient_weight)
    offsets = np.rint(-STEP_FRACTION / 2 * np.log2(energies)).astype(np.int16)
    return np.repeat(offsets[:, None], channels, 1)


def band_energies(levels: int, gradient_weight: float) -> Float[np.ndarray, " bands"]:
    """Compute what a squared error of 1 in a coefficient of each band adds to the sum of squared errors.

    That is the energy of the basis function, plus ``gradient_weight`` times the mean energy of its two derivatives in
    intensity per pixel.
    """
    energy, slopes = _basis_energies(levels)
    return energy + gradient_weight * slopes


@cache
def _basis_energies(levels: int) -> tuple[np.ndarray, np.ndarray]:
    known = min(levels, _DEEPEST)
    side = _PROBE << known
    energies = np.zeros((2, 3 * levels + 1))
    zero = analyze(torch.zeros(1, side, side, dtype=torch.float64), known)
    for band in range(3 * known + 1):
        bands = [b.clone() for b in flatten(zero)]
        rows, columns = bands[band].shape[1:]
        bands[band][0, rows // 2, columns // 2] = 1
        basis = synthesize(unflatten(bands)).permute(1, 2, 0).numpy()
        slopes = reference_gradient(basis, extent=(float(side), float(side)))
        energies[:, band] = (basis**2).sum(), (slopes**2).sum() / 2
    for level in range(known, levels):  # derivatives of coarser bands are small
        energies[:, 3 * level + 1 : 3 * level + 4] = energies[:, 3 * level - 2 : 3 * level + 1]
    return energies[0], energies[1]
