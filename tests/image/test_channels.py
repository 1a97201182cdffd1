import numpy as np
import pytest
from PIL import Image

from eoren.image.channels import average_by_alpha, average_cells, cmyk_to_rgb, divide_by_alpha, resize


def test_inks_are_converted_as_pillow_converts_them():
    """Every pair of an ink and black."""
    ink, black = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    inks = np.stack([ink, np.zeros_like(ink), ink, black], -1)
    expected = np.asarray(Image.fromarray(inks, "CMYK").convert("RGB"))
    np.testing.assert_array_equal(cmyk_to_rgb(inks), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_multiplied_colors_come_back(dtype):
    generator = np.random.default_rng(0)
    peak = 1 if dtype == np.float32 else np.iinfo(dtype).max
    alpha = (generator.random((5, 6)) * peak).astype(dtype)
    alpha[0] = 0
    colors = (generator.random((5, 6, 3)) * alpha[..., None]).astype(dtype)
    divided = divide_by_alpha(colors, alpha)
    np.testing.assert_allclose(divided * alpha[..., None], colors, rtol=1e-12)
    assert divided.min() == 0 == divided[0].max()
    assert divided.max() <= 1


def test_colors_above_their_alpha_are_refused():
    with pytest.raises(ValueError, match="exceed the alpha"):
        divide_by_alpha(np.uint8([[[9]]]), np.uint8([[7]]))
    assert divide_by_alpha(np.uint8([[[8]]]), np.uint8([[7]])) == 1  # rounding


def test_averages_weight_colors_by_alpha():
    pixels = np.random.default_rng(0).random((4, 6, 4))
    averaged = average_by_alpha(pixels, lambda part: average_cells(part, 2, 3))
    for row, column in np.ndindex(2, 2):
        cell = pixels[2 * row : 2 * row + 2, 3 * column : 3 * column + 3].reshape(-1, 4)
        color = (cell[:, :3] * cell[:, 3:]).sum(0) / cell[:, 3].sum()
        np.testing.assert_allclose(averaged[row, column], [*color, cell[:, 3].mean()], rtol=1e-12)


def test_transparent_areas_keep_the_mean_of_their_colors():
    pixels = np.zeros((2, 2, 4))
    pixels[..., 0] = [[0, 1], [1, 1]]
    averaged = average_by_alpha(pixels, lambda part: average_cells(part, 2, 2))
    np.testing.assert_allclose(averaged[0, 0], [0.75, 0, 0, 0])


@pytest.mark.parametrize("filter", [Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX])
@pytest.mark.parametrize("side", [3, 8])
def test_resized_colors_do_not_take_those_of_transparent_pixels(filter, side):
    pixels = np.zeros((5, 5, 4), np.float32)
    pixels[:, 3:] = [1, 0, 0, 1]  # black and transparent on the left
    resized = resize(pixels, side, side, filter)
    seen = resized[resized[..., 3] > 0.01]
    np.testing.assert_allclose(seen[:, :3], np.broadcast_to([1, 0, 0], (len(seen), 3)), atol=1e-6)
    plain = np.asarray(Image.fromarray(pixels[..., 3]).resize((side, side), filter))
    np.testing.assert_array_equal(resized[..., 3], plain)
