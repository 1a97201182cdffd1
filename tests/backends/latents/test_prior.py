"""Compact fields with an edge prior: against the network and the spline apart, and automatic differentiation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.backends.compact_fields import random_points, representation
from tests.backends.targets import needs_library

from eoren.backends.latents import windows
from eoren.field.grid import grid_lines
from eoren.model.latents.edge_prior import VERSION, edge_prior, to_detail_image
from eoren.model.latents.spline_basis import sampling_matrix

DOUBLE = torch.float64
# Width, height, channels: colour, gray, alpha, lines, a pixel.
SIZES = [(23, 17, 3), (16, 9, 1), (8, 21, 2), (13, 12, 4), (1, 9, 1), (14, 1, 3), (1, 1, 4)]


def with_prior(*size, siren=0):
    return replace(representation(*size, siren), prior=VERSION)


@pytest.fixture
def in_torch(monkeypatch):
    monkeypatch.setenv("EOREN_BACKEND", "torch")


def detail_image(field):
    """The network's outputs for the pixels of a field without prior, repeated beyond the border, float64."""
    colors = 3 if field.channels >= 3 else 1
    prior = edge_prior(VERSION, colors)
    pixels = replace(field, prior=0).sample(*grid_lines(*field.size), "color")[0][..., :colors].transpose(2, 0, 1)
    edge = prior.radius
    padded = np.pad(pixels, ((0, 0), (edge, edge), (edge, edge)), "edge")
    details = to_detail_image(prior(torch.from_numpy(padded))).numpy()
    alpha = np.zeros((field.channels - colors, *details.shape[1:]))
    return np.concatenate([details, alpha])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.usefixtures("in_torch")
def test_at_twice_the_size_the_detail_image_is_added(size):
    field = with_prior(*size).to(DOUBLE)
    lines = grid_lines(2 * size[0], 2 * size[1])
    (found,), (base,) = field.sample(*lines, "color"), replace(field, prior=0).sample(*lines, "color")
    right = 15 / 16 * detail_image(field).transpose(1, 2, 0)
    assert np.abs(right).max() > 1e-6 or size[:2] == (1, 1)
    np.testing.assert_allclose(found - base, right, rtol=0, atol=1e-7)


@pytest.mark.usefixtures("in_torch")
def test_elsewhere_it_is_the_weighted_spline_of_the_detail_image():
    field = with_prior(23, 17, 3).to(DOUBLE)
    x, y = grid_lines(31, 40)
    (found,), (base,) = field.sample(x, y, "color"), replace(field, prior=0).sample(x, y, "color")
    places = [(line, side) for line, side in ((y, 17), (x, 23))]
    down, across = (sampling_matrix(line * 2 * side - 0.5, 2 * side) for line, side in places)
    rows, columns = (np.cos(np.pi * (line * side - 0.5)) ** 4 for line, side in places)
    right = (1 - rows[:, None] * columns) * (down @ detail_image(field) @ across.T)
    np.testing.assert_allclose(found - base, right.transpose(1, 2, 0), rtol=0, atol=1e-7)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("siren", [0, 16])
def test_colors_and_gradients_of_pixels_stay_what_they_are(size, siren):
    field = with_prior(*size, siren=siren)
    base = replace(field, prior=0)
    x, y = grid_lines(*size[:2])
    for found, right in zip(
        field.sample(x, y, "color", "gradient"), base.sample(x, y, "color", "gradient"), strict=True
    ):
        np.testing.assert_array_equal(found, right)
    points = torch.from_numpy(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
    found, right = field.jet(points, gradient=True), base.jet(points, gradient=True)
    # Rounding of positions in float64, times slopes.
    np.testing.assert_allclose(found.color, right.color, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.gradient, right.gradient, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("in_torch")
def test_derivatives_are_those_of_automatic_differentiation():
    field = with_prior(23, 17, 2, siren=16).to(DOUBLE)
    points = random_points(40, -0.1, 1.1).requires_grad_()
    jet = field.jet(points, laplacian=True, differentiable=True)
    for channel in range(2):
        (slopes,) = torch.autograd.grad(jet.color[:, channel].sum(), points, create_graph=True)
        np.testing.assert_allclose(jet.gradient[:, channel].detach(), slopes.detach(), rtol=0, atol=1e-8)
        bends = sum(
            torch.autograd.grad(slopes[:, axis].sum(), points, retain_graph=True)[0][:, axis] for axis in range(2)
        )
        np.testing.assert_allclose(jet.laplacian[:, channel].detach(), bends.detach(), rtol=1e-8, atol=1e-5)


@pytest.mark.usefixtures("in_torch")
def test_derivatives_scale_with_the_extent():
    field, points = with_prior(12, 9, 1).to(DOUBLE), random_points(20)
    unit, pixels = (field.jet(points, laplacian=True, extent=extent) for extent in ((1.0, 1.0), (12.0, 9.0)))
    np.testing.assert_allclose(unit.gradient, pixels.gradient * torch.tensor([12.0, 9.0]), rtol=1e-12, atol=1e-12)
    same = [field.jet(points, laplacian=True, extent=(s, s)).laplacian * s**2 for s in (1.0, 7.0)]
    np.testing.assert_allclose(*same, rtol=1e-10, atol=1e-9)


@pytest.mark.usefixtures("in_torch")
def test_the_details_follow_the_parameters_of_the_decoder():
    field, points = with_prior(12, 9, 1).to(DOUBLE), random_points(30)
    (linear,) = field.decoder.tensors()
    follows = linear.clone().requires_grad_()
    step, direction = 1e-6, torch.randn(linear.shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))

    def total(tensor):
        decoder = field.decoder.with_tensors([tensor])
        return replace(field, decoder=decoder).jet(points, differentiable=True).color.square().sum()

    for _ in range(2):  # a second graph does not depend on the first
        (slope,) = torch.autograd.grad(total(follows), follows)
    right = (total(linear + step * direction) - total(linear - step * direction)) / (2 * step)
    np.testing.assert_allclose(float((slope * direction).sum()), float(right), rtol=1e-6)


@needs_library
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_backends_agree(monkeypatch, size):
    field, points = with_prior(*size), random_points(200, -0.2, 1.2)
    lines = grid_lines(3 * size[0] + 1, 2 * size[1] + 3)
    quantities = ("color", "gradient", "laplacian")
    native = [*field.sample(*lines, *quantities), *field.jet(points, laplacian=True)]
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    exact = field.to(DOUBLE)
    right = [*exact.sample(*lines, *quantities), *exact.jet(points, laplacian=True)]
    for number, (one, other) in enumerate(zip(native, right, strict=True)):
        # float32 rounding of some hundred operations; derivatives grow with the size, in pixels.
        scale = float(abs(other).max()) + max(size[:2]) ** (number % 3)
        assert float(abs(one - other).max()) <= 1e-5 * scale


@pytest.mark.parametrize("backend", ["torch", pytest.param("native", marks=needs_library)])
def test_windows_do_not_show(monkeypatch, backend):
    monkeypatch.setenv("EOREN_BACKEND", backend)
    field, points = with_prior(150, 90, 3), random_points(300)
    lines = grid_lines(301, 177)
    whole = [*field.sample(*lines, "color"), field.jet(points).color]
    monkeypatch.setattr(windows, "WINDOW", 64)
    cut = replace(field)
    assert len(windows.Windows(300, 180).boxes) > 10
    for one, other in zip([*cut.sample(*lines, "color"), cut.jet(points).color], whole, strict=True):
        assert float(abs(one - other).max()) < 2e-6
