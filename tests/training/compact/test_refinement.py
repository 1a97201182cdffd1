"""The refinement of latents, by the distortion and the bits of the fields before and after it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.compact import picture

from eoren.coding.bands import Box, Latents, blocks
from eoren.evaluation.metrics import evaluate
from eoren.field.field import Field
from eoren.training.compact.refinement import BlockRefinement
from eoren.training.compact.rounding import BIT_PRICE, in_steps, latent_bits
from eoren.training.compact.settings import PRESETS
from eoren.training.compact.start import round_image
from eoren.training.compact.window import linear_colors

CPU = torch.device("cpu")


def start(image, lagrangian=1e-4, weight=0.1):
    """Return the field before its refinement, and coefficients in quantisation steps."""
    settings = replace(PRESETS["fast"], lagrangian=lagrangian, gradient_weight=weight)
    unused = {"overhead": lambda: 0, "color_psnr": lambda _: 0.0, "stop": lambda: False}  # there is no size to meet
    field, coefficients = round_image(image, settings, **unused)
    return field, Latents.from_bands(in_steps(coefficients.bands, field.step, field.offsets))


def refined(image, field, coefficients, box, steps, weight=0.1):
    field = replace(field, latents=field.latents.copy())
    refinement = BlockRefinement(
        image, field, linear_colors(field), box, coefficients.copy(), gradient_weight=weight, device=CPU
    )
    errors = []
    for _ in range(steps):
        refinement.step()
        errors.append(refinement.errors.color + weight * refinement.errors.gradient)
    return field, errors


def cost(field, image):
    """Compute distortion plus the price of the bits, summed over pixels and averaged over channels."""
    metrics = evaluate(Field(field), image)
    pixels = field.width * field.height
    distortion = pixels * (10 ** (-metrics.psnr / 10) + 0.1 * 10 ** (-metrics.gradient_psnr / 10))
    bits = latent_bits(field.latents, *field.size, field.shifts)
    return distortion + BIT_PRICE * field.step**2 / field.channels * bits


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("lagrangian", [2e-3, 1e-4, 1e-5])
def test_the_cost_falls(channels, lagrangian):
    image = picture(120, 150, channels)
    field, coefficients = start(image, lagrangian)
    costs = [cost(refined(image, field, coefficients, Box(0, 0, 150, 120), n)[0], image) for n in (0, 2, 10)]
    assert costs[1] < costs[0]
    assert costs[2] < min(costs[0], 1.01 * costs[1])  # so few latents have nearly converged


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0, 10.0])
def test_it_converges(weight):
    """No band diverges: coarse wavelets overlap most, and slopes more than colours."""
    image = picture(120, 150, 3)
    field, coefficients = start(image, weight=weight)
    _, errors = refined(image, field, coefficients, Box(0, 0, 150, 120), 60, weight)
    assert errors[5] < errors[0]
    assert max(errors[30:]) < 1.05 * min(errors[30:])


def test_exact_coefficients_of_the_distortion_stay():
    """Latents of a field without errors are where they should be."""
    image = picture(64, 96, 3)
    field, coefficients = start(image, 1e-9)
    found, errors = refined(image, field, coefficients, Box(0, 0, 96, 64), 1)
    moved = np.mean([(a != b).mean() for a, b in zip(found.latents.bands(), field.latents.bands(), strict=True)])
    assert errors[0] < 1e-3
    assert moved < 0.2


def test_only_fine_latents_of_a_block_change():
    image = picture(200, 260, 3)
    field, coefficients = start(image)
    box = blocks(260, 200, field.latents.levels, 128)[0]
    found, _ = refined(image, field, coefficients, box, 3)
    for k, (before, after) in enumerate(zip(field.latents.bands(), found.latents.bands(), strict=True)):
        assert np.array_equal(before, after) or 1 <= k <= 9
    inside, outside = found.latents.block(box).bands(), field.latents.block(box).bands()
    changes = sum(int((a != b).sum()) for a, b in zip(inside, outside, strict=True))
    assert (
        20
        < changes
        == sum(int((a != b).sum()) for a, b in zip(found.latents.bands(), field.latents.bands(), strict=True))
    )


def test_refinements_repeat_exactly():
    image = picture(64, 96, 3)
    field, coefficients = start(image)
    one, two = (refined(image, field, coefficients, Box(0, 0, 96, 64), 5) for _ in range(2))
    assert one[1] == two[1]
    assert all(map(np.array_equal, one[0].latents.bands(), two[0].latents.bands()))
