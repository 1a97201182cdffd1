import numpy as np
import pytest
from scipy.interpolate import make_interp_spline

import eoren
from eoren.errors import EorenError
from eoren.evaluation.metrics import psnr
from eoren.image.cell_averages import AVERAGING, point_values
from eoren.image.spline import reference_gradient


def averages(count, wave):
    """Return averages of sin(wave x + 0.3) over pixels of side 1, and its values at their centres."""
    edge = np.arange(count + 1) - 0.5
    return -np.diff(np.cos(wave * edge + 0.3)) / wave, np.sin(wave * np.arange(count) + 0.3)


@pytest.mark.parametrize("shape", [(30, 1, 1), (1, 30, 1), (31, 30, 3)])
def test_averages_of_the_spline_are_the_pixels(shape):
    """Integrate SciPy's spline through the values, with the same ends, over every pixel."""
    image = np.random.default_rng(0).random(shape)
    values = point_values(image)
    for axis in (0, 1):
        length = shape[axis]
        if length == 1:
            continue
        other = point_values(image.mean(1 - axis, keepdims=True))  # linear, so each axis can be tested alone
        line = np.moveaxis(other, axis, 0).reshape(length, -1)
        zero = np.zeros(line.shape[1])
        ends = [(2, zero), (4, zero)]
        spline = make_interp_spline(np.arange(length, dtype=float), line, k=5, bc_type=(ends, ends))
        integrals = [spline.integrate(i - 0.5, i + 0.5) for i in range(1, length - 1)]
        expected = np.moveaxis(image.mean(1 - axis, keepdims=True), axis, 0).reshape(length, -1)[1:-1]
        assert np.allclose(integrals, expected, rtol=0, atol=1e-12)
    assert values.shape == shape


@pytest.mark.parametrize(("wave", "error"), [(0.2, 3e-9), (0.8, 2e-5), (2.0, 2e-2)])
def test_smooth_waves_get_their_values_back(wave, error):
    blurred, true = averages(120, wave)
    values = point_values(blurred[None, :, None])[0, :, 0]
    inside = np.s_[30:-30]
    assert np.abs(values - true)[inside].max() < error
    # Without the correction, the error is the blur.
    assert np.abs(blurred - true)[inside].max() > 20 * np.abs(values - true)[inside].max()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 1), (2, 7, 4), (40, 3, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_planes_stay_as_they_are(shape, dtype):
    y, x, c = np.meshgrid(*map(np.arange, shape), indexing="ij")
    plane = (0.3 + 0.01 * x - 0.02 * y + 0.1 * c).astype(dtype)
    values = point_values(plane)
    assert values.dtype == dtype
    assert np.allclose(values, plane, rtol=0, atol=1e-6 if dtype == np.float32 else 1e-13)


def test_the_image_is_not_modified_and_the_size_of_blocks_has_no_effect(monkeypatch):
    image = np.random.default_rng(1).random((20, 33, 2), dtype=np.float32)
    before, whole = image.copy(), point_values(image)
    monkeypatch.setattr("eoren.image.spline._BLOCK_SAMPLES", 100)
    assert np.array_equal(point_values(image), whole)
    assert np.array_equal(image, before)


def test_the_nine_points_average_quintics_and_nearly_the_finest_waves():
    assert sum(weight for *_, weight in AVERAGING) == pytest.approx(1)
    for power in range(6):
        average = sum(weight * (0.4 + x) ** power for x, _, weight in AVERAGING)
        assert average == pytest.approx((0.9 ** (power + 1) - (-0.1) ** (power + 1)) / (power + 1))
    finest = sum(weight * np.cos(np.pi * y) for _, y, weight in AVERAGING)
    assert finest == pytest.approx(2 / np.pi, rel=1e-3)


def drawing(size):
    """Return an image of edges and a texture, and its averages over pixels of 8 x 8 samples."""
    y, x = np.meshgrid(*[(np.arange(8 * size) + 0.5) / (8 * size)] * 2, indexing="ij")
    fine = 0.5 + 0.3 * np.tanh(60 * (x + 0.4 * y - 0.7)) + 0.1 * np.sin(2 * np.pi * 9 * (x - y))
    return fine.astype(np.float32), fine.reshape(size, 8, size, 8).mean((1, 3)).astype(np.float32)


def test_a_field_of_areas_averages_to_the_image_and_is_closer_to_the_scene():
    fine, image = drawing(32)
    fitted = {
        kind: eoren.fit(image, preset="mosaic", pixel_model=kind, steps=400, tile=16, width=32, seed=0)
        for kind in ("point_sample", "cell_average")
    }
    areas = fitted["cell_average"]
    # The metrics are about averages of a fine rendering.
    fine_render = areas.field.render(32 * 8, 32 * 8)[..., 0]
    expected = psnr(fine_render.reshape(32, 8, 32, 8).mean((1, 3))[..., None], image[..., None])
    assert areas.metrics.psnr == pytest.approx(expected, abs=0.1)
    assert areas.metrics.psnr > 30
    assert areas.metrics.ssim > 0.97
    scene = {kind: psnr(result.field.render(256, 256), fine[..., None]) for kind, result in fitted.items()}
    assert scene["cell_average"] > scene["point_sample"] + 1


def test_gradients_of_a_field_of_areas_are_measured_against_those_of_the_values():
    _, image = drawing(24)
    result = eoren.fit(image, preset="mosaic", pixel_model="cell_average", steps=100, width=16, depth=2, seed=0)
    expected = reference_gradient(point_values(image[..., None]), extent=(24.0, 24.0))
    error = result.field.render(24, 24, show="gradient") / 24 - expected
    decibels = -10 * np.log10(np.mean(np.square(error, dtype=np.float64)))
    assert result.metrics.gradient_psnr == pytest.approx(decibels, abs=1e-3)


def test_unknown_pixel_models_are_refused():
    with pytest.raises(EorenError, match="pixel_model must be one of point_sample, cell_average, got 'round'"):
        eoren.fit(np.zeros((4, 4)), preset="mosaic", pixel_model="round", steps=1)
