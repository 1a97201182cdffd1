import json

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

FILTERS = ["forward", "central", "sobel", "scharr", "prewitt", "farid", "spline"]


@pytest.mark.parametrize("name", FILTERS)
def test_gradient_of_a_ramp(eoren, name):
    """0.1 + 0.5 x + 0.3 y, sampled at the pixel centres of an image that is not square."""
    y, x = np.mgrid[:20, :31]
    np.save("ramp.npy", 0.1 + 0.5 * (x + 0.5) / 31 + 0.3 * (y + 0.5) / 20)
    assert eoren("gradient", "ramp.npy", "--filter", name, "-o", "g.npy", "-q") == (0, "", "")
    gradient = np.load("g.npy")
    assert gradient.shape == (20, 31, 1, 2)
    np.testing.assert_allclose(gradient, np.broadcast_to([0.5, 0.3], gradient.shape), atol=1e-4)


@pytest.mark.parametrize(("name", "size"), [("sobel", 3), ("scharr", -1)])
def test_bare_filter_equals_opencv(eoren, picture, tiny, name, size):
    assert eoren("gradient", picture, "--filter", name, "--no-adjust", "-o", "g.npy", "-q") == (0, "", "")
    pixels = tiny / 255.0
    expected = np.stack(
        [cv2.Sobel(pixels, cv2.CV_64F, 1, 0, ksize=size), cv2.Sobel(pixels, cv2.CV_64F, 0, 1, ksize=size)], -1
    )
    np.testing.assert_allclose(np.load("g.npy")[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-5)


def test_adjustment_divides_by_the_response_to_a_ramp(eoren, picture):
    eoren("gradient", picture, "--filter", "sobel", "--no-adjust", "-o", "bare.npy")
    eoren("gradient", picture, "--filter", "sobel", "-o", "adjusted.npy")
    np.testing.assert_allclose(np.load("adjusted.npy"), np.load("bare.npy") / 8 * [24, 20], rtol=1e-5, atol=1e-5)


def test_adjustment_by_magnitude(eoren, picture):
    for rule in ("ramp", "magnitude"):
        assert eoren("gradient", picture, "--filter", "forward", "--by", rule, "-o", f"{rule}.npy")[0] == 0
    np.testing.assert_allclose(np.load("magnitude.npy"), np.load("ramp.npy") / 2, rtol=1e-5)


def test_tiff_holds_the_same_floats(eoren, picture):
    eoren("gradient", picture, "-o", "g.npy")
    assert eoren("gradient", picture, "-o", "g.tiff", "-q") == (0, "", "")
    gradient = tifffile.imread("g.tiff")
    assert gradient.dtype == np.float32
    np.testing.assert_array_equal(gradient, np.load("g.npy").reshape(20, 24, 6))


@pytest.mark.parametrize("adjust", ["--adjust", "--no-adjust"])
def test_image_shows_the_magnitude(eoren, picture, adjust):
    eoren("gradient", picture, adjust, "-o", "g.npy")
    assert eoren("gradient", picture, adjust, "-o", "g.png", "-q") == (0, "", "")
    per_pixel = np.load("g.npy") / ([24, 20] if adjust == "--adjust" else 1)
    expected = 255 * np.clip(2 * np.sqrt((per_pixel**2).sum(-1).mean(-1)), 0, 1)
    with Image.open("g.png") as image:
        assert image.mode == "L"
        assert np.abs(np.asarray(image) - expected).max() < 0.51


def test_notice_of_conversions(eoren, tiny):
    Image.fromarray(tiny).convert("CMYK").save("a.jpg")
    assert eoren("gradient", "a.jpg", "-o", "g.npy") == (
        *(0, "written  g.npy (24 x 20, 11.6 kB)\n"),
        "eoren: a.jpg: CMYK converted to RGB\n",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "g.foo"], "g.foo: cannot write the format '.foo'; use .png"),
        (["-o", "g"], "g: cannot write the format ''"),
        (["-o", "missing/g.npy"], "missing/g.npy: there is no folder"),
        (["-o", "."], ".: is a folder"),
        (["-o", "old.npy"], "old.npy: exists; give --overwrite"),
        (["-o", "tiny.png", "--overwrite"], "tiny.png: is the input; choose another --output"),
        (["-o", "link.png", "--overwrite"], "link.png: is the input"),
        (["--filter", "foo"], "'foo' is not one of"),
        (["--filter", "spline", "--no-adjust"], "--no-adjust applies to stencils only"),
        (["--by", "foo"], "'--by'"),
        ([], "Missing option '--output' / '-o'; see eoren gradient --help"),
    ],
)
def test_wrong_options(refused, picture, folder, monkeypatch, options, message):
    def work(*_, **__):
        raise AssertionError("this came too late")

    monkeypatch.setattr("eoren.image.io.read_source_image", work)
    (folder / "old.npy").write_text("precious")
    (folder / "link.png").symlink_to(picture)
    output = [] if "-o" in options or not options else ["-o", "g.npy"]
    assert message in refused("gradient", picture, *output, *options)


def test_image_too_large_for_the_format_is_refused_before_the_work(refused, folder, monkeypatch):
    Image.new("L", (16384, 1)).save(folder / "wide.png")
    monkeypatch.setattr("eoren.image.gradients.adjusted_gradient", None)
    assert "exceed the 16383 per side of .webp" in refused("gradient", "wide.png", "-o", "g.webp")


def test_invalid_images(refused, picture, folder):
    (folder / "cut.png").write_bytes(picture.read_bytes()[:300])
    (folder / "empty.png").touch()
    for name in ("cut.png", "empty.png", "missing.png"):
        assert refused("gradient", name, "-o", "g.npy").startswith(f"{name}: ")


def test_overwrite(eoren, picture, folder):
    (folder / "g.npy").write_text("old")
    assert eoren("gradient", picture, "-o", "g.npy", "--overwrite")[0] == 0
    assert np.load("g.npy").shape == (20, 24, 3, 2)


def test_json(eoren, picture, folder):
    status, out, err = eoren("gradient", picture, "-o", "g.npy", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == {"file": "g.npy", "width": 24, "height": 20, "bytes": (folder / "g.npy").stat().st_size}
