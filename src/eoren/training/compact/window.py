"""The distortion of an image as a function of the latents of one block, while all others stay as they are."""

import numpy as np
import torch
from torch import Tensor

from eoren.backends.dispatch import choose_distortion
from eoren.coding.bands import Box
from eoren.field.wavelet_siren import WaveletSiren
from eoren.image.arrays import Image
from eoren.model.arrays import as_numpy
from eoren.model.latents.distortion import Distortion, DistortionTarget
from eoren.model.latents.features import LatentFeatures, mix
from eoren.model.latents.wavelet import flatten, unflatten

_REACH = 32  # pixels around a block that its latents change


def linear_colors(field: WaveletSiren) -> LatentFeatures:
    """Return the colours of a field with a linear decoder as features, computed window by window."""
    return field.features.mixed(as_numpy(field.decoder.linear))


class BlockWindow:
    """The pixels that a block's latents change, and the colours that they should have.

    Args:
        image: point values of the whole image.
        colors: colours of the field, see :func:`linear_colors`; latents outside of the block stay as they are now.
        box: the block.
        gradient_weight: weight of the gradients' errors.
        device: device to compute on.
    """

    def __init__(
        self, image: Image, colors: LatentFeatures, box: Box, *, gradient_weight: float, device: torch.device
    ) -> None:
        width, height = colors.width, colors.height
        outer = colors.with_margin(box)
        inner = Box(
            max(0, box.x0 - _REACH) - outer.x0,
            max(0, box.y0 - _REACH) - outer.y0,
            min(width, box.x1 + _REACH) - outer.x0,
            min(height, box.y1 + _REACH) - outer.y0,
        )
        wanted = np.moveaxis(image[outer.y0 : outer.y1, outer.x0 : outer.x1], 2, 0)
        wanted = np.ascontiguousarray(wanted - 0.5, np.float32)
        target = DistortionTarget(torch.from_numpy(wanted).to(device), inner, gradient_weight)
        self.pixels = target.pixels
        self._distortion = choose_distortion(target)
        # From latents of a band to coefficients of the colours: steps, then the decoder of the group.
        self._matrices = [torch.from_numpy(matrix).to(device) for matrix in colors.matrices]
        self._around: list[tuple[Tensor, tuple[int, int, int, int]]] | None = None
        if box != Box(0, 0, width, height):
            self._around = _surroundings(flatten(colors.window_bands(outer)), outer, box, device)

    def distortion(self, latents: list[Tensor]) -> Distortion:
        """Compute the distortion of the window, given the latents of the block."""
        if self._around is None:
            return self._distortion(unflatten([*map(mix, latents, self._matrices)]))
        coefficients = [self._around[0][0]]
        for k, (around, missing) in enumerate(self._around[1:], 1):
            coefficients.append(around + torch.nn.functional.pad(mix(latents[k], self._matrices[k]), missing))
        return self._distortion(unflatten(coefficients))


def _surroundings(
    bands: list[np.ndarray], outer: Box, box: Box, device: torch.device
) -> list[tuple[Tensor, tuple[int, int, int, int]]]:
    """Return coefficients of a window without those of a block, and how many are left, right, above and below it."""
    around = [(torch.tensor(bands[0], dtype=torch.float32, device=device), (0, 0, 0, 0))]
    for k, band in enumerate(bands[1:], 1):
        level, kind = (k + 2) // 3, (k - 1) % 3
        (outer_rows, outer_columns), (rows, columns) = (_band_bounds(b, level, kind) for b in (outer, box))
        before = columns.start - outer_columns.start, rows.start - outer_rows.start
        behind = outer_columns.stop - columns.stop, outer_rows.stop - rows.stop
        rest = torch.tensor(band, dtype=torch.float32, device=device)
        rest[:, before[1] : rest.shape[1] - behind[1], before[0] : rest.shape[2] - behind[0]] = 0
        around.append((rest, (before[0], behind[0], before[1], behind[1])))
    return around


def _band_bounds(box: Box, level: int, kind: int) -> tuple[slice, slice]:
    high, low = box.bounds(level, high=True), box.bounds(level, high=False)
    return (low if kind == 0 else high)[0], (low if kind == 1 else high)[1]
