"""The native evaluation of compact fields, against that in PyTorch in float64."""

import pytest
import torch
from tests.backends.compact_fields import SIZES, random_points, representation
from tests.backends.targets import needs_library, targets

from eoren.backends.dispatch import choose_latent_evaluator
from eoren.backends.latents import windows
from eoren.backends.latents.native import NativeLatentEvaluator
from eoren.backends.latents.torch import TorchLatentEvaluator
from eoren.errors import EorenError
from eoren.field.grid import grid_lines
from eoren.model.latents.color_decoder import ColorDecoder

QUANTITIES = [("color",), ("gradient",), ("color", "gradient", "laplacian"), ("laplacian",)]

pytestmark = needs_library
every_target = pytest.mark.parametrize("name", targets())


def evaluators(field):
    """The native evaluator, and the one in PyTorch in float64."""
    exact = field.to(torch.float64)
    return (
        NativeLatentEvaluator(field.features, field.decoder),
        TorchLatentEvaluator(exact.features, exact.decoder),
    )


def assert_agree(found, right, extent, size, order, *, amplified):
    """Compare to float32 rounding of some hundred operations; a SIREN amplifies the rounding of its inputs 20 times.

    Derivatives of constant functions are zero but for the rounding of numbers as large as a pixel's difference.
    """
    assert found.dtype == torch.float32
    unit = max(side / length for side, length in zip(size, extent, strict=True)) ** order
    scale = float(right.abs().max()) + unit
    assert float((found - right).abs().max()) <= (5e-5 if amplified else 8e-6) * scale


def sampled(evaluator, x, y, *names, **options):
    """The samples of an evaluator as tensors."""
    return tuple(map(torch.from_numpy, evaluator.sample(x, y, *names, **options)))


def compare(field, extent=(1.0, 1.0), count=300):
    native, exact = evaluators(field)
    size, options = field.size, {"amplified": field.decoder.siren is not None}
    for columns, rows in (size, (size[0] * 3 // 2 + 1, size[1] + 3)):
        x, y = grid_lines(columns, rows)
        for names in QUANTITIES:
            found = sampled(native, x, y, *names, extent=extent)
            right = sampled(exact, x, y, *names, extent=extent)
            for name, one, other in zip(names, found, right, strict=True):
                assert_agree(one, other, extent, size, ("color", "gradient", "laplacian").index(name), **options)
    points = random_points(count, -0.3, 1.3)
    for wanted in ({}, {"gradient": True}, {"laplacian": True}):
        found, right = (e.jet(points, **wanted, extent=extent) for e in (native, exact))
        for order, (one, other) in enumerate(zip(found, right, strict=True)):
            assert (one is None) == (other is None)
            if one is not None:
                assert_agree(one, other, extent, size, order, **options)


@every_target
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("siren", [0, 16, 32])
def test_results_agree_to_rounding(target, name, size, siren):
    assert target(name)
    compare(representation(*size, siren))


@every_target
@pytest.mark.parametrize("siren", [0, 32])
def test_several_windows_agree(monkeypatch, target, name, siren):
    assert target(name)
    monkeypatch.setattr(windows, "WINDOW", 64)
    compare(representation(150, 131, 3, siren), extent=(150.0, 131.0))


@every_target
@pytest.mark.parametrize("siren", [0, 16])
def test_results_do_not_depend_on_the_number_of_threads(target, name, threads, siren):
    assert target(name)
    field, points = representation(203, 166, 3, siren), random_points(5000)
    results = []
    for count in (1, 2, 3):
        threads(count)
        native, _ = evaluators(field)
        samples = sampled(native, *grid_lines(203, 166), "color")
        results.append(
            (*samples, *sampled(native, *grid_lines(400, 100), "gradient", "laplacian"), *native.jet(points))
        )
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            assert one is other is None or torch.equal(one, other)


def test_a_point_has_the_same_value_among_any_others():
    native, _ = evaluators(representation(90, 70, 3, 16))
    points = random_points(3000, -0.1, 1.1)
    order = torch.randperm(3000, generator=torch.Generator().manual_seed(0))
    jet, mixed = native.jet(points, laplacian=True), native.jet(points[order], laplacian=True)
    for one, other in zip(jet, mixed, strict=True):
        assert torch.equal(one[order], other)
    assert torch.equal(native.jet(points[7:8]).color, native.jet(points).color[7:8])


def test_descending_and_repeated_lines_are_read():
    field = representation(40, 30, 2, 16)
    native, exact = evaluators(field)
    x, y = grid_lines(40, 30)
    for columns, rows in ((x[::-1], y[3:17:2]), (x[[0, 0, 5, 5]], y[::-1]), (x[5:6], y[9:10] + 0.01)):
        for names in (("color",), ("color", "gradient")):
            for one, other in zip(
                sampled(native, columns, rows, *names), sampled(exact, columns, rows, *names), strict=True
            ):
                torch.testing.assert_close(one.double(), other, rtol=2e-5, atol=2e-4)


def test_far_points_are_read_within_memory():
    """Their colours are those of the border; those of points that are not numbers may be any."""
    native, exact = evaluators(representation(20, 12, 3, 16))
    points = torch.tensor([[1e300, -1e300], [-1e18, 0.5], [float("inf"), 0.2]], dtype=torch.float64)
    torch.testing.assert_close(native.jet(points).color.double(), exact.jet(points).color, rtol=0, atol=1e-5)
    native.jet(torch.full((5, 2), torch.nan, dtype=torch.float64), laplacian=True)


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_sirens_of_other_depths_agree(depth):
    field = representation(33, 20, 2, 16)
    siren, generator = field.decoder.siren, torch.Generator().manual_seed(0)
    first, hidden, last = siren.weights
    weights = (
        first,
        *[hidden + 0.1 * torch.randn(hidden.shape, generator=generator) for _ in range(depth - 1)],
        last,
    )
    biases = (*[siren.biases[0]] * depth, siren.biases[-1])
    omegas = tuple(0.5 + 0.25 * k for k in range(depth))
    decoder = ColorDecoder(field.decoder.linear, type(siren)(weights, biases, omegas))
    compare(type(field)(field.latents, 33, 20, field.step, field.offsets, decoder, (0,)))


# The choice between the evaluators.


def test_the_native_evaluator_computes_where_it_can(monkeypatch):
    monkeypatch.delenv("EOREN_BACKEND", raising=False)
    monkeypatch.delenv("EOREN_ENGINE", raising=False)
    decoder = representation(8, 8, 1, 16).decoder
    assert choose_latent_evaluator(decoder) is NativeLatentEvaluator
    assert choose_latent_evaluator(decoder, differentiable=True) is TorchLatentEvaluator
    assert choose_latent_evaluator(decoder.to(torch.float64)) is TorchLatentEvaluator
    narrow = ColorDecoder.init(1, 2, width=5, generator=torch.Generator())
    assert choose_latent_evaluator(narrow) is TorchLatentEvaluator


def test_the_environment_forces_an_evaluator(monkeypatch):
    decoder = representation(8, 8, 1, 16).decoder
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    assert choose_latent_evaluator(decoder) is TorchLatentEvaluator
    monkeypatch.setenv("EOREN_BACKEND", "native")
    assert choose_latent_evaluator(decoder) is NativeLatentEvaluator
    with pytest.raises(EorenError, match="computes in float32"):
        choose_latent_evaluator(decoder.to(torch.float64))
    with pytest.raises(EorenError, match="width must be one of"):
        choose_latent_evaluator(ColorDecoder.init(1, 2, width=5, generator=torch.Generator()))
    with pytest.raises(EorenError, match="channels must be at most 4"):
        choose_latent_evaluator(ColorDecoder(torch.zeros(5, 5)))
