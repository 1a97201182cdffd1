from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.interpolate import make_interp_spline
from tests.fields import compact_field, doubled

import eoren
from eoren.backends.latents import windows
from eoren.coding.bands import Box
from eoren.field.grid import grid_lines
from eoren.field.representation import Representation
from eoren.model.latents.features import LatentFeatures
from eoren.model.latents.wavelet import Details, Subbands

SIZES = [(1, 1), (1, 9), (12, 1), (2, 3), (17, 20), (53, 38)]


def features_of(field):
    """The feature images of a field, float64, without its evaluator."""
    own = field.representation
    bands = [
        torch.from_numpy(band.astype(np.float64) * steps[:, None, None])
        for band, steps in zip(own.latents.bands(), own.steps(), strict=True)
    ]
    details = tuple(Details(*bands[k : k + 3]) for k in range(1, len(bands), 3))
    matrices = tuple(torch.eye(len(band), dtype=torch.float64) for band in bands)
    samples, _ = LatentFeatures(Subbands(bands[0], details), matrices, *field.size).window(Box(0, 0, *field.size))
    return samples.numpy()


def spline(lines, axis):
    """SciPy's quintic spline through samples at pixel centres; a constant through one."""
    length = lines.shape[axis]
    if length == 1:
        return lambda positions, order: np.repeat(lines * (order == 0), len(positions), axis)
    zero = np.zeros(np.delete(lines.shape, axis))
    ends = [(2, zero), (4, zero)]
    curve = make_interp_spline(np.arange(length), lines, k=5, bc_type=(ends, ends), axis=axis)
    return lambda positions, order: (curve.derivative(order) if order else curve)(positions)


def expected_streams(field, points):
    """Features with derivatives and Laplacian per unit-square side at points inside the pixel centres, by SciPy."""
    (width, height), features = field.size, features_of(field)
    x, y = points[:, 0] * width - 0.5, points[:, 1] * height - 0.5

    def at(order_x, order_y):
        rows = spline(features, 2)(x, order_x)  # (features, rows, points)
        values = [spline(rows[:, :, k], 1)(y[k : k + 1], order_y)[:, 0] for k in range(len(points))]
        return np.array(values) * width**order_x * height**order_y

    return np.stack([at(0, 0), at(1, 0), at(0, 1), at(2, 0) + at(0, 2)])


def points_inside(field, count=25, seed=0):
    """Points between the outermost pixel centres."""
    ends = np.array([[0.5 / side, 1 - 0.5 / side] for side in field.size])
    return np.random.default_rng(seed).uniform(ends[:, 0], ends[:, 1], (count, 2))


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize(("channels", "siren_width"), [(1, 0), (3, 0), (4, 16), (2, 32)])
def test_colour_and_derivatives_are_those_of_the_splines(width, height, channels, siren_width):
    field = doubled(compact_field(width, height, channels, siren_width=siren_width))
    points = points_inside(field)
    streams = torch.from_numpy(expected_streams(field, points))
    expected = field.representation.decoder(streams, laplacian=True).numpy()
    tensors = torch.from_numpy(points)
    np.testing.assert_allclose(field.color(tensors), expected[0], rtol=1e-9, atol=1e-9)
    slopes = np.moveaxis(expected[1:3], 0, -1)
    np.testing.assert_allclose(field.gradient(tensors), slopes, rtol=1e-8, atol=1e-8 * max(1, abs(slopes).max()))
    bends = expected[3]
    np.testing.assert_allclose(field.laplacian(tensors), bends, rtol=1e-8, atol=1e-8 * max(1, abs(bends).max()))


@pytest.mark.parametrize("siren_width", [0, 16])
def test_derivatives_agree_with_autograd_and_finite_differences(siren_width):
    field = doubled(compact_field(23, 31, siren_width=siren_width))
    points = torch.from_numpy(np.random.default_rng(1).uniform(-0.03, 1.03, (40, 2))).requires_grad_()
    color = field.color(points)
    gradient = field.gradient(points)
    for channel in range(3):
        (slopes,) = torch.autograd.grad(color[:, channel].sum(), points, retain_graph=True)
        torch.testing.assert_close(slopes, gradient[:, channel])
        bends = [
            torch.autograd.grad(gradient[:, channel, axis].sum(), points, retain_graph=True)[0][:, axis]
            for axis in (0, 1)
        ]
        torch.testing.assert_close(sum(bends), field.laplacian(points)[:, channel])
    step = 1e-5  # rounding gives 1e-11 relative, truncation 1e-10 times the third derivative
    inside = torch.from_numpy(points_inside(field))
    for axis, shift in enumerate(torch.eye(2, dtype=torch.float64) * step):
        difference = (field.color(inside + shift) - field.color(inside - shift)) / (2 * step)
        np.testing.assert_allclose(difference, field.gradient(inside)[..., axis], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 9), (40, 29), (64, 65)])
@pytest.mark.parametrize("channels", [1, 3])
def test_with_a_linear_decoder_it_has_the_reference_gradient_of_its_own_pixels(width, height, channels):
    field = compact_field(width, height, channels)
    pixels, gradient = field.sample(width, height, "color", "gradient", extent=(float(width), float(height)))
    reference = eoren.reference_gradient(pixels.astype(np.float64), extent=(float(width), float(height)))
    # float32 sums of a few dozen products of numbers of this size.
    np.testing.assert_allclose(gradient, reference, atol=64 * np.finfo(np.float32).eps * max(1, abs(pixels).max()))


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("region", [(0.0, 0.0, 1.0, 1.0), (-0.1, 0.2, 0.7, 1.3), (0.9, 0.8, 0.1, 0.3)])
def test_grids_have_the_values_of_points(width, height, region):
    field = doubled(compact_field(width, height, 2, siren_width=16))
    samples = field.sample(11, 7, "color", "gradient", "laplacian", region=region)
    x, y = grid_lines(11, 7, region)
    points = torch.from_numpy(np.stack(np.meshgrid(x, y), -1))
    for sample, name in zip(samples, ("color", "gradient", "laplacian"), strict=True):
        expected = getattr(field, name)(points)
        np.testing.assert_allclose(sample, expected, rtol=1e-9, atol=1e-9 * max(1, float(expected.abs().max())))


def test_rows_of_a_grid_are_those_of_the_whole():
    field = compact_field(30, 40)
    whole = field.sample(60, 80, "color")[0]
    np.testing.assert_allclose(field.sample(60, 80, "color", rows=slice(13, 29))[0], whole[13:29], atol=1e-6)
    strips = np.concatenate(list(field.render_rows(60, 80)))
    np.testing.assert_allclose(strips, whole, atol=1e-6)


@pytest.mark.parametrize("siren_width", [0, 16])
def test_windows_cannot_be_told_from_the_whole(monkeypatch, siren_width):
    """Features of windows differ by the decay of the splines over the margin, 1e-8."""
    field = doubled(compact_field(230, 170, 2, siren_width=siren_width))
    quantities = ("color", "gradient", "laplacian")
    points = torch.from_numpy(np.random.default_rng(0).uniform(-0.01, 1.01, (300, 2)))
    whole = field.sample(345, 255, *quantities, extent=(230.0, 170.0))
    at_points = field.color(points)
    monkeypatch.setattr(windows, "WINDOW", 64)
    monkeypatch.setattr(windows, "_KEPT_FLOATS", 200_000)  # about two windows
    assert len(windows.Windows(230, 170).boxes) > 8
    again = replace(field, representation=replace(field.representation))
    for one, other in zip(whole, again.sample(345, 255, *quantities, extent=(230.0, 170.0)), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-7)
    np.testing.assert_allclose(again.color(points), at_points, atol=1e-7)


def test_it_is_constant_far_outside():
    field = compact_field(13, 11)
    far = np.array([[-5.0, 0.5], [0.5, 9.0], [30.0, 30.0]])
    assert np.isfinite(field.color(far)).all()
    gradient = field.gradient(far)
    assert not gradient[0, :, 0].any()
    assert not gradient[1, :, 1].any()
    assert not gradient[2].any()
    # Along the other axis it is as at the border.
    assert gradient[0, :, 1].any()


def test_no_points_give_no_values():
    field = compact_field(13, 11)
    assert field.color(np.zeros((0, 2))).shape == (0, 3)
    assert field.gradient(np.zeros((0, 2))).shape == (0, 3, 2)


def test_derivatives_follow_the_extent():
    field = compact_field(20, 10, 1)
    points = torch.rand(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    field = doubled(field)
    plain = field.jet(points, gradient=True, laplacian=True)
    pixels = field.jet(points, gradient=True, laplacian=True, extent=(20.0, 10.0))
    torch.testing.assert_close(plain.color, pixels.color)
    torch.testing.assert_close(plain.gradient, pixels.gradient * plain.gradient.new_tensor([20.0, 10.0]))


@pytest.mark.parametrize("siren_width", [0, 16])
def test_parameters_of_the_decoder_can_be_trained(siren_width):
    field = compact_field(20, 16, siren_width=siren_width)
    own = field.representation
    tensors = [t.clone().requires_grad_() for t in own.decoder.tensors()]
    trained = replace(field, representation=replace(own, decoder=own.decoder.with_tensors(tensors)))
    assert trained.representation.requires_grad
    assert not own.requires_grad
    color = trained.color(torch.rand(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    gradients = torch.autograd.grad(color.square().sum(), tensors)
    assert all(g.abs().max() > 0 for g in gradients)


def test_it_describes_itself():
    field = compact_field(53, 38, siren_width=16)
    assert isinstance(field.representation, Representation)
    assert (field.size, field.channels) == ((53, 38), 3)
    assert repr(field) == "Field(53x38, 3 channels, wavelet latents of 3 levels, 2 sine layers of 16)"
    assert repr(compact_field(9, 1, 1)) == "Field(9x1, 1 channel, wavelet latents of 1 levels, linear colours)"
    assert field.representation.summary() == {"levels": 3, "step": 0.02, "hidden_width": 16, "depth": 2}
    latents, steps = 3 * 53 * 38, 1 + 10 * 3
    decoder = 12 * 3 + 13 * 16 + 17 * 16 + 17 * 3
    assert field.parameters == latents + steps + decoder
