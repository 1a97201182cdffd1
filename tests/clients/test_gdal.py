import numpy as np
import pytest

import eoren
from eoren.field.grid import WHOLE
from eoren.image.io import as_image
from eoren.visualization.derivatives import write_field, write_gradient

rasterio = pytest.importorskip("rasterio", reason="rasterio (GDAL) is not installed")

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")  # images lie nowhere on Earth


def test_gradients_are_bands_with_names(picture, tmp_path):
    pixels = eoren.read_image(picture[0])
    gradient = eoren.reference_gradient(pixels)
    write_gradient(tmp_path / "a.tif", gradient)
    with rasterio.open(tmp_path / "a.tif") as data:
        assert data.descriptions == tuple(f"d/d{axis} {color}" for color in ("red", "green", "blue") for axis in "xy")
        assert set(data.units) == {"intensity per side of the unit square"}
        np.testing.assert_array_equal(data.read(), gradient.reshape(20, 24, 6).transpose(2, 0, 1))


@pytest.mark.parametrize("bit_depth", [8, 16, 32])
def test_colors(picture, tmp_path, bit_depth):
    field = eoren.load(picture[1])
    write_field(tmp_path / "a.tif", field, 24, 20, region=WHOLE, show="color", bit_depth=bit_depth)
    with rasterio.open(tmp_path / "a.tif") as data:
        assert [color.name for color in data.colorinterp] == ["red", "green", "blue"]
        peak = 1 if bit_depth == 32 else 2**bit_depth - 1
        bands = data.read()
    expected = np.clip(field.render(), -np.inf if peak == 1 else 0, np.inf if peak == 1 else 1)
    assert np.abs(bands.transpose(1, 2, 0) / peak - expected).max() <= (0 if peak == 1 else 0.501 / peak)


def test_arrays_of_gdal_are_images(picture):
    with rasterio.open(picture[0]) as data:
        bands = data.read()
    np.testing.assert_array_equal(as_image(bands.transpose(1, 2, 0)), eoren.read_image(picture[0]))
