"""Solver of the five-point equations of a mask, ``D'D u + w u = b``: conjugate gradients with multigrid.

A coarser grid keeps every other pixel along both axes; between them functions are linear (prolongation P). Its matrix
is the Galerkin product ``P'A P`` for any shape of the mask, and couples a pixel to all eight neighbours. One V-cycle
M with damped Jacobi smoothing approximates ``A^-1``: the eigenvalues of ``M A`` lie between about 1/2 and 1
(Trottenberg, Oosterlee and Schueller, "Multigrid", 2001). So ``M (b - A u)`` estimates the error of u. The iteration
ends when the estimate is small everywhere, and adds it to u, which leaves less than half of the error.

The inner iteration runs in float32 and in place; its starting residuals are computed in float64.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eoren.errors import EorenError

TOLERANCE = 7.6e-6
"""Error of a solution, in intensity: half a level of 16 bits."""

_MAX_ITERATIONS = 200
# Reduction of the error in float32 after which the residual is computed anew in float64.
_REDUCTION = 1e-4
# Damping of the Jacobi method that is best for the upper half of the frequencies of the five-point Laplacian.
_DAMPING = 0.8
# Largest number of pixels of a grid that is solved by the inverse matrix.
_MAX_INVERTED = 100

Step = tuple[int, int]
# Steps down and right to the neighbours that follow a pixel. The matrix is symmetric, so these suffice.
_STEPS: tuple[Step, ...] = ((0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True, eq=False)
class Grid:
    """The symmetric matrix A of one grid."""

    diagonal: Float[Tensor, "height width"]  # zero where nothing is unknown
    # Negated off-diagonal elements by the step between the two pixels, one for each pair of pixels.
    couplings: dict[Step, Float[Tensor, "_ _"]]
    # Weights, at the bottom and at the right, of the last coarse row or column in a fine one beyond it: 1, or 1/2 if
    # the pixels beyond are known.
    ends: tuple[float, float]

    def multiply(self, u: Tensor, out: Tensor | None = None) -> Tensor:
        """Compute ``A u`` in the precision of u."""
        return self._add_couplings(torch.mul(self.diagonal, u, out=out), u, -1)

    def residual(self, right: Tensor, u: Tensor, out: Tensor) -> Tensor:
        """Compute ``right - A u``."""
        return self._add_couplings(torch.addcmul(right, self.diagonal, u, value=-1, out=out), u, 1)

    def _add_couplings(self, result: Tensor, u: Tensor, sign: int) -> Tensor:
        for step, coupling in self.couplings.items():
            first, second = _pairs(step)
            result[first].addcmul_(coupling, u[second], value=sign)
            result[second].addcmul_(coupling, u[first], value=sign)
        return result

    def element(self, step: Step) -> Tensor:
        """Return the matrix elements between each pixel and the one a step away, zero outside the grid."""
        if step == (0, 0):
            return self.diagonal
        back = (-step[0], -step[1])
        elements = torch.zeros_like(self.diagonal)
        if step in self.couplings:
            elements[_pairs(step)[0]] = -self.couplings[step]
        elif back in self.couplings:
            elements[_pairs(back)[1]] = -self.couplings[back]
        return elements

    def coarsen(self) -> "Grid":
        """Compute the matrix of the next coarser grid, ``P'A P``."""
        bottom, side = self.ends
        rows = []
        for down in (-1, 0, 1):
            bands = _coarsen_bands([self.element((down, right)).T for right in (-1, 0, 1)], side)
            rows.append([band.T for band in bands])
        both = [_coarsen_bands([row[right] for row in rows], bottom) for right in range(3)]
        couplings = {(down, right): -both[right + 1][down + 1][_pairs((down, right))[0]] for down, right in _STEPS}
        return Grid(both[1][1], couplings, self.ends)


class VCycle:
    """A symmetric V-cycle from zero: one damped Jacobi step before and after the correction by the coarser grid.

    All coarser grids and the work space are allocated at construction.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        height, width = grid.diagonal.shape
        self._inverse = None
        if height * width <= _MAX_INVERTED:
            units = torch.eye(height * width, dtype=torch.float32).view(-1, height, width)
            matrix = torch.stack([grid.multiply(unit).flatten() for unit in units])
            self._inverse = torch.linalg.pinv(matrix.double(), hermitian=True).float()
            return
        self._unknown = (grid.diagonal > 0).float()
        self._jacobi = _DAMPING * self._unknown / grid.diagonal.clamp(min=1e-30)
        self._solution, self._residual = torch.empty_like(grid.diagonal), torch.empty_like(grid.diagonal)
        self._half = grid.diagonal.new_empty((height + 1) // 2, width)
        self._coarser = VCycle(grid.coarsen())

    def __call__(self, right: Tensor) -> Tensor:
        """Approximate ``A^-1 right``. The next call overwrites the result."""
        if self._inverse is not None:
            solved: Tensor = self._inverse @ right.flatten()
            return solved.view_as(right)
        solution, residual, (bottom, side) = self._solution, self._residual, self.grid.ends
        torch.mul(self._jacobi, right, out=solution)
        self.grid.residual(right, solution, out=residual)
        coarse = self._coarser(_restrict(_restrict(residual, bottom).T, side).T)
        _prolong(coarse.T, side, out=self._half.T)
        _prolong(self._half, bottom, out=residual)
        solution.addcmul_(self._unknown, residual)
        return solution.addcmul_(self._jacobi, self.grid.residual(right, solution, out=residual))


def build_grid(unknown: Bool[np.ndarray, "height width"], weight: Float[np.ndarray, "height width"] | None) -> Grid:
    """Build the matrix ``D'D + w`` over the unknown pixels of a rectangle with free borders."""
    free = torch.from_numpy(unknown).float()
    diagonal = torch.zeros_like(free)
    for step in ((0, 1), (1, 0)):
        for pixels in _pairs(step):
            diagonal[pixels] += 1
    if weight is not None:
        diagonal += torch.from_numpy(weight)
    bottom, side = (1.0 if border.any() else 0.5 for border in (unknown[-1], unknown[:, -1]))
    couplings = {(0, 1): free[:, :-1] * free[:, 1:], (1, 0): free[:-1] * free[1:]}
    return Grid(diagonal.mul_(free), couplings, (bottom, side))


def solve(cycle: VCycle, right: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Compute ``A^-1 right`` to within about ``TOLERANCE``, in float64."""
    grid, target = cycle.grid, torch.from_numpy(right)
    solution, residual, iterations = torch.zeros_like(target), target.float(), 0
    direction, correction, change = (torch.empty_like(residual) for _ in range(3))
    while True:
        direction.zero_()
        correction.zero_()
        estimate, previous, goal = cycle(residual), 1.0, 0.0
        while (error := _largest(estimate)) > goal:
            iterations += 1
            if iterations > _MAX_ITERATIONS:
                raise EorenError("the colours in the mask do not converge; check the range of gradients and weights")
            goal = goal or max(TOLERANCE, _REDUCTION * error)
            product = _dot(residual, estimate)
            direction.mul_(product / previous).add_(estimate)
            grid.multiply(direction, out=change)
            length = product / _dot(direction, change)
            correction.add_(direction, alpha=length)
            residual.sub_(change, alpha=length)
            previous, estimate = product, cycle(residual)
        solution.add_(correction).add_(estimate)
        if error <= TOLERANCE:
            return solution.numpy()
        if not np.isfinite(error):
            raise EorenError("gradients and weights of a composition must be finite; replace NaN and infinity")
        residual.copy_(target - grid.multiply(solution))


def _largest(u: Tensor) -> float:
    least, most = torch.aminmax(u)
    return max(-float(least), float(most))


def _dot(u: Tensor, v: Tensor) -> float:
    return float(torch.dot(u.view(-1), v.view(-1)))


# The following functions work along the first axis. They copy every other row before any arithmetic, which is several
# times faster where the rows are columns in memory (`.T`).


def _prolong(coarse: Tensor, end: float, out: Tensor) -> None:
    """P: copy coarse rows to every other row, and average them in between; `end` weights a row beyond the last."""
    between = torch.add(coarse[:-1], coarse[1:]).mul_(0.5)
    out[::2] = coarse
    out[1:-1:2] = between
    if len(out) % 2 == 0:
        torch.mul(coarse[-1], end, out=out[-1])


def _restrict(fine: Tensor, end: float) -> Tensor:
    """``P'``."""
    coarse, between = fine[::2].clone(), fine[1::2].clone()
    inner = len(coarse) - 1
    coarse[:-1].add_(between[:inner], alpha=0.5)
    coarse[1:].add_(between[:inner], alpha=0.5)
    coarse[-1:].add_(between[inner:].sum(0), alpha=end)
    return coarse


def _coarsen_bands(bands: list[Tensor], end: float) -> list[Tensor]:
    """``P'B P`` for a B with three bands: the elements between a row and the previous, the same and the next one."""
    (even_before, between_before), (even, between), (even_after, between_after) = (
        (band[::2].clone(), band[1::2].clone()) for band in bands
    )
    inner = len(even) - 1
    if len(between) > inner:
        even[-1] += end * (end * between[-1] + even_after[-1] + between_before[-1])
    quarter = 0.25 * between[:inner]
    even[:-1].add_(quarter).add_(even_after[:-1] + between_before[:inner], alpha=0.5)
    even[1:].add_(quarter).add_(even_before[1:] + between_after[:inner], alpha=0.5)
    # Two paths lead to the next coarse row: through the fine row between them, and directly.
    even_after[:-1].add_(between_after[:inner]).mul_(0.5).add_(quarter)
    even_before[1:].add_(between_before[:inner]).mul_(0.5).add_(quarter)
    even_before[0], even_after[-1] = 0, 0
    return [even_before, even, even_after]


def _pairs(step: Step) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the slices of the pixels that have a neighbour a step away, and the slices of these neighbours."""
    (top, left), (below, beside) = (
        (slice(max(0, -s), -s if s > 0 else None), slice(max(0, s), s if s < 0 else None)) for s in step
    )
    return (top, below), (left, beside)
