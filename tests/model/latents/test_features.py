import numpy as np
import pytest
import torch

from eoren.coding.bands import Box, choose_levels
from eoren.model.latents.features import FINE_LEVELS, MARGIN, LatentFeatures, group_count
from eoren.model.latents.wavelet import Details, Subbands, analyze, synthesize


def coefficients_of(width, height, channels=2, seed=0, levels=None):
    image = torch.from_numpy(np.random.default_rng(seed).standard_normal((channels, height, width)))
    return analyze(image, choose_levels(width, height) if levels is None else levels)


def features_of(bands, width, height):
    """The features of wavelet coefficients."""
    identity = torch.eye(len(bands.coarse), dtype=torch.float64)
    return LatentFeatures(bands, (identity,) * (1 + 3 * len(bands.details)), width, height)


def whole(features, width, height):
    samples, corner = features.window(Box(0, 0, width, height))
    assert corner == (0, 0)
    return samples


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 40), (33, 1), (8, 8), (9, 9), (37, 70), (130, 64)])
def test_groups_add_up_to_the_image(width, height):
    bands = coefficients_of(width, height)
    samples = whole(features_of(bands, width, height), width, height)
    assert samples.shape == (2 * group_count(len(bands.details)), height, width)
    total = samples.view(-1, 2, height, width).sum(0)
    np.testing.assert_allclose(total, synthesize(bands), atol=1e-12)


@pytest.mark.parametrize("levels", [0, 1, 2, 3, 5])
def test_groups_are_in_order(levels):
    """The coarse group first, then the details of each fine level, the finest one last."""
    width, height = 45, 38
    bands = coefficients_of(width, height, levels=levels)
    samples = whole(features_of(bands, width, height), width, height).view(-1, 2, height, width)
    fine = min(levels, FINE_LEVELS)
    assert len(samples) == group_count(levels) == 1 + fine
    zero = [Details(*map(torch.zeros_like, details)) for details in bands.details]
    coarse = Subbands(bands.coarse, (*zero[:fine], *bands.details[fine:]))
    np.testing.assert_allclose(samples[0], synthesize(coarse), atol=1e-12)
    for level in range(fine):
        alone = [details if k == level else zero[k] for k, details in enumerate(bands.details)]
        expected = synthesize(Subbands(torch.zeros_like(bands.coarse), tuple(alone)))
        np.testing.assert_allclose(samples[fine - level], expected, atol=1e-12)


@pytest.mark.parametrize("box", [(0, 0, 96, 64), (96, 64, 200, 160), (104, 72, 201, 161), (200, 152, 301, 231)])
def test_a_window_has_the_features_of_the_whole(box):
    """Within its margin for the splines; the wavelets reach 32 pixels."""
    width, height = 301, 231
    features = features_of(coefficients_of(width, height, 1), width, height)
    expected = whole(features, width, height)
    samples, (left, top) = features.window(Box(*box))
    assert (left, top) == (max(0, box[0] - MARGIN), max(0, box[1] - MARGIN))
    x0, y0 = max(0, box[0] - 24), max(0, box[1] - 24)
    x1, y1 = min(width, box[2] + 24), min(height, box[3] + 24)
    inner = samples[:, y0 - top : y1 - top, x0 - left : x1 - left]
    np.testing.assert_allclose(inner, expected[:, y0:y1, x0:x1], atol=1e-12)
