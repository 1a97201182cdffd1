import numpy as np
import pytest

from eoren.errors import EorenError
from eoren.field.grid import WHOLE, check_region, grid_lines, grid_size


def test_pixel_centres_are_half_a_pixel_in():
    x, y = grid_lines(5, 3)
    assert x.dtype == y.dtype == np.float64
    assert x.tolist() == pytest.approx([(j + 0.5) / 5 for j in range(5)], abs=1e-15)
    assert y.tolist() == pytest.approx([(i + 0.5) / 3 for i in range(3)], abs=1e-15)


@pytest.mark.parametrize("region", [(0.0, 0.0, 1.0, 1.0), (0.25, -0.5, 0.75, 3.6)], ids=str)
@pytest.mark.parametrize("rows", [slice(None), slice(2, 5), slice(6, 99), slice(1, 7, 3), slice(7, 9)], ids=str)
def test_lines_of_a_region_and_of_some_rows(region, rows):
    x, y = grid_lines(4, 7, region, rows=rows)
    assert x.dtype == y.dtype == np.float64
    np.testing.assert_allclose(x, np.linspace(region[0], region[2], 9)[1::2], rtol=0, atol=1e-15)
    np.testing.assert_allclose(y, np.linspace(region[1], region[3], 15)[1::2][rows], rtol=0, atol=1e-15)


def test_pixels_of_a_gigapixel_row_are_distinct_and_ascend():
    x, _ = grid_lines(1 << 20, 1)
    assert abs(np.diff(x) * (1 << 20) - 1).max() < 1e-6
    x, y = grid_lines(1 << 20, 2, (0.999, 0.0, 1.0, 1.0))
    assert abs(np.diff(x) * (1000 << 20) - 1).max() < 1e-3
    assert y.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((None, None), (60, 40)),
        ((30, None), (30, 20)),
        ((None, 10), (15, 10)),
        ((7, 9), (7, 9)),
        ((np.int64(7), np.int32(9)), (7, 9)),
    ],
    ids=str,
)
def test_a_missing_side_follows_from_the_other(given, expected):
    assert grid_size((60, 40), *given, WHOLE) == expected


def test_the_default_size_of_a_region_is_that_of_its_pixels():
    assert grid_size((60, 40), None, None, (0.5, 0.25, 1.0, 0.75)) == (30, 20)


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (2.5, None, "width must be a whole number of pixels, got 2.5"),
        (None, "9", "height must be a whole number of pixels, got '9'"),
        (0, 5, "width must be at least 1 pixel, got 0"),
        (5, -1, "height must be at least 1 pixel, got -1"),
        (1, None, "height must be at least 1 pixel, got 0"),
    ],
)
def test_invalid_sides_are_refused(width, height, message):
    with pytest.raises(EorenError, match=f"^{message}$"):
        grid_size((100, 4), width, height, WHOLE)


@pytest.mark.parametrize("region", [(0, 0, 1), "whole", None, (0, 0, "a", 1), (0, 0, float("nan"), 1), 7])
def test_invalid_regions_are_refused(region):
    with pytest.raises(EorenError, match=r"^region must be "):
        check_region(region)


@pytest.mark.parametrize("region", [(0.5, 0, 0.5, 1), (0, 1, 1, 0)])
def test_empty_regions_are_refused(region):
    with pytest.raises(EorenError, match="with x0 < x1 and y0 < y1"):
        grid_size((4, 4), None, None, region)
