"""Compact fields of one image beside image codecs."""

import json
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from PIL import Image, features
from scipy.interpolate import make_interp_spline
from tests.compact import picture

import eoren
from eoren.experiments.rates import COMPACT, LABELS, measure_rates, render_spline
from eoren.experiments.rivals import RIVALS, smallest_jpeg
from eoren.image.writers import to_unsigned


@pytest.fixture(scope="module")
def image():
    return picture(64, 80, 3)


@pytest.fixture(scope="module")
def rates(image):
    return measure_rates(image, seed=2)


def test_the_compact_field_is_the_default_fit(image, rates):
    result = eoren.fit(image, preset="balanced", seed=2)
    stored = rates.stored[0]
    assert (stored.key, stored.measurement.bytes) == (COMPACT, result.bytes)
    assert stored.measurement.psnr == result.metrics.psnr_8bit
    assert stored.measurement.gradient_psnr == result.metrics.gradient_psnr
    # Colours alone take other instructions than colours with gradients: a rounding of float32 may differ.
    np.testing.assert_allclose(stored.color, result.field.render(), atol=2e-7)
    region = (0.0, 0.0, 0.5, 1.0)
    np.testing.assert_array_equal(stored.render(40, 30, region), result.field.render(40, 30, region=region))
    assert rates.settings == {"preset": "balanced"}


def test_codecs_are_at_the_nearest_size(image, rates):
    size = rates.stored[0].measurement.bytes
    assert [stored.key for stored in rates.stored] == [key for key in LABELS if key not in rates.missing]
    for stored in rates.stored[1:]:
        distances = [abs(np.log(m.bytes / size)) for m in rates.curves[stored.key]]
        assert abs(np.log(stored.measurement.bytes / size)) <= min(distances) + 1e-9
        assert stored.measurement.bytes == pytest.approx(size, rel=0.1)


def test_curves_rise_with_the_size(rates):
    for curve in rates.curves.values():
        for name in ("bytes", "psnr", "gradient_psnr"):
            values = [getattr(measurement, name) for measurement in curve]
            assert name != "bytes" or values == sorted(values)
            assert values[-1] > values[0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("psnr", [28.0, 36.0])
def test_the_smallest_jpeg_of_a_quality(channels, psnr):
    image, sizes = picture(48, 64, channels), []
    pixels = np.uint8(np.round(image * 255))
    for quality, subsampling in product(range(1, 101), ("4:4:4", "4:2:0")):
        file = BytesIO()
        shown = Image.fromarray(pixels.squeeze())
        shown.save(file, "JPEG", quality=quality, subsampling=subsampling, optimize=True, progressive=True)
        error = np.mean((np.asarray(Image.open(file)).reshape(image.shape) / 255 - image) ** 2)
        if -10 * np.log10(error) >= psnr:
            sizes.append(len(file.getvalue()))
    size = smallest_jpeg(image, psnr)
    assert size in sizes  # a file of this size has the quality
    assert size <= 1.02 * min(sizes)  # PSNR does not always grow with the setting
    assert smallest_jpeg(image, 80.0) is None
    assert smallest_jpeg(np.dstack([image, np.ones((48, 64))]), psnr) is None  # JPEG has no alpha


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("key", [key for key in LABELS if key != COMPACT])
def test_rivals_keep_all_channels(key, channels):
    rival = RIVALS[key]
    if rival.missing():
        pytest.skip(rival.missing())
    image = picture(33, 40, channels)
    pixels, zero = to_unsigned(image), np.zeros((*image.shape, 2))
    coded = rival.measure(pixels, image, zero, rival.settings[-1])
    assert coded.pixels.shape == pixels.shape
    with Image.open(BytesIO(rival.encode(pixels, rival.settings[-1]))) as decoded:
        expected = np.asarray(decoded.convert(("L", "LA", "RGB", "RGBA")[channels - 1]))
    np.testing.assert_array_equal(coded.pixels, expected.reshape(pixels.shape))
    assert coded.measurement.psnr == pytest.approx(
        -10 * np.log10(np.mean((expected.reshape(pixels.shape) / 255 - image) ** 2))
    )
    # All channels are near the image: none is lost.
    assert np.abs(coded.pixels / 255 - image).mean((0, 1)).max() < 0.03


def test_missing_codecs_are_left_out(image, monkeypatch):
    monkeypatch.setattr(features, "get_supported", lambda: ["jpg_2000"])
    rates = measure_rates(picture(16, 16, 1))
    assert rates.missing == {"avif6psnr": "Pillow is built without AVIF"}
    assert [stored.key for stored in rates.stored] == [*rates.curves] == [COMPACT, "jpeg2000"]


def test_splines_are_those_of_scipy(image):
    """Along x inside, where the continuation beyond the border is not seen; at the pixels everywhere."""
    np.testing.assert_allclose(render_spline(image, 80, 64), image, atol=1e-6)
    rendered = render_spline(image, 320, 64)[:, 160]
    spline = make_interp_spline(np.arange(80), image.astype(np.float64), k=5, axis=1)
    np.testing.assert_allclose(rendered, spline(160.5 / 4 - 0.5), atol=1e-5)


def test_json(rates):
    values = rates.as_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert [row["method"] for row in values["equal_bytes"]] == [*values["curves"]]
