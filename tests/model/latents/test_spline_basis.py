import numpy as np
import pytest
import torch
from scipy.interpolate import make_interp_spline

from eoren.model.latents.spline_basis import PADDING, coefficient_matrix, sampling_matrix, taps


def curve_of(samples):
    """SciPy's quintic spline whose second and fourth derivatives vanish at the ends."""
    zero = np.zeros(samples.shape[1:])
    ends = [(2, zero), (4, zero)]
    return make_interp_spline(np.arange(len(samples)), samples, k=5, bc_type=(ends, ends))


def samples_of(length, seed=0):
    return np.random.default_rng(seed).standard_normal((length, 2))


@pytest.mark.parametrize("length", [2, 3, 4, 5, 6, 9, 40, 300])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_curve_is_the_one_of_scipy(length, order):
    samples, positions = samples_of(length), np.random.default_rng(1).uniform(0, length - 1, 60)
    positions[:2] = 0, length - 1
    expected = curve_of(samples).derivative(order)(positions) if order else curve_of(samples)(positions)
    # Errors grow with the condition of the system, which is below 100, and the size of derivatives, about 10.
    np.testing.assert_allclose(sampling_matrix(positions, length, order) @ samples, expected, atol=1e-11)


@pytest.mark.parametrize("length", [2, 3, 7, 30])
def test_it_continues_by_odd_reflection_up_to_a_pixel(length):
    samples, outside = samples_of(length), np.array([0.01, 0.3, 0.5, 0.999])
    first, last = samples[0], samples[-1]
    before = sampling_matrix(-outside, length) @ samples
    after = sampling_matrix(length - 1 + outside, length) @ samples
    np.testing.assert_allclose(before, 2 * first - sampling_matrix(outside, length) @ samples, atol=1e-11)
    mirrored = sampling_matrix(length - 1 - outside, length) @ samples
    np.testing.assert_allclose(after, 2 * last - mirrored, atol=1e-11)
    slopes = sampling_matrix(-outside, length, 1) @ samples
    np.testing.assert_allclose(slopes, sampling_matrix(outside, length, 1) @ samples, atol=1e-11)


@pytest.mark.parametrize("length", [1, 2, 5, 20])
def test_beyond_a_pixel_it_is_constant(length):
    samples, far = samples_of(length), np.array([-1e9, -1.5, -1.0000001, length + 0.0000001, length + 7.0])
    ends = sampling_matrix(np.array([-1.0, length]), length) @ samples
    np.testing.assert_allclose(sampling_matrix(far, length) @ samples, ends[[0, 0, 0, 1, 1]], atol=1e-11)
    for order in (1, 2):
        assert not sampling_matrix(far, length, order).any()


def test_a_single_sample_is_a_constant():
    positions = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(sampling_matrix(positions, 1), 1, atol=1e-12)
    for order in (1, 2):
        np.testing.assert_allclose(sampling_matrix(positions, 1, order), 0, atol=1e-12)


def test_derivatives_of_taps_by_the_position():
    positions = torch.tensor([-0.7, 0.2, 1.0, 3.3, 4.9], dtype=torch.float64, requires_grad=True)
    weights = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for order in (0, 1):
        (slope,) = torch.autograd.grad((taps(positions, 5, order)[1] * weights).sum(), positions)
        torch.testing.assert_close(slope, (taps(positions, 5, order + 1)[1] * weights).sum(1))


def test_influence_falls_by_its_rate():
    """By 0.4306 a sample, the largest pole of quintic interpolation: margins of windows rest on it."""
    row = np.abs(coefficient_matrix(120)[PADDING + 60])
    ratios = row[64:80] / row[63:79]
    np.testing.assert_allclose(ratios, 0.430575, atol=1e-3)
