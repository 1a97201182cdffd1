"""The choice of the edge prior: the halving against Pillow, and pictures for which it is known what is right."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage.data import coffee
from tests.compact import rounded_field

import eoren
from eoren.evaluation.metrics import psnr
from eoren.model.latents.edge_prior import VERSION
from eoren.training.compact import prior_choice
from eoren.training.compact.prior_choice import choose_prior


@pytest.mark.parametrize("length", [8, 34, 51])
def test_the_halving_is_pillows(length):
    line = np.random.default_rng(0).random((1, length // 2 * 2)).astype(np.float32)
    right = np.asarray(Image.fromarray(line).resize((length // 2, 1), Image.Resampling.BICUBIC))
    found = prior_choice._halving(length // 2 * 2).numpy() @ line[0]
    np.testing.assert_allclose(found, right[0], rtol=0, atol=1e-6)


def chosen(image, step=0.02):
    return choose_prior(rounded_field(image, step), image)


def discs(side, channels):
    """Draw discs with smooth rims."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:side, :side]
    image = np.full((side, side, channels), 0.4)
    for _ in range(30):
        radius, color = rng.uniform(4, 20), rng.random(channels)
        distance = np.hypot(x - rng.uniform(0, side), y - rng.uniform(0, side))
        cover = np.clip(radius - distance + 0.5, 0, 1)[..., None]
        image = cover * color + (1 - cover) * image
    return image.astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_it_is_on_where_there_are_edges(channels):
    assert chosen(discs(96, channels)) == VERSION


def test_it_is_off_where_there_is_nothing_to_know():
    y, x = np.mgrid[:64, :64]
    checks = ((x + y) % 2).astype(np.float32)
    waves = (0.5 + 0.3 * np.sin(x / 5 + y / 9)).astype(np.float32)
    for plane in (checks, waves, np.full((64, 64), 0.3, np.float32)):
        assert chosen(plane[..., None], 0.002) == 0


def test_an_image_that_cannot_be_halved_has_none():
    assert chosen(discs(20, 1)) == 0


def test_a_large_image_is_judged_by_some_windows(monkeypatch):
    image = discs(200, 1)
    monkeypatch.setattr(prior_choice, "_SIDE", 32)
    boxes = list(prior_choice._windows(200, 90))
    assert len(boxes) == 4
    assert all((b.x1 - b.x0, b.y1 - b.y0) == (32, 90) for b in boxes)
    assert chosen(image) == VERSION


def test_a_fit_of_a_photograph_predicts_the_pixels_of_twice_the_size_better():
    image = coffee()[100:260, 150:390].astype(np.float32) / 255
    small = np.asarray(Image.fromarray((image * 255).astype(np.uint8)).resize((120, 80), Image.Resampling.BICUBIC))
    field = eoren.fit(small, preset="fast", bits_per_pixel=8).field
    assert field.representation.prior == VERSION
    without = replace(field, representation=replace(field.representation, prior=0))
    assert psnr(field.render(240, 160), image) > psnr(without.render(240, 160), image) + 0.5


def test_a_setting_turns_it_off():
    image = discs(48, 3)
    on, off = (eoren.fit(image, preset="fast", edge_prior=wanted).field for wanted in (True, False))
    assert (on.representation.prior, off.representation.prior) == (VERSION, 0)
    assert off.provenance.settings["edge_prior"] is False
    assert "edge_prior" not in on.provenance.settings
    np.testing.assert_array_equal(on.render(), off.render())


def test_matrices_of_earlier_images_are_not_kept():
    for function in (prior_choice._halving, prior_choice._spline):
        for length in range(32, 64, 2):
            function(length)
        assert function.cache_info().currsize <= 2
