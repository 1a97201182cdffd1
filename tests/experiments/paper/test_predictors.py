import numpy as np
import pytest
from scipy.stats import spearmanr

from eoren.experiments.paper.predictors import (
    correlation,
    edge_density,
    gradient_sparsity,
    spectral_slope,
    target_psnr,
)


@pytest.mark.parametrize("exponent", [-1.0, -2.0, -3.0])
def test_the_spectral_slope_of_noise_is_its_exponent(exponent):
    generator = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
    frequency[0, 0] = 1
    noise = np.fft.rfft2(generator.normal(size=(256, 256))) * frequency ** (exponent / 2)
    image = np.fft.irfft2(noise)[..., None]
    assert spectral_slope(image) == pytest.approx(exponent, abs=0.15)


def test_sparsity_is_zero_for_a_ramp_and_high_for_an_edge():
    ramp = np.linspace(0, 1, 32)[None, :, None].repeat(32, 0)
    assert gradient_sparsity(ramp) == pytest.approx(0, abs=1e-6)
    edge = np.zeros((32, 32, 1))
    edge[:, 16:] = 1
    assert 0.6 < gradient_sparsity(edge) < 1
    assert gradient_sparsity(np.zeros((8, 8, 1))) == 0


def test_edges_are_counted():
    ramp = np.linspace(0, 1, 32)[None, :, None].repeat(32, 0)
    assert edge_density(ramp) == 0
    assert edge_density(4 * ramp) == 1


def test_central_differences_agree_with_smooth_images():
    x = np.arange(64)[None, :, None].repeat(8, 0)
    # The gain of central differences at a frequency w is sin(w) / w.
    for w, amplitude in ((0.1, 0.5), (1.0, 0.5)):
        wrong = amplitude * w * (1 - np.sin(w) / w) / 2  # root mean square over both axes, one of them zero
        assert target_psnr(amplitude * np.sin(w * x)) == pytest.approx(-20 * np.log10(wrong), abs=0.5)


def test_confidence_intervals_have_their_nominal_coverage():
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        x, noise = generator.normal(size=(2, 40))
        found = correlation(x.tolist(), (x + noise).tolist())
        inside += found.low < 6 / np.pi * np.arcsin(0.5**0.5 / 2) < found.high
    assert 0.9 < inside / 300 < 0.99
    assert found.estimate == pytest.approx(spearmanr(x, x + noise).statistic)
    assert np.isnan(correlation([1.0], [2.0]).estimate)
