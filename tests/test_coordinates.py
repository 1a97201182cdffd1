from math import ceil

import numpy as np
import pytest
import torch

from eoren.coordinates import Tiling, pixel_centres, smooth_step

# width, height, tile, halo: multiples and not, wide, high, one tile on an axis or on both, the widest halo.
TILINGS = [
    Tiling.of(128, 64, tile=32, halo=2.0),
    Tiling.of(100, 37, tile=16, halo=2.5),
    Tiling.of(97, 8, tile=16, halo=1.3),
    Tiling.of(5, 61, tile=12, halo=3.0),
    Tiling.of(50, 41, tile=10, halo=0.4),
    Tiling(64, 64, columns=4, rows=4, halo=8.0),
    Tiling(23, 23, columns=7, rows=5, halo=1.5),
    Tiling(3, 4, columns=3, rows=2, halo=0.5),
    Tiling.of(40, 30, tile=None, halo=2.0),
    Tiling.of(1, 1, tile=64, halo=2.0),
]
DERIVATIVES = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (2, 1), (2, 2)]

every_tiling = pytest.mark.parametrize("tiling", TILINGS, ids=lambda t: f"{t.width}x{t.height}/{t.count}")


def plane_points(tiling, count=3000):
    """Points in and around the square, the tiles' edges and the ends of their halos among them."""
    generator = torch.Generator().manual_seed(0)
    anywhere = 2 * torch.rand(count, 2, generator=generator, dtype=torch.float64) - 0.5
    special = []
    for axis, edges in enumerate(tiling.edges()):
        size = (tiling.width, tiling.height)[axis]
        for shift in (-tiling.halo, 0.0, tiling.halo):
            some = anywhere[: len(edges)].clone()
            some[:, axis] = (edges.double() + shift) / size
            special.append(some)
    far = torch.tensor([[-1e6, 3.0], [1e6, -1e6]], dtype=torch.float64)
    return torch.cat([anywhere, *special, far])


def dense(tiling, points):
    """``(N, tiles, 3, 3)``: the weights of all tiles, from those that answer."""
    tiles, weights, mask = tiling.touching(points)
    total = torch.zeros(len(points), tiling.count, 3, 3, dtype=points.dtype)
    rows = torch.arange(len(points))[:, None].expand_as(tiles)
    return total.index_put((rows[mask], tiles[mask]), weights[mask], accumulate=True)


def quintic(t):
    """The step as a numpy polynomial in t on -1..1: its derivative is 15/16 (1 - t^2)^2."""
    rise = (np.polynomial.Polynomial([1, 0, -2, 0, 1]) * 15 / 16).integ(lbnd=-1)
    return np.where(t <= -1, 0.0, np.where(t >= 1, 1.0, rise(np.clip(t, -1, 1))))


def axis_weights(position, edges, halo):
    """``S((X - e[k]) / halo) - S((X - e[k+1]) / halo)``, the outermost steps left away: as documented."""
    steps = [np.ones_like(position)]
    steps += [quintic((position - edge) / halo) for edge in edges[1:-1]]
    steps += [np.zeros_like(position)]
    return np.stack([a - b for a, b in zip(steps[:-1], steps[1:], strict=True)], -1)


# Pixel centres.


def test_pixel_centres_are_half_a_pixel_in():
    centres = pixel_centres(5, 3)
    assert centres.dtype == torch.float64
    for i in range(3):
        for j in range(5):
            assert centres[i, j].tolist() == pytest.approx([(j + 0.5) / 5, (i + 0.5) / 3], abs=1e-15)


def test_pixel_centres_of_a_region_and_of_some_rows():
    region = (0.25, 0.5, 0.75, 0.6)
    centres = pixel_centres(4, 10, region)
    np.testing.assert_allclose(centres[0, :, 0], 0.25 + 0.5 * (np.arange(4) + 0.5) / 4, atol=1e-15)
    np.testing.assert_allclose(centres[:, 0, 1], 0.5 + 0.1 * (np.arange(10) + 0.5) / 10, atol=1e-15)
    for rows in (slice(0, 3), slice(7, 99), slice(10, 12)):
        assert torch.equal(pixel_centres(4, 10, region, rows=rows), centres[rows])


def test_pixels_of_a_gigapixel_row_are_told_apart():
    x = pixel_centres(1 << 20, 1)[0, :, 0]
    assert (x.diff() * (1 << 20) - 1).abs().max() < 1e-6
    assert pixel_centres(3, 2, dtype=torch.float32).dtype == torch.float32


# The step.


def test_smooth_step_is_its_polynomial_and_constant_outside():
    t = torch.linspace(-3, 3, 1201, dtype=torch.float64)
    value, slope, bend = smooth_step(t)
    np.testing.assert_allclose(value, quintic(t.numpy()), atol=1e-14)
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


# Tiles.


@every_tiling
def test_edges_are_whole_pixels_apart_and_even(tiling):
    for edges, count, size in zip(
        tiling.edges(), (tiling.columns, tiling.rows), (tiling.width, tiling.height), strict=True
    ):
        assert edges.dtype == torch.int64
        assert len(edges) == count + 1
        assert (edges[0], edges[-1]) == (0, size)
        spans = edges.diff()
        assert spans.min() >= 1
        assert spans.max() - spans.min() <= 1


@pytest.mark.parametrize(
    ("width", "height", "tile", "columns", "rows"),
    [
        (768, 512, 64, 12, 8),
        (100, 20, 32, 3, 1),
        (20, 100, 32, 1, 3),
        (10, 10, 64, 1, 1),
        (512, 512, None, 1, 1),
        (7, 9, 1, 7, 9),
    ],
)
def test_tiles_are_about_the_size_asked_for(width, height, tile, columns, rows):
    tiling = Tiling.of(width, height, tile=tile, halo=0.25)
    assert (tiling.columns, tiling.rows, tiling.count) == (columns, rows, columns * rows)
    assert tiling.halo == (0.25 if columns * rows > 1 else 0.0)


@every_tiling
def test_weights_are_a_partition_of_unity_everywhere(tiling):
    sums = dense(tiling, plane_points(tiling)).sum(1)
    rate = np.array([tiling.width, tiling.height]) / tiling.halo if tiling.halo else np.ones(2)
    torch.testing.assert_close(sums[:, 0, 0], torch.ones(len(sums), dtype=torch.float64))
    for a, b in DERIVATIVES[1:]:
        size = 10.0 * max(1.0, rate[0]) ** a * max(1.0, rate[1]) ** b
        assert sums[:, a, b].abs().max() < 1e-13 * size, (a, b)


@every_tiling
def test_weights_are_the_documented_ones(tiling):
    points = plane_points(tiling)
    x_edges, y_edges = (edges.numpy() for edges in tiling.edges())
    x = axis_weights(points[:, 0].numpy() * tiling.width, x_edges, tiling.halo)
    y = axis_weights(points[:, 1].numpy() * tiling.height, y_edges, tiling.halo)
    expected = (y[:, :, None] * x[:, None, :]).reshape(len(points), -1)
    np.testing.assert_allclose(dense(tiling, points)[:, :, 0, 0], expected, atol=1e-13)
    assert expected.min() >= -1e-15


@every_tiling
def test_derivatives_of_weights_match_autograd(tiling):
    points = plane_points(tiling, 400).requires_grad_()
    found = dense(tiling, points)

    def derivative(of, axis):
        if not of.requires_grad:
            return torch.zeros(len(points), dtype=torch.float64)
        grad = torch.autograd.grad(of.sum(), points, create_graph=True, allow_unused=True)[0]
        return torch.zeros(len(points), dtype=torch.float64) if grad is None else grad[:, axis]

    for tile in {0, tiling.count // 2, tiling.count - 1}:
        of = found[:, tile]
        for a, b in DERIVATIVES[1:]:
            lower = of[:, a - 1, b] if a else of[:, a, b - 1]
            expected = derivative(lower, 0 if a else 1)
            size = max(1.0, float(expected.detach().abs().max()))
            torch.testing.assert_close(of[:, a, b], expected, rtol=1e-11, atol=1e-12 * size)


@every_tiling
def test_those_who_answer_are_distinct_and_have_a_part(tiling):
    points = plane_points(tiling)
    tiles, weights, mask = tiling.touching(points)
    assert tiles.shape[1] == (2 if tiling.columns > 1 else 1) * (2 if tiling.rows > 1 else 1)
    assert tiles.min() >= 0
    assert tiles.max() < tiling.count
    assert (tiles.sort(1).values.diff(dim=1) > 0).all()
    assert mask.any(1).all()
    assert torch.equal(mask, weights[..., 0, 0] > 0)
    # Those left away have no derivative there either, but for rounding at the end of a halo.
    density = max(tiling.width, tiling.height) / tiling.halo if tiling.halo else 1.0
    assert (weights[~mask].abs() < 1e-10 * density**4).all()


@every_tiling
def test_no_weight_reaches_beyond_the_halo(tiling):
    points = plane_points(tiling)
    tiles, _, mask = tiling.touching(points)
    x_edges, y_edges = tiling.edges()
    column, row = tiles % tiling.columns, tiles // tiling.columns
    for position, at, edges, count in (
        (points[:, :1] * tiling.width, column, x_edges, tiling.columns),
        (points[:, 1:] * tiling.height, row, y_edges, tiling.rows),
    ):
        edges, reach = edges.double(), tiling.halo + 1e-9
        assert ((position > edges[at] - reach) | (at == 0))[mask].all()
        assert ((position < edges[at + 1] + reach) | (at == count - 1))[mask].all()


@every_tiling
def test_pixel_boxes_hold_the_pixels_within_the_halo(tiling):
    boxes = tiling.pixel_boxes()
    x_edges, y_edges = (edges.tolist() for edges in tiling.edges())
    for tile, box in enumerate(boxes.tolist()):
        row, column = divmod(tile, tiling.columns)
        columns = [
            j
            for j in range(tiling.width)
            if x_edges[column] - tiling.halo <= j + 0.5 <= x_edges[column + 1] + tiling.halo
        ]
        rows = [
            i for i in range(tiling.height) if y_edges[row] - tiling.halo <= i + 0.5 <= y_edges[row + 1] + tiling.halo
        ]
        assert box == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@every_tiling
def test_pixels_lie_in_the_box_of_each_tile_that_weighs_them(tiling):
    points = pixel_centres(tiling.width, tiling.height).reshape(-1, 2)
    tiles, _, mask = tiling.touching(points)
    pixel, candidate = mask.nonzero(as_tuple=True)
    x0, y0, x1, y1 = tiling.pixel_boxes()[tiles[pixel, candidate]].unbind(-1)
    row, column = pixel // tiling.width, pixel % tiling.width
    assert ((x0 <= column) & (column < x1) & (y0 <= row) & (row < y1)).all()


# Local coordinates.


@every_tiling
def test_local_coordinates_are_isotropic_about_the_middle_of_a_tile(tiling):
    tiles = torch.arange(tiling.count)
    x_edges, y_edges = tiling.edges()
    middles = tiling.centres() / torch.tensor([tiling.width, tiling.height])
    for tile, (x, y) in enumerate(tiling.centres().tolist()):
        row, column = divmod(tile, tiling.columns)
        assert x == (x_edges[column] + x_edges[column + 1]) / 2
        assert y == (y_edges[row] + y_edges[row + 1]) / 2
    assert tiling.local(middles, tiles).abs().max() < 1e-9

    pixels_a_unit = max(ceil(tiling.width / tiling.columns), ceil(tiling.height / tiling.rows)) / 2 + tiling.halo
    aside = torch.tensor([3 / tiling.width, -5 / tiling.height])
    moved = tiling.local(middles + aside, tiles) * pixels_a_unit
    torch.testing.assert_close(moved, torch.tensor([[3.0, -5.0]]).double().expand_as(moved))
    assert tiling.local_per_unit == pytest.approx((tiling.width / pixels_a_unit, tiling.height / pixels_a_unit))


@every_tiling
def test_local_coordinates_of_a_tile_and_its_halo_lie_within_one(tiling):
    boxes = tiling.pixel_boxes().double()
    size = torch.tensor([tiling.width, tiling.height])
    for corner in (boxes[:, :2] + 0.5, boxes[:, 2:] - 0.5):
        local = tiling.local(corner / size, torch.arange(tiling.count))
        assert local.abs().max() <= 1
    assert tiling.half > 0


def test_gigapixel_pictures_find_their_tiles():
    tiling = Tiling.of(100_000, 80_000, tile=50, halo=2.0)
    points = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tiles, weights, _ = tiling.touching(points)
    torch.testing.assert_close(weights[:, :, 0, 0].sum(1), torch.ones(1000, dtype=torch.float64))
    strongest = tiles.gather(1, weights[:, :, 0, 0].argmax(1, keepdim=True))[:, 0]
    column, row = (points[:, 0] * 2000).floor().long(), (points[:, 1] * 1600).floor().long()
    assert torch.equal(strongest, row * 2000 + column)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4), "at least one pixel"),
        ((4, 4, 0, 1), "at least one pixel"),
        ((4, 4, 5, 1, 0.1), "at least one pixel wide"),
        ((64, 64, 4, 4, 0.0), "above 0 and at most half"),
        ((64, 64, 4, 4, 8.1), "above 0 and at most half"),
        ((64, 64, 4, 4, -1.0), "above 0 and at most half"),
        ((63, 64, 4, 4, 8.0), "above 0 and at most half"),
        ((64, 64, 4, 4, float("nan")), "above 0 and at most half"),
    ],
    ids=str,
)
def test_impossible_tilings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Tiling(*arguments)
