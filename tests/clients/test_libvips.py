import numpy as np
import pytest

import eoren
from eoren.field.grid import WHOLE
from eoren.visualization.derivatives import write_field

pyvips = pytest.importorskip("pyvips", reason="pyvips, or libvips, is not installed", exc_type=ImportError)


@pytest.fixture
def rendered(picture, tmp_path):
    """The path of a rendered TIFF with given options, and its field."""
    field = eoren.load(picture[1])

    def write(**options):
        write_field(tmp_path / "a.tif", field, 48, 40, region=WHOLE, **{"show": "color", **options})
        return str(tmp_path / "a.tif"), field

    return write


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_integers_are_srgb(rendered, bit_depth):
    path, field = rendered(bit_depth=bit_depth)
    image = pyvips.Image.new_from_file(path)
    shown = image.colourspace("srgb").numpy()
    assert np.abs(shown.astype(float) - field.render_image(48, 40)).max() <= (1 if bit_depth == 16 else 0)
    assert image.get_typeof("icc-profile-data")
