import numpy as np
import pytest
import torch

from eoren.coordinates import pixel_centres


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
