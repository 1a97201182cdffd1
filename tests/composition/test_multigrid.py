"""The grids and the cycle as dense matrices, against what multigrid theory says of them."""

import numpy as np
import pytest
import torch
from scipy.linalg import eigvals

from eoren.composition.multigrid import Cycle, _gathered, _spread, grid_of, solved
from eoren.errors import EorenError

HEIGHT, WIDTH = 30, 37
Y, X = np.mgrid[:HEIGHT, :WIDTH]
MASKS = {
    "frame": (X > 0) & (Y > 0) & (X < WIDTH - 1) & (Y < HEIGHT - 1),
    "border": X > 4,
    "disc": np.hypot(X - 18, Y - 15) < 13,
    "scattered": np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.6,
    "lines": (X % 5 == 0) | (Y % 7 == 3),
}


def dense(operator, shape):
    columns = [operator(one.view(shape)).clone().flatten() for one in torch.eye(shape[0] * shape[1])]
    return torch.stack(columns, 1).double().numpy()


def interpolation(grid):
    """P, from one axis to the other."""

    def spread(coarse):
        rows = torch.empty(len(coarse), grid.own.shape[1])
        fine = torch.empty(grid.own.shape)
        _spread(coarse.T, grid.ends[1], out=rows.T)
        _spread(rows, grid.ends[0], out=fine)
        return fine

    return spread


@pytest.mark.parametrize("name", MASKS)
def test_the_matrix_is_the_graph_laplacian_of_the_unknown_pixels(name):
    unknown, weight = MASKS[name], np.random.default_rng(1).random((HEIGHT, WIDTH))
    number = np.arange(unknown.size).reshape(unknown.shape)
    joined = np.zeros((unknown.size,) * 2)
    for a, b in ((number[:, :-1], number[:, 1:]), (number[:-1], number[1:])):
        joined[a, b] = joined[b, a] = 1
    keep = np.diag(unknown.ravel().astype(float))
    expected = keep @ (np.diag(joined.sum(1) + weight.ravel()) - joined) @ keep
    found = dense(grid_of(unknown, weight).times, unknown.shape)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", MASKS)
def test_a_coarser_grid_is_the_finer_one_between_its_functions(name):
    grid = grid_of(MASKS[name], None)
    while grid.own.numel() > 30:
        coarser = grid.coarser()
        fine, spread = dense(grid.times, grid.own.shape), dense(interpolation(grid), coarser.own.shape)
        gather = dense(
            lambda u, grid=grid: _gathered(_gathered(u, grid.ends[0]).T, grid.ends[1]).T.contiguous(), grid.own.shape
        )
        np.testing.assert_allclose(gather, spread.T, atol=1e-6)
        np.testing.assert_allclose(dense(coarser.times, coarser.own.shape), spread.T @ fine @ spread, atol=1e-5)
        grid = coarser


def test_between_kept_pixels_functions_are_linear():
    """A free end goes on flat, and one with something known behind falls to its half."""
    out = torch.empty(6, 1)
    for end, last in ((1.0, 5.0), (0.5, 2.5)):
        _spread(torch.tensor([[1.0], [2.0], [5.0]]), end, out)
        assert out[:, 0].tolist() == [1.0, 1.5, 2.0, 3.5, 5.0, last]


@pytest.mark.parametrize("name", MASKS)
def test_a_cycle_is_nearly_the_inverse_and_never_more(name):
    unknown = MASKS[name]
    grid = grid_of(unknown, None)
    cycle, matrix, free = dense(Cycle(grid), unknown.shape), dense(grid.times, unknown.shape), unknown.ravel()
    cycle, matrix = cycle[free][:, free], matrix[free][:, free]
    np.testing.assert_allclose(cycle, cycle.T, atol=1e-5)
    found = eigvals(cycle @ matrix).real
    assert found.max() < 1 + 1e-5
    assert found.min() > 0.5


def test_solved_in_few_cycles_whatever_the_size(monkeypatch):
    """Multigrid's point: twelve iterations do for images sixteen times as large."""
    monkeypatch.setattr("eoren.composition.multigrid._MOST_ITERATIONS", 12)
    for size in (32, 128, 512):
        y, x = np.mgrid[:size, :size]
        unknown = np.hypot(x - size / 2, y - size / 2) < 0.45 * size
        cycle = Cycle(grid_of(unknown, None))
        wanted = np.random.default_rng(0).random((size, size)) * unknown
        right = cycle.grid.times(torch.from_numpy(wanted)).numpy()
        np.testing.assert_allclose(solved(cycle, right), wanted, atol=1e-5)


def test_what_cannot_be_solved_is_said(monkeypatch):
    cycle = Cycle(grid_of(MASKS["disc"], None))
    with pytest.raises(EorenError, match="gradients or weights are not finite"):
        solved(cycle, np.where(MASKS["disc"], np.nan, 0.0))
    monkeypatch.setattr("eoren.composition.multigrid._MOST_ITERATIONS", 1)
    with pytest.raises(EorenError, match="not found"):
        solved(cycle, np.where(MASKS["disc"], 1.0, 0.0))
