"""The evaluation of compact fields in PyTorch, in float64.

For comparisons with SciPy and automatic differentiation see test_wavelet_siren.py, for the native evaluator
test_native_latents.py.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.backends.compact_fields import SIZES, random_points, representation

from eoren.backends.latents import windows
from eoren.backends.latents.base import LatentEvaluator
from eoren.backends.latents.torch import TorchLatentEvaluator, _window_numbers
from eoren.backends.latents.windows import Recent, Windows, pixels_at
from eoren.coding.bands import Box
from eoren.field.grid import grid_lines
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.wavelet import Details, Subbands, synthesize

DOUBLE = torch.float64


def pixel_colors(field):
    """Colours at the pixel centres by the inverse wavelet transform of each group alone, float64."""
    steps = field.steps()
    bands = [
        torch.from_numpy(b).double() * torch.from_numpy(s)[:, None, None]
        for b, s in zip(field.latents.bands(), steps, strict=True)
    ]
    details = [Details(*bands[k : k + 3]) for k in range(1, len(bands), 3)]
    fine = min(3, len(details))
    empty = [Details(*(torch.zeros_like(b) for b in d)) for d in details]
    zero = torch.zeros_like(bands[0])
    images = [synthesize(Subbands(bands[0], (*empty[:fine], *details[fine:])))]
    for level in reversed(range(fine)):
        only = (*empty[:level], details[level], *empty[level + 1 :])
        images.append(synthesize(Subbands(zero, only)))
    features = torch.cat(images).flatten(1).T[None]
    colors = field.decoder.to(DOUBLE)(features)[0]
    return colors.unflatten(0, (field.height, field.width)).numpy()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("siren", [0, 16])
def test_colors_of_pixels_are_those_of_the_inverse_transform(monkeypatch, size, siren):
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    field = representation(*size, siren)
    (found,) = field.to(DOUBLE).sample(*grid_lines(*size[:2]), "color")
    np.testing.assert_allclose(found, pixel_colors(field), rtol=0, atol=1e-10)


def test_derivatives_by_the_parameters_are_right():
    """Central differences of the colours by every parameter."""
    field = representation(12, 9, 2, 16).to(DOUBLE)
    tensors = [t.clone().requires_grad_() for t in field.decoder.tensors()]
    points = random_points(20)

    def total():
        decoder = field.decoder.with_tensors(tensors)
        return replace(field, decoder=decoder).jet(points, gradient=True, differentiable=True).gradient.square().sum()

    gradients = torch.autograd.grad(total(), tensors)
    generator = torch.Generator().manual_seed(0)
    for tensor, gradient in zip(tensors, gradients, strict=True):
        direction = torch.randn(tensor.shape, generator=generator, dtype=DOUBLE)
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                tensor += step * direction
                values.append(float(total()))
                tensor -= step * direction
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(
            float((gradient * direction).sum()), rel=1e-5, abs=1e-5
        )


def test_fields_continue_by_odd_reflection_then_stay_constant(monkeypatch):
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    field, size = representation(20, 14, 2).to(DOUBLE), torch.tensor([20.0, 14.0], dtype=DOUBLE)

    def at(x, y):
        return field.jet((torch.tensor([[x, y]], dtype=DOUBLE) + 0.5) / size, laplacian=True)

    for t in (0.25, 1.0):
        inside, edge, outside = (at(x, 5.3).color for x in (t, 0.0, -t))
        torch.testing.assert_close(outside, 2 * edge - inside)
        inside, edge, outside = (at(7.8, y).color for y in (13 - t, 13.0, 13 + t))
        torch.testing.assert_close(outside, 2 * edge - inside)
    far, end = at(-50.0, 5.3), at(-1.0, 5.3)
    torch.testing.assert_close(far.color, end.color)
    assert not far.gradient[..., 0].any()
    assert far.gradient[..., 1].any()
    corner = at(1e6, -1e6)
    torch.testing.assert_close(corner.color, at(20.0, -1.0).color)
    assert not corner.gradient.any()
    assert not corner.laplacian.any()


@pytest.mark.parametrize("siren", [0, 16])
@pytest.mark.parametrize("size", [(30, 20), (47, 31), (29, 20)], ids=str)
def test_grids_have_the_values_of_points(monkeypatch, size, siren):
    """At pixel centres along no axis, both, or one."""
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    field = representation(30, 20, 3, siren).to(DOUBLE)
    x, y = grid_lines(*size)
    grid = field.sample(x, y, "laplacian", "color", "gradient", extent=(3.0, 2.0))
    points = torch.from_numpy(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
    jet = field.jet(points, laplacian=True, extent=(3.0, 2.0))
    for values, flat in zip(grid, (jet.laplacian, jet.color, jet.gradient), strict=True):
        np.testing.assert_allclose(values.reshape(flat.shape), flat, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(field.sample(x, y, "color")[0], grid[1], rtol=0, atol=1e-10)


def test_features_of_a_linear_field_are_mixed_unless_its_parameters_are_followed(monkeypatch):
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    field, points = representation(50, 40, 3), random_points(100)
    followed = replace(field, decoder=ColorDecoder(field.decoder.linear.clone().requires_grad_()))
    one, other = (f.jet(points, laplacian=True) for f in (field, followed))
    assert other.color.requires_grad
    for mixed, separate in zip(one, other, strict=True):
        torch.testing.assert_close(mixed, separate.detach(), rtol=1e-5, atol=1e-5 * float(mixed.abs().max()))


def test_a_changed_parameter_changes_the_result():
    field, points = representation(20, 20, 1), random_points(5)
    before = field.jet(points).color
    field.decoder.linear.mul_(2)
    torch.testing.assert_close(field.jet(points).color - 0.5, 2 * (before - 0.5))


def test_results_have_the_precision_of_the_decoder_and_may_be_empty():
    field = representation(20, 10, 3)
    assert field.jet(random_points(3)).color.dtype == torch.float32
    assert field.to(DOUBLE).jet(random_points(3).float()).color.dtype == DOUBLE
    for differentiable in (False, True):
        jet = field.jet(random_points(0), laplacian=True, differentiable=differentiable)
        assert jet.color.shape == jet.laplacian.shape == (0, 3)
        assert jet.gradient.shape == (0, 3, 2)


def test_only_recently_used_values_are_kept(monkeypatch):
    monkeypatch.setattr(windows, "_KEPT_FLOATS", 10)
    recent, computed = Recent(), []

    def get(key, size=4):
        return recent.get(key, lambda: computed.append(key) or size, lambda value: value)

    assert [get("a"), get("b"), get("a")] == [4, 4, 4]
    assert computed == ["a", "b"]
    get("c")  # drops b
    get("a")
    assert computed == ["a", "b", "c"]
    get("b")
    assert computed == ["a", "b", "c", "b"]
    assert get("large", 100) == 100  # kept although it is too large
    assert get("large") == 100
    assert computed[-1] == "large"


def test_pixel_centres_are_recognised():
    assert pixels_at(np.array([0.0, 2 - 1e-9, 4]), 5).tolist() == [0, 2, 4]
    for position in ([0.0, 0.5], [-1.0], [5.0], [float("nan")]):
        assert pixels_at(np.array(position), 5) is None


def test_windows_start_at_multiples_of_eight():
    cut = Windows(1300, 500)
    assert cut.columns == [0, 432, 864, 1300]
    assert cut.rows == [0, 500]
    assert cut.boxes[1] == Box(432, 0, 864, 500)
    positions = torch.tensor([[431.4, 0], [431.6, -9], [2e9, 2e9]], dtype=DOUBLE)
    assert _window_numbers(cut, positions).tolist() == [0, 1, 2]


def test_both_evaluators_have_the_interface():
    field = representation(8, 8, 1)
    assert isinstance(TorchLatentEvaluator(field.features, field.decoder), LatentEvaluator)
