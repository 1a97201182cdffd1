import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from eoren import load
from eoren.cli.commands.render import _scale_size
from eoren.dataset.fit_many import fit_many


@pytest.fixture
def rendered(eoren, field_file):
    """Render to a file; return its pixels as read by OpenCV, tifffile or NumPy, channels as RGB."""

    def render(name, *options):
        assert eoren("render", field_file, "-o", name, *options, "--quiet") == (0, "", "")
        if name.endswith(".npy"):
            return np.load(name)
        if name.endswith((".tif", ".tiff")):
            return tifffile.imread(name)
        image = cv2.imread(name, cv2.IMREAD_UNCHANGED)
        return image[..., ::-1] if image.ndim == 3 else image

    return render


def quantised(pixels, peak=255):
    return np.floor(np.clip(pixels, 0, 1) * peak + 0.5)


@pytest.mark.parametrize(("name", "bits"), [("a.png", 8), ("a.png", 16), ("a.tif", 8), ("a.tiff", 16), ("a.webp", 8)])
def test_colours(rendered, field_file, name, bits):
    image = rendered(name, "--bit-depth", bits)
    peak = 2**bits - 1
    assert image.dtype == f"u{bits // 8}"
    assert np.abs(image - quantised(load(field_file).render().astype(np.float64), peak)).max() <= 1 + bits // 16


def test_what_was_written_is_named(eoren, field_file, folder):
    status, out, err = eoren("render", field_file, "-o", "a.png", "--scale", 2)
    assert (status, err) == (0, "")
    size = (folder / "a.png").stat().st_size
    assert out == f"written  a.png (48 x 40, {size / 1000:.3g} kB)\n"


def test_colours_as_numbers(rendered, field_file):
    np.testing.assert_array_equal(rendered("a.npy"), load(field_file).render())
    np.testing.assert_array_equal(rendered("a.tif", "--bit-depth", 32), load(field_file).render())


def test_colours_approximate_the_image(rendered, tiny):
    error = np.mean((rendered("a.png") / 255 - tiny / 255.0) ** 2)
    assert error < np.var(tiny / 255.0) / 2


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ([], (24, 20)),
        (["--scale", 2], (48, 40)),
        (["--scale", 0.5], (12, 10)),
        (["--scale", 0.001], (1, 1)),
        (["--size", "48x"], (48, 40)),
        (["--size", "X10", "--crop", "0,0,.5,1"], (6, 10)),
        (["--size", "7x9"], (7, 9)),
        (["--size", "7X009"], (7, 9)),
        (["--crop", "0.25,0.5,0.75,1"], (12, 10)),
        (["--crop", "0.25,0.5,0.75,1", "--scale", 3], (36, 30)),
        (["--crop", "0.25,0.5,0.75,1", "--size", "5x6"], (5, 6)),
        (["--crop", "0.5,0.5,0.55,0.55", "--scale", 10], (12, 10)),  # not 10 times a rounded size
        (["--crop", "0.5,0.5,0.51,0.51", "--scale", 100], (24, 20)),  # a region smaller than a pixel
        (["--crop", "0.5,0.5,0.51,0.51"], (1, 1)),
    ],
)
def test_size(rendered, options, size):
    assert rendered("a.png", *options).shape == (size[1], size[0], 3)


def test_json(eoren, field_file, folder):
    status, out, err = eoren("render", field_file, "-o", "a.png", "--scale", 2, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == {"file": "a.png", "width": 48, "height": 40, "bytes": (folder / "a.png").stat().st_size}


def test_scale_size():
    assert _scale_size((100, 50), (0.0, 0.0, 1.0, 1.0), 1.5) == (150, 75)
    assert _scale_size((100, 50), (0.25, 0.0, 0.5, 1.0), 1.0) == (25, 50)


def test_crop_is_a_part_of_the_whole(rendered):
    whole = rendered("whole.npy", "--scale", 2)
    part = rendered("part.npy", "--scale", 2, "--crop", "0.25,0.5,0.75,1")
    np.testing.assert_allclose(part, whole[20:, 12:36], atol=1e-5)


def test_derivatives_match_finite_differences(rendered):
    """Against differences of a fine rendering: h = 1/(24 s) by 1/(20 s) of the unit square."""
    crop = ["--scale", 40, "--crop", "0.25,0.25,0.5,0.5"]
    colour = rendered("c.npy", *crop).astype(np.float64)
    gradient = rendered("g.npy", *crop, "--show", "gradient")
    laplacian = rendered("l.npy", *crop, "--show", "laplacian")
    assert gradient.shape == (*colour.shape, 2)
    assert laplacian.shape == colour.shape
    dy, dx = np.gradient(colour, 1 / (20 * 40), 1 / (24 * 40), axis=(0, 1))
    inside = np.s_[1:-1, 1:-1]
    scale = np.abs(gradient).max()
    np.testing.assert_allclose(gradient[..., 0][inside], dx[inside], atol=0.01 * scale)
    np.testing.assert_allclose(gradient[..., 1][inside], dy[inside], atol=0.01 * scale)
    bend = np.gradient(gradient[..., 0], 1 / (24 * 40), axis=1) + np.gradient(gradient[..., 1], 1 / (20 * 40), axis=0)
    np.testing.assert_allclose(laplacian[inside], bend[inside], atol=0.01 * np.abs(laplacian).max())


def test_derivatives_as_images(rendered, field_file):
    gradient = rendered("g.npy", "--show", "gradient") / [24, 20]
    (laplacian,) = load(field_file).render_rows(24, 20, show="laplacian", extent=(24.0, 20.0))
    magnitude = np.sqrt((gradient**2).sum(-1).mean(-1))
    assert np.abs(rendered("g.png", "--show", "gradient") - quantised(2 * magnitude)).max() <= 1
    assert np.abs(rendered("l.png", "--show", "laplacian") - quantised(0.5 + laplacian)).max() <= 1


def test_derivatives_in_tiff_are_numbers(rendered):
    gradient = rendered("g.npy", "--show", "gradient")
    np.testing.assert_array_equal(rendered("g.tiff", "--show", "gradient"), gradient.reshape(20, 24, 6))


def test_jpeg(rendered, field_file):
    pixels = rendered("a.jpg")
    with Image.open("a.jpg") as image:
        assert image.format == "JPEG"
    assert np.abs(pixels / 255 - load(field_file).render().clip(0, 1)).mean() < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "a.foo"], "a.foo: cannot write the format '.foo'; use .png"),
        (["-o", "a"], "a: cannot write the format ''"),
        (["-o", "."], ".: is a folder"),
        (["-o", "missing/a.png"], "missing/a.png: there is no folder"),
        (["-o", "tiny.eoren", "--overwrite"], "tiny.eoren: is the input"),
        (["-o", "link.png", "--overwrite"], "link.png: is the input"),
        (["-o", "old.png"], "old.png: exists; give --overwrite"),
        (["--scale", "nan"], "--scale must be above zero and below 1e+09, got nan"),
        (["--scale", "inf"], "--scale must be above zero and below 1e+09, got inf"),
        (["--scale", "1e308"], "--scale must be above zero and below 1e+09, got 1e+308"),
        (["--scale", "0"], "--scale must be above zero and below 1e+09, got 0"),
        (["--scale", "-2"], "--scale must be above zero and below 1e+09, got -2"),
        (["--scale", "abc"], "'--scale'"),
        (["--scale", "1e8"], "a.png: 2400000000 x 2000000000 pixels exceed"),
        (["--scale", "1e8", "-o", "a.npy"], "a.npy: 2400000000 x 2000000000 pixels are too many; 16,777,216 a row"),
        (["--size", "999999999x999999999"], "a.png: 999999999 x 999999999 pixels are too many"),
        (["--size", "9999999x999999999"], "a.png: 9999999 x 999999999 pixels are too many"),
        (["--scale", "2", "--size", "4x4"], "--scale and --size exclude each other"),
        (["--size", "4"], "--size must have the form WxH, got '4'"),
        (["--size", "x"], "--size must have the form WxH, got 'x'"),
        (["--size", "0x4"], "--size must have the form WxH, got '0x4'"),
        (["--size", "-4x4"], "--size must have the form WxH, got '-4x4'"),
        (["--size", "4x4x4"], "--size must have the form WxH, got '4x4x4'"),
        (["--size", "²x4"], "--size must have the form WxH, got '²x4'"),
        (["--size", "٣x4"], "--size must have the form WxH, got '٣x4'"),
        (["--size", "9" * 5000 + "x1"], "--size must have the form WxH, got"),
        (["--size", "9999999999x1"], "pixels exceed the 2147483647 per side of .png"),
        (["--crop", "0,0,1"], "--crop must have the form X0,Y0,X1,Y1, got '0,0,1'"),
        (["--crop", "a,0,1,1"], "--crop must have the form X0,Y0,X1,Y1, got 'a,0,1,1'"),
        (["--crop", "0,0,nan,1"], "--crop must satisfy 0 <= X0 < X1 <= 1 and 0 <= Y0 < Y1 <= 1, got '0,0,nan,1'"),
        (["--crop", "0.5,0,0.5,1"], "--crop must satisfy"),
        (["--crop", "0,0,2,1"], "--crop must satisfy"),
        (["--show", "foo"], "'--show'"),
        (["--bit-depth", "7"], "a.png: .png holds 8 or 16 bits, not 7"),
        (["--bit-depth", "32"], "a.png: .png holds 8 or 16 bits, not 32; use .tif or .npy"),
        (["--bit-depth", "16", "-o", "a.jpg"], "a.jpg: .jpg holds 8 bits, not 16"),
        (["--device", "tpu"], "device must be one of auto, cpu, cuda, mps, got 'tpu'"),
    ],
)
def test_wrong_options(refused, field_file, folder, monkeypatch, options, message):
    (folder / "old.png").write_text("precious")
    (folder / "link.png").symlink_to(field_file)
    monkeypatch.setattr("eoren.field.field.Field.sample", None)  # nothing may be computed
    output = [] if "-o" in options else ["-o", "a.png"]
    assert message in refused("render", field_file, *output, *options)


def test_invalid_field_files(refused, field_file, picture, folder):
    (folder / "empty.eoren").touch()
    (folder / "cut.eoren").write_bytes(field_file.read_bytes()[:-10])
    for name in ("missing.eoren", "empty.eoren", "cut.eoren", "tiny.png"):
        assert refused("render", name, "-o", "a.png").startswith(f"{name}: ")
    assert refused("render", "", "-o", "a.png").startswith(".: is not a store")


def test_interruption_leaves_nothing(eoren, field_file, folder, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    (folder / "a.png").write_text("precious")
    monkeypatch.setattr("eoren.field.field.Field.sample", interrupt)
    assert eoren("render", field_file, "-o", "a.png", "--overwrite") == (130, "", "")
    assert (folder / "a.png").read_text() == "precious"
    assert len([*folder.iterdir()]) == 2


def test_memory_is_bounded(field_file):
    """Eight megapixels are 96 MB of colours; rendering them needs little more memory than half a megapixel."""
    program = """
import resource, sys
from eoren.cli import main
def used(size):
    try:
        main(["render", sys.argv[1], "-o", size + ".npy", "--size", size, "-q"])
    except SystemExit as ended:
        assert ended.code == 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
small = used("1000x500")
print(used("2000x4000") - small)
"""
    done = subprocess.run([sys.executable, "-c", program, field_file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 48


def test_images_of_a_store(eoren, refused, folder):
    images = [("a/1.png", np.full((8, 9, 3), 0.25), 0), ("7", np.full((8, 9, 3), 0.5), 0), np.full((8, 9), 0.75)]
    fit_many(images, store=folder / "store", preset="fast")
    for name, level in (("a/1.png", 0.25), ("7", 0.5), ("0", 0.25), ("2", 0.75)):
        assert eoren("render", "store", "--name", name, "-o", "a.npy", "--overwrite")[0] == 0
        np.testing.assert_allclose(np.load("a.npy"), level, atol=0.01)
    (folder / "a.npy").unlink()
    assert "is a store of 3 images; render and view take --name" in refused("render", "store", "-o", "a.npy")
    assert "is a store of 3 images" in refused("evaluate", "store", "sample:camera")
    assert "--name: 'b' must name one image, got 0 images" in refused("render", "store", "--name", "b", "-o", "a.npy")
    assert "--skip-damaged is for files" in refused("render", "store", "--skip-damaged", "-o", "a.npy")
    (folder / "other").mkdir()
    assert "other: is not a store" in refused("render", "other", "-o", "a.npy")
