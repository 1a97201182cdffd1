from dataclasses import replace
from math import inf, isnan, nan

import numpy as np
import pytest
import torch
from scipy.interpolate import make_interp_spline
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tests.fields import with_parts

from eoren.errors import EorenError
from eoren.evaluation import metrics
from eoren.evaluation.metrics import METRICS, Metrics, decibel, evaluate, evaluate_batch, psnr
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.image.spline import reference_gradient
from eoren.model.channel_tuning import Tuning
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling

MOSAIC = Tiling(31, 23, 2.0, np.array([(0, 17), (-1, 0), (1, 9), (-1, 0), (-1, 0)], np.int32))


def field_of(tiling, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    siren = Siren.init(tiling.count, width=6, depth=2, channels=channels, omega_first=9.0, generator=generator)
    ones = torch.ones(tiling.count, 1, channels)
    field = Field(SirenMosaic(siren, Tuning(ones, 0 * ones), tiling))
    # Colours of mean 0.5 and deviation 0.35: some lie outside [0, 1].
    colors = field.render()
    alpha = torch.from_numpy(0.35 / colors.std((0, 1)).clip(1e-3))
    return with_parts(field, tuning=Tuning(alpha * ones, 0.5 - alpha * torch.from_numpy(colors.mean((0, 1))) * ones))


def near(field, noise=0.1, seed=0):
    """An image that the field resembles."""
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

    def slope(axis):
        """Through the image and its odd reflections. Knots a pixel apart: it is per pixel already."""
        count, margin = image.shape[axis], 60
        around = [(margin, margin) if each == axis else (0, 0) for each in range(3)]
        reflected = np.pad(image.astype(float), around, mode="reflect", reflect_type="odd")
        spline = make_interp_spline(np.arange(count + 2 * margin) - margin, reflected, k=5, axis=axis)
        return spline(np.arange(count), nu=1)

    _, gradient = said(field)
    errors = [gradient[..., 0] / width - slope(1), gradient[..., 1] / height - slope(0)]
    expected = -10 * np.log10(np.mean(np.square(errors)))
    assert evaluate(field, image).gradient_psnr == pytest.approx(expected, abs=1e-4)


def wave(width, height):
    """Sine units by hand: the field is a function we can write down, and its image.

    A channel is ``m + p sin(hx) sin(vy) + q sin(hx) + r sin(vy)``, h and v such that sin(hx) and sin(vy) are zero at
    the centres of the outermost pixels. So it goes on beyond the border as its own image turned upside down, and the
    derivative of the spline through the pixels is its own there, too.
    """
    periods = ((1, 2), (2, 1), (1, 1))  # half ones from border to border, along x and y
    amplitudes = ((0.2, 0.06, -0.07), (-0.15, 0.09, 0.1), (0.1, 0.12, 0.14))
    means = torch.tensor([[[0.5, 0.45, 0.56]]])
    x, y = (np.arange(count) / (count - 1) * np.pi for count in (width, height))
    channels: list[np.ndarray] = []
    units: list[tuple[int, float, int, int, float]] = []  # channel, amplitude, half periods along x and y, phase
    for channel, ((h, v), (p, q, r)) in enumerate(zip(periods, amplitudes, strict=True)):
        along_x, along_y = np.sin(h * x)[None, :], np.sin(v * y)[:, None]
        channels.append(float(means[0, 0, channel]) + p * along_x * along_y + q * along_x + r * along_y)
        # 2 sin a sin b = cos(a - b) - cos(a + b)
        units += [(channel, p / 2, h, -v, np.pi / 2), (channel, -p / 2, h, v, np.pi / 2)]
        units += [(channel, q, h, 0, 0.0), (channel, r, 0, v, 0.0)]
    tiling = Tiling.single(width, height)
    half, omega = max(width, height) / 2, 2.0
    first, bias, last = np.zeros((1, 2, len(units))), np.zeros((1, 1, len(units))), np.zeros((1, len(units), 3))
    for unit, (channel, amplitude, along_x, along_y, phase) in enumerate(units):
        # Local coordinates have their origin in the middle of the image, and sin(hx) its zero at a border.
        first[0, :, unit] = [along_x * np.pi * half / (width - 1), along_y * np.pi * half / (height - 1)]
        bias[0, 0, unit] = phase + (along_x + along_y) * np.pi / 2
        last[0, unit, channel] = amplitude
    weights = [torch.from_numpy(each).float() for each in (first / omega, last)]
    biases = [torch.from_numpy(bias / omega).float(), torch.zeros(1, 1, 3)]
    siren = Siren(tuple(weights), tuple(biases), (omega,))
    return Field(SirenMosaic(siren, Tuning(torch.ones(1, 1, 3), means), tiling)), np.stack(channels, -1).astype(
        np.float32
    )


@pytest.mark.parametrize("size", [(48, 32), (31, 57)], ids=str)
def test_a_field_that_is_the_image_is_nearly_perfect(size):
    field, image = wave(*size)
    found = evaluate(field, image)
    assert found.psnr > 125  # float32
    assert found.gradient_psnr > 125  # the spline through float32 pixels
    assert found.ssim == pytest.approx(1, abs=1e-6)
    # Half a level of 255 at most, evenly spread.
    assert found.psnr_8bit == pytest.approx(-10 * np.log10(1 / 255**2 / 12), abs=0.5)


def test_errors_of_known_size():
    field, image = wave(40, 32)
    brighter = with_parts(
        field, tuning=replace(field.representation.tuning, beta=field.representation.tuning.beta + 0.05)
    )
    found = evaluate(brighter, image)
    assert found.psnr == pytest.approx(-20 * np.log10(0.05), abs=0.01)
    assert found.gradient_psnr > 125  # the derivative does not mind
    steeper = with_parts(
        field, tuning=replace(field.representation.tuning, alpha=1.1 * field.representation.tuning.alpha)
    )
    _, gradient = said(field)
    size = 0.1 * np.sqrt(np.mean(np.square(gradient / [40, 32])))
    assert evaluate(steeper, image).gradient_psnr == pytest.approx(-20 * np.log10(size), abs=0.01)


def test_gradients_are_not_clamped():
    field, image = wave(40, 32)
    dark = with_parts(field, tuning=replace(field.representation.tuning, beta=field.representation.tuning.beta - 5))
    found = evaluate(dark, image)
    assert found.gradient_psnr > 125
    assert found.psnr == pytest.approx(-10 * np.log10(np.mean(image.astype(float) ** 2)), abs=1e-4)


# Sizes.


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_parameters_are_those_of_the_field(bits):
    field = with_parts(field_of(MOSAIC), bits=bits)
    found = evaluate(field, near(field))
    assert found.parameters == field.parameters == 3 * (3 * 6 + 7 * 6 + 7 * 3 + 6)


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
    found = Metrics(inf, 30.0, -inf, nan, 5).as_dict()
    assert found == {
        "psnr": None,
        "psnr_8bit": 30.0,
        "gradient_psnr": None,
        "ssim": None,
        "parameters": 5,
    }


def test_decibel():
    assert decibel(0.0) == inf
    assert decibel(1.0) == 0
    assert decibel(1e-5) == pytest.approx(50)
    assert decibel(100.0) == pytest.approx(-20)


@pytest.mark.parametrize("shape", [(23, 31, 1), (31, 23, 3), (23, 32, 3), (22, 31, 3)], ids=str)
def test_other_images_are_refused(shape):
    field = field_of(Tiling.single(31, 23))
    height, width, channels = shape
    with pytest.raises(
        EorenError,
        match=rf"the image must be 31x23 with 3 channels .* got {width}x{height} with {channels} channels;",
    ):
        evaluate(field, np.zeros(shape, np.float32))


@pytest.mark.usefixtures("unchecked")
def test_images_of_other_types():
    field = field_of(Tiling.single(31, 23))
    image = near(field)
    expected = evaluate(field, image)
    assert evaluate(field, image.astype(np.float64)).psnr == pytest.approx(expected.psnr, abs=1e-4)
    image.flags.writeable = False
    assert evaluate(field, image) == expected
    eighths = np.round(255 * image).astype(np.uint8)
    assert evaluate(field, eighths) == evaluate(field, eighths / np.float32(255))
    for wrong in (image[..., 0], np.zeros((23, 31, 3), np.int64)):
        with pytest.raises(EorenError):
            evaluate(field, wrong)


@pytest.mark.parametrize("settings", [{"pixel_model": "cell_average"}, {"pixels": "areas"}], ids=str)
def test_fields_of_cell_averages_are_averaged_whatever_the_version_that_wrote_them(settings):
    field, image = wave(40, 32)
    averaged = replace(field, provenance=replace(field.provenance, settings=settings))
    assert evaluate(field, image).psnr > evaluate(averaged, image).psnr
    for other in ({}, {"pixels": "points"}, {"pixel_model": "point_sample"}):
        provenance = replace(field.provenance, settings=other)
        assert evaluate(replace(field, provenance=provenance), image) == evaluate(field, image)


def test_batches_are_measured_like_single_fields():
    field, image = wave(40, 32)
    color, gradient = said(field)
    per_pixel = (gradient / [40, 32]).reshape(-1, 3, 2)
    prediction = np.concatenate([color.reshape(1, -1, 3), np.moveaxis(per_pixel, 2, 0)])[None].astype(np.float32)
    batch = evaluate_batch(prediction, image[None])
    single = evaluate(field, image)
    for name in METRICS:
        assert batch[name][0] == pytest.approx(getattr(single, name), rel=1e-3), name


@pytest.mark.parametrize("side", [8, 15])
def test_batch_metrics_agree_with_those_of_single_images(side):
    generator = np.random.default_rng(0)
    images = generator.random((3, side, side + 3, 2)).astype(np.float32)
    prediction = generator.normal(0.5, 0.4, (3, 3, side * (side + 3), 2)).astype(np.float32)
    measured = evaluate_batch(prediction, images)
    for k, image in enumerate(images):
        color = prediction[k, 0].reshape(image.shape).clip(0, 1)
        gradient = reference_gradient(image, extent=(side + 3.0, float(side)))
        error = np.moveaxis(prediction[k, 1:], 0, -1).reshape(gradient.shape) - gradient
        assert measured["psnr"][k] == pytest.approx(-10 * np.log10(np.mean((color - image) ** 2)), abs=1e-4)
        assert measured["gradient_psnr"][k] == pytest.approx(-10 * np.log10(np.mean(error**2)), abs=1e-4)
        if side > 11:
            options = {"gaussian_weights": True, "data_range": 1.0, "channel_axis": -1}
            expected = structural_similarity(image.astype(float), color.astype(float), **options)
            assert measured["ssim"][k] == pytest.approx(expected, abs=1e-6)
        else:
            assert np.isnan(measured["ssim"][k])
