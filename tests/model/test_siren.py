from dataclasses import FrozenInstanceError
from math import exp, sqrt

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from eoren.backends.backpropagation import Backpropagation
from eoren.backends.base import chunk_points
from eoren.model.siren import Siren, parameter_count, training_flops


def by_hand(siren, points, *, axes=(), scale=None):
    """The hand-written forward pass of training."""
    scale = torch.ones(siren.batch, 2).to(points) if scale is None else scale
    return Backpropagation(siren).forward(slice(None), points.detach(), axes=axes, scale=scale)


BOTH = [Siren.__call__, by_hand]
SHAPES = [(1, 7, 1, 1), (2, 8, 2, 3), (3, 5, 4, 4)]  # batch, width, depth, channels


def drawn(batch=2, width=8, depth=3, channels=3, seed=0, dtype=torch.float64, **omegas):
    generator = torch.Generator().manual_seed(seed)
    siren = Siren.init(batch, width=width, depth=depth, channels=channels, generator=generator, **omegas)
    return siren.to(dtype)


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


def scales(batch, seed=5):
    """A rate for every network and axis."""
    return 0.25 + 3 * torch.rand(batch, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_laplacian(siren, points, scale=None):
    scale = torch.ones(siren.batch, 2) if scale is None else scale
    jacobian = plain_jacobian(siren, points)
    total = 0
    for axis in (0, 1):
        columns = [
            torch.autograd.grad(jacobian[:, axis, :, c].sum(), points, create_graph=True)[0][..., axis]
            for c in range(siren.channels)
        ]
        total = total + scale[:, axis, None, None] ** 2 * torch.stack(columns, -1)
    return total


def assert_equal_to_rounding(found, expected, rounding=1e-10):
    torch.testing.assert_close(
        found, expected, rtol=rounding, atol=rounding * max(1.0, float(expected.detach().abs().max()))
    )


# Values and derivatives.


@pytest.mark.parametrize(("batch", "width", "depth", "channels"), SHAPES)
def test_streams_match_double_back_propagation(batch, width, depth, channels):
    siren = drawn(batch, width, depth, channels, omega_first=30.0, omega_hidden=20.0)
    points, scale = drawn_points(batch).requires_grad_(), scales(batch)

    said = siren(points, axes=(0, 1), scale=scale, laplacian=True)

    assert said.shape == (batch, 4, 5, channels)
    assert_equal_to_rounding(said[:, 0], plain(siren, points))
    jacobian = plain_jacobian(siren, points)
    assert_equal_to_rounding(said[:, 1], scale[:, 0, None, None] * jacobian[:, 0])
    assert_equal_to_rounding(said[:, 2], scale[:, 1, None, None] * jacobian[:, 1])
    assert_equal_to_rounding(said[:, 3], plain_laplacian(siren, points, scale))


@pytest.mark.parametrize("forward", BOTH)
@pytest.mark.parametrize("axes", [(), (0,), (1,), (0, 1), (1, 0)], ids=str)
@pytest.mark.parametrize(("batch", "width", "depth", "channels"), SHAPES)
def test_streams_come_in_the_order_of_the_axes(forward, axes, batch, width, depth, channels):
    siren = drawn(batch, width, depth, channels)
    points, scale = drawn_points(batch).requires_grad_(), scales(batch)
    said = forward(siren, points, axes=axes, scale=scale)
    jacobian = plain_jacobian(siren, points)
    expected = [plain(siren, points), *(jacobian[:, axis] * scale[:, axis, None, None] for axis in axes)]
    assert_equal_to_rounding(said, torch.stack(expected, 1))


@pytest.mark.parametrize("axes", [(), (1,), (0, 1)], ids=str)
def test_without_a_scale_derivatives_are_by_the_networks_own_coordinates(axes):
    siren, points = drawn(), drawn_points()
    ones = torch.ones(2, 2, dtype=torch.float64)
    assert torch.equal(siren(points, axes=axes), siren(points, axes=axes, scale=ones))


def test_streams_agree_with_finite_differences():
    siren, points, step = drawn(omega_first=5.0, omega_hidden=5.0), drawn_points(), 1e-5
    said = siren(points, axes=(0, 1), laplacian=True)
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
    together = siren(points, axes=(0, 1), laplacian=True)
    for network in range(3):
        one = slice(network, network + 1)
        alone = siren.select(one)(points[one], axes=(0, 1), laplacian=True)
        torch.testing.assert_close(together[one], alone, rtol=1e-12, atol=1e-12)


def test_a_point_alone_has_all_its_streams():
    siren, points = drawn(), drawn_points()
    together = siren(points, axes=(0, 1), laplacian=True)
    assert_equal_to_rounding(siren(points[:, :1], axes=(0, 1), laplacian=True), together[:, :, :1])


@pytest.mark.parametrize("axes", [(), (0,), (1,), (1, 0)], ids=str)
def test_laplacian_needs_both_derivatives(axes):
    with pytest.raises(ValueError, match=r"axes=\(0, 1\), got \("):
        drawn()(drawn_points(), axes=axes, laplacian=True)


@pytest.mark.parametrize("forward", BOTH)
def test_float32_agrees_with_float64(forward):
    siren, points = drawn(2, 64, 5, 3), drawn_points(2, 50)
    exact = siren(points, axes=(0, 1))
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


def powers(said, target, color):
    """A scalar that treats no two numbers alike."""
    return color * (said[:, 0] - target[:, 0]).square().sum() + (said[:, 1:] - target[:, 1:]).pow(4).sum()


def plain_streams(siren, points, axes, scale):
    jacobian = plain_jacobian(siren, points)
    return torch.stack([plain(siren, points), *(scale[:, axis, None, None] * jacobian[:, axis] for axis in axes)], 1)


def drawn_target(axes, batch, channels):
    generator = torch.Generator().manual_seed(2)
    return torch.rand(batch, 1 + len(axes), 5, channels, generator=generator, dtype=torch.float64)


LOSSES = [((), 1.0), *((axes, color) for axes in ((0,), (1,), (0, 1), (1, 0)) for color in (0.0, 1.0))]


@pytest.mark.parametrize(("axes", "color"), LOSSES, ids=str)
@pytest.mark.parametrize(("batch", "width", "depth", "channels"), SHAPES)
def test_gradients_of_losses_match_double_back_propagation(axes, color, batch, width, depth, channels):
    siren = drawn(batch, width, depth, channels)
    siren = siren.with_tensors([t.requires_grad_() for t in siren.tensors()])
    points, scale, target = drawn_points(batch).requires_grad_(), scales(batch), drawn_target(axes, batch, channels)
    found = gradients(powers(siren(points, axes=axes, scale=scale), target, color), siren, points)
    expected = gradients(powers(plain_streams(siren, points, axes, scale), target, color), siren, points)
    for one, other in zip(found, expected, strict=True):
        assert_equal_to_rounding(one, other)


@pytest.mark.parametrize(("axes", "color"), LOSSES, ids=str)
@pytest.mark.parametrize(("batch", "width", "depth", "channels"), SHAPES)
def test_gradients_by_hand_match_double_back_propagation(axes, color, batch, width, depth, channels):
    siren = drawn(batch, width, depth, channels)
    points, scale, target = drawn_points(batch), scales(batch), drawn_target(axes, batch, channels)
    passes = Backpropagation(siren)
    for _ in range(2):  # buffers are used again
        passes.zero()
        said = passes.forward(slice(None), points, axes=axes, scale=scale).clone().requires_grad_()
        (by_said,) = torch.autograd.grad(powers(said, target, color), said)
        passes.backward(by_said)

    leaves = siren.with_tensors([t.clone().requires_grad_() for t in siren.tensors()])
    points = points.requires_grad_()
    *expected, _ = gradients(powers(plain_streams(leaves, points, axes, scale), target, color), leaves, points)
    for one, other in zip(passes.gradients, expected, strict=True):
        assert_equal_to_rounding(one, other)
    assert not any(t.requires_grad for t in passes.gradients)


def test_chunks_by_hand_add_up_whatever_their_shapes():
    """More shapes than are kept, in an order that comes back to them; parameters that moved in between."""
    siren, scale = drawn(4, 6, 3, 2), scales(4)
    passes = Backpropagation(siren)
    for step in range(2):
        points = drawn_points(4, 60, seed=step)
        passes.zero()
        for axes in ((0, 1), (1,), ()):
            for networks in (slice(0, 1), slice(1, 4)):
                for part in (slice(0, 7), slice(7, 30), slice(30, 53), slice(53, 60)):
                    chunk = points[networks, part]
                    said = passes.forward(networks, chunk, axes=axes, scale=scale[networks])
                    passes.backward(2 * said)
        leaves = siren.with_tensors([t.clone().requires_grad_() for t in siren.tensors()])
        points = points.requires_grad_()
        total = sum(plain_streams(leaves, points, axes, scale).square().sum() for axes in ((0, 1), (1,), ()))
        for one, other in zip(passes.gradients, gradients(total, leaves, points), strict=False):
            assert_equal_to_rounding(one, other)
        for tensor, gradient in zip(siren.tensors(), passes.gradients, strict=True):
            tensor.add_(gradient, alpha=-1e-6)


def test_passes_by_hand_leave_parameters_and_points_alone():
    siren, points = drawn(), drawn_points()
    before, given = [t.clone() for t in siren.tensors()], points.clone()
    passes = Backpropagation(siren)
    assert not any(g.any() for g in passes.gradients)
    said = passes.forward(slice(None), points, axes=(0, 1), scale=scales(2))
    assert not any(g.any() for g in passes.gradients)
    by_said = said.clone()
    passes.backward(by_said)
    assert torch.equal(by_said, said)
    assert torch.equal(points, given)
    assert all(torch.equal(a, b) for a, b in zip(siren.tensors(), before, strict=True))
    assert all(g.any() for g in passes.gradients)
    passes.zero()
    assert not any(g.any() for g in passes.gradients)


def test_gradient_of_the_laplacian_matches_third_derivatives():
    siren = drawn()
    siren = siren.with_tensors([t.requires_grad_() for t in siren.tensors()])
    points = drawn_points().requires_grad_()
    laplacian = siren(points, axes=(0, 1), laplacian=True)[:, 3]
    found = gradients(laplacian.square().sum(), siren, points)
    expected = gradients(plain_laplacian(siren, points).square().sum(), siren, points)
    for one, other in zip(found, expected, strict=True):
        assert_equal_to_rounding(one, other)


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
    siren = drawn(8, 256, 4, 64, omega_hidden=omega_hidden)  # the last variance is that of many outputs
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


def test_networks_are_drawn_where_the_generator_is():
    with torch.device("meta"):  # not the default device of PyTorch
        assert drawn().device == torch.device("cpu")


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


def test_networks_go_where_tensors_go():
    moved = drawn().to(device="meta", dtype=torch.float32)
    assert {(t.device.type, t.dtype) for t in moved.tensors()} == {("meta", torch.float32)}


@pytest.mark.parametrize(("device", "cache"), [("cpu", 2 << 20), ("meta", 64 << 20)])
@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.float64, 8)])
def test_chunks_fill_the_cache_of_the_device(device, cache, dtype, size):
    siren = drawn(width=40, dtype=dtype).to(device)
    for streams in (1, 3):
        points = chunk_points(siren, streams)
        assert points * streams * 40 * size <= cache < (points + 1) * streams * 40 * size
    assert chunk_points(siren, 1 << 20) == 16  # the least that is worth a call


@pytest.mark.parametrize("streams", [1, 2, 3])
@pytest.mark.parametrize(("batch", "width", "depth", "channels"), SHAPES)
def test_flops_are_those_that_pytorch_counts(streams, batch, width, depth, channels):
    siren = drawn(batch, width, depth, channels)
    leaves = [t.requires_grad_() for t in siren.tensors()]
    with FlopCounterMode(display=False) as counter:
        said = siren.with_tensors(leaves)(drawn_points(batch, 6), axes=(0, 1)[: streams - 1])
        torch.autograd.grad(said.square().sum(), leaves)
    assert training_flops(siren, streams) * batch * 6 == counter.get_total_flops()
