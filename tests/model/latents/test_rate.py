"""The differentiable rate against the integer reference, closed forms and finite differences."""

import numpy as np
import pytest
import torch

from eoren.coding.bands import Latents
from eoren.coding.block_coder import block_bits
from eoren.coding.contexts import compress as compress_integers
from eoren.coding.distributions import LEAST_MASS, MIXTURE_RATIO, MIXTURE_WEIGHT
from eoren.model.latents.rate import compress, latent_bits, lowpass_bands, mixture_bits
from eoren.model.latents.wavelet import analyze


def make_bands(channels, rows, columns, levels, *, size=60.0, seed=0, dtype=torch.float64):
    """Latents of an image with edges, noise and smooth parts."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.linspace(0, 1, rows)[:, None], torch.linspace(0, 1, columns)
    image = torch.sin(9 * x * y + 4 * x) + (x + 0.7 * y > 0.8) + 0.1 * torch.randn(rows, columns, generator=generator)
    mixing = torch.randn(channels, 1, 1, generator=generator)
    noise = 0.3 * torch.randn(channels, rows, columns, generator=generator) * (y > 0.5)
    bands = analyze((size * (mixing * image + noise) / 10).to(dtype), levels)
    return [bands.coarse, *(band for details in bands.details for band in details)]


def as_latents(bands):
    arrays = [band.numpy().astype(np.int32) for band in bands]
    return Latents.from_bands(arrays)


def gradient_of(bands):
    bands = [band.detach().requires_grad_() for band in bands]
    bits = latent_bits(bands)
    return bits.detach(), torch.autograd.grad(bits, bands, materialize_grads=True)  # unused if empty


@pytest.mark.parametrize("size", [4.0, 40.0, 400.0])
@pytest.mark.parametrize("shape", [(3, 128, 160, 4), (1, 131, 97, 3), (4, 65, 70, 2), (2, 100, 100, 0)])
def test_integer_latents_take_the_bits_of_the_coder(shape, size):
    bands = [band.round() for band in make_bands(*shape, size=size)]
    exact = float(block_bits(as_latents(bands)).sum()) + 63
    # The context model was trained on latents, not on an image without levels.
    tolerance = 0.03 if shape[-1] else 0.04
    assert abs(float(latent_bits(bands)) - exact) < tolerance * exact + 63


def test_means_and_scales_are_those_of_the_coder_to_rounding(monkeypatch):
    """Every place alike, so that no slot of a context is another one."""
    from eoren.coding import block_coder
    from eoren.model.latents import rate

    bands = [band.round() for band in make_bands(3, 96, 130, 3)]
    latents, exact, smooth = as_latents(bands), [], []

    def choose(key, phase, mean, scale):
        where = block_coder.PHASES[phase]
        values = block_coder._frame(latents, key)[where.rows, where.columns].ravel()
        exact.append((torch.from_numpy(values - mean / 16), torch.from_numpy(scale)))
        return values

    def record(distance, scale):
        smooth.append((distance, scale))
        return mixture_bits(distance, scale)

    block_coder.walk(block_coder._like(latents), choose, block_coder.context_model())
    monkeypatch.setattr(rate, "mixture_bits", record)
    latent_bits(bands)
    assert len(exact) == len(smooth)
    for (distance, scale), (smooth_distance, smooth_scale) in zip(exact, smooth, strict=True):
        # Rounding of the contexts adds up to some sixteenths, and less than a factor of 2**(1/4) in scale.
        assert (distance - smooth_distance).abs().max() < 1
        assert (distance - smooth_distance).pow(2).mean().sqrt() < 0.1
        assert (scale - smooth_scale).pow(2).mean().sqrt() < 1


@pytest.mark.parametrize("shape", [(3, 21, 34, 2), (4, 9, 8, 1), (2, 1, 40, 3), (1, 9, 1, 2), (1, 12, 11, 0)])
def test_gradients_are_finite_differences(shape):
    bands = make_bands(*shape)
    _, gradient = gradient_of(bands)
    generator, step = torch.Generator().manual_seed(1), 1e-7
    for _ in range(2):
        direction = [torch.randn(band.shape, generator=generator, dtype=torch.float64) for band in bands]
        ends = [
            float(latent_bits([band + sign * step * d for band, d in zip(bands, direction, strict=True)]))
            for sign in (1, -1)
        ]
        slope = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True))
        norm = sum(float(g.square().sum()) for g in gradient) ** 0.5
        assert abs((ends[0] - ends[1]) / (2 * step) - slope) < 1e-5 * norm


def test_each_gradient_is_a_finite_difference():
    bands, step = make_bands(2, 3, 5, 1), 1e-6
    _, gradient = gradient_of(bands)
    for band, by_band in zip(bands, gradient, strict=True):
        slopes = torch.zeros_like(band)
        for k in range(band.numel()):
            value = band.view(-1)[k].item()
            for sign in (1, -1):
                band.view(-1)[k] = value + sign * step
                slopes.view(-1)[k] += sign * float(latent_bits(bands)) / (2 * step)
            band.view(-1)[k] = value
        torch.testing.assert_close(by_band, slopes, atol=1e-5, rtol=1e-4)


def test_float32_agrees_with_float64():
    bands = make_bands(3, 50, 60, 3)
    bits, gradient = gradient_of(bands)
    bits32, gradient32 = gradient_of([band.float() for band in bands])
    assert bits32.dtype == torch.float32
    torch.testing.assert_close(bits32.double(), bits, atol=0, rtol=1e-5)
    difference = torch.cat([(g32 - g).flatten() for g32, g in zip(gradient32, gradient, strict=True)])
    # A few places lie so near a kink of a hidden value that rounding decides the side.
    assert (difference.abs() > 1e-4).float().mean() < 5e-3
    assert difference.abs().max() < 0.05


def test_compression_is_that_of_the_coder_before_rounding():
    eighths = torch.arange(-3000, 3001)
    smooth = compress(eighths.double())
    assert (smooth - torch.from_numpy(compress_integers(eighths.numpy().astype(np.int32)))).abs().max() <= 0.5
    at_zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    compress(at_zero).backward()
    assert float(at_zero.grad) == pytest.approx(2 / np.log(2))
    beyond = torch.tensor([-1e5, 1e5], requires_grad=True)
    compress(beyond).sum().backward()
    assert compress(beyond).tolist() == [-127, 127]
    assert beyond.grad.tolist() == [0, 0]


def test_the_mixture_is_the_integral_of_its_density():
    scale = torch.linspace(0, 63, 9, dtype=torch.float64)[:, None]
    width = 2 ** ((scale - 16) / 4)
    distance = torch.cat([torch.linspace(-3, 3, 25), torch.linspace(20, 9000, 7)]).double() * (1 + width / 60)
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(60))
    # Integrate on both sides of the kink apart.
    kink = (-distance).clamp(-0.5, 0.5)[..., None]
    mass = torch.zeros_like(distance)
    for low, high in ((-0.5, kink), (kink, 0.5)):
        x = (distance[..., None] + (low + high) / 2 + (high - low) / 2 * nodes).abs()
        density = sum(
            weight / (2 * b) * torch.exp(-x / b)
            for weight, b in (
                (MIXTURE_WEIGHT, width[..., None]),
                (1 - MIXTURE_WEIGHT, MIXTURE_RATIO * width[..., None]),
            )
        )
        mass += (density * weights).sum(-1) * ((high - low) / 2)[..., 0]
    bits = mixture_bits(distance, scale.expand_as(distance))
    torch.testing.assert_close(bits, -torch.log2(mass.clamp(min=LEAST_MASS)), atol=1e-9, rtol=1e-9)


def test_improbable_latents_have_a_finite_cost_without_gradient():
    distance = torch.tensor([1e30, -1e9], requires_grad=True)
    scale = torch.tensor([10.0, 63.0], requires_grad=True)
    bits = mixture_bits(distance, scale)
    bits.sum().backward()
    torch.testing.assert_close(bits.detach(), torch.full((2,), -np.log2(LEAST_MASS), dtype=torch.float32))
    assert distance.grad.tolist() == scale.grad.tolist() == [0, 0]


def test_the_lowpass_bands_are_those_of_the_transform():
    image = torch.randn(2, 37, 50, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    bands = analyze(image, 3)
    low = lowpass_bands([bands.coarse, *(band for details in bands.details for band in details)])
    assert len(low) == 3
    for level, band in enumerate(low, 1):
        torch.testing.assert_close(band, analyze(image, level).coarse)
    assert lowpass_bands([image]) == []


def test_the_number_of_bands_is_checked():
    with pytest.raises(ValueError, match=r"^bands must be 1, 4, 7 \.\.\. tensors, got 3$"):
        latent_bits([torch.zeros(1, 4, 4)] * 3)
