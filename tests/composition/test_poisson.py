"""Poisson solvers, against sparse factorisations of SciPy and closed forms."""

import numpy as np
import pytest
from scipy.sparse import diags, identity, kron, vstack
from scipy.sparse.linalg import lsqr, spsolve

from eoren.composition.multigrid import TOLERANCE
from eoren.composition.poisson import bounding_box, fill_biharmonic, forward_differences, solve_mask, solve_rectangle
from eoren.errors import EorenError

SIZES = [(1, 1), (1, 6), (7, 1), (2, 2), (5, 7), (13, 8), (16, 31), (31, 16)]


def random(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def equations(height, width):
    """Build the sparse matrix of forward differences, to the right and then down."""

    def along(count):
        return diags([-np.ones(count - 1), np.ones(count - 1)], [0, 1], shape=(count - 1, count))

    return vstack([kron(identity(height), along(width)), kron(along(height), identity(width))]).tocsr()


def differences(guidance, c):
    return np.concatenate([guidance[:, :-1, c, 0].ravel(), guidance[:-1, :, c, 1].ravel()])


def exact(unknown, guidance, colors, weight=None, pull=None):
    """Solve with SciPy the equations of the differences that touch the mask."""
    rows, free = equations(*unknown.shape), unknown.ravel()
    rows = rows[np.asarray(abs(rows)[:, free].sum(1)).ravel() > 0]
    every = equations(*unknown.shape)
    touch = np.asarray(abs(every)[:, free].sum(1)).ravel() > 0
    solved = colors.astype(np.float64)
    extra = np.zeros(free.sum()) if weight is None else weight[unknown]
    for c in range(colors.shape[2]):
        right = differences(guidance, c)[touch] - rows[:, ~free] @ colors[:, :, c].ravel()[~free]
        matrix = (rows[:, free].T @ rows[:, free] + diags(extra)).tocsc()
        added = 0 if pull is None else extra * pull[:, :, c][unknown]
        solved[:, :, c][unknown] = spsolve(matrix, rows[:, free].T @ right + added)
    return solved


def masks(height=37, width=45):
    y, x = np.mgrid[:height, :width]
    return {
        "disc": (x - 20) ** 2 + (y - 15) ** 2 < 150,
        "touches the border": x > 30,
        "all but a pixel": (x > 0) | (y > 0),
        "two parts": ((x < 8) & (y < 9)) | ((x > 30) & (y > 20)),
        "scattered": random(height, width) < 0.6,
        "lines": (x % 5 == 0) | (y % 7 == 3),
        "one pixel": (x == 5) & (y == 6),
        "a corner": (x == 0) & (y == 0),
    }


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("weight", [0.0, 1e-4, 0.3])
def test_rectangle_is_the_least_squares_solution(size, weight):
    height, width = size
    guidance, colors, mean = random(height, width, 2, 2) - 0.5, random(height, width, 2), np.array([0.3, 0.6])
    solved = solve_rectangle(guidance, mean=mean, colors=colors, weight=weight)
    rows = equations(height, width)
    for c in range(2):
        normal, right = rows.T @ rows, rows.T @ differences(guidance, c)
        if weight:
            normal, right = normal + weight * identity(height * width), right + weight * colors[:, :, c].ravel()
            expected = spsolve(normal.tocsc(), right)
        else:
            expected = (
                lsqr(rows, differences(guidance, c), atol=1e-14, btol=1e-14)[0] if rows.shape[0] else np.zeros(1)
            )
            expected = expected - expected.mean() + mean[c]
        np.testing.assert_allclose(solved[:, :, c].ravel(), np.ravel(expected), atol=2e-6)


def test_the_differences_of_an_image_restore_it():
    image = random(23, 29, 3)
    solved = solve_rectangle(forward_differences(image), mean=image.mean((0, 1)))
    np.testing.assert_allclose(solved, image, atol=1e-6)


@pytest.mark.parametrize("name", masks())
def test_mask_is_the_least_squares_solution(name):
    unknown = masks()[name]
    guidance, colors = random(*unknown.shape, 2, 2, seed=1) - 0.5, random(*unknown.shape, 2, seed=2)
    solved = solve_mask(unknown, guidance, colors)
    np.testing.assert_allclose(solved, exact(unknown, guidance, colors), atol=TOLERANCE)
    np.testing.assert_array_equal(solved[~unknown], colors[~unknown].astype(np.float32))


@pytest.mark.parametrize("depth", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("shape", ["disc", "all but a pixel", "slant"])
def test_the_error_is_below_the_tolerance(shape, depth):
    """Low frequencies of amplitude `depth` and high ones, against a factorisation."""
    height, width = 150, 141
    y, x = np.mgrid[:height, :width]
    unknown = {
        "disc": np.hypot(x - 70, y - 75) < 66,
        "all but a pixel": (x > 0) | (y > 0),
        "slant": x + 0.37 * y > 60,
    }[shape]
    hollow = depth * np.sin(3 * x / width) * np.cos(2 * y / height)
    guidance = forward_differences((hollow + 0.3 * random(height, width))[..., None])
    guidance += 0.1 * random(height, width, 1, 2, seed=1)
    colors = random(height, width, 1, seed=2)
    left = np.abs(solve_mask(unknown, guidance, colors) - exact(unknown, guidance, colors)).max()
    # Half a level of 16 bits; what float32 colours of this depth can hold comes on top.
    assert left < 0.5 / 65535 + 2e-7 * depth


def test_the_bounding_box_is_limited_by_the_image():
    y, x = np.mgrid[:10, :12]
    assert bounding_box((y > 2) & (y < 5) & (x > 6)) == (slice(2, 6), slice(6, 12))
    assert bounding_box((y == 0) & (x == 4), 2) == (slice(0, 3), slice(2, 7))


def test_weights_pull_towards_colours():
    unknown = masks()["disc"]
    guidance, colors, pull = (random(*unknown.shape, *more, seed=k) for k, more in enumerate([(1, 2), (1,), (1,)]))
    weight = random(*unknown.shape, seed=5)
    solved = solve_mask(unknown, guidance, colors, weight=weight, pull=pull)
    np.testing.assert_allclose(solved, exact(unknown, guidance, colors, weight, pull), atol=TOLERANCE)


def test_weights_suffice_for_a_mask_of_everything():
    unknown = np.ones((12, 17), bool)
    guidance, pull, weight = random(12, 17, 1, 2), random(12, 17, 1), np.full((12, 17), 0.02)
    solved = solve_mask(unknown, guidance, np.zeros((12, 17, 1)), weight=weight, pull=pull)
    np.testing.assert_allclose(solved, solve_rectangle(guidance, colors=pull, weight=0.02), atol=TOLERANCE)


def test_membrane_obeys_the_maximum_principle():
    unknown, colors = masks()["disc"], random(37, 45, 1)
    solved = solve_mask(unknown, np.zeros((37, 45, 1, 2)), colors)
    assert solved[unknown].min() > colors.min()
    assert solved[unknown].max() < colors.max()


def test_inputs_are_not_modified():
    unknown, guidance, colors = masks()["disc"], random(37, 45, 1, 2), random(37, 45, 1)
    kept = unknown.copy(), guidance.copy(), colors.copy()
    solve_mask(unknown, guidance, colors)
    fill_biharmonic(unknown, colors)
    solve_rectangle(guidance, colors=colors, weight=0.1)
    for before, after in zip(kept, (unknown, guidance, colors), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("power", [(1, 0), (1, 1), (3, 0), (2, 1), (0, 3)])
def test_biharmonic_restores_cubics(power):
    """The squared five-point Laplacian of any cubic is zero."""
    y, x = np.mgrid[:24, :30] / 30
    image = (x ** power[0] * y ** power[1])[..., None]
    hole = (np.hypot(x - 0.5, y - 0.4) < 0.25) & (x > 0.1)
    solved = fill_biharmonic(hole, np.where(hole[..., None], 9.0, image))
    np.testing.assert_allclose(solved, image, atol=1e-6)


def test_biharmonic_is_the_least_squares_solution_at_the_border():
    unknown, colors = masks()["touches the border"], random(37, 45, 1)
    rows, free = equations(37, 45), unknown.ravel()
    laplacian = (rows.T @ rows).tocsc()
    expected = lsqr(
        laplacian[:, free], -laplacian[:, ~free] @ colors.ravel()[~free], atol=1e-15, btol=1e-15, iter_lim=20000
    )
    np.testing.assert_allclose(fill_biharmonic(unknown, colors)[unknown][:, 0], expected[0], atol=1e-4)


def test_masks_of_everything_are_refused():
    unknown = np.ones((5, 5), bool)
    for solve in (
        lambda: solve_mask(unknown, random(5, 5, 1, 2), random(5, 5, 1)),
        lambda: fill_biharmonic(unknown, random(5, 5, 1)),
    ):
        with pytest.raises(EorenError, match="the mask covers every pixel"):
            solve()


def test_empty_masks_change_nothing():
    unknown, colors = np.zeros((5, 5), bool), random(5, 5, 1)
    np.testing.assert_allclose(solve_mask(unknown, random(5, 5, 1, 2), colors), colors, atol=1e-7)
    np.testing.assert_allclose(fill_biharmonic(unknown, colors), colors, atol=1e-7)


def test_masks_too_large_for_a_factorisation_are_refused(monkeypatch):
    monkeypatch.setattr("eoren.composition.poisson._MAX_FACTORED", 10)
    with pytest.raises(EorenError, match=r"must have at most 10 pixels, got \d+; use the membrane"):
        fill_biharmonic(masks()["disc"], random(37, 45, 1))


def test_gradients_that_are_not_finite_are_refused():
    guidance = np.full((37, 45, 1, 2), np.inf)
    with pytest.raises(EorenError, match="finite"):
        solve_mask(masks()["disc"], guidance, random(37, 45, 1))
