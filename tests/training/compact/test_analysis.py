import numpy as np
import pytest
import torch

import eoren
from eoren.model.latents.color_decoder import color_transform
from eoren.model.latents.wavelet import flatten, synthesize, unflatten
from eoren.training.compact.analysis import analyze_image, band_energies, step_offsets


def random_image(height, width, channels, seed=0):
    return np.random.default_rng(seed).random((height, width, channels)).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 2), (20, 1, 3), (37, 53, 3), (64, 40, 4)])
def test_coefficients_give_the_image_back(shape):
    image = random_image(*shape)
    coefficients = analyze_image(image)
    assert (coefficients.height, coefficients.width) == shape[:2]
    bands = unflatten([torch.from_numpy(band) for band in coefficients.bands])
    assert [b.shape for b in flatten(bands)] == [b.shape for b in coefficients.zeros().bands()]
    components = synthesize(bands).flatten(1).double().numpy()
    again = np.linalg.inv(color_transform(shape[2])) @ components + 0.5
    np.testing.assert_allclose(again.T.reshape(shape), image, atol=2e-6)


@pytest.mark.parametrize("levels", [0, 1, 3])
def test_energies_are_those_of_random_errors(levels):
    """The mean squared error of an image whose coefficients of one band have random errors."""
    side, generator = 128, np.random.default_rng(0)
    energies, slopes = band_energies(levels, 0.0), band_energies(levels, 1.0) - band_energies(levels, 0.0)
    zero = analyze_levels(levels, side)
    for band in range(3 * levels + 1):
        bands = [b.clone() for b in zero]
        bands[band][:] = torch.from_numpy(generator.standard_normal(bands[band].shape))
        error = synthesize(unflatten(bands)).permute(1, 2, 0).numpy()
        squares = float((bands[band] ** 2).sum())
        # Some 10^4 to 250 coefficients: errors of the variance of 2 to 9 %, and of borders.
        tolerance = 4 * (2 / bands[band].numel()) ** 0.5 + 0.05
        assert (error**2).sum() / squares == pytest.approx(energies[band], rel=tolerance)
        gradient = eoren.reference_gradient(error, extent=(float(side), float(side)))
        assert (gradient**2).sum() / 2 / squares == pytest.approx(slopes[band], rel=2 * tolerance)


def analyze_levels(levels, side):
    from eoren.model.latents.wavelet import analyze

    return flatten(analyze(torch.zeros(1, side, side, dtype=torch.float64), levels))


@pytest.mark.parametrize(("levels", "channels"), [(0, 1), (3, 3), (6, 4)])
def test_offsets_make_errors_of_a_step_equally_expensive(levels, channels):
    offsets = step_offsets(levels, channels, 0.1)
    assert offsets.shape == (3 * levels + 1, channels)
    steps = 2.0 ** (offsets / 16)
    prices = steps**2 * band_energies(levels, 0.1)[:, None]
    assert np.abs(np.log2(prices)).max() <= 1 / 16 + 1e-9
