import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from eoren.backends.dispatch import choose_coder
from eoren.coding.bands import blocks
from eoren.training.compact.analysis import analyze_image, band_energies, step_offsets
from eoren.training.compact.rounding import (
    Rounded,
    in_steps,
    latent_bits,
    round_coefficients,
    squared_error,
    step_of,
)
from eoren.training.compact.solving import solve_step


@pytest.fixture(scope="module")
def coefficients():
    noise = np.random.default_rng(0).standard_normal((90, 130, 3))
    image = 0.5 + 2 * gaussian_filter(noise, (3, 3, 0)).astype(np.float32)
    return analyze_image(image)


@pytest.fixture(scope="module")
def offsets(coefficients):
    return step_offsets(coefficients.levels, 3, 0.1)


@pytest.mark.parametrize("step", [0.005, 0.05, 0.5])
def test_latents_are_near_their_coefficients(coefficients, offsets, step):
    latents = round_coefficients(coefficients, step, offsets)
    for exact, latent in zip(in_steps(coefficients.bands, step, offsets), latents.bands(), strict=True):
        # Nearest, or the next one towards the mean.
        assert np.abs(exact - latent).max() < 1.5


def test_rounding_by_rate_saves_bits_at_equal_distortion(coefficients, offsets):
    """Against the nearest integers at a coarser step."""
    energies = band_energies(coefficients.levels, 0.0)
    nearest = coefficients.zeros()
    for band, exact in zip(nearest.bands(), in_steps(coefficients.bands, 0.05, offsets), strict=True):
        band[:] = np.rint(exact)
    plain = Rounded(nearest, 0.05)
    error = squared_error(coefficients, plain, offsets, energies)

    def error_of(step):
        rounded = Rounded(round_coefficients(coefficients, step, offsets), step)
        return -squared_error(coefficients, rounded, offsets, energies)

    step = solve_step(error_of, -error, 0.04, slope=-error, tolerance=error / 100, at_most=False)
    bits = latent_bits(round_coefficients(coefficients, step, offsets), 130, 90)
    assert bits < latent_bits(nearest, 130, 90)


def test_bits_are_those_of_the_streams(coefficients, offsets):
    latents = round_coefficients(coefficients, 0.02, offsets)
    streams = [choose_coder().encode(latents.block(box)) for box in blocks(130, 90, latents.levels)]
    assert latent_bits(latents, 130, 90) == pytest.approx(8 * sum(map(len, streams)), abs=40 * len(streams))


def test_squared_error_is_that_of_the_pixels_to_a_tenth(coefficients, offsets):
    import torch

    from eoren.model.latents.wavelet import synthesize, unflatten

    rounded = Rounded(round_coefficients(coefficients, 0.05, offsets), 0.05)
    steps = 0.05 * 2.0 ** (offsets / 16)
    errors = [
        torch.from_numpy(band - latent * step[:, None, None])
        for band, latent, step in zip(coefficients.bands, rounded.latents.bands(), steps, strict=True)
    ]
    pixels = float(synthesize(unflatten(errors)).square().sum())
    estimate = squared_error(coefficients, rounded, offsets, band_energies(coefficients.levels, 0.0))
    assert estimate == pytest.approx(pixels, rel=0.1)


def test_the_step_of_a_price():
    assert step_of(0.14 / 3, 3) == pytest.approx(1.0)
    assert step_of(4e-5, 1) == pytest.approx(2 * step_of(1e-5, 1))
