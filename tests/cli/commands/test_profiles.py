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
