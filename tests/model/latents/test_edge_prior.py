"""The edge prior: the network against SciPy, its weight against automatic differentiation."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from eoren.model.latents.edge_prior import (
    LEAK,
    VERSION,
    EdgePrior,
    center_bump,
    edge_prior,
    stored_layers,
    to_detail_image,
)


def random_prior(colors, sides=(5, 3), width=6, seed=0):
    rng = np.random.default_rng(seed)
    widths = (colors, *(width for _ in sides[1:]), 4 * colors)
    pairs = list(zip(widths[:-1], widths[1:], sides, strict=True))
    weights = [0.3 * rng.normal(size=(o, i, s, s)).astype(np.float32) for i, o, s in pairs]
    return EdgePrior(tuple(weights), tuple(rng.normal(size=o).astype(np.float32) for _, o, _ in pairs))


def right_outputs(prior, pixels):
    """One correlation at a time, float64."""
    x = pixels.astype(np.float64)
    for number, (weight, bias) in enumerate(zip(prior.weights, prior.biases, strict=True)):
        x = np.where(x > 0, x, LEAK * x) if number else x
        edge = weight.shape[-1] // 2
        sums = [
            sum(correlate(plane, taps, np.float64, "constant") for plane, taps in zip(x, row, strict=True))
            for row in weight.astype(np.float64)
        ]
        x = np.stack(sums)[:, edge:-edge, edge:-edge] + bias[:, None, None]
    return x


def test_the_network_is_a_stack_of_correlations():
    prior, pixels = random_prior(3), np.random.default_rng(1).random((3, 12, 15))
    assert (prior.colors, prior.radius) == (3, 3)
    found = prior(torch.from_numpy(pixels))
    np.testing.assert_allclose(found.numpy(), right_outputs(prior, pixels), rtol=0, atol=1e-12)


def test_the_detail_image_has_the_outputs_of_a_pixel_in_the_order_of_rows():
    outputs = torch.arange(8.0).view(8, 1, 1).expand(8, 2, 3)
    image = to_detail_image(outputs)
    assert image.shape == (2, 4, 6)
    assert image[1, 2:, 4:].tolist() == [[4, 5], [6, 7]]


def test_gray_is_the_same_as_equal_colors():
    prior, gray = random_prior(3), np.random.default_rng(2).random((1, 10, 11))
    right = prior(torch.from_numpy(gray).expand(3, -1, -1)).view(3, 4, 4, 5).mean(0)
    np.testing.assert_allclose(prior.gray()(torch.from_numpy(gray)).numpy(), right.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("colors", [1, 3])
def test_the_shipped_network_does_not_see_the_mean_and_a_constant_has_no_details(colors):
    prior = edge_prior(VERSION, colors)
    pixels = torch.rand(colors, 20, 20, generator=torch.Generator().manual_seed(0))
    assert float((prior(pixels + 0.3) - prior(pixels)).abs().max()) < 1e-6
    assert float(prior(torch.full((colors, 20, 20), 0.7)).abs().max()) < 1e-7


def test_the_shipped_weights_are_exact_products_of_8_bits_and_a_scale():
    layers = stored_layers(VERSION)
    assert sum(array.nbytes for layer in layers for array in layer) < 20_000
    for layer, weights in zip(layers, edge_prior(VERSION, 3).weights, strict=True):
        assert (layer.integers.dtype, layer.scale.dtype, layer.bias.dtype) == (np.int8, np.float16, np.float32)
        exact = layer.integers.astype(np.float64) * layer.scale.astype(np.float64)[:, None, None, None]
        np.testing.assert_array_equal(weights.astype(np.float64), exact)
    assert not layers[0].integers.sum((2, 3), dtype=np.int64).any()


def test_the_weight_vanishes_with_its_slope_at_the_centers_of_pixels():
    centers, edges = (torch.arange(7.0, dtype=torch.float64) - shift for shift in (0.0, 0.5))
    np.testing.assert_array_equal(center_bump(centers, 7).numpy(), 1)
    for order in range(3):
        assert float(center_bump(edges, 7, order).abs().max()) < 1e-14
        assert float(center_bump(torch.tensor([-3.0, 8.0], dtype=torch.float64), 7, order).abs().max()) < 1e-12
    assert float(center_bump(centers, 7, 1).abs().max()) < 1e-13
    np.testing.assert_allclose(center_bump(centers + 0.25, 7).numpy(), 1 / 4, rtol=1e-14)


def test_the_derivatives_of_the_weight_are_right():
    position = torch.linspace(-2, 9, 113, dtype=torch.float64).requires_grad_()
    value, slope, bend = (center_bump(position, 7, order) for order in range(3))
    by_value, by_slope = (torch.autograd.grad(x.sum(), position, retain_graph=True)[0] for x in (value, slope))
    np.testing.assert_allclose(slope.detach(), by_value, rtol=0, atol=1e-12)
    np.testing.assert_allclose(bend.detach(), by_slope, rtol=0, atol=1e-12)
