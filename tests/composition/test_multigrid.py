"""Grids and V-cycles as dense matrices, against multigrid theory."""

import numpy as np
import pytest
import torch
from scipy.linalg import eigvals

from eoren.composition.multigrid import VCycle, _prolong, _restrict, build_grid, solve
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
    """P along both axes."""

    def prolong(coarse):
        rows = torch.empty(len(coarse), grid.diagonal.shape[1])
        fine = torch.empty(grid.diagonal.shape)
        _prolong(coarse.T, grid.ends[1], out=rows.T)
        _prolong(rows, grid.ends[0], out=fine)
        return fine

    return prolong


@pytest.mark.parametrize("name", MASKS)
def test_the_matrix_is_the_graph_laplacian_of_the_unknown_pixels(name):
    unknown, weight = MASKS[name], np.random.default_rng(1).random((HEIGHT, WIDTH))
    number = np.arange(unknown.size).reshape(unknown.shape)
    joined = np.zeros((unknown.size,) * 2)
    for a, b in ((number[:, :-1], number[:, 1:]), (number[:-1], number[1:])):
        joined[a, b] = joined[b, a] = 1
    keep = np.diag(unknown.ravel().astype(float))
    expected = keep @ (np.diag(joined.sum(1) + weight.ravel()) - joined) @ keep
    matrix = dense(build_grid(unknown, weight).multiply, unknown.shape)
    np.testing.assert_allclose(matrix, expected, atol=1e-6)


@pytest.mark.parametrize("name", MASKS)
def test_the_coarse_matrix_is_the_galerkin_product(name):
    grid = build_grid(MASKS[name], None)
    while grid.diagonal.numel() > 30:
        coarser = grid.coarsen()
        fine, spread = dense(grid.multiply, grid.diagonal.shape), dense(interpolation(grid), coarser.diagonal.shape)
        gather = dense(
            lambda u, grid=grid: _restrict(_restrict(u, grid.ends[0]).T, grid.ends[1]).T.contiguous(),
            grid.diagonal.shape,
        )
        np.testing.assert_allclose(gather, spread.T, atol=1e-6)
        np.testing.assert_allclose(
            dense(coarser.multiply, coarser.diagonal.shape), spread.T @ fine @ spread, atol=1e-5
        )
        grid = coarser


def test_prolongation_is_linear_between_kept_pixels():
    """A free end continues flat; an end with known pixels beyond it falls to one half."""
    out = torch.empty(6, 1)
    for end, last in ((1.0, 5.0), (0.5, 2.5)):
        _prolong(torch.tensor([[1.0], [2.0], [5.0]]), end, out)
        assert out[:, 0].tolist() == [1.0, 1.5, 2.0, 3.5, 5.0, last]


@pytest.mark.parametrize("name", MASKS)
def test_a_cycle_is_symmetric_and_its_eigenvalues_are_bounded(name):
    unknown = MASKS[name]
    grid = build_grid(unknown, None)
    cycle, matrix, free = dense(VCycle(grid), unknown.shape), dense(grid.multiply, unknown.shape), unknown.ravel()
    cycle, matrix = cycle[free][:, free], matrix[free][:, free]
    np.testing.assert_allclose(cycle, cycle.T, atol=1e-5)
    eigenvalues = eigvals(cycle @ matrix).real
    assert eigenvalues.max() < 1 + 1e-5
    assert eigenvalues.min() > 0.5


def test_the_number_of_iterations_does_not_grow_with_the_size(monkeypatch):
    """Twelve iterations suffice for images sixteen times as large."""
    monkeypatch.setattr("eoren.composition.multigrid._MAX_ITERATIONS", 12)
    for size in (32, 128, 512):
        y, x = np.mgrid[:size, :size]
        unknown = np.hypot(x - size / 2, y - size / 2) < 0.45 * size
        cycle = VCycle(build_grid(unknown, None))
        solution = np.random.default_rng(0).random((size, size)) * unknown
        right = cycle.grid.multiply(torch.from_numpy(solution)).numpy()
        np.testing.assert_allclose(solve(cycle, right), solution, atol=1e-5)


def test_divergence_and_nan_raise(monkeypatch):
    cycle = VCycle(build_grid(MASKS["disc"], None))
    with pytest.raises(EorenError, match="must be finite"):
        solve(cycle, np.where(MASKS["disc"], np.nan, 0.0))
    monkeypatch.setattr("eoren.composition.multigrid._MAX_ITERATIONS", 1)
    with pytest.raises(EorenError, match="do not converge"):
        solve(cycle, np.where(MASKS["disc"], 1.0, 0.0))
