"""Colours of a photograph from its file to those that are rendered."""

import json

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from eoren.image.io import read_image, read_source_image

PROFILE = imagecodecs.cms_profile("adobergb")
NAME = "Adobe RGB (compatible)"


@pytest.fixture
def photograph(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png", icc_profile=PROFILE)
    return folder / "photo.png"


@pytest.mark.parametrize("preset", ["fast", "small"])
def test_a_profile_is_kept_from_the_photograph_to_the_rendering(eoren, photograph, preset):
    status, _, err = eoren("fit", photograph, "-o", "a.eoren", "--preset", preset, "--steps", 1)
    assert (status, err) == (0, f"eoren: {photograph}: colours are in the profile {NAME!r}, which is kept\n")
    assert json.loads(eoren("info", "a.eoren", "--json")[1])["profile"] == NAME
    assert f"in the profile {NAME}" in eoren("info", "a.eoren")[1]
    for name in ("a.png", "a.jpg", "a.tif", "a.webp"):
        assert eoren("render", "a.eoren", "-o", name)[0] == 0
        assert read_source_image(name).profile == PROFILE
    assert eoren("render", "a.eoren", "-o", "gradient.png", "--show", "gradient")[0] == 0
    assert read_source_image("gradient.png").profile == b""


def test_colours_are_converted_on_request(eoren, photograph):
    status, _, err = eoren("fit", photograph, "-o", "a.eoren", "--preset", "fast", "--to-srgb", "--until-psnr", 45)
    assert (status, err) == (0, f"eoren: {photograph}: converted from {NAME!r} to sRGB\n")
    assert json.loads(eoren("info", "a.eoren", "--json")[1])["profile"] == ""
    eoren("render", "a.eoren", "-o", "a.png")
    rendered = read_source_image("a.png")
    assert rendered.profile == b""
    assert np.sqrt(np.square(rendered.pixels - read_image(photograph, to_srgb=True)).mean()) < 0.01
    values = json.loads(eoren("evaluate", "a.eoren", photograph, "--to-srgb", "--json")[1])
    assert values["psnr"] > 44
    assert json.loads(eoren("evaluate", "a.eoren", photograph, "--json")[1])["psnr"] < 44


def test_gray_in_a_profile_is_mixed_with_colours(eoren, photograph):
    """Result and file are RGB, which a profile of gray does not describe."""
    gray = Image.fromarray(np.uint8([[0, 60, 120, 255]] * 3))
    gray.save("gray.png", icc_profile=imagecodecs.cms_profile("gray", gamma=1.0))
    Image.new("RGB", (4, 3)).save("black.png")
    for output in ("a.png", "a.webp"):
        status, _, err = eoren("mix", "gray.png", "black.png", "-o", output)
        assert (status, err.count("gray converted from")) == (0, 1)
        assert read_source_image(output).profile == b""
    light = np.array([0, 60, 120, 255]) / 255
    expected = np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) / 2
    np.testing.assert_allclose(read_image("a.png")[1], np.stack([expected] * 3, 1), atol=1.5 / 255)
    assert eoren("mix", "gray.png", "black.png", "-o", "a.eoren", "--preset", "fast", "--steps", 0, "-q")[0] == 0
    assert json.loads(eoren("info", "a.eoren", "--json")[1])["profile"] == ""


def test_a_store_keeps_profiles_and_prints_notes(eoren, photograph, folder):
    for number in range(4):
        Image.new("RGB", (9, 12), (number, 50, 50)).save(folder / f"{number}.png", icc_profile=PROFILE)
    names = ["0.png", "1.png", "2.png", "3.png"]
    status, _, err = eoren("fit-many", *names, "-o", "store", "--preset", "fast")
    note = f"colours are in the profile {NAME!r}, which is kept"
    assert (status, err) == (0, f"eoren: 0.png and 3 more: {note}\n")
    assert eoren("fit-many", *names, "-o", "store", "--preset", "fast", "-q")[2] == ""
    assert json.loads(eoren("info", "store", "--json")[1])["profiles"] == {NAME: 4}
    assert f"in the profile {NAME} (4 images)" in eoren("info", "store")[1]
    assert eoren("export", "store", "-o", "out", "-q")[0] == 0
    assert read_source_image("out/0-0.png").profile == PROFILE
    status, _, err = eoren("fit-many", *names, "-o", "converted", "--preset", "fast", "--to-srgb")
    assert (status, err) == (0, f"eoren: 0.png and 3 more: converted from {NAME!r} to sRGB\n")
    assert json.loads(eoren("info", "converted", "--json")[1])["profiles"] == {}


def test_rare_notes_of_a_store_are_counted(eoren, folder):
    for number in range(1, 7):
        frames = [Image.new("L", (9, 12), level) for level in range(number + 1)]
        frames[0].save(folder / f"{number}.gif", save_all=True, append_images=frames[1:])
    err = eoren("fit-many", ".", "-o", "store", "--preset", "fast")[2].splitlines()
    assert err[0] == "eoren: 1.gif: first of 2 frames"
    assert err[3:] == ["eoren: 3 images have other notes; column 'notes' of store/index has them"]
