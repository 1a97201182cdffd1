"""The native rate of latents against the PyTorch reference in float64."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tests.backends.targets import needs_library, targets
from tests.model.latents.test_rate import make_bands

from eoren.backends.dispatch import choose_rate
from eoren.backends.latents import native_rate
from eoren.backends.latents.native_rate import NativeRate
from eoren.errors import EorenError
from eoren.model.latents.rate import latent_bits

pytestmark = needs_library

SHAPES = (  # channels, rows, columns, levels
    (1, 1, 1, 0),
    (1, 12, 11, 0),
    (3, 1, 1, 3),
    (2, 1, 40, 3),
    (1, 9, 1, 2),
    (1, 9, 8, 1),
    (3, 21, 34, 2),
    (4, 35, 51, 3),
    (3, 48, 64, 4),
    (2, 70, 37, 5),
    (3, 61, 130, 6),
)


def single(bands):
    return [band.float() for band in bands]


def differentiate(function, bands):
    bands = [band.detach().requires_grad_() for band in bands]
    bits = function(bands)
    return bits.detach(), torch.autograd.grad(bits, bands, materialize_grads=True)  # unused if empty


def joined(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors]).double()


def assert_agree(found, expected, places, at_kinks=1e-3):
    """Compare bits and gradients in float32 with those in float64.

    Sums of 57 products and two layers of 32 leave mean and scale with relative errors of some 2**-20, which change
    the bits of a place by 2**-17 and less. At kinks of hidden values, rounding decides between two different
    gradients, so that some places may differ by more: `at_kinks` is the most that they add to the mean error.
    """
    bits, gradient = found[0].double(), joined(found[1])
    expected_bits, expected_gradient = expected[0], joined(expected[1])
    assert abs(bits - expected_bits) <= 2**-22 * expected_bits + 2**-17 * places**0.5
    difference, size = (gradient - expected_gradient).abs(), expected_gradient.square().mean().sqrt()
    # Rounding is relative to derivatives of about one bit that cancel where the gradient is smaller.
    size = size.clamp(min=0.1)
    assert difference.median() <= 2**-17 * size
    assert difference.square().mean().sqrt() <= at_kinks * size
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("size", [0.5, 60.0, 1e6])
@pytest.mark.parametrize("shape", SHAPES)
def test_bits_and_gradients_are_those_of_the_reference(target, shape, size):
    bands = single(make_bands(*shape, size=size))
    expected = differentiate(latent_bits, [band.double() for band in bands])
    for name in targets():
        target(name)
        found = differentiate(NativeRate(), bands)
        # Few of the largest latents have a gradient: those whose probability is not below the least one.
        assert_agree(found, expected, shape[0] * shape[1] * shape[2], at_kinks=1e-3 if size < 1e6 else 1e-2)


@pytest.mark.parametrize("name", targets())
def test_integer_latents_have_the_gradients_of_the_reference(target, name):
    """At zero, absolute values have a kink."""
    target(name)
    bands = [band.round() for band in single(make_bands(3, 40, 50, 3, size=20))]
    assert (bands[1] == 0).float().mean() > 0.3
    expected = differentiate(latent_bits, [band.double() for band in bands])
    # One place of 6,000 at a kink, whose whole gradient differs, adds 6000**-0.5.
    assert_agree(differentiate(NativeRate(), bands), expected, 6000, at_kinks=1.3e-2)


@pytest.mark.parametrize("name", targets())
def test_results_do_not_depend_on_the_number_of_threads(target, threads, name):
    target(name)
    bands, rate = single(make_bands(3, 150, 170, 4)), NativeRate()
    threads(1)
    bits, gradient = differentiate(rate, bands)
    for count in (2, 3, 5):
        threads(count)
        bits_again, gradient_again = differentiate(rate, bands)
        assert torch.equal(bits, bits_again)
        assert all(map(torch.equal, gradient, gradient_again))


def test_a_call_does_not_depend_on_earlier_ones():
    rate, other = NativeRate(), single(make_bands(4, 90, 80, 3, size=1e4))
    bands = single(make_bands(3, 40, 70, 3))
    bits, gradient = differentiate(NativeRate(), bands)
    for earlier in (other, [torch.full_like(band, torch.nan) for band in bands], bands):
        differentiate(rate, earlier)
        bits_again, gradient_again = differentiate(rate, bands)
        assert torch.equal(bits, bits_again)
        assert all(map(torch.equal, gradient, gradient_again))


@pytest.mark.parametrize("band", range(7))
@pytest.mark.parametrize("name", targets())
def test_the_bits_of_invalid_latents_are_nan(target, name, band):
    target(name)
    for value in (torch.nan, torch.inf):
        bands = single(make_bands(2, 33, 45, 2))
        bands[band][1, 3, 4] = value
        assert torch.isnan(differentiate(NativeRate(), bands)[0])


def test_a_rate_serves_several_threads():
    rate, inputs = NativeRate(), [single(make_bands(2, 50, 60, 3, seed=seed)) for seed in range(4)]
    expected = [rate(bands) for bands in inputs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(rate, inputs * 5)) == expected * 5


def test_gradients_are_scaled_and_bits_need_no_gradient():
    bands, rate = single(make_bands(2, 20, 30, 2)), NativeRate()
    bits, gradient = differentiate(rate, bands)
    scaled, by_scaled = differentiate(lambda bands: 0.25 * rate(bands), bands)
    assert scaled == bits / 4
    torch.testing.assert_close(by_scaled, tuple(g / 4 for g in gradient))
    assert rate(bands) == bits
    assert not rate(bands).requires_grad
    only = [band.clone().requires_grad_(k == 2) for k, band in enumerate(bands)]
    rate(only).backward()
    torch.testing.assert_close(only[2].grad, gradient[2])
    assert only[1].grad is None


def test_bands_may_be_views():
    bands = single(make_bands(2, 32, 48, 2))
    views = [torch.stack([band, -band], -1)[..., 0] for band in bands]
    assert not views[1].is_contiguous()
    bits, gradient = differentiate(NativeRate(), bands)
    bits_of_views, gradient_of_views = differentiate(NativeRate(), views)
    assert torch.equal(bits, bits_of_views)
    assert all(map(torch.equal, gradient, gradient_of_views))


def test_shapes_are_checked(unchecked):
    bands = single(make_bands(2, 21, 30, 1))
    for wrong in (
        [bands[0], bands[2], bands[1], bands[3]],
        [*bands[:3], bands[3][:, 1:]],
        [*bands[:3], bands[3][:1]],
    ):
        with pytest.raises((ValueError, RuntimeError)):
            NativeRate()(wrong)
    with pytest.raises(ValueError, match=r"bands must have the shapes \[\(2, 11, 15\), .*\], got \[\(2, 11, 14\), "):
        NativeRate().compute([bands[0][..., 1:], *bands[1:]], [bands[0][..., 1:]], gradient=True)


def test_native_is_chosen_where_it_can_compute(monkeypatch):
    for variable in ("EOREN_BACKEND", "EOREN_ENGINE"):
        monkeypatch.delenv(variable, raising=False)
    bands = single(make_bands(1, 9, 9, 1))
    assert isinstance(choose_rate(bands), NativeRate)
    for unsuitable, obstacle in (
        ([band.double() for band in bands], "the native backend computes in float32"),
        ([band.to("meta") for band in bands], "the native backend computes on the CPU, not on meta"),
        ([band.expand(5, -1, -1) for band in bands], "channels must be at most 4, got 5"),
        ([*bands, *bands[1:] * 6], "latents must have at most 6 levels, got 7"),
    ):
        assert NativeRate.obstacle(unsuitable) == obstacle
        assert choose_rate(unsuitable) is latent_bits
    with pytest.raises(
        ValueError, match=r"^the latents must suit the native backend, but .* float32; use latent_bits"
    ):
        NativeRate()([band.double() for band in bands])
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    assert choose_rate(bands) is latent_bits
    monkeypatch.setenv("EOREN_BACKEND", "native")
    assert isinstance(choose_rate(bands), NativeRate)
    with pytest.raises(
        EorenError, match=r"^EOREN_BACKEND is native, but .* float32; unset it to compute with PyTorch$"
    ):
        choose_rate([band.double() for band in bands])


def test_without_the_library_pytorch_computes(monkeypatch):
    for variable in ("EOREN_BACKEND", "EOREN_ENGINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(native_rate, "library", lambda: None)
    assert choose_rate(single(make_bands(1, 9, 9, 1))) is latent_bits
