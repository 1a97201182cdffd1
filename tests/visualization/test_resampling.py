import numpy as np
import pytest
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import map_coordinates

from eoren.visualization.resampling import CubicSpline, downsample, enlarge_by_spline


@pytest.mark.parametrize("size", [(30, 20), (7, 5), (3, 2), (1, 9), (2, 1), (1, 1)])
def test_the_spline_equals_that_of_scipy(size):
    width, height = size
    random = np.random.default_rng(0)
    image = random.random((height, width, 2), np.float32)
    y, x = (np.sort(random.uniform(-0.5, side - 0.5, 9)) for side in (height, width))
    y[0], x[-1] = -0.5, width - 0.5
    grid = np.meshgrid(y, x, indexing="ij")
    expected = [map_coordinates(image[..., c], grid, np.float64, 3, mode="mirror") for c in range(2)]
    np.testing.assert_allclose(CubicSpline(image)(y, x), np.stack(expected, -1), atol=2e-6)


def test_the_spline_passes_through_the_pixels():
    image = np.random.default_rng(0).random((20, 30, 3), np.float32)
    np.testing.assert_allclose(CubicSpline(image)(np.arange(20.0), np.arange(30.0)), image, atol=1e-5)


def test_enlarged_images_are_the_spline_through_the_pixels():
    """Away from the border, which the two splines treat differently."""
    image = np.random.default_rng(0).random((40, 50, 2), np.float32)
    rows, columns = ((np.arange(a * 4, b * 4) + 0.5) / 4 - 0.5 for a, b in ((15, 27), (20, 30)))
    enlarged = enlarge_by_spline(image, (20, 15, 30, 27), 4)
    assert enlarged.shape == (48, 40, 2)
    for c in range(2):
        spline = RectBivariateSpline(np.arange(40), np.arange(50), image[..., c], s=0)
        np.testing.assert_allclose(enlarged[..., c], spline(rows, columns), atol=1e-4)


def test_reduced_images_keep_ramps_and_proportions():
    ramp = np.linspace(0.2, 0.8, 120, dtype=np.float32)[None, :, None].repeat(60, 0)
    small = downsample(ramp, 40)
    assert small.shape == (20, 40, 1)
    assert small.dtype == np.float32
    expected = 0.2 + 0.6 * ((np.arange(40) + 0.5) * 3 - 0.5) / 119
    np.testing.assert_allclose(small[10, 2:-2, 0], expected[2:-2], atol=1e-3)
    step = np.float32(np.arange(120) >= 61)[None, :, None].repeat(4, 0)
    assert 0 <= downsample(step, 50).min() <= downsample(step, 50).max() <= 1
    assert downsample(ramp, 120) is ramp
    assert downsample(np.zeros((1, 1000, 3), np.float32), 10).shape == (1, 10, 3)


def test_values_and_derivatives_at_single_points():
    image = np.random.default_rng(3).random((9, 13, 2), np.float32)
    spline = CubicSpline(image)
    y, x = np.random.default_rng(4).uniform([[-0.5], [-0.5]], [[8.5], [12.5]], (2, 50))
    y[:2], x[:2] = (-0.5, 8.5), (-0.5, 12.5)
    value, gradient = spline.at(y, x)

    def by_scipy(y, x):
        channels = [map_coordinates(image[..., c].astype(float), [y, x], order=3, mode="mirror") for c in (0, 1)]
        return np.stack(channels, -1)

    np.testing.assert_allclose(value, by_scipy(y, x), atol=1e-5)
    h = 1e-4
    inside = slice(2, None)  # differences at the corners would leave the image
    by_x = (by_scipy(y, x + h) - by_scipy(y, x - h)) / (2 * h)
    by_y = (by_scipy(y + h, x) - by_scipy(y - h, x)) / (2 * h)
    np.testing.assert_allclose(gradient[inside], np.stack([by_x, by_y], -1)[inside], atol=1e-4)
