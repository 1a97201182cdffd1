import base64
import copy
import io
import os
import pickle
import re
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from math import ceil, floor

import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from tests.fields import TILINGS, doubled, field_of, tiling_of, with_parts
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual

from eoren.backends import mosaic_evaluation
from eoren.backends.mosaic_evaluation import Jet
from eoren.backends.native import NativeBackend
from eoren.backends.native_library import library
from eoren.backends.torch import TorchBackend
from eoren.errors import EorenError
from eoren.field import field as field_module
from eoren.field.mosaic import SirenMosaic
from eoren.field.provenance import Provenance
from eoren.field.serialization import dumps
from eoren.model.siren import Siren
from eoren.model.tiling import MIN_HALO, Tiling

SINGLE, GRID = TILINGS["single"], TILINGS["grid"]
every_tiling = pytest.mark.parametrize("tiling", TILINGS.values(), ids=TILINGS)
every_mosaic = pytest.mark.parametrize("tiling", [*TILINGS.values()][1:], ids=[*TILINGS][1:])
one_and_many = pytest.mark.parametrize("tiling", [SINGLE, GRID], ids=["single", "grid"])


def cuts_of(tiling):
    """The tree walked: per tile, its box and the cuts above it as ``(axis, place, whether it lies above)``."""
    nodes = iter(tiling.nodes.tolist())

    def walk(box, above):
        axis, place = next(nodes)
        if axis == -1:
            return [(box, above)]
        lower, upper = list(box), list(box)
        lower[2 + axis] = upper[axis] = place
        below = walk(lower, [*above, (axis, place, False)])
        return below + walk(upper, [*above, (axis, place, True)])

    return walk([0, 0, tiling.width, tiling.height], [])


def some_points(tiling, count=150, seed=0):
    """Points in and around the unit square, and all crossings of cuts, borders and ends of overlaps."""
    boxes = [box for box, _ in cuts_of(tiling)]
    places = []
    for axis, size in enumerate((tiling.width, tiling.height)):
        edges = sorted({box[axis + side] for box in boxes for side in (0, 2)})
        places.append([(e + side * tiling.halo) / size for e in edges for side in (-1, 0, 1)])
    crossings = np.stack(np.meshgrid(*places), -1).reshape(-1, 2)
    return np.concatenate([np.random.default_rng(seed).uniform(-0.3, 1.3, (count, 2)), crossings])


# The field as docs/file-format.md defines it, without blocks, lists of neighbours or forward derivatives.


def quintic_step(t):
    s = ((t + 1) / 2).clamp(0, 1)
    return s**3 * (6 * s**2 - 15 * s + 10)


def plain_color(field, xy):
    tiling, siren, tuning = field.representation.tiling, field.representation.siren, field.representation.tuning
    pixels = xy * torch.tensor([tiling.width, tiling.height])
    total = torch.zeros(len(xy), field.channels, dtype=xy.dtype)
    for tile, ((x0, y0, x1, y1), above) in enumerate(cuts_of(tiling)):
        first_column, last_column = ceil(x0 - tiling.halo - 0.5), floor(x1 + tiling.halo - 0.5)
        first_row, last_row = ceil(y0 - tiling.halo - 0.5), floor(y1 + tiling.halo - 0.5)
        left, right = max(0, first_column), min(tiling.width - 1, last_column) + 1
        top, bottom = max(0, first_row), min(tiling.height - 1, last_row) + 1
        half = max(right - left, bottom - top) / 2
        middle = torch.tensor([left + right, top + bottom]).double() / 2
        z = (pixels - middle) / half
        for layer, omega in enumerate(siren.omegas):
            z = torch.sin(omega * (z @ siren.weights[layer][tile] + siren.biases[layer][tile]))
        g = z @ siren.weights[-1][tile] + siren.biases[-1][tile]
        weight = torch.ones_like(xy[:, 0])
        for axis, place, is_above in above:
            step = quintic_step((pixels[:, axis] - place) / tiling.halo)
            weight = weight * (step if is_above else 1 - step)
        total = total + weight[:, None] * (tuning.alpha[tile] * g + tuning.beta[tile])
    return total


def plain_answers(field, xy):
    """Colour, gradient and Laplacian, the derivatives by PyTorch."""
    xy = torch.as_tensor(xy).double().requires_grad_()
    color = plain_color(field, xy)
    gradients, laplacians = [], []
    for c in range(field.channels):
        (slope,) = torch.autograd.grad(color[:, c].sum(), xy, create_graph=True)
        second = [torch.autograd.grad(slope[:, a].sum(), xy, retain_graph=True)[0][:, a] for a in (0, 1)]
        gradients.append(slope.detach())
        laplacians.append(sum(second))
    return color.detach().numpy(), torch.stack(gradients, 1).numpy(), torch.stack(laplacians, 1).numpy()


def assert_close(actual, expected, relative):
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=relative * max(1, np.abs(expected).max(initial=0)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@every_tiling
def test_answers_are_those_of_the_written_format(tiling, channels):
    field = doubled(field_of(tiling, channels, depth=1 + channels % 3))
    points = some_points(tiling)
    color, gradient, laplacian = plain_answers(field, points)
    assert_close(field.color(points), color, 1e-11)
    assert_close(field.gradient(points), gradient, 1e-11)
    assert_close(field.laplacian(points), laplacian, 1e-10)
    both = field.color_and_gradient(points)
    assert_close(both[0], color, 1e-11)
    assert_close(both[1], gradient, 1e-11)


@every_tiling
def test_float32_loses_only_rounding(tiling):
    field = field_of(tiling)
    points = some_points(tiling)
    for found, expected in zip(
        (field.color(points), field.gradient(points), field.laplacian(points)),
        plain_answers(doubled(field), points),
        strict=True,
    ):
        assert found.dtype == np.float32
        assert_close(found, expected, 2e-5)


@pytest.mark.parametrize(("points_at_once", "chunk_bytes"), [(1, 1 << 20), (7, 1), (7, 3000), (1 << 18, 1)])
@one_and_many
def test_answers_do_not_depend_on_chunks(monkeypatch, tiling, chunk_bytes, points_at_once):
    field = doubled(field_of(tiling))
    points = some_points(tiling, 20)[:100]
    expected = plain_answers(field, points)
    monkeypatch.setattr("eoren.backends.base._CHUNK_BYTES", {"cpu": chunk_bytes})
    monkeypatch.setattr(mosaic_evaluation, "POINTS_PER_CALL", points_at_once)
    found = field.color(points), field.gradient(points), field.laplacian(points)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, 1e-10)


CACHE = 2 << 20  # bytes of one layer's activations
STREAMS = [("color", 1), ("gradient", 3), ("laplacian", 4)]


def record_calls(monkeypatch, owner, name):
    """Record the arguments of every call of a method from now on."""
    calls, original = [], getattr(owner, name)

    def spy(*arguments, **options):
        calls.append((arguments, options))
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, spy)
    return calls


@pytest.mark.parametrize(("show", "streams"), STREAMS)
def test_one_network_evaluates_as_many_points_together_as_the_cache_holds(monkeypatch, show, streams):
    calls = record_calls(monkeypatch, Siren, "__call__")
    getattr(field_of(SINGLE, width=60), show)(np.random.default_rng(0).random((20_000, 2)))
    counts = [points.shape[1] for (_, points), _ in calls]
    assert counts[0] * streams * 60 * 4 <= CACHE < (counts[0] + 1) * streams * 60 * 4
    assert counts[1:-1] == counts[:1] * (len(counts) - 2)


@pytest.mark.parametrize("tiles", [slice(0, 8), slice(3, 4)], ids=["all", "one"])
@pytest.mark.parametrize("count", [99, 700, 2000])
@pytest.mark.parametrize(("show", "streams"), STREAMS)
def test_tiles_with_as_many_points_each_are_one_batch_that_the_cache_holds(monkeypatch, show, streams, count, tiles):
    """A block of points takes a copy of its tile's network."""
    field = field_of(GRID, width=60)
    points = [
        np.random.default_rng(tile).uniform(np.add(box[:2], 1.3), np.subtract(box[2:], 1.3), (count + tile % 2, 2))
        for tile, (box, _) in enumerate(cuts_of(GRID)[tiles])
    ]
    calls = record_calls(monkeypatch, Siren, "__call__")
    getattr(field, show)(np.concatenate(points) / [37, 23])
    assert sum(siren.batch for (siren, _), _ in calls) == len(points)
    sizes = [siren.batch * local.shape[1] * streams * 60 * 4 for (siren, local), _ in calls]
    assert max(sizes) <= CACHE
    assert all(one + other > CACHE for one, other in pairwise(sizes))


@every_mosaic
def test_colour_and_derivatives_continue_across_seams(tiling):
    field = doubled(field_of(tiling))
    nearby = 1e-10
    along = np.random.default_rng(1).uniform(-0.1, 1.1, 40)
    for axis, size in enumerate((tiling.width, tiling.height)):
        cuts = {place for _, above in cuts_of(tiling) for way, place, _ in above if way == axis}
        for place in (cut + side * tiling.halo for cut in cuts for side in (-1, 0, 1)):
            points = np.stack([along, along], -1)
            points[:, axis] = place / size
            step = np.eye(2)[axis] * nearby
            for ask in (field.color, field.gradient, field.laplacian):
                before, after = ask(points - step), ask(points + step)
                # Smooth at a scale of a halo, a small part of the image; without blending they would jump.
                assert_close(before, after, 1e-4)


def test_seams_are_where_tiles_differ():
    """Guards the test above: the tiles of these fields would jump if they were not blended."""
    field = doubled(field_of(GRID))
    sharp = with_parts(field, tiling=replace(field.representation.tiling, halo=1e-6))
    x = np.array([9, 18, 27]) / 37
    step = np.array([1e-7, 0])
    points = np.stack([x, x * 0 + 0.1], -1)
    assert np.abs(sharp.color(points + step) - sharp.color(points - step)).min() > 1e-3


@pytest.mark.parametrize("width", [40, 2**30])
def test_the_least_halo_leaves_every_number_finite(width):
    """The second derivative of the widest image's weights is 6e30."""
    nodes = np.array([[0, 20], [-1, 0], [-1, 0]], np.int32)
    field = field_of(Tiling(width, 1, MIN_HALO, nodes))
    x = np.concatenate([20 + np.linspace(-1, 1, 41) * MIN_HALO, [0.5, 19.0, 21.0]]) / width
    points = np.stack([x, x * 0 + 0.5], -1)
    for ask in (field.color, field.gradient, field.laplacian):
        assert np.isfinite(ask(points)).all()
    assert np.abs(field.laplacian(points)).max() > (width / MIN_HALO) ** 2 / 100
    with pytest.raises(ValueError, match="at least 1e-06 pixels, got 1e-07"):
        Tiling(width, 1, 1e-7, nodes)


@one_and_many
def test_colours_are_the_integral_of_the_gradient(tiling):
    field = doubled(field_of(tiling))
    start, end = np.array([0.03, 0.11]), np.array([0.91, 0.83])
    t, weights = np.polynomial.legendre.leggauss(16)
    cuts = np.linspace(0, 1, 401)
    t = (cuts[:-1, None] + (t + 1) / 2 / 400).ravel()
    slopes = field.gradient(start + t[:, None] * (end - start)) @ (end - start)
    integral = np.tile(weights / 800, 400) @ slopes
    np.testing.assert_allclose(integral, field.color(end) - field.color(start), atol=1e-8)


def test_a_jet_holds_what_is_wanted_in_the_units_that_are_wanted():
    field, points = doubled(field_of(GRID)), some_points(GRID)
    color, gradient, laplacian = plain_answers(field, points)
    points = torch.from_numpy(points)
    alone = field.jet(points)
    assert_close(alone.color.numpy(), color, 1e-11)
    assert (alone.gradient, alone.laplacian) == (None, None)
    two = field.jet(points, gradient=True, extent=(1 / 3, 0.7))
    assert_close(two.gradient.numpy(), gradient / [1 / 3, 0.7], 1e-11)
    assert two.laplacian is None
    three = field.jet(points, laplacian=True, extent=(0.7, 0.7))
    assert_close(three.gradient.numpy(), gradient / 0.7, 1e-11)
    assert_close(three.laplacian.numpy(), laplacian / 0.7**2, 1e-10)


# What goes in and comes out.


@one_and_many
@pytest.mark.parametrize("shape", [(2,), (1, 2), (5, 2), (3, 4, 2), (2, 1, 3, 2), (0, 2), (3, 0, 2)], ids=str)
def test_shapes(tiling, shape):
    field = field_of(tiling, channels=2)
    points = np.random.default_rng(0).random(shape)
    color, gradient = field.color_and_gradient(points)
    assert color.shape == field.laplacian(points).shape == (*shape[:-1], 2)
    assert gradient.shape == field.gradient(points).shape == (*shape[:-1], 2, 2)
    flat = points.reshape(-1, 2)
    np.testing.assert_allclose(color.reshape(-1, 2), field.color(flat), atol=1e-6)
    tensor = field.color(torch.from_numpy(points))
    assert isinstance(tensor, torch.Tensor)
    assert tensor.shape == color.shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_points_of_any_float_type(dtype):
    field = field_of(GRID)
    points = np.array([[0.25, 0.5], [0.125, 0.75], [1, 0]], dtype)
    exact = plain_answers(doubled(field), points.astype(np.float64))
    for answer, expected in zip((field.color(points), field.gradient(points)), exact, strict=False):
        assert isinstance(answer, np.ndarray)
        assert answer.dtype == np.float32
        assert_close(answer, expected, 1e-5)
    answer = field.color(torch.from_numpy(points))
    assert (answer.dtype, answer.requires_grad) == (torch.float32, False)


def test_neighbouring_points_of_a_gigapixel_image_differ():
    """Float32 cannot hold their coordinates; what is near a tile's middle can be told apart all the same."""
    width = 1 << 27
    tiling = tiling_of(width, 8, 2.0, f"x{width - 8} . .")
    field = field_of(tiling, channels=1)
    last = (width - 4 + np.array([0.4, 0.5, 0.6])) / width
    points = np.stack([last, last * 0 + 0.5], -1)
    assert np.unique(points[:, 0].astype(np.float32)).size == 1
    color = field.color(points)
    assert_close(color, plain_answers(doubled(field), points)[0], 1e-5)
    assert np.abs(np.diff(color[:, 0])).min() > 1e-3


@pytest.mark.parametrize(
    "arrange",
    [
        lambda points: points[::-1],
        lambda points: np.asfortranarray(points),
        lambda points: np.repeat(points, 3, 1)[:, 1:5:3],
        lambda points: np.broadcast_to(points[:1], points.shape),
    ],
    ids=["reversed", "fortran", "strided", "broadcast"],
)
def test_points_that_do_not_lie_in_a_row(arrange):
    field = field_of(GRID)
    points = arrange(some_points(field.representation.tiling))
    plain = np.array(points)
    expected = field.color(plain)
    np.testing.assert_allclose(field.color(points), expected, atol=1e-6)
    np.testing.assert_array_equal(points, plain)  # left alone
    columns = torch.from_numpy(plain.T.copy()).T
    np.testing.assert_allclose(field.color(columns), expected, atol=1e-6)


def test_points_that_may_not_be_written_to():
    field = field_of(SINGLE)
    points = np.random.default_rng(0).random((5, 2))
    expected = field.color(points)
    points.flags.writeable = False
    np.testing.assert_array_equal(field.color(points), expected)


@one_and_many
def test_order_of_points_does_not_matter(tiling):
    field = doubled(field_of(tiling))
    points = some_points(tiling)
    order = np.random.default_rng(3).permutation(len(points))
    for ask in (field.color, field.gradient, field.laplacian):
        expected = ask(points)
        assert_close(ask(points[order]), expected[order], 1e-12)


@pytest.mark.parametrize("ask", ["color", "gradient", "laplacian", "color_and_gradient"])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 3), (2, 0), (2, 4, 1)], ids=str)
def test_wrong_points_are_refused(ask, shape):
    field = field_of(SINGLE)
    for points in (np.zeros(shape), torch.zeros(shape)):
        with pytest.raises(EorenError, match=r"^points must have shape \(\.\.\., 2\) with \(x, y\) last, got \("):
            getattr(field, ask)(points)


# Differentiable by the points.


@one_and_many
def test_pytorch_differentiates_by_the_points(tiling):
    field = doubled(field_of(tiling))
    points = torch.from_numpy(some_points(tiling)).requires_grad_()
    _, gradient, laplacian = plain_answers(field, points.detach())
    color, slopes = field.color_and_gradient(points)
    for c in range(3):
        (found,) = torch.autograd.grad(color[:, c].sum(), points, retain_graph=True)
        assert_close(found.numpy(), gradient[:, c], 1e-10)
        bends = [torch.autograd.grad(slopes[:, c, a].sum(), points, retain_graph=True)[0][:, a] for a in (0, 1)]
        assert_close(sum(bends).numpy(), laplacian[:, c], 1e-9)


def test_nothing_is_recorded_unless_asked():
    field = field_of(GRID)
    points = torch.rand(5, 2, requires_grad=True)
    assert field.color(points).requires_grad
    assert not field.color(points.detach()).requires_grad
    with torch.no_grad():
        assert not field.color(points).requires_grad
    assert torch.is_grad_enabled()
    single = points.detach().float().requires_grad_()
    (found,) = torch.autograd.grad(field.color(single).sum(), single)
    assert_close(found.numpy(), field.gradient(single.detach()).sum(1).numpy(), 1e-5)


def gradients_by(tensors, answer, weights):
    gradients = torch.autograd.grad((answer * weights).sum(), tensors, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, gradients, strict=True)]


@pytest.mark.parametrize("points_are_followed", [True, False])
@one_and_many
def test_parameters_that_require_gradients_are_followed(tiling, points_are_followed):
    field = doubled(field_of(tiling, channels=2))
    mosaic = field.representation
    tensors = [t.requires_grad_() for t in (*mosaic.siren.tensors(), mosaic.tuning.alpha, mosaic.tuning.beta)]
    xy = torch.from_numpy(some_points(tiling, 30)).requires_grad_()
    color = plain_color(field, xy)
    slopes = [torch.autograd.grad(color[:, c].sum(), xy, create_graph=True)[0] for c in range(2)]
    bends = [
        sum(torch.autograd.grad(slope[:, a].sum(), xy, create_graph=True)[0][:, a] for a in (0, 1))
        for slope in slopes
    ]
    references = {"color": color, "gradient": torch.stack(slopes, 1), "laplacian": torch.stack(bends, 1)}
    points = xy.detach().requires_grad_(points_are_followed)
    for quantity, expected in references.items():
        answer = getattr(field, quantity)(points)
        weights = torch.rand(answer.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        found, wanted = gradients_by(tensors, answer, weights), gradients_by(tensors, expected, weights)
        for one, other in zip(found, wanted, strict=True):
            assert_close(one.numpy(), other.numpy(), 1e-9)
    with torch.no_grad():
        assert not field.color(points).requires_grad


@pytest.mark.parametrize("width", [6, 16])  # 16: the native backend supports it, and cannot follow
def test_arrays_stay_arrays_where_parameters_require_gradients(width):
    field = field_of(GRID, width=width)
    expected = field.color(np.array([[0.25, 0.5]]))
    for tensor in field.representation.siren.tensors():
        tensor.requires_grad_()
    for ask in (field.color, field.gradient, field.laplacian):
        assert isinstance(ask([[0.25, 0.5]]), np.ndarray)
        assert ask(torch.tensor([[0.25, 0.5]])).requires_grad
    np.testing.assert_allclose(field.color([[0.25, 0.5]]), expected, atol=1e-6)
    assert isinstance(field.render(5, 4), np.ndarray)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_other_precisions_are_refused(dtype):
    field = field_of(GRID)
    for arguments in ((dtype,), ("cpu", dtype)):
        with pytest.raises(EorenError, match=rf"must be torch\.float32 or torch\.float64, got {dtype}$"):
            field.to(*arguments)
    assert field.to(torch.float64).color([[0.5, 0.5]]).shape == (1, 3)


@one_and_many
def test_gradcheck_passes_in_float64(tiling):
    field = doubled(field_of(tiling))
    weights = [t.requires_grad_() for t in field.representation.siren.tensors()]
    points = torch.from_numpy(some_points(tiling, 4)).requires_grad_()
    inputs = points, *weights[:2]
    assert torch.autograd.gradcheck(lambda xy, *_: field.color(xy), inputs, atol=1e-4, fast_mode=True)


# Inside the programs of torch.compile.


def count_graphs(field, points, **options):
    """Compile a loss of a field; return its value, and the names of the operations that were compiled."""
    operations = []

    def compiler(graph, _):
        operations.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    def loss(points):
        return field.color(points).sin().sum() + field.gradient(points).square().mean()

    torch._dynamo.reset()
    return torch.compile(loss, backend=compiler, **options)(points), loss(points), operations


@pytest.mark.filterwarnings("ignore")  # those of torch.compile itself
@pytest.mark.usefixtures("unchecked")
def test_compiled_losses_leave_the_field_as_it_is():
    field = field_of(GRID)
    weights = [t.requires_grad_() for t in field.representation.siren.tensors()]
    compiled, plain, operations = count_graphs(field, torch.rand(20, 2))
    assert compiled == plain
    assert any("sin" in name for name in operations)
    assert len(operations) < 20
    for one, other in zip(*(torch.autograd.grad(value, weights) for value in (compiled, plain)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("unchecked")
def test_graphs_that_would_hold_a_field_are_refused():
    field, points = field_of(GRID), torch.rand(20, 2)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        count_graphs(field, points, fullgraph=True)

    class Module(torch.nn.Module):
        def forward(self, points):
            return field.color(points)

    with pytest.raises(EorenError, match=r"torch\.export cannot hold a field; write an ONNX file"):
        torch.export.export(Module(), (points,), strict=False)


# Rendering.


def centres(width, height, region=(0.0, 0.0, 1.0, 1.0)):
    x0, y0, x1, y1 = region
    points = np.empty((height, width, 2))
    for i in range(height):
        for j in range(width):
            points[i, j] = x0 + (j + 0.5) / width * (x1 - x0), y0 + (i + 0.5) / height * (y1 - y0)
    return points


@pytest.mark.parametrize("region", [(0.0, 0.0, 1.0, 1.0), (0.2, -0.1, 0.7, 1.4)], ids=str)
@one_and_many
def test_render_asks_at_pixel_centres(tiling, region):
    field = field_of(tiling)
    points = centres(48, 60, region)  # no fewer than the pixels of the image
    for show in ("color", "gradient", "laplacian"):
        rendered = field.render(48, 60, region=region, show=show)
        expected = getattr(field, show)(points)
        assert rendered.dtype == np.float32
        assert_close(rendered, expected, 1e-6)


@one_and_many
def test_a_region_is_a_crop_of_the_whole(tiling):
    field = field_of(tiling)
    whole = field.render(64, 40)
    crop = field.render(24, 13, region=(8 / 64, 5 / 40, 32 / 64, 18 / 40))
    assert_close(crop, whole[5:18, 8:32], 1e-5)


@pytest.mark.parametrize("strip", [1, 30, 1 << 18])
def test_strips_make_the_whole(monkeypatch, strip):
    field = field_of(GRID)
    whole = field.render(40, 30)
    monkeypatch.setattr(field_module, "POINTS_PER_CALL", strip)
    strips = list(field.render_rows(40, 30))
    assert all(len(rows) == max(1, strip // 40) for rows in strips[:-1])
    assert_close(np.concatenate(strips), whole, 1e-6)


@pytest.mark.parametrize("strip", [1, 500, 1 << 18])
@pytest.mark.parametrize("show", ["color", "gradient"])
@one_and_many
def test_a_smaller_render_averages_over_its_pixels(monkeypatch, tiling, show, strip):
    field, (width, height) = field_of(tiling), field_of(tiling).size
    columns, rows = -(-width // 3), -(-height // 2)
    monkeypatch.setattr(field_module, "POINTS_PER_CALL", strip)
    fine = getattr(field, show)(centres(3 * columns, 2 * rows))
    means = fine.reshape(rows, 2, columns, 3, *fine.shape[2:]).mean((1, 3))
    assert_close(field.render(columns, rows, show=show), means, 1e-6)


def test_a_smaller_render_weights_colors_by_alpha():
    field = field_of(GRID, channels=4)
    fine = field.color(centres(40, 24)).reshape(8, 3, 10, 4, 4)
    weights = fine[..., 3:].clip(0, 1)
    expected = (fine[..., :3] * weights).sum((1, 3)) / weights.sum((1, 3))
    small = field.render(10, 8)
    assert_close(small[..., :3], expected, 1e-5)
    assert_close(small[..., 3], fine[..., 3].mean((1, 3)), 1e-6)


def test_a_crop_at_the_size_of_the_image_has_one_point_a_pixel():
    """Although its sides are rounded."""
    field, region = field_of(GRID), (0.1, 0.2, 0.65, 0.7)  # 20.35 x 11.5 pixels
    assert_close(field.render(20, 11, region=region), field.color(centres(20, 11, region)), 1e-6)


def test_strips_come_in_the_units_that_are_wanted():
    field = field_of(GRID)
    strips = list(field.render_rows(9, 7, show="gradient", extent=(37.0, 23.0)))
    assert_close(np.concatenate(strips), field.render(9, 7, show="gradient") / [37, 23], 1e-6)


def test_memory_of_a_large_render_is_bounded(monkeypatch):
    field = field_of(Tiling.single(40, 40), channels=1, width=4, depth=1)
    calls = record_calls(monkeypatch, Tiling, "blend")
    rows, side = 0, 2048
    tracemalloc.start()
    try:
        for strip in field.render_rows(side, side):
            assert strip.shape[1:] == (side, 1)
            rows += len(strip)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == side
    counts = [len(points) for (_, points), _ in calls]
    assert sum(counts) == side**2
    assert max(counts) <= 1 << 18  # sixteen strips: what PyTorch allocates does not grow with the grid
    assert peak < 6 << 20  # the colours alone, kept, would be 16 MiB


def test_fewer_points_are_evaluated_together_where_many_tiles_overlap(monkeypatch):
    """Memory does not grow with the halo."""
    tiling = Tiling.by_detail(np.ones((60, 60)), count=100, halo=200.0, smallest=2)
    field, entries = field_of(tiling, channels=1, width=4, depth=1), []
    blend = Tiling.blend

    def spy(self, points):
        found = blend(self, points)
        entries.append(len(found.point))
        return found

    monkeypatch.setattr(Tiling, "blend", spy)
    monkeypatch.setattr(mosaic_evaluation, "POINTS_PER_CALL", 1000)
    field.color(np.random.default_rng(0).random((300, 2)))
    assert sum(entries) == 300 * 100
    assert max(entries) <= 1100


@pytest.mark.parametrize(
    ("wish", "size"),
    [
        ((None, None), (40, 20)),
        ((80, None), (80, 40)),
        ((None, 5), (10, 5)),
        ((7, 9), (7, 9)),
        ((1, None), None),
        ((0, None), None),
        ((-3, 4), None),
        ((4, 0), None),
    ],
)
def test_grid_follows_the_pixels_of_the_image(wish, size):
    field = field_of(Tiling.single(40, 20), channels=1)
    if size is None:
        with pytest.raises(EorenError, match=r"(width|height) must be at least 1 pixel, got"):
            field.render(*wish)
    else:
        assert field.grid(*wish, (0.0, 0.0, 1.0, 1.0)) == size
        assert field.render(*wish).shape == (size[1], size[0], 1)


def test_grid_of_a_region_keeps_pixels_square():
    field = field_of(Tiling.single(40, 20))
    assert field.grid(None, None, (0.25, 0.5, 0.75, 1.0)) == (20, 10)
    assert field.grid(100, None, (0.0, 0.0, 0.5, 1.0)) == (100, 100)
    assert field.grid(None, 100, (0.0, 0.0, 0.5, 1.0)) == (100, 100)


@pytest.mark.parametrize(
    "region",
    [
        (0.5, 0.0, 0.5, 1.0),
        (0.0, 0.5, 1.0, 0.5),
        (0.0, 1.0, 1.0, 0.0),
        (0.0, 0.0, float("nan"), 1.0),
        (0.0, 0.0, float("inf"), 1.0),
    ],
    ids=str,
)
def test_empty_and_endless_regions_are_refused(region):
    with pytest.raises(EorenError, match="region"):
        field_of(Tiling.single(40, 20)).render(region=region)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_image_of_one_pixel(channels):
    field = doubled(field_of(Tiling.single(1, 1), channels))
    color, gradient, _ = plain_answers(field, np.array([[0.5, 0.5]]))
    assert_close(field.render(), color[None], 1e-12)
    assert_close(field.render(show="gradient"), gradient[None], 1e-12)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_8_bit_images_are_the_colours_clamped_and_rounded(channels):
    field = field_of(GRID, channels)
    pixels = field.render_image(20, region=(0.0, 0.0, 0.5, 1.0))
    colors = field.render(20, region=(0.0, 0.0, 0.5, 1.0))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (colors.shape[:2] if channels == 1 else colors.shape)
    assert colors.max() > 1
    expected = np.floor(colors.clip(0, 1) * 255 + 0.5)
    np.testing.assert_array_equal(pixels.reshape(expected.shape), expected)


# Small things.


@pytest.mark.parametrize(
    ("tiling", "size"),
    [(GRID, (37, 23)), (Tiling.single(2000, 500), (512, 128)), (Tiling.single(1, 900), (1, 512))],
    ids=["small", "wide", "narrow"],
)
@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_a_notebook_shows_the_field(tiling, size, channels, mode):
    field = field_of(tiling, channels)
    with Image.open(io.BytesIO(field._repr_png_())) as image:
        assert (image.format, image.mode, image.size) == ("PNG", mode, size)
        np.testing.assert_array_equal(np.asarray(image), field.render_image(*size))


@pytest.mark.parametrize(("channels", "name"), [(1, "gray"), (2, "gray and alpha"), (3, "RGB"), (4, "RGBA")])
def test_a_notebook_shows_size_bytes_and_quality(channels, name):
    field = field_of(GRID, channels)
    metrics = {"psnr": 41.234, "gradient_psnr": None}
    field = replace(field, provenance=replace(field.provenance, metrics=metrics))
    html = field._repr_html_()
    count = len(dumps(field))
    assert f"37 x 23, {name}, {count / 1000:.1f} kB, {8 * count / (37 * 23):.2f} bits per pixel" in html
    assert "PSNR 41.23 dB<" in html
    assert "gradient" not in html
    data = base64.b64decode(re.search('data:image/webp;base64,([^"]+)', html)[1])
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (37, 23)
        drawn = np.asarray(image.convert("RGBA")).astype(float)
    expected = Image.fromarray(field.render_image()).convert("RGBA")
    opaque = np.asarray(expected)[..., 3] > 128
    assert abs(drawn - np.asarray(expected).astype(float))[opaque].mean() < 12


@pytest.mark.parametrize("channels", [1, 2])
def test_a_notebook_shows_gray_in_its_profile(channels):
    """A PNG has the profile, a WebP is RGB in sRGB: Pillow converts the one to the other."""
    field, profile = field_of(GRID, channels), imagecodecs.cms_profile("gray", gamma=2.6)
    field = replace(field, provenance=replace(field.provenance, profile=profile))
    data = base64.b64decode(re.search('data:image/webp;base64,([^"]+)', field._repr_html_())[1])
    with Image.open(io.BytesIO(field._repr_png_())) as png, Image.open(io.BytesIO(data)) as webp:
        assert (png.info["icc_profile"], webp.info.get("icc_profile")) == (profile, None)
        known, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        expected = ImageCms.profileToProfile(png.getchannel(0), known, srgb, outputMode="RGB")
        opaque = np.asarray(png.convert("LA"))[..., 1] > 128
        drawn = np.asarray(webp.convert("RGB")).astype(float)
    assert abs(drawn - np.asarray(expected))[opaque].mean() < 12


def test_the_description_names_size_channels_and_networks():
    assert repr(field_of(GRID)) == "Field(37x23, 3 channels, 8 networks, 2 sine layers of 6)"
    assert repr(field_of(SINGLE, 1, width=16)) == "Field(37x23, 1 channel, 1 network, 2 sine layers of 16)"


@pytest.mark.parametrize("name", ["siren", "tuning", "tiling", "bits"])
def test_attributes_of_version_0_1(name):
    field = field_of(GRID)
    with pytest.warns(DeprecationWarning, match=f"Field.{name} is deprecated; use Field.representation.{name}"):
        assert getattr(field, name) is getattr(field.representation, name)


def test_other_attributes():
    field = field_of(GRID)
    with pytest.raises(AttributeError, match=r"^'Field' object has no attribute 'colour'$"):
        _ = field.colour
    assert copy.copy(field).representation is field.representation
    assert pickle.loads(pickle.dumps(field)).size == field.size


def test_lists_of_points_are_evaluated():
    field = field_of(GRID)
    points = [[0.25, 0.5], [0, 1]]
    for ask in (field.color, field.gradient, field.laplacian):
        np.testing.assert_array_equal(ask(points), ask(np.array(points)))
        np.testing.assert_array_equal(ask(tuple(points[0])), ask(np.array(points[0])))


def test_arrays_of_foreign_byte_order_are_evaluated():
    field, points = field_of(GRID), np.array([[0.25, 0.5], [0, 1]])
    for dtype in (">f8", ">f4", ">i2"):
        np.testing.assert_array_equal(field.color(points.astype(dtype)), field.color(points.astype(dtype[1:])))


@pytest.mark.parametrize(
    "points",
    [
        *("abc", [[0.5, 0.5], [1]], [["a", "b"]], [["0.5", "0.5"]], {}, 1j, None, 0.5),
        np.zeros((1, 2), complex),
        np.ma.masked_array(np.zeros((2, 2)), [[0, 1], [0, 0]]),
    ],
)
def test_points_of_another_kind_are_refused(points):
    with pytest.raises(EorenError, match=r"^points must (be real numbers of|have) shape \(\.\.\., 2\)"):
        field_of(SINGLE).color(points)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"show": "hessian"}, "show must be one of color, gradient, laplacian, got 'hessian'"),
        ({"show": None}, "show must be one of color, gradient, laplacian, got None"),
        ({"region": (0, 0, 1)}, "region must be four numbers x0,y0,x1,y1, got (0, 0, 1)"),
        ({"region": "whole"}, "region must be four numbers x0,y0,x1,y1, got 'whole'"),
        ({"width": 2.5}, "width must be a whole number of pixels, got 2.5"),
        ({"height": "9"}, "height must be a whole number of pixels, got '9'"),
        ({"width": 0}, "width must be at least 1 pixel, got 0"),
    ],
    ids=str,
)
def test_wrong_arguments_of_render_are_refused_in_one_line(arguments, message):
    field = field_of(GRID)
    with pytest.raises(EorenError, match=f"^{re.escape(message)}$"):
        field.render(**arguments)
    if "show" not in arguments:
        with pytest.raises(EorenError, match=f"^{re.escape(message)}$"):
            field.render_image(**arguments)


def test_a_field_writes_its_files(tmp_path):
    field = field_of(GRID)
    field.save(tmp_path / "a.eoren")
    assert (tmp_path / "a.eoren").read_bytes() == dumps(field)
    paths = field.export(tmp_path / "a.glsl")
    assert paths[0] == tmp_path / "a.glsl"
    assert all(path.stat().st_size for path in paths)
    with pytest.raises(EorenError, match=r"a\.glsl: exists; give overwrite=True to replace it"):
        field.export(tmp_path / "a.glsl")
    field.export(tmp_path / "a.glsl", overwrite=True)
    with pytest.raises(EorenError, match=r"suffix must be one of"):
        field.export(tmp_path / "a.jpg")


def test_a_field_tells_what_it_is():
    field = field_of(GRID, channels=3, width=6, depth=2)
    assert (field.channels, field.size, field.representation.bits) == (3, (37, 23), 32)
    # Two inputs, six units, six units, three outputs, each with a bias; alpha and beta.
    assert field.parameters == 8 * ((2 * 6 + 6) + (6 * 6 + 6) + (6 * 3 + 3) + 2 * 3)
    assert field.provenance == Provenance()


def test_a_field_moves_whole():
    moved = field_of(GRID).to("meta").representation
    assert {t.device.type for t in (*moved.siren.tensors(), moved.tuning.alpha, moved.tuning.beta)} == {"meta"}


def test_points_move_to_the_device_of_the_field(monkeypatch):
    monkeypatch.setattr(SirenMosaic, "jet", lambda self, points, **wanted: Jet(points))
    assert field_of(GRID).to("meta").color(torch.zeros(5, 2)).device.type == "meta"


def test_a_field_moves_to_a_device():
    field = field_of(GRID)
    same = field.to("cpu")
    assert (same.representation.bits, same.representation.tiling) == (
        field.representation.bits,
        field.representation.tiling,
    )
    points = some_points(field.representation.tiling)
    np.testing.assert_array_equal(same.color(points), field.color(points))


@pytest.mark.parametrize("width", [6, 16])
@one_and_many
def test_answers_are_made_where_the_field_is(tiling, width):
    field = field_of(tiling, width=width)
    points = some_points(tiling)
    for ask in (field.color, field.gradient, field.laplacian):
        expected = ask(points)
        with torch.device("meta"):  # not the default device of PyTorch
            np.testing.assert_array_equal(ask(points), expected)


@pytest.mark.parametrize("point", [[np.nan, 0.5], [0.5, np.inf]])
def test_points_that_are_not_numbers_are_refused(point):
    for tiling in (SINGLE, GRID):
        with pytest.raises(
            EorenError, match=r"^points must be finite numbers \(x, y\) of the unit square; remove NaN"
        ):
            field_of(tiling).color(np.array([point, [0.5, 0.5]]))


# The native backend, which does not support networks as narrow as those above.


needs_library = pytest.mark.skipif(
    library() is None or "torch" in (os.environ.get("EOREN_BACKEND"), os.environ.get("EOREN_ENGINE")),
    reason="the native backend is not built here, or PyTorch is forced",
)
SHOWN = ("color", "gradient", "laplacian")


def native_field(tiling, channels=3, **shape):
    field = field_of(tiling, channels, **({"width": 16, "depth": 3} | shape))
    assert NativeBackend.obstacle(field.representation.siren) is None
    return field


def plain_grid(field, points):
    return [
        each.reshape(*points.shape[:-1], *each.shape[1:])
        for each in plain_answers(doubled(field), points.reshape(-1, 2))
    ]


@needs_library
@every_tiling
def test_native_answers_are_those_of_the_written_format(tiling):
    field = native_field(tiling, channels=1 + tiling.count % 4)
    points = some_points(tiling)
    for ask, expected in zip(SHOWN, plain_answers(doubled(field), points), strict=True):
        assert_close(getattr(field, ask)(points), expected, 1e-5)


# Cells of the engine have 64 columns and rows.
GRIDS = {
    "small": ((12, 9), (0.0, 0.0, 1.0, 1.0)),
    "cells": ((66, 65), (0.0, 0.0, 1.0, 1.0)),
    "outside": ((29, 70), (-0.4, -1.3, 1.9, 1.2)),
    "zoomed": ((33, 17), (0.43, 0.5, 0.52, 0.56)),
    "row": ((131, 1), (0.0, 0.3, 1.0, 0.4)),
    "column": ((1, 129), (0.62, 0.0, 0.63, 1.0)),
    "point": ((1, 1), (0.2, 0.5, 0.3, 0.7)),
    "far": ((5, 4), (2.0, -3.0, 3.0, -2.0)),
}


@needs_library
@pytest.mark.parametrize(("size", "region"), GRIDS.values(), ids=GRIDS)
@every_tiling
def test_native_rendering_is_the_written_format_at_pixel_centres(tiling, size, region):
    field = native_field(tiling)
    found = field.sample(*size, *SHOWN, region=region)
    for each, expected in zip(found, plain_grid(field, centres(*size, region)), strict=True):
        assert each.dtype == np.float32
        assert_close(each, expected, 1e-5)


@needs_library
@pytest.mark.parametrize("wanted", [("color",), ("gradient",), ("laplacian", "color"), ("color", "gradient")])
@every_tiling
def test_both_engines_sample_the_same(monkeypatch, tiling, wanted):
    field, rows = native_field(tiling, channels=4, depth=2), slice(3, 60)
    given = {"region": (-0.1, 0.2, 0.8, 1.1), "rows": rows, "extent": (37.0, 5.0)}
    found = field.sample(70, 66, *wanted, **given)
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    expected = field.sample(70, 66, *wanted, **given)
    points = torch.from_numpy(centres(70, 66, given["region"])[rows].reshape(-1, 2))
    with torch.no_grad():
        jet = field.jet(points, gradient=True, laplacian=True, extent=given["extent"])
    for one, other, quantity in zip(found, expected, wanted, strict=True):
        assert_close(other, getattr(jet, quantity).reshape(other.shape).numpy(), 1e-6)
        assert_close(one, other, 1e-5)


@needs_library
@pytest.mark.parametrize("width", [32, 48, 80, 128, 256])
def test_native_rendering_of_wider_networks(width):
    field = native_field(GRID, channels=2, width=width, depth=2)
    found = field.sample(20, 70, *SHOWN)
    for each, expected in zip(found, plain_grid(field, centres(20, 70)), strict=True):
        assert_close(each, expected, 1e-5)


@needs_library
@every_mosaic
def test_native_gradients_are_differences_of_native_colours_across_seams(tiling):
    """Over all cuts, ends of overlaps and crossings: finely along one axis, coarsely along the other."""
    field = native_field(tiling)
    extent = (float(tiling.width), float(tiling.height))
    for axis in (0, 1):
        fine, coarse = 64 * extent[axis], extent[1 - axis]
        size = (int(fine), int(coarse)) if axis == 0 else (int(coarse), int(fine))
        color, gradient = field.sample(*size, "color", "gradient", extent=extent)
        along = 1 - axis
        # Over 16th of a pixel, from either side.
        color, slopes = np.moveaxis(color, along, 0), np.moveaxis(gradient[..., axis], along, 0)
        differences = (color[4:].astype(np.float64) - color[:-4]) / (4 / 64)
        assert_close(differences, slopes[2:-2], 2e-3)
        assert np.abs(slopes).max() > 0.02


@needs_library
@pytest.mark.parametrize("strip", [1, 30, 1 << 18])
def test_native_strips_make_the_whole(monkeypatch, strip):
    field = native_field(GRID)
    whole = field.render(40, 30, show="gradient")
    monkeypatch.setattr(field_module, "POINTS_PER_CALL", strip)
    strips = list(field.render_rows(40, 30, show="gradient"))
    assert len(strips) == -(-30 // max(1, strip // 40))
    assert_close(np.concatenate(strips), whole, 1e-6)


@needs_library
@one_and_many
def test_pytorch_differentiates_what_the_native_engine_knows(tiling):
    field = native_field(tiling)
    points = torch.from_numpy(some_points(tiling, 40)).requires_grad_()
    color = field.color(points)
    (found,) = torch.autograd.grad(color.sum(), points)
    expected = field.gradient(points.detach()).sum(1)
    assert_close(found.numpy(), expected.numpy().astype(np.float64), 1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # by PyTorch's own forward derivatives
@needs_library
@one_and_many
def test_pytorch_differentiates_forward_what_the_native_engine_knows(tiling):
    field = native_field(tiling)
    points = torch.from_numpy(some_points(tiling, 40))
    way = torch.from_numpy(np.random.default_rng(1).normal(size=points.shape))
    with dual_level():
        found = unpack_dual(field.color(make_dual(points, way))).tangent
    expected = (field.gradient(points) * way[:, None]).sum(-1)
    assert_close(found.numpy(), expected.numpy(), 1e-5)


@needs_library
def test_a_native_image_of_one_pixel():
    field = native_field(Tiling.single(1, 1))
    color, gradient, _ = plain_grid(field, np.array([[[0.5, 0.5]]]))
    assert_close(field.render(), color, 1e-5)
    assert_close(field.render(show="gradient"), gradient, 1e-5)


@needs_library
def test_neighbouring_pixels_of_a_gigapixel_image_are_rendered_apart():
    width = 1 << 27
    field = native_field(tiling_of(width, 8, 2.0, f"x{width - 8} . ."), channels=1)
    region = ((width - 4) / width, 0.4, (width - 3) / width, 0.5)
    found = field.render(5, 1, region=region)
    assert_close(found, plain_grid(field, centres(5, 1, region))[0], 1e-5)
    assert np.abs(np.diff(found[0, :, 0])).min() > 1e-4


@pytest.mark.parametrize(
    ("backend", "width"), [(TorchBackend, 6), pytest.param(NativeBackend, 16, marks=needs_library)]
)
def test_colours_alone_cost_no_derivatives(monkeypatch, backend, width):
    field, asked = field_of(GRID, width=width), record_calls(monkeypatch, backend, "evaluate")
    for ask in (field.color, field.gradient, field.laplacian):
        ask(np.zeros((1, 2)))
    wanted = [(options["axes"], options["laplacian"]) for _, options in asked]
    assert wanted == [((), False), ((0, 1), False), ((0, 1), True)]


@needs_library
def test_rows_beyond_the_grid_are_empty():
    color, gradient = native_field(GRID).sample(7, 5, "color", "gradient", rows=slice(5, 9))
    assert (color.shape, gradient.shape) == ((0, 7, 3), (0, 7, 3, 2))


@needs_library
def test_a_region_may_be_turned_round():
    field = native_field(GRID)
    turned = field.sample(70, 40, "color", region=(1.0, 1.0, 0.0, 0.0))[0]
    assert_close(turned[::-1, ::-1], field.sample(70, 40, "color")[0], 1e-5)


@needs_library
@pytest.mark.parametrize("region", [(np.nan, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, np.inf)], ids=str)
def test_regions_that_are_not_numbers_are_refused(region):
    with pytest.raises(EorenError, match=r"^region must be finite numbers"):
        native_field(GRID).sample(3, 2, "color", region=region)


@needs_library
def test_colours_are_bounded_however_far_away():
    field = native_field(GRID)
    bound = max(float(t.abs().amax()) for t in field.representation.siren.weights[-1:]) * 16 + 3
    points = np.array([[1e8, 0.3], [0.2, -1e9]])
    assert np.abs(field.color(points)).max() < 2 * bound
