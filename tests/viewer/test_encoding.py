import io

import numpy as np
import pytest
from PIL import Image

from eoren.viewer.encoding import encode
from eoren.viewer.iiif import parse

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6, 9, 4), np.uint8)


def encoded(pixels, rotation="0", last="default.png"):
    request = parse("full", "max", rotation, last, width=pixels.shape[1], height=pixels.shape[0])
    return Image.open(io.BytesIO(encode(pixels, request)))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_png_holds_the_pixels(channels, mode):
    image = encoded(PIXELS[..., :channels])
    assert (image.format, image.mode) == ("PNG", mode)
    np.testing.assert_array_equal(np.asarray(image).reshape(6, 9, channels), PIXELS[..., :channels])


@pytest.mark.parametrize("quarters", range(4))
def test_rotations_are_clockwise(quarters):
    pixels = np.asarray(encoded(PIXELS[..., :3], str(90 * quarters)))
    np.testing.assert_array_equal(pixels, np.rot90(PIXELS[..., :3], -quarters))


def test_jpg_shows_transparent_pixels_as_white():
    pixels = np.zeros((16, 16, 4), np.uint8)
    image = encoded(pixels, last="default.jpg")
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert np.asarray(image).min() > 250
    assert encoded(pixels[..., :2], last="default.jpg").mode == "L"


@pytest.mark.parametrize("format", ["jpg", "png", "webp"])
@pytest.mark.parametrize("quality", ["default", "color", "gray", "bitonal"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_quality_in_every_format(format, quality, channels):
    image = encoded(PIXELS[..., :channels], last=f"{quality}.{format}")
    assert image.format == {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[format]
    assert image.size == (9, 6)
    if quality in ("gray", "bitonal"):
        colours = np.asarray(image.convert("RGB")).astype(int)
        assert np.ptp(colours, axis=-1).max() <= 3


def test_gray_is_luminance_and_bitonal_its_upper_half():
    pixels = PIXELS[..., :3]
    luminance = pixels @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(np.asarray(encoded(pixels, last="gray.png")), luminance, atol=1)
    bitonal = np.asarray(encoded(pixels, last="bitonal.png"))
    certain = np.abs(luminance - 127.5) > 1.5
    np.testing.assert_array_equal(bitonal[certain], (luminance > 127.5)[certain])
