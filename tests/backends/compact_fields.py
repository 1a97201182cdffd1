"""Small compact fields for the tests of evaluators."""

import torch
from tests.fields import compact_field

# Width, height, channels: usual ones, odd ones, lines, single pixels, all numbers of levels.
SIZES = [
    *((61, 37, 3), (1, 1, 1), (1, 9, 2), (13, 1, 4), (2, 3, 3)),
    *((3, 2, 1), (8, 5, 1), (9, 18, 3), (40, 64, 4), (65, 33, 2)),
]


def representation(width, height, channels, siren=0):
    return compact_field(width, height, channels, siren_width=siren).representation


def random_points(count, low=0.0, high=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(count, 2, dtype=torch.float64, generator=generator)
