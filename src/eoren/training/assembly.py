"""From an image to tiles and initial networks, and from trained networks to a field."""

from hashlib import sha256

import numpy as np
import torch
from jaxtyping import Bool

from eoren.backends.tile_evaluation import tuning_moments
from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.image.arrays import Image
from eoren.image.gradients import pixel_gradient
from eoren.model.channel_tuning import Tuning
from eoren.model.moments import Moments
from eoren.model.quantization import rounded
from eoren.model.siren import Siren
from eoren.model.tile_pixels import TilePixels
from eoren.model.tiling import MAX_OVERLAP, Tiling
from eoren.training.settings import Settings

# Detail of a flat pixel in intensity per pixel, so that tiles without edges have a bounded size.
_LEAST_DETAIL = 0.01
_STRIP_PIXELS = 1 << 22

TILES_AT_ONCE = 256
"""Tiles of a large image that are trained together: enough to share the overhead of every operation of a step."""


def build_tiling(image: Image, settings: Settings) -> Tiling:
    """Divide an image into one tile, or into tiles with equal sums of gradient magnitude."""
    height, width, channels = image.shape
    count, _ = settings.architecture(width, height, channels)
    if count == 1:
        return Tiling.single(width, height)
    detail = np.empty((height, width), np.float32)
    strip = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, strip):
        # The gradient of the spline, whatever the target of the fit.
        gradient = pixel_gradient(image, box=(0, top, width, min(top + strip, height)))
        # The exponent was measured: docs/measurements.md.
        detail[top : top + strip] = np.sqrt(np.einsum("hwca,hwca->hw", gradient, gradient) + _LEAST_DETAIL**2)
    side = (width * height / count) ** 0.5
    tiling = Tiling.by_detail(detail, count=count, halo=settings.halo, smallest=max(4, int(side / 4)))
    if tiling.max_overlap > MAX_OVERLAP:
        raise EorenError(
            f"at most {MAX_OVERLAP} tiles may overlap at one point, got {tiling.max_overlap} with halo "
            f"{settings.halo:g}; give a smaller halo, or larger tiles"
        )
    return tiling


def init_networks(settings: Settings, tiling: Tiling, channels: int, *, count: int, seed: int) -> Siren:
    """Draw the initial networks of ``count`` tiles, on the CPU so that a seed gives the same ones on any device."""
    _, width = settings.architecture(tiling.width, tiling.height, channels)
    return Siren.init(
        count,
        width=width,
        depth=settings.depth,
        channels=channels,
        omega_first=settings.starting_omega(float(tiling.half_extents.max())),
        omega_hidden=settings.omega_hidden,
        generator=torch.Generator().manual_seed(seed),
    )


def image_seed(image: Image, seed: int) -> int:
    """Derive the seed of one image of many from its pixels and the common seed."""
    return int.from_bytes(sha256(seed.to_bytes(8, "little") + image.tobytes()).digest()[:4], "little")


def assemble_field(
    siren: Siren, tiling: Tiling, image: Image, *, bits: int, known: Bool[np.ndarray, "height width"] | None = None
) -> Field:
    """Build the field of trained networks: weights rounded as in the file, then channel tuning over all pixels.

    Because tuning comes after rounding, it corrects what rounding did to mean and contrast. A network of zeros
    becomes the mean of its pixels.
    ``known``, of shape ``(H, W)``, selects the pixels that count for the tuning of a single network; all do if it is
    False everywhere.
    """
    siren = rounded(siren, bits)
    if known is None:
        parts = [tuning_of(siren, tiling, image, tiles) for tiles in tiling.groups(TILES_AT_ONCE)]
        tuning = Tuning(torch.cat([part.alpha for part in parts]), torch.cat([part.beta for part in parts]))
    else:
        moments = Moments(1, siren.channels, siren.device)
        prediction = Field(SirenMosaic(siren, moments.tuning(), tiling)).render()  # empty moments: the identity
        mask = known if known.any() else ~known
        moments.add(
            slice(None), *(torch.from_numpy(values[mask])[None].to(siren.device) for values in (prediction, image))
        )
        tuning = moments.tuning()
    return Field(SirenMosaic(siren, tuning, tiling, bits))


def tuning_of(siren: Siren, tiling: Tiling, image: Image, tiles: slice) -> Tuning:
    """Compute the channel tuning of the networks of some tiles over all their pixels."""
    pixels = TilePixels.of_tiles(image, tiling, tiles, device=siren.device)
    return tuning_moments(siren.select(tiles), pixels).tuning()
