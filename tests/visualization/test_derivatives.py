from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.model.channel_tuning import Tuning
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling
from eoren.visualization import derivatives
from eoren.visualization.derivatives import (
    holds_values,
    laplacian_image,
    magnitude_image,
    write_field,
    write_gradient,
)

WHOLE = (0.0, 0.0, 1.0, 1.0)
REGION = (0.25, -0.1, 0.75, 0.6)


def field_of(width=13, height=10, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    siren = Siren.init(1, width=5, depth=2, channels=channels, omega_first=5.0, omega_hidden=5.0, generator=generator)
    tuning = Tuning(torch.full((1, 1, channels), 4.0), torch.full((1, 1, channels), 0.5))
    return Field(SirenMosaic(siren, tuning, Tiling.single(width, height)))


def sample(field, show, width, height, region):
    x0, y0, x1, y1 = region
    x = x0 + (np.arange(width) + 0.5) / width * (x1 - x0)
    y = y0 + (np.arange(height) + 0.5) / height * (y1 - y0)
    return getattr(field, show)(np.stack(np.meshgrid(x, y), -1))


def write(path, field, show, width=14, height=11, region=WHOLE, **options):
    write_field(path, field, width, height, region=region, show=show, **options)


def levels(image, peak=255):
    return np.floor(np.clip(image.astype(np.float64), 0, 1) * peak + 0.5)


def png(path):
    """Read pixels in RGB order, always with an axis of channels."""
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return stored[..., None] if stored.ndim == 2 else stored[..., ::-1]


# Images of derivatives.


def test_magnitudes_in_closed_form():
    gradient = np.zeros((1, 4, 2, 2), np.float32)
    gradient[0, 1, :] = [0.3, -0.4]  # both channels: length one half, white
    gradient[0, 2, 0] = [0.3, 0.4]  # one of two channels: the root of one half of it
    gradient[0, 3, 1] = [0, -2]
    image = magnitude_image(gradient)
    assert image.shape == (1, 4, 1)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[0, :, 0], [0, 1, np.sqrt(0.5), 4 * np.sqrt(0.5)], rtol=1e-6)


def test_magnitude_is_independent_of_direction_and_proportional_to_contrast():
    gradient = np.random.default_rng(0).normal(size=(5, 6, 3, 2))
    image = magnitude_image(gradient)
    np.testing.assert_allclose(magnitude_image(gradient[..., ::-1] * [1, -1]), image)
    np.testing.assert_allclose(magnitude_image(gradient[:, :, ::-1]), image)
    np.testing.assert_allclose(magnitude_image(3 * gradient), 3 * image)


def test_laplacians_in_closed_form():
    laplacian = np.float32([[[0, 0.5, -0.5]], [[0.25, -1, 1]]])
    image = laplacian_image(laplacian)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, [[[0.5, 1, 0]], [[0.75, -0.5, 1.5]]])


# Gradients as arrays.


def bands_of(path):
    """Return names and units of the bands of a TIFF, as GDAL reads them."""
    with tifffile.TiffFile(path) as tiff:
        items = [*ElementTree.fromstring(tiff.pages.first.tags["GDAL_METADATA"].value)]
    return {role: [item.text for item in items if item.get("role") == role] for role in ("description", "unittype")}


@pytest.mark.parametrize("strip", [3, 256])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_gradients_are_written_as_values(tmp_path, monkeypatch, channels, strip):
    monkeypatch.setattr(derivatives, "_STRIP", strip)
    gradient = np.random.default_rng(0).normal(size=(8, 9, channels, 2)).astype(np.float32)
    for per_pixel in (False, True):
        write_gradient(tmp_path / "a.npy", gradient, per_pixel=per_pixel)
        np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), gradient)
        write_gradient(tmp_path / "a.tiff", gradient, per_pixel=per_pixel)
        stored = tifffile.imread(tmp_path / "a.tiff")
        assert (stored.shape, stored.dtype) == ((8, 9, 2 * channels), np.float32)
        for c in range(channels):
            np.testing.assert_array_equal(stored[..., 2 * c : 2 * c + 2], gradient[:, :, c])
        bands = bands_of(tmp_path / "a.tiff")
        colors = {1: [""], 2: [" gray", " alpha"], 3: [" red", " green", " blue"]}.get(channels)
        expected = [f"d/d{axis}{color}" for color in colors or [" red", " green", " blue", " alpha"] for axis in "xy"]
        assert bands["description"] == expected
        unit = "pixel" if per_pixel else "side of the unit square"
        assert bands["unittype"] == [f"intensity per {unit}"] * 2 * channels


@pytest.mark.parametrize("strip", [3, 256])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_are_written_as_magnitudes_per_pixel(tmp_path, monkeypatch, dtype, strip):
    monkeypatch.setattr(derivatives, "_STRIP", strip)
    gradient = np.random.default_rng(0).normal(scale=0.2, size=(8, 12, 3, 2)).astype(dtype)
    length = np.sqrt((gradient**2).sum(-1).mean(-1)) / 0.5
    write_gradient(tmp_path / "a.png", gradient, per_pixel=True)
    np.testing.assert_array_equal(png(tmp_path / "a.png")[..., 0], levels(length))
    write_gradient(tmp_path / "b.png", gradient * np.array([12, 8], dtype))
    # After another product and quotient, a value between two levels may be rounded to either.
    difference = png(tmp_path / "b.png")[..., 0].astype(int) - levels(length)
    assert np.abs(difference).max() <= 1
    assert np.count_nonzero(difference) <= 1


# Fields.


@pytest.mark.parametrize("region", [WHOLE, REGION], ids=["whole", "region"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("show", ["color", "gradient", "laplacian"])
def test_values_are_those_of_the_field(tmp_path, show, channels, region):
    field = field_of(channels=channels)
    expected = sample(field, show, 14, 11, region)
    write(tmp_path / "a.npy", field, show, region=region)
    stored = np.load(tmp_path / "a.npy")
    assert stored.dtype == np.float32
    assert stored.shape == (11, 14, channels, 2) if show == "gradient" else (11, 14, channels)
    np.testing.assert_allclose(stored, expected, atol=1e-5 * np.abs(expected).max())
    write(tmp_path / "a.tiff", field, show, region=region, bit_depth=32)
    stored = tifffile.imread(tmp_path / "a.tiff").reshape(11, 14, -1)
    assert stored.dtype == np.float32
    np.testing.assert_allclose(stored, expected.reshape(11, 14, -1), atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_derivatives_in_a_tiff_are_floats_at_any_bit_depth(tmp_path, bit_depth):
    field = field_of()
    names = {"gradient": [f"d/d{a} {c}" for c in ("red", "green", "blue") for a in "xy"]}
    names["laplacian"] = [f"Laplacian {c}" for c in ("red", "green", "blue")]
    for show in ("gradient", "laplacian"):
        write(tmp_path / "a.tif", field, show, bit_depth=bit_depth)
        assert bands_of(tmp_path / "a.tif")["description"] == names[show]
        stored = tifffile.imread(tmp_path / "a.tif")
        expected = sample(field, show, 14, 11, WHOLE).reshape(11, 14, -1)
        np.testing.assert_allclose(stored, expected, atol=1e-5 * np.abs(expected).max())


def assert_levels(stored, image, peak=255):
    """Check equality up to rounding of values between two levels."""
    assert stored.shape == image.shape
    difference = stored.astype(np.float64) - levels(image, peak)
    assert np.abs(difference).max() <= 1
    assert np.count_nonzero(difference) <= max(2, 0.02 * difference.size if peak > 255 else 0)
    assert len(np.unique(stored)) > 20  # the image is not flat


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_colours_as_an_image(tmp_path, bit_depth):
    field = field_of()
    write(tmp_path / "a.png", field, "color", region=REGION, bit_depth=bit_depth)
    assert_levels(png(tmp_path / "a.png"), sample(field, "color", 14, 11, REGION), 2**bit_depth - 1)


def test_gradients_as_an_image(tmp_path):
    field = field_of(24, 8)
    write(tmp_path / "a.png", field, "gradient", region=REGION)
    per_pixel = sample(field, "gradient", 14, 11, REGION) / [24, 8]  # of the image, not of the grid
    length = np.sqrt((per_pixel.astype(np.float64) ** 2).sum(-1).mean(-1, keepdims=True))
    assert_levels(png(tmp_path / "a.png"), length / 0.5)


def test_laplacians_as_an_image(tmp_path):
    field = field_of(12, 12)
    write(tmp_path / "a.png", field, "laplacian", height=12)
    per_pixel = sample(field, "laplacian", 14, 12, WHOLE).astype(np.float64) / 144
    assert_levels(png(tmp_path / "a.png"), 0.5 + per_pixel)


@pytest.mark.parametrize(("channels", "mode"), [(2, "L"), (4, "RGB")])
def test_an_image_of_laplacians_is_opaque(tmp_path, channels, mode):
    field = field_of(12, 12, channels)
    for suffix in ("png", "jpg"):
        write(tmp_path / f"a.{suffix}", field, "laplacian", height=12)
        with Image.open(tmp_path / f"a.{suffix}") as image:
            assert image.mode == mode
    per_pixel = sample(field, "laplacian", 14, 12, WHOLE)[..., : channels - 1].astype(np.float64) / 144
    assert_levels(png(tmp_path / "a.png"), 0.5 + per_pixel)


def stripes(width, height, axis):
    """``0.5 + 0.4 sin(0.8 X)``, X in pixels along one axis: the same stripes for any length of the other axis."""
    half = max(width, height) / 2
    weights = torch.zeros(1, 2, 1)
    weights[0, axis] = 0.8 * half
    siren = Siren((weights, torch.full((1, 1, 1), 0.4)), (torch.zeros(1, 1, 1), torch.full((1, 1, 1), 0.5)), (1.0,))
    return Field(SirenMosaic(siren, Tuning(torch.ones(1, 1, 1), torch.zeros(1, 1, 1)), Tiling.single(width, height)))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", [(16, 16), (32, 8), (8, 32)], ids=str)
def test_the_scale_of_derivatives_is_independent_of_the_shape_of_the_image(tmp_path, size, axis):
    """Stripes have the same derivatives per pixel in every image."""
    field = stripes(*size, axis)
    along = np.arange(size[axis]) + 0.5 - size[axis] / 2
    for show, row in (
        ("gradient", np.abs(0.4 * 0.8 * np.cos(0.8 * along)) / 0.5),
        ("laplacian", 0.5 - 0.4 * 0.8**2 * np.sin(0.8 * along)),
    ):
        write(tmp_path / "a.png", field, show, *size)
        stored = png(tmp_path / "a.png")[..., 0]
        expected = np.broadcast_to(levels(row)[None] if axis == 0 else levels(row)[:, None], stored.shape)
        assert np.abs(stored - expected).max() <= 1, show


def test_unsupported_formats_leave_no_file(tmp_path):
    field = field_of(channels=4)
    for name, show, options in (
        ("a.jpg", "color", {}),
        ("a.png", "color", {"bit_depth": 32}),
        ("a.bmp", "color", {}),
        ("a.bmp", "gradient", {}),
        ("a", "laplacian", {}),
    ):
        with pytest.raises(EorenError):
            write(tmp_path / name, field, show, **options)
    with pytest.raises(EorenError, match=r"a\.bmp"):
        write_gradient(tmp_path / "a.bmp", np.zeros((2, 2, 1, 2), np.float32))
    assert not any(tmp_path.iterdir())


def test_formats_that_hold_values(tmp_path):
    assert [holds_values(tmp_path / f"a{suffix}") for suffix in (".npy", ".TIF", ".tiff", ".png", ".jpg")] == [
        *[True] * 3,
        *[False] * 2,
    ]
