"""Small compact fields for the tests of evaluators."""

import numpy as np
import torch

from eoren.coding.bands import Latents, choose_levels
from eoren.field.wavelet_siren import WaveletSiren
from eoren.model.color_decoder import ColorDecoder
from eoren.model.latent_features import group_count

STEP = 0.02
# Width, height, channels: usual ones, odd ones, lines, single pixels, all numbers of levels.
SIZES = [(61, 37, 3), (1, 1, 1), (1, 9, 2), (13, 1, 4), (2, 3, 3), (3, 2, 1), (8, 5, 1), (9, 18, 3), (40, 64, 4), (65, 33, 2)]


def compact_field(width, height, channels, siren=0, seed=0):
    """A field of random latents whose coarse bands are larger, as those of images."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    levels = choose_levels(width, height)
    latents = Latents.zeros(channels, height, width, levels)
    for number, band in enumerate(latents.bands()):
        scale = 0.3 * 2.0**levels if number == 0 else 0.05 * 2.0 ** ((number + 2) // 3)
        band[...] = np.rint(rng.normal(0, scale / STEP, band.shape)).astype(np.int32)
    decoder = ColorDecoder.init(channels, group_count(levels), width=siren, generator=generator)
    parameters = [t + 0.05 * torch.randn(t.shape, generator=generator) for t in decoder.tensors()]
    offsets = rng.integers(-8, 9, (3 * levels + 1, channels)).astype(np.int16)
    return WaveletSiren(latents, width, height, STEP, offsets, decoder.with_tensors(parameters), (0,))


def random_points(count, low=0.0, high=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(count, 2, dtype=torch.float64, generator=generator)
