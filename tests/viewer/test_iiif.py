from contextlib import nullcontext

import pytest
from PIL import Image

from eoren.viewer.iiif import (
    FORMATS,
    MAX_AREA,
    MAX_FRAME,
    MAX_SIDE,
    QUALITIES,
    BadRequest,
    Region,
    information,
    parse,
)


def asked(region="full", size="max", rotation="0", last="default.jpg", width=300, height=200):
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
    assert asked(region).region == Region(*expected)


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
    found = asked(size=size)
    assert (found.width, found.height) == expected


def test_max_stays_within_the_limits_where_the_picture_does_not():
    for width, height in ((20_000, 10_000), (1_000_000, 100), (3, 900_000)):
        found = asked(width=width, height=height)
        assert found.width * found.height <= MAX_AREA
        assert max(found.width, found.height) <= MAX_SIDE
        assert min(found.width, found.height) >= 1
        assert found.width / found.height == pytest.approx(width / height, rel=0.4 if width == 3 else 0.01) or (
            min(found.width, found.height) == 1
        )
    found = asked(width=20_000, height=10_000)
    assert found.width * found.height > 0.99 * MAX_AREA


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        ("0", (False, 0)),
        ("!0", (True, 0)),
        ("90", (False, 90)),
        ("!180", (True, 180)),
        ("22.5", (False, 22.5)),
        ("360", (False, 0)),
        (".5", (False, 0.5)),
    ],
)
def test_rotations(rotation, expected):
    found = asked(rotation=rotation)
    assert (found.mirrored, found.rotation) == expected


@pytest.mark.parametrize("last", [f"{quality}.{format}" for quality in QUALITIES for format in FORMATS])
def test_qualities_and_formats(last):
    found = asked(last=last)
    assert f"{found.quality}.{found.format}" == last


@pytest.mark.parametrize(
    "wrong",
    [
        *({"region": each} for each in ("", "Full", "1,2,3", "0,0,0,5", "300,0,1,1", "0,200,1,1", "-1,0,5,5")),
        *({"region": each} for each in ("1.5,0,5,5", "pct:100,0,5,5", "pct:0,0,0,5", "pct:1,1,1", "pct:-1,0,5,5")),
        *(
            {"region": each}
            for each in ("pct:nan,0,5,5", "pct:1e1,0,5,5", "٣,0,5,5", f"0,0,{'9' * 10_000},1", " 0,0,1,1")
        ),
        *({"size": each} for each in ("", "full", "^", "^^max", "0,", ",0", "0,0", "!0,9", "pct:0", "pct:", "10")),
        *({"size": each} for each in ("301,", ",201", "301,10", "10,201", "pct:100.1", "!301,201", "-1,")),
        *(
            {"size": each}
            for each in ("^4097,4097", f"^{MAX_SIDE + 1},1", "^pct:9999999", "^999999999,", "^,999999999")
        ),
        *({"rotation": each} for each in ("", "!", "-1", "360.1", "!361", "1e2", "nan", "90!", "0x1", "9" * 5000)),
        *({"last": each} for each in ("default", "default.", ".jpg", "default.gif", "native.jpg", "default.jpg.png")),
    ],
    ids=lambda wrong: "=".join(*wrong.items())[:40],
)
def test_what_the_protocol_does_not_allow(wrong):
    with pytest.raises(BadRequest) as refused:
        asked(**wrong)
    assert str(refused.value)


@pytest.mark.parametrize("region", ["full", "square", "3,4,150,90", "pct:10,10,33.3,44.4"])
@pytest.mark.parametrize("size", ["max", "^max", "37,", "pct:13", "^!500,500", "!30,30", "^301,40"])
@pytest.mark.parametrize("rotation", ["0", "!90", "12.250"])
def test_the_canonical_form_asks_for_the_same(region, size, rotation):
    found = asked(region, size, rotation, "gray.png")
    again = asked(*found.canonical.split("/"))
    assert again == found


def test_canonical_forms():
    assert asked("0,0,300,200", "300,", "!0.0", "color.png").canonical == "full/max/!0/color.png"
    assert asked("10,10,20,20", "10,10", "90.50").canonical == "10,10,20,20/10,10/90.5/default.jpg"
    assert asked(size="^600,").canonical == "full/^600,400/0/default.jpg"
    assert asked(rotation="360").canonical.split("/")[2] == "0"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (256, 256), (257, 3), (49_152, 32_768), (1 << 20, 7)])
def test_information(width, height):
    said = information("http://127.0.0.1:1/iiif/a", width, height)
    assert (said["width"], said["height"]) == (width, height)
    (tiles,) = said["tiles"]
    # The coarsest level is one tile, and no level is left out.
    assert tiles["scaleFactors"] == [2**n for n in range(len(tiles["scaleFactors"]))]
    assert max(width, height) <= tiles["width"] * tiles["scaleFactors"][-1] < 2 * max(width, height, 129)
    for size in said["sizes"]:
        found = asked(size=f"{size['width']},{size['height']}", width=width, height=height)
        assert (found.width, found.height) == (size["width"], size["height"])


@pytest.mark.parametrize(("width", "height"), [(4096, 4096), (5792, 2896), (16383, 8), (300, 7)])
@pytest.mark.parametrize("degrees", [0.1, 12.25, 45, 89.999, 135, 225.5, 359])
def test_the_frame_of_a_turned_picture_is_as_large_as_pillow_makes_it_or_refused(width, height, degrees):
    frame = Image.new("1", (width, height)).rotate(-degrees, expand=True).size
    allowed = frame[0] * frame[1] <= MAX_FRAME - 12_000 and max(frame) < MAX_SIDE
    with nullcontext() if allowed else pytest.raises(BadRequest, match="an answer that is turned has at most"):
        assert parse("full", "max", str(degrees), "default.png", width=width, height=height).rotation == degrees


def test_a_strip_turned_into_a_square_is_refused():
    with pytest.raises(BadRequest, match="rotation '45' means 12"):
        parse("0,0,64,4", "^16383,1024", "45", "default.png", width=768, height=512)


def test_rotations_that_are_written_alike_are_alike():
    for text in ("0.00000000001", "360", "359.99999999999"):
        asked = parse("full", "max", text, "default.png", width=30, height=20)
        assert (asked.rotation, asked.canonical) == (0, "full/max/0/default.png")
