"""Gradient descent on the latents of a block, against the field that it belongs to and finite differences."""

import numpy as np
import pytest
import torch
from tests.compact import picture, rounded_field

from eoren.coding.bands import Box, blocks
from eoren.evaluation.metrics import evaluate
from eoren.field.field import Field
from eoren.image.gradients import pixel_gradient
from eoren.training.compact.analysis import analyze_image
from eoren.training.compact.descent import BlockDescent, soft_round
from eoren.training.compact.rounding import BIT_PRICE, in_steps

CPU = torch.device("cpu")


def descent_of(image, field, box, coefficients):
    price = BIT_PRICE * field.step**2 / field.channels
    return BlockDescent(image, field, box, coefficients, gradient_weight=0.1, price=price, seed=0, device=CPU)


def bands_of(field, box):
    return [torch.from_numpy(np.ascontiguousarray(band)).float() for band in field.latents.block(box).bands()]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_errors_are_the_field_s(channels):
    image = picture(70, 101, channels)
    field = rounded_field(image, step=0.06)
    width, height = field.size
    color, gradient = Field(field).sample(width, height, "color", "gradient", extent=(float(width), float(height)))
    descent = descent_of(image, field, Box(0, 0, width, height), list(field.latents.bands()))
    found = descent._window.distortion(bands_of(field, Box(0, 0, width, height)))
    expected = ((color - image) ** 2).sum() / channels, ((gradient - pixel_gradient(image)) ** 2).sum() / 2 / channels
    np.testing.assert_allclose([found.color, found.gradient], expected, rtol=1e-4)


def test_errors_around_a_block_are_the_field_s():
    image = picture(300, 390, 3)
    field = rounded_field(image, step=0.06)
    width, height = field.size
    color, gradient = Field(field).sample(width, height, "color", "gradient", extent=(float(width), float(height)))
    wrong = (color - image) ** 2, (gradient - pixel_gradient(image)) ** 2
    for box in blocks(width, height, field.latents.levels, 128)[1::2]:
        around = np.s_[max(0, box.y0 - 32) : box.y1 + 32, max(0, box.x0 - 32) : box.x1 + 32]
        descent = descent_of(image, field, box, list(field.latents.block(box).bands()))
        found = descent._window.distortion(bands_of(field, box))
        expected = wrong[0][around].sum() / 3, wrong[1][around].sum() / 6
        np.testing.assert_allclose([found.color, found.gradient], expected, rtol=1e-4)


def test_soft_rounding():
    x = torch.linspace(-2, 2, 401, dtype=torch.float64)
    integers = x[::50]
    torch.testing.assert_close(soft_round(integers, 0.3), integers)
    assert bool((soft_round(x, 0.2).diff() >= 0).all())
    torch.testing.assert_close(
        soft_round(x, 0.05)[10:40], torch.full((30,), -2.0, dtype=torch.float64), atol=0.02, rtol=0
    )


def test_a_descent_lowers_the_loss_and_repeats_exactly():
    image = picture(64, 96, 3)
    field = rounded_field(image, step=0.08)
    box = Box(0, 0, 96, 64)

    def run():
        descent = descent_of(image, field, box, list(in_steps(analyze_image(image).bands, field.step, field.offsets)))
        losses = []
        for step in range(30):
            descent.step(step / 30, 30.0)
            price = descent._price
            losses.append(descent.color_error + 0.1 * descent.gradient_error + price * descent.bits)
        return losses, descent.coefficients()

    losses, coefficients = run()
    again, same = run()
    assert losses[-1] < 0.9 * losses[0]
    assert losses == again
    assert all(np.array_equal(a, b) for a, b in zip(coefficients, same, strict=True))


def test_only_fine_latents_of_a_block_move():
    image = picture(200, 260, 3)
    field = rounded_field(image, step=0.06)
    box = blocks(260, 200, field.latents.levels, 128)[0]
    start = [np.array(band, np.float32) for band in field.latents.block(box).bands()]
    descent = descent_of(image, field, box, start)
    descent.step(0.5, 30.0)
    moved = [not np.array_equal(a, b) for a, b in zip(start, descent.coefficients(), strict=True)]
    assert moved == [1 <= k <= 9 for k in range(len(start))]
    assert evaluate(Field(field), image).psnr > 25
