import numpy as np
import pytest
import torch

from eoren.model.coordinates import grid_lines, pixel_centres


def test_pixel_centres_are_half_a_pixel_in():
    centres = pixel_centres(5, 3)
    assert centres.dtype == torch.float64
    for i in range(3):
        for j in range(5):
            assert centres[i, j].tolist() == pytest.approx([(j + 0.5) / 5, (i + 0.5) / 3], abs=1e-15)


def test_pixel_centres_of_a_region_and_of_some_rows():
    region = (0.25, 0.5, 0.75, 0.6)
    centres = pixel_centres(4, 10, region)
    np.testing.assert_allclose(centres[0, :, 0], 0.25 + 0.5 * (np.arange(4) + 0.5) / 4, atol=1e-15)
    np.testing.assert_allclose(centres[:, 0, 1], 0.5 + 0.1 * (np.arange(10) + 0.5) / 10, atol=1e-15)
    for rows in (slice(0, 3), slice(7, 99), slice(10, 12)):
        assert torch.equal(pixel_centres(4, 10, region, rows=rows), centres[rows])


def test_pixels_of_a_gigapixel_row_are_told_apart():
    x = pixel_centres(1 << 20, 1)[0, :, 0]
    assert (x.diff() * (1 << 20) - 1).abs().max() < 1e-6
    assert pixel_centres(3, 2, dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("region", [(0.0, 0.0, 1.0, 1.0), (0.25, -0.5, 0.75, 3.6)], ids=str)
@pytest.mark.parametrize("rows", [slice(None), slice(2, 5), slice(6, 99), slice(1, 7, 3), slice(7, 9)], ids=str)
def test_lines_are_the_columns_and_rows_of_the_pixel_centres(region, rows):
    x, y = grid_lines(4, 7, region, rows=rows)
    assert x.dtype == y.dtype == torch.float64
    np.testing.assert_allclose(x, np.linspace(region[0], region[2], 9)[1::2], rtol=0, atol=1e-15)
    np.testing.assert_allclose(y, np.linspace(region[1], region[3], 15)[1::2][rows], rtol=0, atol=1e-15)
    centres = pixel_centres(4, 7, region, rows=rows)
    assert torch.equal(centres[..., 0], x.expand(len(y), 4))
    assert torch.equal(centres[..., 1], y[:, None].expand(len(y), 4))


def test_lines_of_a_gigapixel_row_are_told_apart_and_ascend():
    x, y = grid_lines(1 << 20, 2, (0.999, 0.0, 1.0, 1.0))
    assert (x.diff() * (1000 << 20) - 1).abs().max() < 1e-3
    assert y.tolist() == [0.25, 0.75]
    assert [each.dtype for each in grid_lines(3, 2, dtype=torch.float32)] == [torch.float32] * 2
