import inspect
from dataclasses import replace
from math import inf, isnan, nan

import numpy as np
import pytest
import torch
from scipy.interpolate import make_interp_spline
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from eoren import metrics
from eoren.errors import EorenError
from eoren.field import Field
from eoren.metrics import Metrics, decibel, evaluate, psnr
from eoren.siren import Siren, initialise
from eoren.storage import dumps, save
from eoren.tiling import Tiling
from eoren.tuning import Tuning

MOSAIC = Tiling(31, 23, 2.0, np.array([(0, 17), (-1, 0), (1, 9), (-1, 0), (-1, 0)], np.int32))


def field_of(tiling, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    siren = initialise(tiling.count, width=6, depth=2, channels=channels, omega_first=9.0, generator=generator)
    ones = torch.ones(tiling.count, 1, channels)
    field = Field(siren, Tuning(ones, 0 * ones), tiling)
    # Colours of mean 0.5 and deviation 0.35: some lie outside [0, 1].
    colors = field.render()
    alpha = torch.from_numpy(0.35 / colors.std((0, 1)).clip(1e-3))
    return replace(field, tuning=Tuning(alpha * ones, 0.5 - alpha * torch.from_numpy(colors.mean((0, 1))) * ones))


def near(field, noise=0.1, seed=0):
    """A picture that the field resembles."""
    rendered = field.render()
    return np.clip(rendered + noise * np.random.default_rng(seed).normal(size=rendered.shape), 0, 1).astype(
        np.float32
    )


def said(field):
    """The field at pixel centres: colours and gradients in float64."""
    width, height = field.size
    points = np.stack(np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height), -1)
    return field.color(points).astype(np.float64), field.gradient(points).astype(np.float64)


@pytest.fixture(params=[1, 200, 1 << 18], ids=["strips of a row", "strips", "whole"])
def _strips(request, monkeypatch):
    monkeypatch.setattr(metrics, "_STRIP_PIXELS", request.param)


@pytest.mark.usefixtures("_strips")
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "tiling", [Tiling.single(31, 23), Tiling.single(12, 40), MOSAIC], ids=["wide", "high", "mosaic"]
)
def test_colours_agree_with_scikit_image(tiling, channels):
    field = field_of(tiling, channels)
    image = near(field)
    found = evaluate(field, image)
    color, _ = said(field)
    assert color.min() < 0 or color.max() > 1  # clamping matters
    clamped = color.clip(0, 1)
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(image.astype(float), clamped, data_range=1), abs=1e-4)
    eight = np.floor(clamped * 255 + 0.5) / 255
    assert found.psnr_8bit == pytest.approx(
        peak_signal_noise_ratio(image.astype(float), eight, data_range=1), abs=1e-4
    )
    similarity = structural_similarity(
        image.astype(np.float64), clamped, gaussian_weights=True, data_range=1, channel_axis=-1
    )
    assert found.ssim == pytest.approx(similarity, abs=1e-6)
    assert psnr(color.astype(np.float32), image) == pytest.approx(found.psnr, abs=1e-4)


@pytest.mark.usefixtures("_strips")
@pytest.mark.parametrize(
    "tiling", [Tiling.single(31, 23), Tiling.single(12, 40), MOSAIC], ids=["wide", "high", "mosaic"]
)
def test_gradients_are_compared_with_the_spline_per_pixel(tiling):
    field = field_of(tiling, 2)
    image = near(field)
    width, height = field.size
    # Knots a pixel apart: its derivative is per pixel already.
    by_x = make_interp_spline(np.arange(width), image.astype(float), k=5, axis=1)(np.arange(width), nu=1)
    by_y = make_interp_spline(np.arange(height), image.astype(float), k=5, axis=0)(np.arange(height), nu=1)
    _, gradient = said(field)
    errors = [gradient[..., 0] / width - by_x, gradient[..., 1] / height - by_y]
    expected = -10 * np.log10(np.mean(np.square(errors)))
    assert evaluate(field, image).gradient_psnr == pytest.approx(expected, abs=1e-4)


def wave(width, height):
    """One sine unit a channel, by hand: the field is a function we can write down, and its picture."""
    tiling = Tiling.single(width, height)
    half = max(width, height) / 2
    slopes = torch.tensor([[[0.8, -0.3, 0.1], [0.2, 0.5, -0.9]]])
    phases = torch.tensor([[[0.3, -0.7, 0.1]]])
    amplitudes = torch.tensor([0.3, 0.25, 0.4])
    siren = Siren((slopes, torch.diag(amplitudes)[None]), (phases, torch.zeros(1, 1, 3)), (2.0,))
    field = Field(siren, Tuning(torch.ones(1, 1, 3), torch.full((1, 1, 3), 0.5)), tiling)
    x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    a, b = slopes[0].double().numpy()
    argument = 2 * ((x[..., None] * a + y[..., None] * b) / half + phases[0, 0].double().numpy())
    return field, (0.5 + amplitudes.double().numpy() * np.sin(argument)).astype(np.float32)


@pytest.mark.parametrize("size", [(48, 32), (31, 57)], ids=str)
def test_a_field_that_is_the_picture_is_nearly_perfect(size):
    field, image = wave(*size)
    found = evaluate(field, image)
    assert found.psnr > 125  # float32
    assert found.gradient_psnr > 105  # the spline through float32 pixels
    assert found.ssim == pytest.approx(1, abs=1e-6)
    # Half a level of 255 at most, evenly spread.
    assert found.psnr_8bit == pytest.approx(-10 * np.log10(1 / 255**2 / 12), abs=0.5)


def test_errors_of_known_size():
    field, image = wave(40, 32)
    brighter = replace(field, tuning=replace(field.tuning, beta=field.tuning.beta + 0.05))
    found = evaluate(brighter, image)
    assert found.psnr == pytest.approx(-20 * np.log10(0.05), abs=0.01)
    assert found.gradient_psnr > 105  # the derivative does not mind
    steeper = replace(field, tuning=replace(field.tuning, alpha=1.1 * field.tuning.alpha))
    _, gradient = said(field)
    size = 0.1 * np.sqrt(np.mean(np.square(gradient / [40, 32])))
    assert evaluate(steeper, image).gradient_psnr == pytest.approx(-20 * np.log10(size), abs=0.01)


def test_gradients_are_not_clamped():
    field, image = wave(40, 32)
    dark = replace(field, tuning=replace(field.tuning, beta=field.tuning.beta - 5))
    found = evaluate(dark, image)
    assert found.gradient_psnr > 100
    assert found.psnr == pytest.approx(-10 * np.log10(np.mean(image.astype(float) ** 2)), abs=1e-4)


# Sizes.


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_bytes_are_those_of_the_file(tmp_path, bits):
    field = replace(field_of(MOSAIC), bits=bits)
    save(field, tmp_path / "a.eoren")
    found = evaluate(field, near(field))
    assert found.bytes == len(dumps(field)) == (tmp_path / "a.eoren").stat().st_size
    assert found.bits_per_pixel == 8 * found.bytes / (31 * 23)
    assert found.parameters == field.parameters == 3 * (3 * 6 + 7 * 6 + 7 * 3 + 6)
    given = evaluate(field, near(field), stored_bytes=1000)
    assert (given.bytes, given.bits_per_pixel) == (1000, 8000 / (31 * 23))


@pytest.mark.usefixtures("_strips")
@pytest.mark.parametrize("size", [(1, 1), (10, 10), (10, 40), (40, 10), (11, 11), (12, 11)], ids=str)
def test_similarity_needs_eleven_pixels_each_way(size):
    field = field_of(Tiling.single(*size), 1)
    image = near(field)
    found = evaluate(field, image)
    if min(size) < 11:
        assert isnan(found.ssim)
        assert found.as_dict()["ssim"] is None
    else:
        color = said(field)[0].clip(0, 1)
        expected = structural_similarity(
            image[..., 0].astype(float), color[..., 0], gaussian_weights=True, data_range=1
        )
        assert found.ssim == pytest.approx(expected, abs=1e-6)


def test_what_json_does_not_know_becomes_none():
    found = Metrics(inf, 30.0, -inf, nan, 5, 6, 7.5).as_dict()
    assert found == {
        "psnr": None,
        "psnr_8bit": 30.0,
        "gradient_psnr": None,
        "ssim": None,
        "parameters": 5,
        "bytes": 6,
        "bits_per_pixel": 7.5,
    }


def test_decibel():
    assert decibel(0.0) == inf
    assert decibel(1.0) == 0
    assert decibel(1e-5) == pytest.approx(50)
    assert decibel(100.0) == pytest.approx(-20)


@pytest.mark.parametrize("shape", [(23, 31, 1), (31, 23, 3), (23, 32, 3), (22, 31, 3)], ids=str)
def test_other_pictures_are_refused(shape):
    field = field_of(Tiling.single(31, 23))
    height, width, channels = shape
    with pytest.raises(EorenError, match=rf"the picture is {width}x{height} with {channels} channels.*31x23 with 3"):
        evaluate(field, np.zeros(shape, np.float32))


def test_pictures_of_other_types():
    field = field_of(Tiling.single(31, 23))
    image = near(field)
    expected = evaluate(field, image)
    assert evaluate(field, image.astype(np.float64)).psnr == pytest.approx(expected.psnr, abs=1e-4)
    image.flags.writeable = False
    assert evaluate(field, image) == expected
    unchecked = inspect.unwrap(evaluate)
    eighths = np.round(255 * image).astype(np.uint8)
    assert evaluate(field, eighths) == evaluate(field, eighths / np.float32(255))
    for wrong in (image[..., 0], np.zeros((23, 31, 3), np.int64)):
        with pytest.raises(EorenError):
            unchecked(field, wrong)
