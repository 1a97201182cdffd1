"""The hand-written backward pass against PyTorch differentiating twice, in float64."""

import pytest
import torch

from eoren.backends.backpropagation import Backpropagation
from eoren.model.siren import Siren


def networks(batch=3, width=7, depth=3, channels=2, seed=0, **omegas):
    generator = torch.Generator().manual_seed(seed)
    siren = Siren.init(batch, width=width, depth=depth, channels=channels, generator=generator, **omegas)
    return siren.to(torch.float64)


def points_and_scale(batch, points, seed=1):
    generator = torch.Generator().manual_seed(seed)
    where = 2 * torch.rand(batch, points, 2, generator=generator, dtype=torch.float64) - 1
    return where, 0.5 + torch.rand(batch, 2, generator=generator, dtype=torch.float64)


def by_double_backpropagation(siren, where, axes, scale, by_said):
    """d/dparameters of sum(by_said * streams), the derivatives taken by autograd of the value alone."""
    leaves = [p.clone().requires_grad_() for p in siren.tensors()]
    local = where.clone().requires_grad_()
    value = siren.with_tensors(leaves)(local)[:, 0]
    streams = [value]
    for axis in axes:
        slopes = [
            torch.autograd.grad(value[..., c].sum(), local, create_graph=True)[0][..., axis]
            for c in range(value.shape[-1])
        ]
        streams.append(torch.stack(slopes, -1) * scale[:, axis, None, None])
    total = (torch.stack(streams, 1) * by_said).sum()
    gradients = torch.autograd.grad(total, leaves, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, gradients, strict=True)]


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("axes", [(), (0,), (1,), (0, 1), (1, 0)])
def test_gradients_are_those_of_double_backpropagation(depth, axes):
    siren = networks(depth=depth, omega_first=20.0)
    where, scale = points_and_scale(3, 11)
    passes = Backpropagation(siren)
    said = passes.forward(slice(0, 3), where, axes=axes, scale=scale)
    torch.testing.assert_close(said, siren(where, axes=axes, scale=scale), rtol=0, atol=1e-12)
    by_said = torch.rand(said.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    passes.backward(by_said)
    expected = by_double_backpropagation(siren, where, axes, scale, by_said)
    for found, right in zip(passes.gradients, expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-10)


def test_chunks_of_networks_and_points_add_up_to_the_whole():
    siren = networks(batch=5)
    where, scale = points_and_scale(5, 12)
    by_said = torch.rand(5, 3, 12, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    whole, parts = Backpropagation(siren), Backpropagation(siren)
    whole.forward(slice(0, 5), where, axes=(0, 1), scale=scale)
    whole.backward(by_said)
    # Shapes differ, come back, and reuse buffers in between.
    for start, end in ((0, 2), (2, 4), (4, 5)):
        for first, last in ((0, 5), (5, 10), (10, 12)):
            own = slice(start, end)
            parts.forward(own, where[own, first:last], axes=(0, 1), scale=scale[own])
            parts.backward(by_said[own, :, first:last])
    for one, other in zip(whole.gradients, parts.gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_gradients_accumulate_until_zeroed():
    siren = networks(batch=1)
    where, scale = points_and_scale(1, 4)
    passes = Backpropagation(siren)
    once = None
    for _ in range(2):
        passes.backward(passes.forward(slice(0, 1), where, axes=(0,), scale=scale).clone())
        once = once or [gradient.clone() for gradient in passes.gradients]
    for single, double in zip(once, passes.gradients, strict=True):
        torch.testing.assert_close(2 * single, double)
    passes.zero()
    assert not any(bool(gradient.any()) for gradient in passes.gradients)


def test_parameters_may_move_between_steps():
    siren = networks(batch=1)
    where, scale = points_and_scale(1, 4)
    passes = Backpropagation(siren)
    passes.forward(slice(0, 1), where, axes=(), scale=scale)
    siren.weights[1].mul_(1.5)
    said = passes.forward(slice(0, 1), where, axes=(), scale=scale)
    torch.testing.assert_close(said, siren(where), rtol=0, atol=1e-12)


def test_networks_by_number_are_those_of_a_slice_and_no_others():
    siren = networks(batch=5)
    where, scale = points_and_scale(2, 9)
    by_said = torch.rand(2, 2, 9, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    chosen = torch.tensor([1, 4])
    whole, some = Backpropagation(siren.select(chosen)), Backpropagation(siren)
    for _ in range(2):  # gradients add up
        expected = whole.forward(slice(0, 2), where, axes=(1,), scale=scale)
        assert torch.equal(some.forward(chosen, where, axes=(1,), scale=scale), expected)
        whole.backward(by_said.clone())
        some.backward(by_said.clone())
    for found, right in zip(some.gradients, whole.gradients, strict=True):
        torch.testing.assert_close(found[chosen], right, rtol=1e-12, atol=1e-12)
        assert not bool(found[[0, 2, 3]].any())
