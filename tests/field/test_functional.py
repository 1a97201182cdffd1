"""Fields of every kind in the transformations of torch.func, compared with their own exact derivatives."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from tests.fields import TILINGS, compact_field, doubled, field_of

from eoren.errors import EorenError
from eoren.model.latents.edge_prior import VERSION

COMPACT = compact_field(20, 14, siren_width=8)
FIELDS = {
    "single": field_of(TILINGS["single"]),
    "mosaic": field_of(TILINGS["grid"]),
    "compact": COMPACT,
    "linear": compact_field(20, 14),
    "edge prior": replace(COMPACT, representation=replace(COMPACT.representation, prior=VERSION)),
}
# PyTorch itself compiles rules of forward derivatives with what it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")

JACOBIANS = (torch.func.jacrev, torch.func.jacfwd)
every_kind = pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)


def some_points(count=5):
    return torch.from_numpy(np.random.default_rng(0).uniform(0.05, 0.95, (count, 2)))


def assert_close(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=1e-9 * max(1, float(other.abs().max())))


@every_kind
@pytest.mark.parametrize("jacobian", JACOBIANS)
def test_jacobians_are_the_gradient(field, jacobian):
    field, points = doubled(field), some_points()
    slopes = jacobian(lambda xy: field.color(xy).sum(0))(points)
    assert_close(slopes.movedim(0, 1), field.gradient(points))


@every_kind
@pytest.mark.parametrize(("outer", "inner"), [*product(JACOBIANS, JACOBIANS)])
def test_traces_of_second_derivatives_are_the_laplacian(field, outer, inner):
    field, points = doubled(field), some_points(3)
    second = outer(inner(lambda xy: field.color(xy).sum(0)))(points)  # channels, points, axes, points, axes
    assert_close(torch.einsum("cnana->nc", second), field.laplacian(points))


@every_kind
def test_hessians_are_those_of_jacobians_of_the_gradient(field):
    field, point = doubled(field), some_points(1)
    hessian = torch.func.hessian(lambda xy: field.color(xy)[0])(point)[:, 0, :, 0]
    slopes = torch.func.jacrev(lambda xy: field.gradient(xy)[0])(point)[:, :, 0]
    assert_close(hessian, slopes)


@every_kind
def test_vmap_over_points_is_one_line(field):
    for function in (field.color, torch.func.jacrev(field.color), torch.func.hessian(field.color)):
        with pytest.raises(EorenError, match=r"^torch\.func\.vmap over points is not supported; evaluate all in one"):
            torch.func.vmap(function)(some_points())
