import base64
import colorsys
import io

import numpy as np
import pytest
from PIL import Image

from eoren.visualization.colormaps import (
    brightness,
    data_uri,
    direction_image,
    direction_stops,
    direction_wheel,
    error_image,
    error_map,
    heat_stops,
)


def test_brightness_excludes_alpha():
    pixels = np.arange(24, dtype=np.float64).reshape(1, 6, 4)
    np.testing.assert_allclose(brightness(pixels), pixels[..., :3].mean(2))
    np.testing.assert_allclose(brightness(pixels.reshape(2, 6, 2)), pixels.reshape(2, 6, 2)[..., 0])
    gradient = np.random.default_rng(0).random((2, 3, 4, 2))
    np.testing.assert_allclose(brightness(gradient), gradient[:, :, :3].mean(2))


def test_hue_is_the_direction_and_lightness_the_magnitude():
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    gradient = 0.3 * np.stack([np.cos(angles), np.sin(angles)], -1)[None, :, None]
    image = direction_image(gradient, full=0.6)
    for angle, color in zip(angles, image[0], strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*color)
        assert abs((hue - angle / (2 * np.pi) + 0.5) % 1 - 0.5) < 1e-6
        assert (saturation, value) == pytest.approx((0.75, 0.5))
    assert direction_image(10 * gradient, full=0.6).max() <= 1


def test_the_wheel_agrees_with_the_direction_image():
    wheel = direction_wheel(41)
    expected = direction_image(np.array([[[[1.0, 0.0]], [[0.0, 1.0]]]]), full=1.0)[0]
    np.testing.assert_allclose(wheel[20, -1, :3], expected[0], atol=0.05)  # right
    np.testing.assert_allclose(wheel[-1, 20, :3], expected[1], atol=0.05)  # down
    assert wheel[0, 0, 3] == 0
    assert wheel[20, 20, 3] == 1


def test_stops_of_the_wheel_turn_clockwise_from_the_right():
    stops = direction_stops(8)
    expected = [direction_image(np.float64([[[[x, y]]]]), 1.0)[0, 0] for x, y in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    for stop, color in zip(stops[::2], expected, strict=True):
        assert stop == "rgb({:.0f} {:.0f} {:.0f})".format(*np.floor(255 * color + 0.5))
    assert len({*direction_stops()}) == 24


def test_errors_are_root_mean_squares_after_clamping():
    prediction = np.array([[[1.5, 0.5], [-3.0, 0.0]]])
    image = np.array([[[1.0, 0.1], [0.3, 0.4]]])
    np.testing.assert_allclose(error_map(prediction, image), [[0.4 / np.sqrt(2), 0.5 / np.sqrt(2)]])


def test_larger_errors_are_lighter_until_full():
    error = np.linspace(0, 2, 50)[None]
    light = error_image(error, full=1.0) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light[0, :25]) > 0).all()
    np.testing.assert_allclose(light[0, 25:], light[0, -1])
    stops = [[float(part) for part in stop[4:-1].split()] for stop in heat_stops()]
    shown = error_image(np.linspace(0, 1, len(stops))[None], full=1.0)[0]
    np.testing.assert_allclose(shown * 255, stops, atol=0.5)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_data_uris_hold_the_pixels(channels):
    levels = np.random.default_rng(0).integers(0, 256, (3, 5, channels))
    kind, content = data_uri(levels / 255).split(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert image.mode == ("L", "LA", "RGB", "RGBA")[channels - 1]
        np.testing.assert_array_equal(np.asarray(image).reshape(3, 5, channels), levels)
    assert data_uri(np.full((1, 1, channels), 7.0)) == data_uri(np.ones((1, 1, channels)))
