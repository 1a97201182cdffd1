"""Every command that reads fields takes compact ones, or refuses them in one line."""

import json

import numpy as np
import pytest
from PIL import Image

import eoren as library


def test_info(eoren, compact_file, picture):
    metrics = json.loads(eoren("evaluate", compact_file, picture, "--json")[1])
    status, out, err = eoren("info", compact_file, "--json")
    assert (status, err) == (0, "")
    values = json.loads(out)
    expected = {"width": 24, "height": 20, "channels": 3, "levels": 2, "hidden_width": 0, "seed": 0, "steps": 2}
    assert expected.items() <= values.items()
    assert "bits" not in values
    assert values["settings"] == {"preset": "fast"}
    for name in ("psnr", "psnr_8bit", "gradient_psnr", "ssim"):
        assert values["metrics"][name] == pytest.approx(metrics[name], abs=1e-4)
    status, out, err = eoren("info", compact_file)
    assert (status, err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert rows["function"] == "wavelet latents of 2 levels, linear colours"
    assert rows["parameters"] == f"{values['parameters']:,}"


@pytest.mark.parametrize(
    ("output", "options"),
    [
        ("a.png", ["--scale", "3"]),
        ("a.tiff", ["--bit-depth", "16"]),
        ("a.tif", ["--bit-depth", "32", "--show", "gradient"]),
        ("a.jpg", ["--crop", "0.2,0.2,0.6,0.7", "--size", "30x20"]),
        ("a.npy", ["--show", "laplacian"]),
        ("a.webp", ["--show", "gradient"]),
    ],
)
def test_render(eoren, compact_file, output, options):
    status, _, err = eoren("render", compact_file, "-o", output, *options)
    assert (status, err) == (0, "")


def test_rendered_pixels_are_the_image(eoren, compact_file, picture):
    eoren("render", compact_file, "-o", "a.png")
    error = np.asarray(Image.open("a.png"), float) - np.asarray(Image.open(picture), float)
    assert (error**2).mean() ** 0.5 < 3


@pytest.mark.parametrize("suffix", ["glsl", "html", "onnx"])
def test_export(eoren, compact_file, suffix):
    if suffix == "onnx":
        pytest.importorskip("onnx")
    status, _, err = eoren("export", compact_file, "-o", f"a.{suffix}")
    assert (status, err) == (0, "")


def test_composition_takes_them(eoren, compact_file, picture):
    Image.fromarray(np.uint8(255 * (np.hypot(*np.mgrid[-10:10, -12:12]) < 6))).save("mask.png")
    small = ["--preset", "mosaic-fast", "--steps", 1]
    for command in (
        ["mix", compact_file, picture, "-o", "mix.png"],
        ["clone", compact_file, picture, "--mask", "mask.png", "-o", "clone.eoren", *small],
        ["fill", compact_file, "--mask", "mask.png", "-o", "fill.png"],
        ["retouch", compact_file, "--boost-detail", "2", "-o", "retouch.png"],
    ):
        status, _, err = eoren(*command)
        assert (status, err) == (0, ""), command
    assert library.load("clone.eoren").representation.kind == "mosaic"


@pytest.mark.parametrize("command", [["gradient"], ["compare", "--epochs", "1", "--seconds", "1"]], ids=str)
def test_commands_of_images_refuse_them(refused, compact_file, command):
    output = "a.npy" if command == ["gradient"] else "a.html"
    line = refused(command[0], compact_file, "-o", output, *command[1:])
    assert line.endswith("is a field, and this needs an image; 'eoren render' makes one of it")
