import numpy as np
import pytest
import torch
from tests.coding.samples import equal, random_latents, zeros_like

from eoren.coding.bands import (
    BLOCK,
    COARSE,
    MAX_LEVELS,
    PHASES,
    Latents,
    band_order,
    blocks,
    choose_levels,
)
from eoren.model.latents import wavelet


@pytest.mark.parametrize(
    ("size", "levels"),
    [((1, 1), 0), ((8, 8), 0), ((9, 8), 1), ((1, 16), 1), ((17, 3), 2), ((512, 384), 6), ((10_000, 9), 6)],
)
def test_the_number_of_levels_follows_the_longer_side(size, levels):
    assert choose_levels(*size) == choose_levels(*size[::-1]) == levels
    side = max(size)
    for _ in range(levels):
        side = -(-side // 2)
    assert side <= 8 or levels == MAX_LEVELS


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (8, 8), (13, 22)])
@pytest.mark.parametrize("levels", [0, 1, 3, 6])
def test_latents_have_the_shapes_of_the_wavelet_transform(size, levels):
    bands = wavelet.analyze(torch.zeros(2, *size), levels)
    latents = Latents.zeros(2, *size, levels)
    shapes = [tuple(b.shape) for b in (bands.coarse, *(band for level in bands.details for band in level))]
    assert [band.shape for band in latents.bands()] == shapes
    assert latents.shape == (2, *size)
    assert latents.levels == levels


def test_bands_of_no_image_are_an_error():
    latents = Latents.zeros(1, 8, 8, 1)
    wrong = latents._replace(coarse=np.zeros((1, 3, 4), np.int32))
    with pytest.raises(ValueError, match="bands must be those of"):
        _ = wrong.shape


@pytest.mark.parametrize("size", [(1, 1), (37, 90), (1023, 1025), (1536, 700), (4000, 2047)])
@pytest.mark.parametrize("levels", [0, 3, 6])
def test_blocks_tile_the_image(size, levels):
    width, height = size
    covered = np.zeros((height, width), np.int8)
    for box in blocks(width, height, levels):
        assert box.x0 % (1 << levels) == box.y0 % (1 << levels) == 0
        assert 0 < box.x1 - box.x0 <= 1.5 * BLOCK + (1 << levels)
        assert 0 < box.y1 - box.y0 <= 1.5 * BLOCK + (1 << levels)
        covered[box.y0 : box.y1, box.x0 : box.x1] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("levels", [0, 1, 3])
def test_blocks_share_the_latents_out(levels):
    whole = random_latents(2, 45, 71, levels, "large")
    copied = zeros_like(whole)
    for box in blocks(71, 45, levels, side=20):
        part = whole.block(box)
        assert part.shape == (2, box.y1 - box.y0, box.x1 - box.x0)
        for to, values in zip(copied.block(box).bands(), part.bands(), strict=True):
            assert (to == 0).all()
            to[...] = values
    assert equal(copied, whole)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (2, 3), (9, 10)])
def test_every_place_belongs_to_one_phase(size):
    count = np.zeros(size, int)
    for phase in PHASES:
        count[phase.rows, phase.columns] += 1
    assert (count == 1).all()


def test_bands_are_coded_from_the_coarsest():
    assert [*band_order(0)] == [(0, COARSE)]
    order = [*band_order(3)]
    assert order[0] == (3, COARSE)
    assert order[1:] == [(level, orientation) for level in (3, 2, 1) for orientation in range(3)]
