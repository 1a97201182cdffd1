from dataclasses import FrozenInstanceError
from math import exp, sqrt

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from eoren.siren import flops, initialise, parameter_count, propagate, propagate_for_training

BOTH = [propagate, propagate_for_training]
SHAPES = [(1, 7, 1, 1), (2, 8, 2, 3), (3, 5, 4, 4)]  # batch, width, depth, channels


def drawn(batch=2, width=8, depth=3, channels=3, seed=0, dtype=torch.float64, **omegas):
    generator = torch.Generator().manual_seed(seed)
    return initialise(batch, width=width, depth=depth, channels=channels, generator=generator, dtype=dtype, **omegas)


def drawn_points(batch=2, points=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(batch, points, 2, generator=generator, dtype=torch.float64) - 1


def plain(siren, points):
    """The textbook formula, network by network, which PyTorch can differentiate as often as one likes."""
    said = []
    for network in range(siren.batch):
        z = points[network]
        for layer, omega in enumerate(siren.omegas):
            z = torch.sin(omega * (z @ siren.weights[layer][network] + siren.biases[layer][network]))
        said.append(z @ siren.weights[-1][network] + siren.biases[-1][network])
    return torch.stack(said)


def plain_jacobian(siren, points):
    """``(B, 2, N, C)``, by back-propagation; differentiable in turn."""
    value = plain(siren, points)
    columns = [torch.autograd.grad(value[..., c].sum(), points, create_graph=True)[0] for c in range(siren.channels)]
    return torch.stack(columns, -1).movedim(2, 1)


def plain_laplacian(siren, points, scale=(1.0, 1.0)):
    jacobian = plain_jacobian(siren, points)
    total = 0
    for axis in (0, 1):
        columns = [
            torch.autograd.grad(jacobian[:, axis, :, c].sum(), points, create_graph=True)[0][..., axis]
            for c in range(siren.channels)
        ]
        total = total + scale[axis] ** 2 * torch.stack(columns, -1)
    return total


def assert_equal_to_rounding(found, expected, rounding=1e-10):
    torch.testing.assert_close(
        found, expected, rtol=rounding, atol=rounding * max(1.0, float(expected.detach().abs().max()))
    )


# Values and derivatives.


@pytest.mark.parametrize(("batch", "width", "depth", "channels"), SHAPES)
@pytest.mark.parametrize("scale", [(1.0, 1.0), (3.0, 0.25)])
def test_streams_match_double_back_propagation(batch, width, depth, channels, scale):
    siren = drawn(batch, width, depth, channels, omega_first=30.0, omega_hidden=20.0)
    points = drawn_points(batch).requires_grad_()

    said = propagate(siren, points, axes=(0, 1), scale=scale, laplacian=True)

    assert said.shape == (batch, 4, 5, channels)
    assert_equal_to_rounding(said[:, 0], plain(siren, points))
    jacobian = plain_jacobian(siren, points)
    assert_equal_to_rounding(said[:, 1], scale[0] * jacobian[:, 0])
    assert_equal_to_rounding(said[:, 2], scale[1] * jacobian[:, 1])
    assert_equal_to_rounding(said[:, 3], plain_laplacian(siren, points, scale))


@pytest.mark.parametrize("forward", BOTH)
@pytest.mark.parametrize("axes", [(), (0,), (1,), (0, 1), (1, 0)], ids=str)
@pytest.mark.parametrize(("batch", "width", "depth", "channels"), SHAPES)
def test_streams_come_in_the_order_of_the_axes(forward, axes, batch, width, depth, channels):
    siren = drawn(batch, width, depth, channels)
    points = drawn_points(batch).requires_grad_()
    said = forward(siren, points, axes=axes, scale=(0.5, 2.0))
    jacobian = plain_jacobian(siren, points)
    expected = [plain(siren, points), *(jacobian[:, axis] * (0.5, 2.0)[axis] for axis in axes)]
    assert_equal_to_rounding(said, torch.stack(expected, 1))


def test_streams_agree_with_finite_differences():
    siren, points, step = drawn(omega_first=5.0, omega_hidden=5.0), drawn_points(), 1e-5
    said = propagate(siren, points, axes=(0, 1), laplacian=True)
    laplacian = -4 * plain(siren, points)
    for axis in (0, 1):
        aside = torch.zeros(2, dtype=torch.float64)
        aside[axis] = step
        after, before = plain(siren, points + aside), plain(siren, points - aside)
        torch.testing.assert_close(said[:, 1 + axis], (after - before) / (2 * step), rtol=1e-6, atol=1e-6)
        laplacian = laplacian + after + before
    torch.testing.assert_close(said[:, 3], laplacian / step**2, rtol=1e-3, atol=1e-3)


def test_networks_of_a_batch_are_independent():
    siren, points = drawn(3), drawn_points(3)
    together = propagate(siren, points, axes=(0, 1), laplacian=True)
    for network in range(3):
        one = slice(network, network + 1)
        alone = propagate(siren.select(one), points[one], axes=(0, 1), laplacian=True)
        torch.testing.assert_close(together[one], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axes", [(), (0,), (1,), (1, 0)], ids=str)
def test_laplacian_needs_both_derivatives(axes):
    with pytest.raises(ValueError, match=r"axes=\(0, 1\), got \("):
        propagate(drawn(), drawn_points(), axes=axes, laplacian=True)


@pytest.mark.parametrize("forward", BOTH)
def test_float32_agrees_with_float64(forward):
    siren, points = drawn(2, 64, 5, 3), drawn_points(2, 50)
    exact = propagate(siren, points, axes=(0, 1))
    found = forward(siren.to(torch.float32), points.float(), axes=(0, 1))
    assert found.dtype == torch.float32
    for stream in range(3):
        error = (found[:, stream] - exact[:, stream]).abs().max() / exact[:, stream].abs().max()
        assert error < 1e-3


# Gradients by parameters and by points.


def gradients(loss, siren, points):
    found = torch.autograd.grad(loss, [*siren.tensors(), points], allow_unused=True)
    tensors = [*siren.tensors(), points]
    return [torch.zeros_like(t) if g is None else g for g, t in zip(found, tensors, strict=True)]


@pytest.mark.parametrize("forward", BOTH)
@pytest.mark.parametrize("color", [0.0, 1.0])
@pytest.mark.parametrize("axes", [(), (0,), (1,), (0, 1)], ids=str)
@pytest.mark.parametrize(("batch", "width", "depth", "channels"), SHAPES)
def test_gradients_of_losses_match_double_back_propagation(forward, color, axes, batch, width, depth, channels):
    siren = drawn(batch, width, depth, channels)
    siren = siren.with_tensors([t.requires_grad_() for t in siren.tensors()])
    points = drawn_points(batch).requires_grad_()
    generator = torch.Generator().manual_seed(2)
    target = torch.rand(batch, 3, 5, channels, generator=generator, dtype=torch.float64)
    scale = (1.5, 0.75)

    def loss(value, derivatives):
        total = color * (value - target[:, 0]).square().sum()
        for axis, derivative in zip(axes, derivatives, strict=True):
            total = total + (derivative - target[:, 1 + axis]).pow(4).sum()
        return total

    said = forward(siren, points, axes=axes, scale=scale)
    jacobian = plain_jacobian(siren, points)
    expected = loss(plain(siren, points), [scale[axis] * jacobian[:, axis] for axis in axes])
    if not (color or axes):
        return
    found = gradients(loss(said[:, 0], said[:, 1:].unbind(1)), siren, points)
    for one, other in zip(found, gradients(expected, siren, points), strict=True):
        assert_equal_to_rounding(one, other)


def test_gradient_of_the_laplacian_matches_third_derivatives():
    siren = drawn()
    siren = siren.with_tensors([t.requires_grad_() for t in siren.tensors()])
    points = drawn_points().requires_grad_()
    laplacian = propagate(siren, points, axes=(0, 1), laplacian=True)[:, 3]
    found = gradients(laplacian.square().sum(), siren, points)
    expected = gradients(plain_laplacian(siren, points).square().sum(), siren, points)
    for one, other in zip(found, expected, strict=True):
        assert_equal_to_rounding(one, other)


def test_training_pass_says_so_rather_than_give_wrong_second_derivatives():
    siren, points = drawn(), drawn_points().requires_grad_()
    said = propagate_for_training(siren, points, axes=(0,))
    (first,) = torch.autograd.grad(said[:, 1].square().sum(), points, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


# Initialisation.


@pytest.mark.parametrize(("width", "omega_hidden"), [(64, 30.0), (256, 30.0), (256, 7.0)])
def test_initialisation_is_the_official_one(width, omega_hidden):
    siren = drawn(4, width, 4, 3, omega_hidden=omega_hidden)
    hidden = sqrt(6 / width) / omega_hidden
    bounds = [1 / 2, hidden, hidden, hidden, hidden]
    sizes = [2, width, width, width, width]
    assert siren.omegas == (30.0, omega_hidden, omega_hidden, omega_hidden)
    for weight, bias, bound, inputs in zip(siren.weights, siren.biases, bounds, sizes, strict=True):
        for numbers, limit in ((weight, bound), (bias, 1 / sqrt(inputs))):
            count = numbers.numel()
            assert numbers.abs().max() <= limit
            # Of `count` uniform numbers the largest misses the bound by more than this once in exp(10).
            assert numbers.abs().max() > limit * (1 - 10 / count)
            deviation = limit / sqrt(3)
            assert abs(numbers.mean()) < 4 * deviation / sqrt(count)
            # The variance of a uniform sample's variance: (mu4 - s^4) / n with mu4 = 9/5 s^4.
            assert numbers.var() == pytest.approx(deviation**2, rel=4 * sqrt(0.8 / count))


@pytest.mark.parametrize("omega_hidden", [30.0, 10.0])
def test_sine_units_start_with_unit_variance(omega_hidden):
    siren = drawn(8, 256, 4, 1, omega_hidden=omega_hidden)
    z = drawn_points(8, 200)
    variances = []
    for weight, bias, omega in zip(siren.weights, siren.biases, siren.omegas, strict=False):
        p = omega * (z @ weight)
        variances.append(float(p.var()))
        z = torch.sin(p + omega * bias)
        # For a normal argument of variance v: (1 - exp(-2 v)) / 2, about one half, which the next layer doubles.
        spread = float((p + omega * bias).var())
        assert z.var() == pytest.approx((1 - exp(-2 * spread)) / 2, abs=0.03)
    assert variances[0] == pytest.approx(2 * 30**2 * (1 / 12) * (1 / 3), rel=0.15)
    assert variances[1:] == pytest.approx([1.0] * 3, abs=0.15)
    # The last layer has no omega in front: it starts at the size of one unit's weight.
    assert (z @ siren.weights[-1]).var() == pytest.approx(1 / omega_hidden**2, rel=0.3)


def test_drawing_follows_from_the_generator_alone():
    one, same, other = drawn(seed=3), drawn(seed=3), drawn(seed=4)
    for a, b, c in zip(one.tensors(), same.tensors(), other.tensors(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
        assert not torch.equal(a[0], a[1])


# The container.


@pytest.mark.parametrize(("batch", "width", "depth", "channels"), SHAPES)
def test_shapes_and_counts(batch, width, depth, channels):
    siren = drawn(batch, width, depth, channels, dtype=torch.float32)
    assert (siren.batch, siren.width, siren.depth, siren.channels) == (batch, width, depth, channels)
    assert siren.device == torch.device("cpu")
    numbers = sum(t[0].numel() for t in siren.tensors())
    assert siren.parameters_per_network == parameter_count(width, depth, channels) == numbers
    assert all(t.dtype == torch.float32 for t in siren.tensors())


def test_tensors_come_weights_first_and_go_back():
    siren = drawn()
    assert [t.ndim for t in siren.tensors()] == [3] * 8
    assert all(a is b for a, b in zip(siren.tensors(), [*siren.weights, *siren.biases], strict=True))
    again = siren.with_tensors([2 * t for t in siren.tensors()])
    assert torch.equal(again.weights[1], 2 * siren.weights[1])
    assert torch.equal(again.biases[3], 2 * siren.biases[3])
    assert again.omegas == siren.omegas
    with pytest.raises(FrozenInstanceError):
        siren.omegas = ()


def test_selection_is_a_view_for_slices_and_a_copy_for_indices():
    siren = drawn(4)
    some = siren.select(slice(1, 3))
    assert some.batch == 2
    assert some.weights[0].data_ptr() == siren.weights[0][1:].data_ptr()
    picked = siren.select(torch.tensor([3, 0, 3]))
    for tensor, own in zip(picked.tensors(), siren.tensors(), strict=True):
        assert torch.equal(tensor, torch.stack([own[3], own[0], own[3]]))


@pytest.mark.parametrize("streams", [1, 2, 3])
@pytest.mark.parametrize(("batch", "width", "depth", "channels"), SHAPES)
def test_flops_are_those_that_pytorch_counts(streams, batch, width, depth, channels):
    siren = drawn(batch, width, depth, channels)
    leaves = [t.requires_grad_() for t in siren.tensors()]
    with FlopCounterMode(display=False) as counter:
        said = propagate_for_training(siren.with_tensors(leaves), drawn_points(batch, 6), axes=(0, 1)[: streams - 1])
        torch.autograd.grad(said.square().sum(), leaves)
    assert flops(siren, streams) * batch * 6 == counter.get_total_flops()
