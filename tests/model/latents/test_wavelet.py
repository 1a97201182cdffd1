import numpy as np
import pytest
import torch

from eoren.coding.bands import band_shapes
from eoren.model.latents.wavelet import analyze, flatten, image_size, synthesize

# The filters of CDF 9/7 with the gain sqrt(2) at frequency 0 and at the highest one, from their middle outwards:
# Cohen, Daubechies, Feauveau 1992; the lifting steps of the code are another way to compute them.
LOW = np.array([0.602949018236, 0.266864118443, -0.078223266529, -0.016864118443, 0.026748757411]) * 2**0.5
HIGH = np.array([1.115087052457, -0.591271763114, -0.057543526229, 0.091271763114]) / 2**0.5


def random_image(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def filtered(signal, taps, start):
    """Convolve a signal that continues by whole-sample symmetry, at every second sample."""
    reach = len(taps) - 1
    padded = np.pad(signal, reach, "reflect")
    symmetric = np.concatenate([taps[:0:-1], taps])
    return np.convolve(padded, symmetric, "valid")[start::2]


@pytest.mark.parametrize("length", [9, 10, 23, 64])
def test_one_level_is_the_filter_bank(length):
    signal = random_image(length)
    bands = analyze(signal[:, None], 1)
    np.testing.assert_allclose(bands.coarse[:, 0], filtered(signal.numpy(), LOW, 0), atol=1e-10)
    np.testing.assert_allclose(bands.details[0].vertical[:, 0], filtered(signal.numpy(), HIGH, 1), atol=1e-10)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 17])
@pytest.mark.parametrize("columns", [1, 2, 3, 6, 7, 16, 19])
def test_the_inverse_is_perfect_at_any_size(rows, columns):
    image = random_image(2, rows, columns, seed=rows * columns)
    for levels in range(6):
        bands = analyze(image, levels)
        size = np.array([rows, columns])
        for details in bands.details:
            high, low = size // 2, (size + 1) // 2
            assert details.horizontal.shape == (2, low[0], high[1])
            assert details.vertical.shape == (2, high[0], low[1])
            assert details.diagonal.shape == (2, *high)
            size = low
        assert bands.coarse.shape == (2, *size)
        assert band_shapes((2, rows, columns), levels) == [tuple(band.shape) for band in flatten(bands)]
        assert image_size(bands) == (rows, columns)
        np.testing.assert_allclose(synthesize(bands), image, atol=1e-12)


def test_bands_are_named_after_their_direction():
    columns = torch.arange(16).remainder(2).double()
    stripes = columns.expand(16, 16)[None]  # change along x: vertical edges
    details = analyze(stripes, 1).details[0]
    assert details.horizontal.abs().min() > 0.9
    assert max(band.abs().max() for band in (details.vertical, details.diagonal)) < 1e-9


@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_polynomials_have_no_details_inside(power):
    """CDF 9/7 has four vanishing moments."""
    line = torch.linspace(-1, 1, 64, dtype=torch.float64) ** power
    bands = analyze((line[:, None] + 0.5 * line)[None], 2)
    inside = 4  # high-pass samples that the continuation at the ends reaches
    for details in bands.details:
        assert max(band[0, inside:-inside, inside:-inside].abs().max() for band in details) < 1e-10
    if power == 0:
        np.testing.assert_allclose(bands.coarse, 4 * 1.5, atol=1e-9)  # the gain is sqrt(2) per axis and level
        assert max(band.abs().max() for details in bands.details for band in details) < 1e-10


def test_errors_of_coefficients_are_errors_of_the_image_to_a_fifth():
    for seed in range(3):
        noise = random_image(1, 128, 128, seed=seed)
        bands = analyze(torch.zeros_like(noise), 3)
        coarse = random_image(*bands.coarse.shape, seed=seed + 1)
        details = [tuple(random_image(*band.shape, seed=seed + 2) for band in level) for level in bands.details]
        noisy = bands._replace(
            coarse=coarse, details=tuple(level._make(new) for level, new in zip(bands.details, details, strict=True))
        )
        energy = coarse.square().sum() + sum(band.square().sum() for level in details for band in level)
        assert 0.8 < float((synthesize(noisy).square().sum() / energy).sqrt()) < 1.2
