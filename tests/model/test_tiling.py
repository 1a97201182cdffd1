from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from eoren.model.tiling import Tiling, smooth_step

LEAF = [-1, 0]


def pixel_centres(width, height):
    x, y = ((torch.arange(n, dtype=torch.float64) + 0.5) / n for n in (width, height))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def detail(height, width, seed=0, power=6):
    """Much in few places, a little everywhere."""
    return 0.01 + np.random.default_rng(seed).random((height, width)) ** power


def nodes(*rows):
    return np.array(rows, np.int32).reshape(-1, 2)


# Wide, high, slim; halos below a pixel, and wider than most tiles; a tree by hand; no cut at all.
TILINGS = {
    "wide": Tiling.by_detail(detail(64, 128), count=8, halo=2.0, smallest=8),
    "odd": Tiling.by_detail(detail(37, 100), count=13, halo=2.5, smallest=4),
    "slim": Tiling.by_detail(detail(8, 97), count=5, halo=1.3, smallest=3),
    "high": Tiling.by_detail(detail(61, 5), count=7, halo=3.0, smallest=1),
    "broad-halo": Tiling.by_detail(detail(41, 50), count=30, halo=9.0, smallest=2),
    "pixels": Tiling.by_detail(detail(9, 7), count=63, halo=0.4, smallest=1),
    "by-hand": Tiling(10, 6, 1.5, nodes((0, 1), LEAF, (1, 5), (0, 9), LEAF, LEAF, LEAF)),
    "single": Tiling.single(40, 30),
    "pixel": Tiling.single(1, 1),
}
every_tiling = pytest.mark.parametrize("tiling", TILINGS.values(), ids=TILINGS)


def plane_points(tiling, count=1500):
    """Points in and around the square, on cuts and at the ends of overlaps among them."""
    generator = torch.Generator().manual_seed(0)
    anywhere = 2 * torch.rand(count, 2, generator=generator, dtype=torch.float64) - 0.5
    special = []
    for axis in (0, 1):
        cuts = torch.from_numpy(tiling.nodes[tiling.nodes[:, 0] == axis, 1]).double()
        for shift in (-tiling.halo, 0.0, tiling.halo):
            some = anywhere[: len(cuts)].clone()
            some[:, axis] = (cuts + shift) / (tiling.width, tiling.height)[axis]
            special.append(some)
    corners = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1], [-1e6, 3], [1e6, -1e6]], dtype=torch.float64)
    return torch.cat([anywhere, *special, corners])


def dense(tiling, blend, points):
    """``(points, tiles, 4)``: weight, slope and Laplacian of all tiles, from those that answer."""
    numbers = torch.cat([blend.weight[:, None], blend.grad, blend.second_derivatives.sum(-1)[:, None]], 1)
    total = torch.zeros(len(points), tiling.count, 4, dtype=points.dtype)
    return total.index_put((blend.point, blend.tile), numbers, accumulate=True)


def steepest(tiling):
    """What slopes and Laplacians are measured against: cuts per unit square, one to an axis."""
    rate = max(tiling.width, tiling.height) / tiling.halo if tiling.halo else 1.0
    return torch.tensor([1.0, rate, rate, rate**2], dtype=torch.float64)


# As docs/file-format.md says it.


def documented_step(t):
    s = (t + 1) / 2
    return np.where(t <= -1, 0.0, np.where(t >= 1, 1.0, s**3 * (6 * s**2 - 15 * s + 10)))


def documented_weights(tiling, points):
    """``(points, tiles)``."""
    x, y = points[:, 0].numpy() * tiling.width, points[:, 1].numpy() * tiling.height
    rows, found = iter(tiling.nodes.tolist()), []

    def below(weight):
        axis, cut = next(rows)
        if axis == -1:
            found.append(weight)
            return
        step = documented_step(((x, y)[axis] - cut) / tiling.halo)
        below(weight * (1 - step))
        below(weight * step)

    below(np.ones(len(points)))
    return np.stack(found, -1)


def documented_boxes(tiling, visit=lambda box, axis, cut, lower, upper: None):
    """Boxes of the tiles; ``visit`` sees every cut and the number of tiles on either side."""
    rows = iter(tiling.nodes.tolist())

    def below(box):
        axis, cut = next(rows)
        if axis == -1:
            return [box]
        x0, y0, x1, y1 = box
        one = below((x0, y0, cut, y1) if axis == 0 else (x0, y0, x1, cut))
        other = below((cut, y0, x1, y1) if axis == 0 else (x0, cut, x1, y1))
        visit(box, axis, cut, len(one), len(other))
        return one + other

    found = below((0, 0, tiling.width, tiling.height))
    assert next(rows, None) is None
    return found


def documented_pixel_boxes(tiling):
    """Columns and rows whose centres lie in the box grown by the halo, counted one by one."""
    found = []
    for x0, y0, x1, y1 in documented_boxes(tiling):
        spans = [
            [k for k in range(size) if low - tiling.halo <= k + 0.5 <= high + tiling.halo]
            for size, low, high in ((tiling.width, x0, x1), (tiling.height, y0, y1))
        ]
        found.append([spans[0][0], spans[1][0], spans[0][-1] + 1, spans[1][-1] + 1])
    return found


# The step.


def test_smooth_step_is_its_polynomial_and_constant_outside():
    t = torch.linspace(-3, 3, 1201, dtype=torch.float64)
    value, slope, bend = smooth_step(t)
    rise = (np.polynomial.Polynomial([1, 0, -2, 0, 1]) * 15 / 16).integ(lbnd=-1)  # of 15/16 (1 - t^2)^2
    np.testing.assert_allclose(value, rise(np.clip(t.numpy(), -1, 1)), atol=1e-14)
    np.testing.assert_allclose(value, documented_step(t.numpy()), atol=1e-14)
    outside = t.abs() >= 1
    assert torch.equal(value[outside], (t[outside] > 0).double())
    assert not slope[outside].any()
    assert not bend[outside].any()
    torch.testing.assert_close(value + value.flip(0), torch.ones_like(t))
    assert (value.diff() >= 0).all()


def test_smooth_step_has_the_derivatives_it_says():
    t = torch.linspace(-1.5, 1.5, 400, dtype=torch.float64).requires_grad_()
    value, slope, bend = smooth_step(t)
    (by_t,) = torch.autograd.grad(value.sum(), t, create_graph=True)
    (by_t_twice,) = torch.autograd.grad(by_t.sum(), t)
    torch.testing.assert_close(slope, by_t * 1.0, atol=1e-13, rtol=1e-13)
    torch.testing.assert_close(bend, by_t_twice, atol=1e-13, rtol=1e-13)


def test_smooth_step_is_twice_continuously_differentiable():
    for end in (-1.0, 1.0):
        near = torch.tensor([end - 1e-7, end, end + 1e-7], dtype=torch.float64)
        for each in smooth_step(near):
            assert (each - each[1]).abs().max() < 1e-5


# Where tiles are.


@every_tiling
def test_boxes_are_those_of_the_tree_and_hold_every_pixel_once(tiling):
    boxes = tiling.boxes.tolist()
    assert boxes == [list(box) for box in documented_boxes(tiling)]
    assert len(boxes) == tiling.count == (len(tiling.nodes) + 1) // 2
    seen = np.zeros((tiling.height, tiling.width), int)
    for x0, y0, x1, y1 in boxes:
        seen[y0:y1, x0:x1] += 1
        assert x0 < x1
        assert y0 < y1
    assert (seen == 1).all()


@pytest.mark.parametrize("smallest", [1, 4, 16])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 17, 30, 64])
@pytest.mark.parametrize("power", [0, 1, 8, 60])
def test_as_many_tiles_as_asked_and_none_too_small(count, smallest, power):
    where = detail(120, 170, power=power)
    where[20:40, 30:50] += 20
    tiling = Tiling.by_detail(where, count=count, halo=2.0, smallest=smallest)
    sides = tiling.boxes[:, 2:] - tiling.boxes[:, :2]
    assert sides.min() >= smallest
    assert tiling.count <= count
    if count * (2 * smallest) ** 2 <= 120 * 170 / 4:  # where there is room
        assert tiling.count == count
    assert tiling.halo == (2.0 if tiling.count > 1 else 0.0)


@pytest.mark.parametrize("count", [2, 3, 5, 8, 12, 31])
@pytest.mark.parametrize("size", [(120, 160), (160, 90), (50, 300)], ids=str)
def test_cuts_leave_each_side_the_share_of_its_tiles(size, count):
    """To half a line of pixels: no cut between two pixels comes closer."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    where = 1 + 0.4 * np.sin(x / 7 + y / 31) + 0.4 * np.cos(y / 11) * (x > width / 3)  # within 1 to 9, slowly
    where = 1 + where / where.max()  # within 1 to 2: nothing has to be clamped
    tiling = Tiling.by_detail(where, count=count, halo=2.0, smallest=1)
    assert tiling.count == count

    def visit(box, axis, cut, lower, upper):
        x0, y0, x1, y1 = box
        assert axis == (0 if x1 - x0 >= y1 - y0 else 1)  # across the longer side
        lines = where[y0:y1, x0:x1].sum(axis)
        share = lines[: cut - (x0, y0)[axis]].sum()
        assert abs(lower - upper) <= 1
        assert abs(share - lines.sum() * lower / (lower + upper)) <= 0.5 * lines.max() + 1e-9

    documented_boxes(tiling, visit)


def test_cuts_follow_what_there_is_to_tell_along_their_own_axis():
    left, top = np.ones((100, 200)), np.ones((200, 100))
    left[:, :50], top[:50] = 3, 3
    # 3 * 50 + c = (3 * 50 + 150) / 2
    assert Tiling.by_detail(left, count=2, halo=1.0).nodes.tolist() == [[0, 50], LEAF, LEAF]
    assert Tiling.by_detail(top, count=2, halo=1.0).nodes.tolist() == [[1, 50], LEAF, LEAF]
    below = np.ones((100, 200))
    below[70:] = 50  # tells nothing about x
    assert Tiling.by_detail(below, count=2, halo=1.0).nodes.tolist() == [[0, 100], LEAF, LEAF]


def test_busy_places_get_small_tiles():
    where = np.full((128, 128), 0.01)
    where[:32, 96:] = 1.0
    tiling = Tiling.by_detail(where, count=32, halo=2.0, smallest=4)
    assert tiling.count == 32
    area = np.zeros((128, 128))  # of the tile that a pixel lies in
    for x0, y0, x1, y1 in tiling.boxes.tolist():
        area[y0:y1, x0:x1] = (x1 - x0) * (y1 - y0)
    assert area[:32, 96:].mean() * 8 < area[64:, :64].mean()


@pytest.mark.parametrize(("size", "side"), [((64, 128), 32), ((256, 256), 32), ((128, 64), 16), ((512, 512), 64)])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_uniform_detail_gives_an_even_grid(size, side, kind):
    height, width = size
    count = height * width // side**2
    tiling = Tiling.by_detail(np.full(size, 0.1, kind), count=count, halo=2.0, smallest=4)
    expected = [[x, y, x + side, y + side] for x in range(0, width, side) for y in range(0, height, side)]
    assert sorted(tiling.boxes.tolist()) == sorted(expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (1, 50), (50, 1), (3, 2), (16, 31)], ids=str)
@pytest.mark.parametrize("smallest", [1, 4, 16])
@pytest.mark.parametrize("count", [1, 2, 900])
def test_small_images_have_as_many_tiles_as_fit(size, smallest, count):
    tiling = Tiling.by_detail(detail(*size), count=count, halo=2.0, smallest=smallest)
    assert 1 <= tiling.count <= min(count, size[0] * size[1])
    for low, high, side in ((0, 2, size[1]), (1, 3, size[0])):
        assert (tiling.boxes[:, high] - tiling.boxes[:, low]).min() >= min(smallest, side)
    if count == 900:  # no tile could be halved once more
        assert (tiling.boxes[:, 2:] - tiling.boxes[:, :2]).max() < 2 * smallest
    points = pixel_centres(size[1], size[0]).reshape(-1, 2)
    weights = dense(tiling, tiling.blend(points), points)[..., 0]
    np.testing.assert_allclose(weights, documented_weights(tiling, points), atol=1e-12)


def test_thousands_of_tiles():
    where = detail(700, 900)
    tiling = Tiling.by_detail(where, count=4000, halo=1.0, smallest=4)
    assert 3000 < tiling.count <= 4000
    sides = tiling.boxes[:, 2:] - tiling.boxes[:, :2]
    assert sides.min() >= 4
    assert sides.prod(1).sum() == 700 * 900
    points = torch.rand(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = tiling.blend(points)
    weights = dense(tiling, found, points)[..., 0]
    np.testing.assert_allclose(weights, documented_weights(tiling, points), atol=1e-12)
    assert len(found.point) < 5 * len(points)  # not every tile is covered


def test_deep_trees():
    """One column after the other: as deep as there are tiles."""
    comb = [row for x in range(1, 500) for row in ((0, x), LEAF)]
    tiling = Tiling(500, 2, 0.4, nodes(*comb, LEAF))
    assert tiling.boxes.tolist() == [[x, 0, x + 1, 2] for x in range(500)]
    found = tiling.blend(pixel_centres(500, 1)[0])
    assert torch.equal(found.tile, torch.arange(500))
    assert torch.equal(found.point, found.tile)
    assert torch.equal(found.weight, torch.ones(500, dtype=torch.float64))


def test_a_single_tile_is_the_image():
    tiling = Tiling.single(30, 20)
    assert (tiling.count, tiling.halo) == (1, 0.0)
    assert tiling.boxes.tolist() == tiling.pixel_boxes.tolist() == [[0, 0, 30, 20]]
    assert (tiling.centres.tolist(), tiling.half_extents.tolist()) == ([[15.0, 10.0]], [15.0])
    assert tiling.local_per_unit.tolist() == [[2.0, pytest.approx(4 / 3)]]
    found = tiling.blend(plane_points(tiling))
    assert (found.weight == 1).all()
    assert not found.grad.any()
    assert not found.second_derivatives.any()
    assert torch.equal(found.point, torch.arange(len(found.point)))


# Weights.


@every_tiling
def test_weights_are_the_documented_ones(tiling):
    points = plane_points(tiling)
    found = dense(tiling, tiling.blend(points), points)
    np.testing.assert_allclose(found[..., 0], documented_weights(tiling, points), atol=1e-12)
    assert found[..., 0].min() >= -1e-14  # rounding


@every_tiling
def test_weights_sum_to_one_and_their_derivatives_to_nothing(tiling):
    points = plane_points(tiling)
    sums = dense(tiling, tiling.blend(points), points).sum(1) / steepest(tiling)
    expected = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).expand_as(sums)
    torch.testing.assert_close(sums, expected, rtol=0, atol=1e-11)


@every_tiling
def test_derivatives_of_weights_match_autograd(tiling):
    points = plane_points(tiling, 300).requires_grad_()
    weights = dense(tiling, tiling.blend(points), points)

    def derivative(of):
        if not of.requires_grad:
            return torch.zeros_like(points)
        found = torch.autograd.grad(of.sum(), points, create_graph=True, allow_unused=True)[0]
        return torch.zeros_like(points) if found is None else found

    scale = steepest(tiling)
    for tile in {0, 1, tiling.count // 2, tiling.count - 1} & set(range(tiling.count)):
        slope = derivative(weights[:, tile, 0])
        laplacian = sum(derivative(slope[:, axis])[:, axis] for axis in (0, 1))
        expected = torch.cat([slope, laplacian[:, None]], 1) / scale[1:]
        torch.testing.assert_close(weights[:, tile, 1:] / scale[1:], expected, rtol=1e-10, atol=1e-11)
    # The slope and the Laplacian can be differentiated as well.
    assert tiling.count == 1 or tiling.blend(points).grad.requires_grad


@every_tiling
def test_derivatives_of_weights_match_differences(tiling):
    generator = torch.Generator().manual_seed(3)
    size = torch.tensor([tiling.width, tiling.height])
    points = torch.rand(400, 2, generator=generator, dtype=torch.float64)
    near = 1e-3 * (tiling.halo or 1.0) / size
    found = dense(tiling, tiling.blend(points), points)
    laplacian = 0
    for axis in (0, 1):
        aside = torch.zeros(2, dtype=torch.float64)
        aside[axis] = near[axis]
        after, before = (torch.from_numpy(documented_weights(tiling, p)) for p in (points + aside, points - aside))
        slope = (after - before) / (2 * near[axis])
        torch.testing.assert_close(found[..., 1 + axis] * near[axis], slope * near[axis], rtol=0, atol=1e-7)
        laplacian = laplacian + (after + before - 2 * found[..., 0]) / near[axis] ** 2
    unit = 1 / (1 / near).square().sum()
    torch.testing.assert_close(found[..., 3] * unit, laplacian * unit, rtol=0, atol=1e-8)


@every_tiling
def test_entries_come_by_tile_once_each_and_have_a_part(tiling):
    points = plane_points(tiling)
    found = tiling.blend(points)
    assert (found.tile.diff() >= 0).all()
    assert len(set(zip(found.point.tolist(), found.tile.tolist(), strict=True))) == len(found.tile)
    assert (torch.bincount(found.point, minlength=len(points)) >= 1).all()
    assert found.tile.max() < tiling.count
    # A product of two steps may round to nothing; a single step that is left away is nothing.
    expected = documented_weights(tiling, points)
    present = np.zeros(expected.shape, bool)
    present[found.point, found.tile] = True
    assert not expected[~present].any() or expected[~present].max() < 1e-15
    assert (present.sum() - (expected > 0).sum()) <= 0.01 * present.sum()


@every_tiling
def test_no_weight_reaches_beyond_box_and_halo(tiling):
    points = plane_points(tiling)
    found = tiling.blend(points)
    position = points[found.point] * torch.tensor([tiling.width, tiling.height])
    box, reach = torch.from_numpy(tiling.boxes)[found.tile].double(), tiling.halo + 1e-9
    size = torch.tensor([tiling.width, tiling.height])
    assert ((position > box[:, :2] - reach) | (box[:, :2] == 0)).all()
    assert ((position < box[:, 2:] + reach) | (box[:, 2:] == size)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_tiling
def test_arrays_are_blended_as_tensors_are(tiling, dtype):
    points = plane_points(tiling, 70).to(dtype)
    found, expected = tiling.blend(points.numpy()), tiling.blend(points)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-4
    for array, tensor in zip(found, expected, strict=True):
        assert isinstance(array, np.ndarray)
        assert str(tensor.dtype) == f"torch.{array.dtype}"
        np.testing.assert_allclose(array, tensor, atol=tolerance * max(1.0, abs(array).max(initial=0)))
    local = tiling.local(points.numpy()[found.point], found.tile)
    np.testing.assert_allclose(local, tiling.local(points[expected.point], expected.tile), rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_tiling
def test_no_points_have_no_entries(tiling, dtype):
    found = tiling.blend(torch.zeros(0, 2, dtype=dtype))
    assert [tuple(each.shape) for each in found] == [(0,), (0,), (0,), (0, 2), (0, 2)]
    assert found.point.dtype == found.tile.dtype == torch.int64
    assert found.weight.dtype == found.grad.dtype == found.second_derivatives.dtype == dtype
    assert tiling.local(torch.zeros(0, 2, dtype=dtype), found.tile).shape == (0, 2)


@every_tiling
def test_float32_points_are_blended_in_float32(tiling):
    points = torch.rand(200, 2, generator=torch.Generator().manual_seed(1))
    found = tiling.blend(points)
    assert found.weight.dtype == found.grad.dtype == found.second_derivatives.dtype == torch.float32
    weights = dense(tiling, found, points)[..., 0]
    np.testing.assert_allclose(weights, documented_weights(tiling, points.double()), atol=1e-4)


# Pixels of a tile.


@every_tiling
def test_pixel_boxes_hold_the_pixels_within_the_halo(tiling):
    assert tiling.pixel_boxes.tolist() == documented_pixel_boxes(tiling)


@every_tiling
def test_a_tile_weighs_its_own_pixels_and_none_outside_its_pixel_box(tiling):
    points = pixel_centres(tiling.width, tiling.height).reshape(-1, 2)
    found = tiling.blend(points)
    row, column = found.point // tiling.width, found.point % tiling.width
    x0, y0, x1, y1 = torch.from_numpy(tiling.pixel_boxes)[found.tile].unbind(-1)
    assert ((x0 <= column) & (column < x1) & (y0 <= row) & (row < y1)).all()
    weights = dense(tiling, found, points)[..., 0].T.reshape(tiling.count, tiling.height, tiling.width)
    for weight, (x0, y0, x1, y1) in zip(weights, tiling.boxes.tolist(), strict=True):
        assert (weight[y0:y1, x0:x1] > 0).all()
    # A pixel of the pixel box without a weight touches the end of an overlap, or is met by two of them.
    expected = documented_weights(tiling, points).T.reshape(weights.shape)
    for weight, (x0, y0, x1, y1) in zip(expected, tiling.pixel_boxes.tolist(), strict=True):
        outside = np.ones_like(weight, bool)
        outside[y0:y1, x0:x1] = False
        assert not weight[outside].any()


# Local coordinates.


@every_tiling
def test_local_coordinates_are_isotropic_about_the_middle_of_a_tiles_pixels(tiling):
    tiles, size = np.arange(tiling.count), np.array([tiling.width, tiling.height])
    for tile, (x0, y0, x1, y1) in enumerate(documented_pixel_boxes(tiling)):
        assert tiling.centres[tile].tolist() == [(x0 + x1) / 2, (y0 + y1) / 2]
        assert tiling.half_extents[tile] == max(x1 - x0, y1 - y0) / 2
    assert tiling.centres.dtype == tiling.half_extents.dtype == np.float64
    assert abs(tiling.local(tiling.centres / size, tiles)).max() < 1e-9
    aside = np.array([3.0, -5.0])
    moved = tiling.local((tiling.centres + aside) / size, tiles) * tiling.half_extents[:, None]
    np.testing.assert_allclose(moved, np.broadcast_to(aside, moved.shape), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(tiling.local_per_unit, size / tiling.half_extents[:, None])


@every_tiling
def test_local_coordinates_of_a_tiles_pixels_lie_within_one(tiling):
    boxes, size = tiling.pixel_boxes, np.array([tiling.width, tiling.height])
    tiles = np.arange(tiling.count)
    ends = np.stack([tiling.local(corner / size, tiles) for corner in (boxes[:, :2], boxes[:, 2:])])
    np.testing.assert_allclose(abs(ends).max((0, 2)), np.ones(tiling.count))
    for corner in (boxes[:, :2] + 0.5, boxes[:, 2:] - 0.5):
        assert abs(tiling.local(corner / size, tiles)).max() < 1


@every_tiling
def test_local_coordinates_can_be_differentiated(tiling):
    points = plane_points(tiling, 70).requires_grad_()
    found = tiling.blend(points)
    local = tiling.local(points[found.point], found.tile)
    for axis in (0, 1):
        (by_point,) = torch.autograd.grad(local[:, axis].sum(), points, retain_graph=True)
        expected = torch.zeros(len(points), dtype=torch.float64)
        expected.index_add_(0, found.point, torch.from_numpy(tiling.local_per_unit)[found.tile, axis])
        torch.testing.assert_close(by_point[:, axis], expected)
        assert not by_point[:, 1 - axis].any()


# What cannot be.


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "0 nodes, too few"),
        ([(0, 3)], "1 nodes, too few"),
        ([(0, 3), LEAF], "2 nodes, too few"),
        ([(0, 3), (1, 2), LEAF, LEAF], "4 nodes, too few"),
        ([LEAF, LEAF], "ends at node 1 of 2"),
        ([(0, 3), LEAF, LEAF, LEAF], "ends at node 3 of 4"),
        ([LEAF, (0, 3), LEAF], "ends at node 1 of 3"),
        ([(0, 0), LEAF, LEAF], "node 0 .*cuts axis 0 at 0, outside its box"),
        ([(0, 8), LEAF, LEAF], "node 0 .*axis 0 at 8, outside"),
        ([(0, -3), LEAF, LEAF], "node 0 .*axis 0 at -3, outside"),
        ([(1, 6), LEAF, LEAF], "node 0 .*axis 1 at 6, outside"),
        ([(2, 3), LEAF, LEAF], "node 0 .*axis 2"),
        ([(-2, 3), LEAF, LEAF], "node 0 .*axis -2"),
        ([(2, 3)], "node 0 .*axis 2"),
        ([(0, 3), (0, 5), LEAF, LEAF, LEAF], "node 1 .*axis 0 at 5, outside"),
        ([(0, 3), LEAF, (0, 3), LEAF, LEAF], "node 2 .*axis 0 at 3, outside"),
        ([(0, 3), (1, 2), LEAF, (1, 1), LEAF, LEAF, LEAF], "node 3 .*axis 1 at 1, outside"),
        ([(0, 2**31 - 1), LEAF, LEAF], "outside"),
        ([(0, -(2**31)), LEAF, LEAF], "outside"),
    ],
    ids=str,
)
def test_damaged_trees_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        Tiling(8, 6, 1.0, nodes(*rows))


@pytest.mark.parametrize("halo", [0.0, 9e-7, -1.0, float("nan"), float("inf")])
def test_cuts_need_a_halo(halo):
    with pytest.raises(ValueError, match="at least 1e-06 pixels"):
        Tiling(8, 6, halo, nodes((0, 3), LEAF, LEAF))
    with pytest.raises(ValueError, match="at least 1e-06 pixels"):
        Tiling.by_detail(np.ones((6, 8)), count=2, halo=halo, smallest=1)


@pytest.mark.parametrize(("width", "height"), [(0, 4), (4, 0), (-1, 4), (0, 0)])
def test_images_without_pixels_are_refused(width, height):
    with pytest.raises(ValueError, match="at least one pixel"):
        Tiling.single(width, height)


def test_tiles_of_gigapixel_images_are_located():
    """A row of 100 tiles at the far end of a huge image, by hand."""
    width, height = 4_000_000, 3_000_000
    cuts = range(width - 99 * 50, width, 50)
    rows = [row for cut in cuts for row in ((0, cut), LEAF)]
    tiling = Tiling(width, height, 2.0, nodes(*rows, LEAF))
    edges = [*cuts, width]
    middles = torch.tensor([[(a + b) / 2 / width, 0.999] for a, b in pairwise(edges)], dtype=torch.float64)
    found = tiling.blend(middles)
    assert found.tile.tolist() == list(range(1, 100))
    assert (found.weight == 1).all()
    beside = tiling.blend(torch.tensor([[(cuts[7] + 0.5) / width, 0.5]], dtype=torch.float64))
    torch.testing.assert_close(
        beside.weight, torch.from_numpy(documented_step(np.array([-0.25, 0.25]))), rtol=1e-7, atol=1e-7
    )


# Groups.


@every_tiling
@pytest.mark.parametrize("most", [1, 2, 3, 7, 1000])
def test_groups_are_branches_of_the_tree_in_order(tiling, most):
    groups = tiling.groups(most)
    assert [group.start for group in groups] == [0, *(group.stop for group in groups[:-1])]
    assert groups[-1].stop == tiling.count
    boxes = tiling.boxes
    for group in groups:
        assert 1 <= group.stop - group.start <= most
        own = boxes[group]
        low, high = own[:, :2].min(0), own[:, 2:].max(0)
        # The tiles of a branch fill a box.
        assert int((own[:, 2:] - own[:, :2]).prod(1).sum()) == int((high - low).prod())
    if most > 1:  # two neighbours in order could not have been one
        sizes = [group.stop - group.start for group in groups]
        assert all(a + b > 1 for a, b in pairwise(sizes))
    assert (len(groups) == 1) == (tiling.count <= most)


# Cuts.


def cuts_of(tiling):
    """Per tile, the rows ``(axis, place, above)`` of the cuts over it."""
    first, cuts = tiling.cuts
    assert (first.dtype, cuts.dtype, cuts.shape[1:]) == (np.int64, np.float64, (3,))
    assert (first[0], first[-1], len(first)) == (0, len(cuts), tiling.count + 1)
    return [cuts[start:end].tolist() for start, end in pairwise(first.tolist())]


@every_tiling
def test_cuts_over_a_tile_bound_its_box(tiling):
    expected = documented_boxes(tiling)
    for own, box in zip(cuts_of(tiling), expected, strict=True):
        low, high = [0.0, 0.0], [float(tiling.width), float(tiling.height)]
        for axis, place, above in own:  # from the root: each cuts what the ones before have left
            assert (axis, above) in [(0, 0), (0, 1), (1, 0), (1, 1)]
            assert low[int(axis)] < place < high[int(axis)]
            (low if above else high)[int(axis)] = place
        assert (*low, *high) == box


@every_tiling
def test_the_product_over_its_cuts_is_a_tiles_weight(tiling):
    points = plane_points(tiling)
    pixels = points.numpy() * [tiling.width, tiling.height]
    found = np.ones((len(points), tiling.count))
    for tile, own in enumerate(cuts_of(tiling)):
        for axis, place, above in own:
            step = documented_step((pixels[:, int(axis)] - place) / tiling.halo)
            found[:, tile] *= step if above else 1 - step
    np.testing.assert_allclose(found, documented_weights(tiling, points), atol=1e-12)


def test_a_single_tile_has_no_cuts():
    first, cuts = Tiling.single(40, 30).cuts
    assert first.tolist() == [0, 0]
    assert cuts.shape == (0, 3)


def test_cuts_of_deep_trees():
    count = 400  # a chain: every cut leaves one tile on its left
    rows = [row for cut in range(1, count) for row in ([0, cut], LEAF)] + [LEAF]
    own = cuts_of(Tiling(count, 1, 1.0, nodes(*rows)))
    assert own[0] == [[0.0, 1.0, 0.0]]
    assert own[-1] == [[0.0, float(cut), 1.0] for cut in range(1, count)]


@every_tiling
def test_no_more_tiles_meet_than_are_said_to(tiling):
    """Of all tiles, box by box, at places as dense as the smallest."""
    boxes = documented_boxes(tiling)
    x, y = (np.linspace(0, side, 4 * side + 1) for side in (tiling.width, tiling.height))
    meeting = np.zeros((len(y), len(x)), int)
    for x0, y0, x1, y1 in boxes:
        # A halo beyond a border of the image overlaps no tile there.
        low, high = (x0 or -np.inf, y0 or -np.inf), (x1, y1)
        in_x = (x > low[0] - tiling.halo) & (x < high[0] + tiling.halo)
        in_y = (y > low[1] - tiling.halo) & (y < high[1] + tiling.halo)
        meeting += in_y[:, None] & in_x
    assert 1 <= meeting.max() <= tiling.max_overlap <= tiling.count


def test_where_four_tiles_meet_no_more_do():
    grid = Tiling.by_detail(np.ones((64, 64)), count=16, halo=4.0, smallest=8)
    assert grid.max_overlap == 4
    assert replace(grid, halo=8.5).max_overlap == 9
    # Tiles as high as the image meet across alone.
    assert Tiling.by_detail(np.ones((4, 64)), count=16, halo=2.0, smallest=4).max_overlap == 2
