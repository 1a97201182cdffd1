"""Feature images of a compact field: the wavelet details of each level, and what is below them, apart.

With all features added up, one gets back the image (in the components of the colour transform). Apart, they tell
the color decoder how much of a colour is an edge of which size. There are up to four groups of one image per channel,
the coarse one first:

    low-pass band of level 3, details of level 3, details of level 2, details of level 1

each brought to the size of the image by the inverse transform, and continued between the pixels by quintic splines.
A window of a large image needs only the latents around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from eoren.coding.bands import Box
from eoren.model.latents.wavelet import Details, Subbands, synthesize, synthesize_level

FINE_LEVELS = 3
"""Levels whose details are groups of their own."""
MARGIN = 56
"""Pixels around a window that its features depend on: 32 by the wavelets, 24 by the splines, to 1e-8."""


def group_count(levels: int) -> int:
    """Return the number of groups of features."""
    return 1 + min(levels, FINE_LEVELS)


@dataclass(frozen=True, eq=False)
class LatentFeatures:
    """The features of an image, computed window by window from its coefficients.

    Attributes:
        coefficients: wavelet coefficients, ``(C, rows, columns)`` each.
        width: width of the image in pixels.
        height: its height.
        separate: whether the groups are features of their own, or added up.
    """

    coefficients: Subbands
    width: int
    height: int
    separate: bool = True

    def mixed(self, linear: Float[Tensor, "features channels"]) -> "LatentFeatures":
        """Return a linear function of the features as features, C images instead of up to 4 C."""
        coarse, details = self.coefficients
        fine = min(len(details), FINE_LEVELS)
        matrices = linear.view(1 + fine, -1, linear.shape[1])

        def mix(bands: Sequence[Tensor], group: int) -> list[Tensor]:
            return [torch.einsum("cyx,cd->dyx", band, matrices[group]).contiguous() for band in bands]

        groups = [max(0, fine - level) for level in range(len(details))]
        mixed = tuple(Details(*mix(bands, group)) for bands, group in zip(details, groups, strict=True))
        return LatentFeatures(Subbands(mix([coarse], 0)[0], mixed), self.width, self.height, separate=False)

    @cached_property
    def lowpass(self) -> Float[Tensor, "channels rows columns"]:
        """The low-pass band below the fine levels."""
        return synthesize(Subbands(self.coefficients.coarse, self.coefficients.details[FINE_LEVELS:]))

    def window(self, box: Box) -> tuple[Float[Tensor, "features rows columns"], tuple[int, int]]:
        """Compute the features of a window with its margin.

        Args:
            box: pixels of the window; it starts at multiples of eight pixels.

        Returns:
            Features of the window and of up to `MARGIN` pixels around it, and column and row of the first of them.
        """
        bands, corner = self.window_bands(box)
        features = stack_groups(bands.coarse, bands.details) if self.separate else synthesize(bands)
        return features, corner

    def window_bands(self, box: Box) -> tuple[Subbands, tuple[int, int]]:
        """Return views of the bands of a window with its margin, and column and row of its first pixel."""
        left, top = max(0, box.x0 - MARGIN), max(0, box.y0 - MARGIN)
        outer = Box(left, top, min(self.width, box.x1 + MARGIN), min(self.height, box.y1 + MARGIN))
        if (outer.x1 < self.width and outer.x1 % 8) or (outer.y1 < self.height and outer.y1 % 8):
            outer = Box(left, top, min(self.width, -(-outer.x1 // 8) * 8), min(self.height, -(-outer.y1 // 8) * 8))
        details = self.coefficients.details[:FINE_LEVELS]
        rows, columns = outer.bounds(len(details), high=False)
        cut = tuple(_cut(bands, outer, level) for level, bands in enumerate(details, 1))
        return Subbands(self.lowpass[:, rows, columns], cut), (left, top)


def stack_groups(lowpass: Float[Tensor, "channels _ _"], details: Sequence[Details]) -> Tensor:
    """Bring the low-pass band and the details of each level to full size: ``(groups C, rows, columns)``."""
    groups: Tensor | None = None
    for bands in reversed(details):
        zero = torch.zeros_like
        if groups is None:
            groups = synthesize_level(lowpass, Details(*map(zero, bands)))
        else:
            many = groups.shape[0] // bands[0].shape[0]
            empty = Details(*(zero(band).repeat(many, 1, 1) for band in bands))
            groups = synthesize_level(groups, empty)
        low = torch.zeros_like(lowpass[:, :1, :1]).expand(-1, groups.shape[1] - bands[1].shape[1], bands[1].shape[2])
        groups = torch.cat([groups, synthesize_level(low, bands)])
    return lowpass if groups is None else groups


def _cut(bands: Details, box: Box, level: int) -> Details:
    (high_rows, high_columns), (rows, columns) = box.bounds(level, high=True), box.bounds(level, high=False)
    return Details(
        bands.horizontal[:, rows, high_columns],
        bands.vertical[:, high_rows, columns],
        bands.diagonal[:, high_rows, high_columns],
    )
