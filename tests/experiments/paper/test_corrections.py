"""Tuning with more freedom: known combinations are found again, and derivatives are those of the colours."""

import numpy as np
import pytest
from scipy.interpolate import BPoly

import eoren
from eoren.errors import EorenError
from eoren.experiments.paper.corrections import Correction, cosines, windows

SMOOTH = Correction("smooth", cosines, 3, scales=False)
BY_TILE = Correction("tiles", windows, 3, scales=True)


@pytest.fixture(scope="module")
def field():
    image = np.random.default_rng(0).random((20, 16, 2), np.float32)
    return eoren.fit(image, steps=20, width=8, depth=2, omega_first=5.0, omega_hidden=5.0).field


def test_windows_sum_to_one_and_go_over_by_the_quintic():
    x = np.linspace(0, 1, 61)
    found = windows(x, 3)
    assert found.value.shape == found.slope.shape == (61, 3)
    assert found.value.sum(1) == pytest.approx(np.ones(61))
    assert found.slope.sum(1) == pytest.approx(np.zeros(61), abs=1e-12)
    # From 0 in the middle of the first third to 1 in the middle of the second; flat to the second order at both.
    rising = BPoly.from_derivatives([1 / 6, 1 / 2], [[0, 0, 0], [1, 0, 0]])
    between = (x > 1 / 6) & (x < 1 / 2)
    assert found.value[between, 1] == pytest.approx(rising(x[between]))
    assert found.slope[between, 1] == pytest.approx(rising.derivative()(x[between]))
    assert (found.value[x <= 1 / 6, 0] == 1).all()


def test_a_smooth_field_of_colour_is_found(field):
    x, y = (np.arange(16) + 0.5) / 16, (np.arange(20)[:, None] + 0.5) / 20
    g, slope = field.sample(16, 20, "color", "gradient")
    shade = 0.3 * np.cos(2 * np.pi * x) * np.cos(np.pi * y)
    [said] = SMOOTH.tuned(field, 1.5 * g + shade[..., None], [(16, 20)])
    assert said.color == pytest.approx(1.5 * g + shade[..., None], abs=1e-6)
    along_x = -0.6 * np.pi * np.sin(2 * np.pi * x) * np.cos(np.pi * y)
    along_y = -0.3 * np.pi * np.cos(2 * np.pi * x) * np.sin(np.pi * y)
    truth = 1.5 * slope + np.stack([along_x, along_y], -1)[:, :, None]
    assert said.gradient == pytest.approx(truth, abs=1e-4)


@pytest.mark.parametrize("correction", [SMOOTH, BY_TILE], ids=lambda each: each.key)
def test_the_derivative_is_that_of_the_colours(field, correction):
    """Second-order differences over a grid fine enough."""
    image = np.random.default_rng(1).random((20, 16, 2))
    coarse, fine = correction.tuned(field, image, [(16, 20), (800, 1000)])
    down, across = np.gradient(fine.color, 1 / 1000, 1 / 800, axis=(0, 1))
    truth = np.stack([across, down], -1)[1:-1, 1:-1]
    scale = np.abs(truth).max()
    assert np.abs(fine.gradient[1:-1, 1:-1] - truth).max() < 2e-3 * scale
    assert coarse.color.shape == (20, 16, 2)
    assert coarse.gradient.shape == (20, 16, 2, 2)


@pytest.mark.parametrize("correction", [SMOOTH, BY_TILE], ids=lambda each: each.key)
def test_no_other_coefficients_are_better(field, correction):
    """Least squares: what is left over has nothing in common with what could be added."""
    image = np.random.default_rng(1).random((20, 16, 2))
    [said] = correction.tuned(field, image, [(16, 20)])
    left = image - said.color
    (g,) = field.sample(16, 20, "color")
    assert np.abs(left.sum((0, 1))).max() < 1e-8
    assert np.abs((left * g).sum((0, 1))).max() < 1e-8
    corner = np.outer(correction.lines((np.arange(20) + 0.5) / 20, 3).value[:, 2], np.ones(16))
    assert np.abs((left * corner[..., None]).sum((0, 1))).max() < 1e-8


def test_numbers_are_counted():
    assert (SMOOTH.coefficients, BY_TILE.coefficients) == (1 + 9, 9 + 9)
    assert Correction("paper", cosines, 1, scales=False).coefficients == 2


def test_more_numbers_than_pixels_are_refused(field):
    with pytest.raises(EorenError, match="401 coefficients for 16x20 pixels"):
        Correction("smooth", cosines, 20, scales=False).tuned(field, np.zeros((20, 16, 2)), [(16, 20)])
