import base64
import colorsys
import io

import numpy as np
import pytest
from PIL import Image
from scipy.interpolate import RectBivariateSpline

from eoren.visualization.colormaps import (
    brightness,
    data_uri,
    direction_picture,
    direction_wheel,
    error_map,
    error_picture,
    heat_stops,
    reduced,
    spline_enlarged,
)


def test_alpha_is_no_brightness():
    pixels = np.arange(24, dtype=np.float64).reshape(1, 6, 4)
    np.testing.assert_allclose(brightness(pixels), pixels[..., :3].mean(2))
    np.testing.assert_allclose(brightness(pixels.reshape(2, 6, 2)), pixels.reshape(2, 6, 2)[..., 0])
    slopes = np.random.default_rng(0).random((2, 3, 4, 2))
    np.testing.assert_allclose(brightness(slopes), slopes[:, :, :3].mean(2))


def test_hue_is_the_direction_and_lightness_the_magnitude():
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    gradient = 0.3 * np.stack([np.cos(angles), np.sin(angles)], -1)[None, :, None]
    picture = direction_picture(gradient, full=0.6)
    for angle, color in zip(angles, picture[0], strict=True):
        hue, _, value = colorsys.rgb_to_hsv(*color)
        assert abs((hue - angle / (2 * np.pi) + 0.5) % 1 - 0.5) < 1e-6
        assert value == pytest.approx(0.5)
    assert direction_picture(10 * gradient, full=0.6).max() <= 1


def test_wheel_points_where_its_colours_do():
    wheel = direction_wheel(41)
    pointing = direction_picture(np.array([[[[1.0, 0.0]], [[0.0, 1.0]]]]), full=1.0)[0]
    np.testing.assert_allclose(wheel[20, -1, :3], pointing[0], atol=0.05)  # right
    np.testing.assert_allclose(wheel[-1, 20, :3], pointing[1], atol=0.05)  # down
    assert wheel[0, 0, 3] == 0
    assert wheel[20, 20, 3] == 1


def test_errors_are_root_mean_squares_of_what_is_shown():
    said = np.array([[[1.5, 0.5], [-3.0, 0.0]]])
    image = np.array([[[1.0, 0.1], [0.3, 0.4]]])
    np.testing.assert_allclose(error_map(said, image), [[0.4 / np.sqrt(2), 0.5 / np.sqrt(2)]])


def test_larger_errors_are_lighter_and_the_largest_alike():
    error = np.linspace(0, 2, 50)[None]
    light = error_picture(error, full=1.0) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light[0, :25]) > 0).all()
    np.testing.assert_allclose(light[0, 25:], light[0, -1])
    stops = [[float(part) for part in stop[4:-1].split()] for stop in heat_stops()]
    shown = error_picture(np.linspace(0, 1, len(stops))[None], full=1.0)[0]
    np.testing.assert_allclose(shown * 255, stops, atol=0.5)


def test_reduced_keeps_ramps_and_proportions():
    ramp = np.linspace(0.2, 0.8, 120, dtype=np.float32)[None, :, None].repeat(60, 0)
    small = reduced(ramp, 40)
    assert small.shape == (20, 40, 1)
    assert small.dtype == np.float32
    expected = 0.2 + 0.6 * ((np.arange(40) + 0.5) * 3 - 0.5) / 119
    np.testing.assert_allclose(small[10, 2:-2, 0], expected[2:-2], atol=1e-3)
    step = np.float32(np.arange(120) >= 61)[None, :, None].repeat(4, 0)
    assert 0 <= reduced(step, 50).min() <= reduced(step, 50).max() <= 1
    assert reduced(ramp, 120) is ramp
    assert reduced(np.zeros((1, 1000, 3), np.float32), 10).shape == (1, 10, 3)


def test_enlarged_is_the_spline_through_the_pixels():
    """Away from the border, where the two treat ends differently."""
    image = np.random.default_rng(0).random((40, 50, 2), np.float32)
    box = (20, 15, 30, 27)
    rows, columns = ((np.arange(a * 4, b * 4) + 0.5) / 4 - 0.5 for a, b in ((15, 27), (20, 30)))
    found = spline_enlarged(image, box, 4)
    assert found.shape == (48, 40, 2)
    for c in range(2):
        spline = RectBivariateSpline(np.arange(40), np.arange(50), image[..., c], s=0)
        np.testing.assert_allclose(found[..., c], spline(rows, columns), atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_within_addresses(channels):
    levels = np.random.default_rng(0).integers(0, 256, (3, 5, channels))
    kind, content = data_uri(levels / 255).split(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert picture.mode == ("L", "LA", "RGB", "RGBA")[channels - 1]
        np.testing.assert_array_equal(np.asarray(picture).reshape(3, 5, channels), levels)
    assert data_uri(np.full((1, 1, channels), 7.0)) == data_uri(np.ones((1, 1, channels)))
