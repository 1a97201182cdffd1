"""The distortion of coefficients, against the reference gradient and finite differences."""

import numpy as np
import pytest
import torch

from eoren.coding.bands import Box
from eoren.image.gradients import pixel_gradient
from eoren.model.latents.distortion import SLOPE_REACH, DistortionTarget, _slopes, distortion, slope_taps
from eoren.model.latents.spline_basis import sampling_matrix
from eoren.model.latents.wavelet import analyze, flatten, synthesize, unflatten


def make_problem(channels, rows, columns, levels, *, seed=0):
    """Make an image and coefficients near its own, float64."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(channels, rows, columns, generator=generator, dtype=torch.float64) - 0.5
    exact = flatten(analyze(image, levels))
    noise = [0.1 * torch.randn(band.shape, generator=generator, dtype=torch.float64) for band in exact]
    return image, unflatten([band + n for band, n in zip(exact, noise, strict=True)])


@pytest.mark.parametrize("length", [1, 2, 7, 39, 40, 41, 128, 301])
def test_slopes_are_those_of_the_spline(length):
    x = torch.randn(2, 3, length, dtype=torch.float64, generator=torch.Generator().manual_seed(length))
    exact = x @ torch.from_numpy(sampling_matrix(np.arange(length, dtype=float), length, 1)).T
    # Taps beyond 20 samples are left out: 0.43**20 = 5e-8 of values of about 3.
    torch.testing.assert_close(_slopes(x), exact, atol=1e-6, rtol=0)


def test_taps_differentiate_cubics():
    k = np.arange(1, SLOPE_REACH + 1)
    assert 2 * (k * slope_taps()).sum() == pytest.approx(1, abs=1e-5)
    assert 2 * (k**3 * slope_taps()).sum() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("shape", [(3, 70, 91, 4), (1, 1, 33, 2), (2, 50, 1, 3), (4, 3, 2, 1), (1, 1, 1, 0)])
def test_errors_are_those_of_colours_and_reference_gradients(shape):
    image, bands = make_problem(*shape)
    channels, rows, columns, _ = shape
    inner = Box(columns // 3, rows // 4, columns, rows - rows // 5)
    found = distortion(bands, DistortionTarget(image, inner, 0.3))
    where = np.s_[inner.y0 : inner.y1, inner.x0 : inner.x1]
    difference = (synthesize(bands) - image).permute(1, 2, 0).numpy()
    color = (difference[where] ** 2).sum() / channels
    gradient = (pixel_gradient(difference)[where] ** 2).sum() / (2 * channels)
    assert found.color == pytest.approx(color, rel=1e-9)
    assert found.gradient == pytest.approx(gradient, rel=1e-6)
    assert float(found.total) == pytest.approx(color + 0.3 * gradient, rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 9, 13, 2), (1, 1, 30, 1), (1, 6, 45, 3)])
def test_total_has_the_gradient_of_finite_differences(shape):
    image, bands = make_problem(*shape)
    rows, columns = shape[1:3]
    target = DistortionTarget(image, Box(1, 0, columns, rows), 0.2)
    inputs = [band.requires_grad_() for band in flatten(bands)]
    assert torch.autograd.gradcheck(lambda *bands: distortion(unflatten([*bands]), target).total, inputs)
