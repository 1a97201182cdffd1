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

from jaxtyping import Float, Shaped

from eoren.coding.bands import Box
from eoren.model.arrays import Array, Tensor, as_tensor, is_tensor, namespace
from eoren.model.latents.wavelet import Details, Subbands, flatten, synthesize, synthesize_level, unflatten

FINE_LEVELS = 3
"""Levels whose details are groups of their own."""
MARGIN = 56
"""Pixels around a window that its features depend on: 32 by the wavelets, 24 by the splines, to 1e-8."""


def group_count(levels: int) -> int:
    """Return the number of groups of features."""
    return 1 + min(levels, FINE_LEVELS)


@dataclass(frozen=True, eq=False)
class LatentFeatures:
    """The features of an image, computed window by window from its latents.

    Attributes:
        latents: latents of all bands, ``(C, rows, columns)`` each, integers or real numbers.
        matrices: a matrix ``(C, D)`` for each band, in the order of :func:`.wavelet.flatten`, from its latents to
            wavelet coefficients. Windows are arrays of their kind, or tensors on their device.
        width: width of the image in pixels.
        height: its height.
        separate: whether the groups are features of their own, or added up.
    """

    latents: Subbands
    matrices: tuple[Float[Array, "latents components"], ...]
    width: int
    height: int
    separate: bool = True

    def as_tensors(self, like: Tensor) -> "LatentFeatures":
        """Return the same features as tensors on the device and in the precision of another tensor."""
        latents = unflatten([as_tensor(band) for band in flatten(self.latents)])
        matrices = tuple(as_tensor(m).to(like) for m in self.matrices)
        return LatentFeatures(latents, matrices, self.width, self.height, self.separate)

    def mixed(self, linear: Float[Array, "features channels"]) -> "LatentFeatures":
        """Return a linear function of the features as features, C images instead of up to 4 C."""
        levels = len(self.latents.details)
        groups = linear.reshape(group_count(levels), -1, linear.shape[1])
        of_band = [0, *(max(0, len(groups) - 1 - level) for level in range(levels) for _ in range(3))]
        matrices = tuple(m @ groups[group] for m, group in zip(self.matrices, of_band, strict=True))
        return LatentFeatures(self.latents, matrices, self.width, self.height, separate=False)

    @cached_property
    def lowpass(self) -> Float[Array, "components rows columns"]:
        """The low-pass band below the fine levels."""
        bands, numbers = flatten(self.latents), [0, *range(1 + 3 * FINE_LEVELS, len(self.matrices))]
        return synthesize(unflatten([mix(bands[k], self.matrices[k]) for k in numbers]))

    def window(self, box: Box) -> tuple[Float[Array, "features rows columns"], tuple[int, int]]:
        """Compute the features of a window with its margin.

        Args:
            box: pixels of the window; it starts at multiples of eight pixels.

        Returns:
            Features of the window and of up to `MARGIN` pixels around it, and column and row of the first of them.
        """
        outer = self.with_margin(box)
        bands = self.window_bands(outer)
        features = stack_groups(bands.coarse, bands.details) if self.separate else synthesize(bands)
        return features, (outer.x0, outer.y0)

    def with_margin(self, box: Box) -> Box:
        """Return the pixels that the features of a window depend on; bands can be cut there."""
        left, top = max(0, box.x0 - MARGIN), max(0, box.y0 - MARGIN)
        right, bottom = (
            side if end + MARGIN >= side else -(-(end + MARGIN) // 8) * 8
            for end, side in zip((box.x1, box.y1), (self.width, self.height), strict=True)
        )
        return Box(left, top, min(right, self.width), min(bottom, self.height))

    def window_bands(self, outer: Box) -> Subbands:
        """Compute the coefficients of the pixels that :meth:`with_margin` returns."""
        fine = self.latents.details[:FINE_LEVELS]
        cut = [band for level, bands in enumerate(fine, 1) for band in _cut(bands, outer, level)]
        rows, columns = outer.bounds(len(fine), high=False)
        mixed = [mix(band, self.matrices[k]) for k, band in enumerate(cut, 1)]
        return unflatten([self.lowpass[:, rows, columns], *mixed])


def mix(
    band: Shaped[Array, "latents rows columns"], matrix: Float[Array, "latents components"]
) -> Float[Array, "components rows columns"]:
    """Apply a matrix to the channels of a band."""
    values = band.to(matrix) if is_tensor(band) else band.astype(matrix.dtype)
    return (matrix.T @ values.reshape(len(band), -1)).reshape(matrix.shape[1], *band.shape[1:])


def stack_groups(lowpass: Float[Array, "channels _ _"], details: Sequence[Details]) -> Array:
    """Bring the low-pass band and the details of each level to full size: ``(groups C, rows, columns)``."""
    xp, groups = namespace(lowpass), None
    for bands in reversed(details):
        zero = xp.zeros_like
        if groups is None:
            groups = synthesize_level(lowpass, Details(*map(zero, bands)))
        else:
            many = groups.shape[0] // bands[0].shape[0]
            empty = Details(*(xp.tile(zero(band), (many, 1, 1)) for band in bands))
            groups = synthesize_level(groups, empty)
        size = groups.shape[1] - bands.vertical.shape[1], bands.vertical.shape[2]
        low = xp.broadcast_to(zero(lowpass[:, :1, :1]), (len(lowpass), *size))
        groups = xp.concatenate([groups, synthesize_level(low, bands)])
    return lowpass if groups is None else groups


def _cut(bands: Details, box: Box, level: int) -> Details:
    (high_rows, high_columns), (rows, columns) = box.bounds(level, high=True), box.bounds(level, high=False)
    return Details(
        bands.horizontal[:, rows, high_columns],
        bands.vertical[:, high_rows, columns],
        bands.diagonal[:, high_rows, high_columns],
    )
