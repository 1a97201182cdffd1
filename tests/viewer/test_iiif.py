import io

import numpy as np
import pytest
from PIL import Image

from eoren.errors import EorenError
from eoren.viewer.iiif import (
    FORMATS,
    MAX_AREA,
    MAX_SIDE,
    QUALITIES,
    Region,
    encode,
    information,
    parse,
)


def request(region="full", size="max", rotation="0", last="default.jpg", width=300, height=200):
    return parse(region, size, rotation, last, width=width, height=height)


# The examples of https://iiif.io/api/image/3.0/ sections 4.1 and 4.2, for its image of 300 x 200.


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("full", (0, 0, 300, 200)),
        ("square", (50, 0, 200, 200)),
        ("125,15,120,140", (125, 15, 120, 140)),
        ("pct:41.6,7.5,40,70", (125, 15, 120, 140)),
        ("125,15,200,200", (125, 15, 175, 185)),
        ("pct:41.6,7.5,66.6,100", (125, 15, 175, 185)),
        ("0,0,999999999,1", (0, 0, 300, 1)),
        ("pct:0,0,0.0001,0.0001", (0, 0, 1, 1)),
        ("pct:.5,0,50,.5", (2, 0, 150, 1)),
    ],
)
def test_regions(region, expected):
    assert request(region).region == Region(*expected)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("max", (300, 200)),
        ("150,", (150, 100)),
        (",150", (225, 150)),
        ("pct:50", (150, 100)),
        ("225,100", (225, 100)),
        ("!225,100", (150, 100)),
        ("^360,", (360, 240)),
        ("^,240", (360, 240)),
        ("^pct:120", (360, 240)),
        ("^360,360", (360, 360)),
        ("^!360,360", (360, 240)),
        ("!300,200", (300, 200)),
        ("!300,999", (300, 200)),
        ("1,", (1, 1)),
        ("pct:0.01", (1, 1)),
        # The largest with these proportions and at most 2^24 pixels.
        ("^max", (5016, 3344)),
    ],
)
def test_sizes(size, expected):
    parsed = request(size=size)
    assert (parsed.width, parsed.height) == expected


def test_max_stays_within_the_limits_if_the_image_exceeds_them():
    for width, height in ((20_000, 10_000), (1_000_000, 100), (3, 900_000)):
        parsed = request(width=width, height=height)
        assert parsed.width * parsed.height <= MAX_AREA
        assert max(parsed.width, parsed.height) <= MAX_SIDE
        assert min(parsed.width, parsed.height) >= 1
        assert parsed.width / parsed.height == pytest.approx(width / height, rel=0.4 if width == 3 else 0.01) or (
            min(parsed.width, parsed.height) == 1
        )
    parsed = request(width=20_000, height=10_000)
    assert parsed.width * parsed.height > 0.99 * MAX_AREA


@pytest.mark.parametrize("rotation", ["0", "90", "180", "270"])
def test_rotations(rotation):
    assert request(rotation=rotation).rotation == int(rotation)


@pytest.mark.parametrize("last", [f"{quality}.{format}" for quality in QUALITIES for format in FORMATS])
def test_qualities_and_formats(last):
    parsed = request(last=last)
    assert f"{parsed.quality}.{parsed.format}" == last


@pytest.mark.parametrize(
    "wrong",
    [
        *({"region": text} for text in ("", "Full", "1,2,3", "0,0,0,5", "300,0,1,1", "0,200,1,1", "-1,0,5,5")),
        *({"region": text} for text in ("1.5,0,5,5", "pct:100,0,5,5", "pct:0,0,0,5", "pct:1,1,1", "pct:-1,0,5,5")),
        *(
            {"region": text}
            for text in ("pct:nan,0,5,5", "pct:1e1,0,5,5", "٣,0,5,5", f"0,0,{'9' * 10_000},1", " 0,0,1,1")
        ),
        *({"size": text} for text in ("", "full", "^", "^^max", "0,", ",0", "0,0", "!0,9", "pct:0", "pct:", "10")),
        *({"size": text} for text in ("301,", ",201", "301,10", "10,201", "pct:100.1", "!301,201", "-1,")),
        *(
            {"size": text}
            for text in ("^4097,4097", f"^{MAX_SIDE + 1},1", "^pct:9999999", "^999999999,", "^,999999999")
        ),
        *(
            {"rotation": text}
            for text in ("", "!", "-1", "360", "90.0", "!90", "45", "1e2", "nan", "90!", "0x1", "9" * 5000)
        ),
        *({"last": text} for text in ("default", "default.", ".jpg", "default.gif", "native.jpg", "default.jpg.png")),
    ],
    ids=lambda wrong: "=".join(*wrong.items())[:40],
)
def test_invalid_requests(wrong):
    with pytest.raises(EorenError) as error:
        request(**wrong)
    assert str(error.value)


@pytest.mark.parametrize("region", ["full", "square", "3,4,150,90", "pct:10,10,33.3,44.4"])
@pytest.mark.parametrize("size", ["max", "^max", "37,", "pct:13", "^!500,500", "!30,30", "^301,40"])
@pytest.mark.parametrize("rotation", ["0", "90"])
def test_canonical_forms_round_trip(region, size, rotation):
    parsed = request(region, size, rotation, "gray.png")
    again = request(*parsed.canonical.split("/"))
    assert again == parsed


def test_canonical_forms():
    assert request("0,0,300,200", "300,", "0", "color.png").canonical == "full/max/0/color.png"
    assert request("10,10,20,20", "10,10", "90").canonical == "10,10,20,20/10,10/90/default.jpg"
    assert request(size="^600,").canonical == "full/^600,400/0/default.jpg"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (256, 256), (257, 3), (49_152, 32_768), (1 << 20, 7)])
def test_information(width, height):
    info = information("http://127.0.0.1:1/iiif/a", width, height)
    assert (info["width"], info["height"]) == (width, height)
    (tiles,) = info["tiles"]
    # The coarsest level is one tile, and no level is missing.
    assert tiles["scaleFactors"] == [2**n for n in range(len(tiles["scaleFactors"]))]
    assert max(width, height) <= tiles["width"] * tiles["scaleFactors"][-1] < 2 * max(width, height, 129)
    for size in info["sizes"]:
        parsed = request(size=f"{size['width']},{size['height']}", width=width, height=height)
        assert (parsed.width, parsed.height) == (size["width"], size["height"])


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
