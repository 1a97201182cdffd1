from dataclasses import replace

import numpy as np
import pytest
import torch

from eoren.objectives import OBJECTIVES, Objective, loss

BATCH, POINTS, CHANNELS = 2, 7, 3


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def example(axes):
    said = drawn(BATCH, 1 + len(axes), POINTS, CHANNELS)
    return said, drawn(BATCH, POINTS, CHANNELS, seed=1), drawn(BATCH, POINTS, CHANNELS, 2, seed=2)


def written_out(said, color, gradient, axes):
    """Sums of squared errors in colour and along each axis, number by number."""
    of_color, of_axis = 0.0, [0.0] * len(axes)
    for b, n, c in np.ndindex(BATCH, POINTS, CHANNELS):
        of_color += float(said[b, 0, n, c] - color[b, n, c]) ** 2
        for k, axis in enumerate(axes):
            of_axis[k] += float(said[b, 1 + k, n, c] - gradient[b, n, c, axis]) ** 2
    return of_color, of_axis


def test_the_papers_objective_has_no_colour_in_it_and_pixel_no_gradient():
    assert {name: (o.color > 0, o.gradient > 0) for name, o in OBJECTIVES.items()} == {
        "gradient": (False, True),
        "pixel": (True, False),
        "sobolev": (True, True),
    }
    assert all(objective.name == name for name, objective in OBJECTIVES.items())
    assert OBJECTIVES["gradient"].gradient == OBJECTIVES["pixel"].color == OBJECTIVES["sobolev"].color == 1
    with pytest.raises(TypeError):
        OBJECTIVES["pixel"] = OBJECTIVES["gradient"]
    with pytest.raises(AttributeError):
        OBJECTIVES["pixel"].color = 2.0


@pytest.mark.parametrize("axes", [(0, 1), (0,), (1,)], ids=str)
@pytest.mark.parametrize("objective", [*OBJECTIVES.values(), Objective("odd", 0.3, 7.0)], ids=lambda o: o.name)
def test_losses_are_the_formula(objective, axes):
    said, color, gradient = example(axes)
    of_color, of_axis = written_out(said, color, gradient, axes)
    found = loss(objective, said, color, gradient, axes)
    # One axis alone stands for both.
    total = objective.color * of_color + objective.gradient * sum(of_axis) * 2 / len(axes)
    assert float(found.total) == pytest.approx(total / CHANNELS, rel=1e-12)
    assert float(found.color) == pytest.approx(of_color, rel=1e-12)
    assert float(found.gradient) == pytest.approx(sum(of_axis), rel=1e-12)
    assert found.total.ndim == found.color.ndim == found.gradient.ndim == 0


def test_without_axes_there_is_colour_alone():
    said, color, gradient = example(())
    of_color, _ = written_out(said, color, gradient, ())
    found = loss(replace(OBJECTIVES["pixel"], color=2.0), said, color, gradient, ())
    assert float(found.total) == pytest.approx(2 * of_color / CHANNELS, rel=1e-12)
    assert float(found.color) == pytest.approx(of_color, rel=1e-12)
    assert float(found.gradient) == 0


def test_both_axes_are_the_mean_of_one_at_a_time():
    said, color, gradient = example((0, 1))
    objective = OBJECTIVES["sobolev"]
    both = loss(objective, said, color, gradient, (0, 1))
    x = loss(objective, said[:, [0, 1]], color, gradient, (0,))
    y = loss(objective, said[:, [0, 2]], color, gradient, (1,))
    torch.testing.assert_close((x.total + y.total) / 2, both.total, rtol=1e-12, atol=0)


def test_chunks_add_up():
    said, color, gradient = example((0, 1))
    whole = loss(OBJECTIVES["sobolev"], said, color, gradient, (0, 1))
    parts = [
        loss(OBJECTIVES["sobolev"], said[b, :, n], color[b, n], gradient[b, n], (0, 1))
        for b in (slice(0, 1), slice(1, 2))
        for n in (slice(0, 3), slice(3, 7))
    ]
    for name in ("total", "color", "gradient"):
        torch.testing.assert_close(sum(getattr(part, name) for part in parts), getattr(whole, name))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_only_the_total_is_differentiated_and_only_by_what_counts(name):
    said, color, gradient = example((0, 1))
    said.requires_grad_()
    found = loss(OBJECTIVES[name], said, color, gradient, (0, 1))
    assert not found.color.requires_grad
    assert not found.gradient.requires_grad
    (slope,) = torch.autograd.grad(found.total, said)
    weights = OBJECTIVES[name]
    error = said.detach() - torch.cat([color[:, None], gradient.movedim(-1, 1)], 1)
    scale = torch.tensor([weights.color, weights.gradient, weights.gradient], dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(slope, 2 * scale * error / CHANNELS, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("axes", [(0, 1), (0,), (1,), ()], ids=str)
def test_what_is_right_costs_nothing(axes):
    _, color, gradient = example(axes)
    said = torch.stack([color, *(gradient[..., axis] for axis in axes)], 1)
    assert float(loss(OBJECTIVES["sobolev"], said, color, gradient, axes).total) == 0
