"""The distortion as a function of a block's latents, against the field that they belong to."""

import numpy as np
import pytest
import torch
from tests.compact import picture, rounded_field

from eoren.coding.bands import Box, blocks
from eoren.field.field import Field
from eoren.image.gradients import pixel_gradient
from eoren.training.compact.window import BlockWindow, linear_colors

CPU = torch.device("cpu")


def distortion_of(image, field, box):
    bands = [torch.from_numpy(np.ascontiguousarray(band)).float() for band in field.latents.block(box).bands()]
    return BlockWindow(image, linear_colors(field), box, gradient_weight=0.1, device=CPU).distortion(bands)


def errors_of(image, field):
    width, height = field.size
    color, gradient = Field(field).sample(width, height, "color", "gradient", extent=(float(width), float(height)))
    return (color - image) ** 2, (gradient - pixel_gradient(image)) ** 2


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_errors_are_those_of_the_field(channels):
    image = picture(70, 101, channels)
    field = rounded_field(image, step=0.06)
    found = distortion_of(image, field, Box(0, 0, *field.size))
    color, gradient = errors_of(image, field)
    expected = color.sum() / channels, gradient.sum() / 2 / channels
    np.testing.assert_allclose([found.color, found.gradient], expected, rtol=1e-4)


def test_errors_around_a_block_are_those_of_the_field():
    image = picture(300, 390, 3)
    field = rounded_field(image, step=0.06)
    color, gradient = errors_of(image, field)
    for box in blocks(*field.size, field.latents.levels, 128)[1::2]:
        around = np.s_[max(0, box.y0 - 32) : box.y1 + 32, max(0, box.x0 - 32) : box.x1 + 32]
        found = distortion_of(image, field, box)
        expected = color[around].sum() / 3, gradient[around].sum() / 6
        np.testing.assert_allclose([found.color, found.gradient], expected, rtol=1e-4)
