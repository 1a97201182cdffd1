import numpy as np
import pytest
import torch

from eoren.model.latents.color_decoder import COARSE_GAIN, DETAIL_GAIN, ColorDecoder, color_transform


def decoder_of(channels, groups, width, seed=0):
    """A decoder whose parameters are all random, in float64."""
    generator = torch.Generator().manual_seed(seed)
    decoder = ColorDecoder.init(channels, groups, width=width, generator=generator).to(torch.float64)
    return decoder.with_tensors(
        [t + 0.3 * torch.randn(t.shape, generator=generator).to(t) for t in decoder.tensors()]
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_transform_is_orthonormal_and_leaves_alpha_alone(channels):
    transform = color_transform(channels)
    np.testing.assert_allclose(transform @ transform.T, np.eye(channels), atol=1e-15)
    if channels > 2:
        np.testing.assert_allclose(transform[:3].sum(1)[1:], 0, atol=1e-15)  # colour differences of gray are 0
        np.testing.assert_allclose(transform[0, :3], 3**-0.5)
    if channels in (2, 4):
        assert transform[-1].tolist() == [0.0] * (channels - 1) + [1.0]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [0, 16])
def test_a_new_decoder_inverts_the_transform(channels, width):
    colors = torch.rand(50, channels, generator=torch.Generator().manual_seed(1))
    components = (colors - 0.5) @ torch.from_numpy(color_transform(channels)).float().T
    shares = torch.tensor([0.7, 0.4, -0.1])  # of groups; their sum is what counts
    features = torch.cat([share * components for share in shares], 1)
    decoder = ColorDecoder.init(channels, 3, width=width, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(decoder(features[None])[0], colors, atol=1e-6)


@pytest.mark.parametrize("width", [0, 16])
def test_derivatives_are_those_of_the_composition(width):
    """Features are sine waves of (x, y); PyTorch differentiates the whole by (x, y)."""
    generator = torch.Generator().manual_seed(2)
    decoder = decoder_of(3, 2, width)
    wave = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    points = torch.randn(9, 2, generator=generator, dtype=torch.float64)

    def features(xy):
        return 0.3 * torch.sin(xy @ wave)

    def color(xy):
        return decoder(features(xy)[None, None])[0, 0]

    value = features(points)
    slopes = [0.3 * torch.cos(points @ wave) * wave[axis] for axis in (0, 1)]
    laplacian = -value * wave.square().sum(0)
    whole = decoder(torch.stack([value, *slopes, laplacian]), laplacian=True)
    first = decoder(torch.stack([value, *slopes]))
    torch.testing.assert_close(whole[:3], first)
    for k, point in enumerate(points):
        torch.testing.assert_close(whole[0, k], color(point))
        torch.testing.assert_close(whole[1:3, k].T, torch.autograd.functional.jacobian(color, point))
        for channel in range(3):
            hessian = torch.autograd.functional.hessian(lambda xy, c=channel: color(xy)[c], point)
            torch.testing.assert_close(whole[3, k, channel], hessian.trace())


def test_the_formula():
    decoder = decoder_of(2, 2, 16)
    features = np.random.default_rng(0).normal(size=(7, 4))
    matrix, *tensors = (t.numpy() for t in decoder.tensors())
    weights, biases = [t[0] for t in tensors[:3]], [t[0] for t in tensors[3:]]
    gains = [COARSE_GAIN] * 2 + [DETAIL_GAIN] * 2  # of the low-pass band, and of the details
    hidden = np.sin(np.sin(gains * features @ weights[0] + biases[0]) @ weights[1] + biases[1])
    expected = 0.5 + features @ matrix + hidden @ weights[2] + biases[2]
    np.testing.assert_allclose(decoder(torch.from_numpy(features)[None])[0], expected, atol=1e-12)


def test_parameters_are_counted_and_exchanged():
    decoder = decoder_of(3, 4, 16)
    inputs = 12
    assert decoder.parameters == inputs * 3 + (inputs + 1) * 16 + 17 * 16 + 17 * 3
    doubled = decoder.with_tensors([2 * t for t in decoder.tensors()])
    for one, two in zip(decoder.tensors(), doubled.tensors(), strict=True):
        torch.testing.assert_close(2 * one, two)
    assert decoder_of(3, 4, 0).parameters == inputs * 3
    with pytest.raises(ValueError, match="generator"):
        ColorDecoder.init(3, 4, width=16)
