import io

import numpy as np
import pytest
from PIL import Image

from eoren.viewer.encoding import encoded
from eoren.viewer.iiif import parse

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6, 9, 4), np.uint8)


def sent(pixels, rotation="0", last="default.png"):
    request = parse("full", "max", rotation, last, width=pixels.shape[1], height=pixels.shape[0])
    return Image.open(io.BytesIO(encoded(pixels, request)))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_png_holds_the_pixels(channels, mode):
    image = sent(PIXELS[..., :channels])
    assert (image.format, image.mode) == ("PNG", mode)
    np.testing.assert_array_equal(np.asarray(image).reshape(6, 9, channels), PIXELS[..., :channels])


@pytest.mark.parametrize("quarters", range(4))
def test_turned_clockwise_by_right_angles(quarters):
    found = np.asarray(sent(PIXELS[..., :3], str(90 * quarters)))
    np.testing.assert_array_equal(found, np.rot90(PIXELS[..., :3], -quarters))
    # Mirrored first, then turned.
    mirrored = np.asarray(sent(PIXELS[..., :3], f"!{90 * quarters}"))
    np.testing.assert_array_equal(mirrored, np.rot90(PIXELS[:, ::-1, :3], -quarters))


def test_any_angle_keeps_all_of_it_on_a_transparent_ground():
    white = np.full((40, 60, 1), 255, np.uint8)
    image = sent(white, "30")
    assert image.mode == "LA"
    sine, cosine = 0.5, 3**0.5 / 2
    assert abs(image.width - (60 * cosine + 40 * sine)) <= 2
    assert abs(image.height - (60 * sine + 40 * cosine)) <= 2
    alpha = np.asarray(image)[..., 1] / 255
    assert alpha.sum() == pytest.approx(2400, rel=0.02)
    # Clockwise: what was the upper left corner is on top now, left of the middle: at -30 cos 30 + 20 sin 30.
    assert np.argmax(alpha[1]) == pytest.approx(image.width / 2 - 16, abs=3)


def test_jpg_shows_transparent_as_white():
    pixels = np.zeros((16, 16, 4), np.uint8)
    image = sent(pixels, last="default.jpg")
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert np.asarray(image).min() > 250
    assert sent(pixels[..., :2], last="default.jpg").mode == "L"


@pytest.mark.parametrize("format", ["jpg", "png", "webp"])
@pytest.mark.parametrize("quality", ["default", "color", "gray", "bitonal"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_quality_in_every_format(format, quality, channels):
    image = sent(PIXELS[..., :channels], last=f"{quality}.{format}")
    assert image.format == {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[format]
    assert image.size == (9, 6)
    if quality in ("gray", "bitonal"):
        colours = np.asarray(image.convert("RGB")).astype(int)
        assert np.ptp(colours, axis=-1).max() <= 3


def test_gray_is_luminance_and_bitonal_its_halves():
    pixels = PIXELS[..., :3]
    luminance = pixels @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(np.asarray(sent(pixels, last="gray.png")), luminance, atol=1)
    found = np.asarray(sent(pixels, last="bitonal.png"))
    sure = np.abs(luminance - 127.5) > 1.5
    np.testing.assert_array_equal(found[sure], (luminance > 127.5)[sure])
