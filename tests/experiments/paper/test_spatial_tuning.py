"""Channel tuning that varies over the image: exact recovery, exact derivatives, optimal coefficients."""

import numpy as np
import pytest
from scipy.interpolate import BPoly

import eoren
from eoren.errors import EorenError
from eoren.experiments.paper.spatial_tuning import SpatialTuning, cosine_basis, window_basis

SMOOTH = SpatialTuning(cosine_basis, 3, varies_scale=False)
BY_TILE = SpatialTuning(window_basis, 3, varies_scale=True)


@pytest.fixture(scope="module")
def field():
    image = np.random.default_rng(0).random((20, 16, 2), np.float32)
    return eoren.fit(image, preset="mosaic", steps=20, width=8, depth=2, omega_first=5.0, omega_hidden=5.0).field


def test_windows_sum_to_one_and_blend_by_the_quintic():
    x = np.linspace(0, 1, 61)
    found = window_basis(x, 3)
    assert found.value.shape == found.derivative.shape == (61, 3)
    assert found.value.sum(1) == pytest.approx(np.ones(61))
    assert found.derivative.sum(1) == pytest.approx(np.zeros(61), abs=1e-12)
    # From 0 in the middle of the first third to 1 in the middle of the second; flat to the second order at both.
    rising = BPoly.from_derivatives([1 / 6, 1 / 2], [[0, 0, 0], [1, 0, 0]])
    between = (x > 1 / 6) & (x < 1 / 2)
    assert found.value[between, 1] == pytest.approx(rising(x[between]))
    assert found.derivative[between, 1] == pytest.approx(rising.derivative()(x[between]))
    assert (found.value[x <= 1 / 6, 0] == 1).all()


def test_a_smooth_offset_is_recovered(field):
    x, y = (np.arange(16) + 0.5) / 16, (np.arange(20)[:, None] + 0.5) / 20
    g, slope = field.sample(16, 20, "color", "gradient")
    shade = 0.3 * np.cos(2 * np.pi * x) * np.cos(np.pi * y)
    [samples] = SMOOTH.tune(field, 1.5 * g + shade[..., None], [(16, 20)])
    assert samples.color == pytest.approx(1.5 * g + shade[..., None], abs=1e-6)
    along_x = -0.6 * np.pi * np.sin(2 * np.pi * x) * np.cos(np.pi * y)
    along_y = -0.3 * np.pi * np.cos(2 * np.pi * x) * np.sin(np.pi * y)
    truth = 1.5 * slope + np.stack([along_x, along_y], -1)[:, :, None]
    assert samples.gradient == pytest.approx(truth, abs=1e-4)


@pytest.mark.parametrize("tuning", [SMOOTH, BY_TILE], ids=["smooth", "by tile"])
def test_gradients_agree_with_finite_differences(field, tuning):
    image = np.random.default_rng(1).random((20, 16, 2))
    coarse, fine = tuning.tune(field, image, [(16, 20), (800, 1000)])
    down, across = np.gradient(fine.color, 1 / 1000, 1 / 800, axis=(0, 1))
    truth = np.stack([across, down], -1)[1:-1, 1:-1]
    scale = np.abs(truth).max()
    assert np.abs(fine.gradient[1:-1, 1:-1] - truth).max() < 2e-3 * scale
    assert coarse.color.shape == (20, 16, 2)
    assert coarse.gradient.shape == (20, 16, 2, 2)


@pytest.mark.parametrize("tuning", [SMOOTH, BY_TILE], ids=["smooth", "by tile"])
def test_coefficients_are_optimal(field, tuning):
    """The residual of least squares is orthogonal to every basis function."""
    image = np.random.default_rng(1).random((20, 16, 2))
    [samples] = tuning.tune(field, image, [(16, 20)])
    residual = image - samples.color
    (g,) = field.sample(16, 20, "color")
    assert np.abs(residual.sum((0, 1))).max() < 1e-8
    assert np.abs((residual * g).sum((0, 1))).max() < 1e-8
    corner = np.outer(tuning.basis((np.arange(20) + 0.5) / 20, 3).value[:, 2], np.ones(16))
    assert np.abs((residual * corner[..., None]).sum((0, 1))).max() < 1e-8


def test_coefficients_are_counted():
    assert (SMOOTH.coefficients, BY_TILE.coefficients) == (1 + 9, 9 + 9)
    assert SpatialTuning(cosine_basis, 1, varies_scale=False).coefficients == 2


def test_more_coefficients_than_pixels_are_refused(field):
    with pytest.raises(EorenError, match="401 coefficients for 16x20 pixels"):
        SpatialTuning(cosine_basis, 20, varies_scale=False).tune(field, np.zeros((20, 16, 2)), [(16, 20)])
