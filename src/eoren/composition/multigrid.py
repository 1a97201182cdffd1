"""The five-point equations of a mask, ``D'D u + w u = b``: conjugate gradients, preconditioned by multigrid.

A grid half as fine keeps every other pixel along both axes, and between them a function is linear: P. Its equations
are the finer ones, as they are for such functions: ``P'A P`` (Galerkin), whatever the mask looks like. They join a
pixel with all eight around it. A V-cycle M, damped Jacobi steps on all the grids, is then nearly ``A^-1``, and never
more: the eigenvalues of ``M A`` lie between about a half and 1 (Trottenberg, Oosterlee and Schueller, "Multigrid",
2001). So ``M (b - A u)`` is nearly the error of u. The iteration ends where it is small everywhere, and takes it away
as well, which leaves less than half of the error.

What is done over and over is done in float32 and in place; residuals that it starts from are in float64.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eoren.errors import EorenError

TOLERANCE = 7.6e-6
"""Error of a solution, in intensity: half a level of 16 bits."""

_MOST_ITERATIONS = 200
# What single precision may reduce an error by before its residual is computed anew.
_REDUCTION = 1e-4
# Damping of Jacobi's method, best for the five-point Laplacian's upper half of frequencies.
_DAMPING = 0.8
# A grid of so few pixels is solved by its inverse.
_FEW = 100

Step = tuple[int, int]
# Down and right, to the neighbours that come after a pixel. With those before, it shares what they share with it.
_AFTER: tuple[Step, ...] = ((0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True, eq=False)
class Grid:
    """The symmetric equations of one grid.

    Attributes:
        own: the matrix' diagonal; zero where nothing is unknown.
        shared: minus its other elements, by the step from one pixel to the other: one for each such pair in the grid.
        ends: at the bottom and at the right, what a row or column beyond the last of the coarser grid has of it: all,
            or half if there is something known behind.
    """

    own: Float[Tensor, "height width"]
    shared: dict[Step, Float[Tensor, "_ _"]]
    ends: tuple[float, float]

    def times(self, u: Tensor, out: Tensor | None = None) -> Tensor:
        """``A u``, in the precision of u."""
        return self._share(torch.mul(self.own, u, out=out), u, -1)

    def residual(self, right: Tensor, u: Tensor, out: Tensor) -> Tensor:
        """``right - A u``."""
        return self._share(torch.addcmul(right, self.own, u, value=-1, out=out), u, 1)

    def _share(self, found: Tensor, u: Tensor, sign: int) -> Tensor:
        for step, share in self.shared.items():
            here, there = _pairs(step)
            found[here].addcmul_(share, u[there], value=sign)
            found[there].addcmul_(share, u[here], value=sign)
        return found

    def element(self, step: Step) -> Tensor:
        """The matrix' elements between every pixel and the one at a step from it, zero if there is none."""
        if step == (0, 0):
            return self.own
        back = (-step[0], -step[1])
        found = torch.zeros_like(self.own)
        if step in self.shared:
            found[_pairs(step)[0]] = -self.shared[step]
        elif back in self.shared:
            found[_pairs(back)[1]] = -self.shared[back]
        return found

    def coarser(self) -> "Grid":
        """``P'A P``."""
        bottom, side = self.ends
        across = []
        for down in (-1, 0, 1):
            bands = _halved([self.element((down, right)).T for right in (-1, 0, 1)], side)
            across.append([each.T for each in bands])
        both = [_halved([row[right] for row in across], bottom) for right in range(3)]
        shared = {(down, right): -both[right + 1][down + 1][_pairs((down, right))[0]] for down, right in _AFTER}
        return Grid(both[1][1], shared, self.ends)


class Cycle:
    """A symmetric V-cycle from zero: a damped Jacobi step before and one after the visit of every coarser grid."""

    def __init__(self, grid: Grid) -> None:
        """Prepare all the coarser grids, and space for the work on them."""
        self.grid = grid
        height, width = grid.own.shape
        self._inverse = None
        if height * width <= _FEW:
            matrix = torch.stack([grid.times(one.view(height, width)).flatten() for one in torch.eye(height * width)])
            self._inverse = torch.linalg.pinv(matrix.double(), hermitian=True).float()
            return
        self._free = (grid.own > 0).float()
        self._jacobi = _DAMPING * self._free / grid.own.clamp(min=1e-30)
        self._found, self._left = torch.empty_like(grid.own), torch.empty_like(grid.own)
        self._half = grid.own.new_empty((height + 1) // 2, width)
        self._coarser = Cycle(grid.coarser())

    def __call__(self, right: Tensor) -> Tensor:
        """Nearly ``A^-1 right``. The result is overwritten by the next one."""
        if self._inverse is not None:
            solved: Tensor = self._inverse @ right.flatten()
            return solved.view_as(right)
        found, left, (bottom, side) = self._found, self._left, self.grid.ends
        torch.mul(self._jacobi, right, out=found)
        self.grid.residual(right, found, out=left)
        coarse = self._coarser(_gathered(_gathered(left, bottom).T, side).T)
        _spread(coarse.T, side, out=self._half.T)
        _spread(self._half, bottom, out=left)
        found.addcmul_(self._free, left)
        return found.addcmul_(self._jacobi, self.grid.residual(right, found, out=left))


def grid_of(unknown: Bool[np.ndarray, "height width"], weight: Float[np.ndarray, "height width"] | None) -> Grid:
    """``D'D + w`` over the unknown pixels of a rectangle with free borders."""
    free = torch.from_numpy(unknown).float()
    own = torch.zeros_like(free)
    for step in ((0, 1), (1, 0)):
        here, there = _pairs(step)
        own[here] += 1
        own[there] += 1
    if weight is not None:
        own += torch.from_numpy(weight)
    ends = tuple(1.0 if last.any() else 0.5 for last in (unknown[-1], unknown[:, -1]))
    return Grid(
        own.mul_(free), {(0, 1): free[:, :-1] * free[:, 1:], (1, 0): free[:-1] * free[1:]}, (ends[0], ends[1])
    )


def solved(cycle: Cycle, right: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """``A^-1 right`` to within about ``TOLERANCE``, float64.

    Raises:
        EorenError: numbers grow beyond what can be held.
    """
    grid, wanted = cycle.grid, torch.from_numpy(right)
    found, left, iterations = torch.zeros_like(wanted), wanted.float(), 0
    direction, correction, change = (torch.empty_like(left) for _ in range(3))
    while True:
        direction.zero_()
        correction.zero_()
        near, before, goal = cycle(left), 1.0, 0.0
        while (error := _largest(near)) > goal:
            iterations += 1
            if iterations > _MOST_ITERATIONS:
                raise EorenError("the colours in the mask are not found; are gradients and weights within reason?")
            goal = goal or max(TOLERANCE, _REDUCTION * error)
            product = _dot(left, near)
            direction.mul_(product / before).add_(near)
            grid.times(direction, out=change)
            length = product / _dot(direction, change)
            correction.add_(direction, alpha=length)
            left.sub_(change, alpha=length)
            before, near = product, cycle(left)
        found.add_(correction).add_(near)
        if error <= TOLERANCE:
            return found.numpy()
        if not np.isfinite(error):
            raise EorenError("the colours in the mask are not found, because gradients or weights are not finite")
        left.copy_(wanted - grid.times(found))


def _largest(u: Tensor) -> float:
    least, most = torch.aminmax(u)
    return max(-float(least), float(most))


def _dot(u: Tensor, v: Tensor) -> float:
    return float(torch.dot(u.view(-1), v.view(-1)))


# What follows works along the first axis. Every other row is copied before there is arithmetic on it: where rows are
# columns (`.T`), that is several times faster.


def _spread(coarse: Tensor, end: float, out: Tensor) -> None:
    """P: every other row is a coarse one, those between are means of two, and one beyond the last has `end` of it."""
    between = torch.add(coarse[:-1], coarse[1:]).mul_(0.5)
    out[::2] = coarse
    out[1:-1:2] = between
    if len(out) % 2 == 0:
        torch.mul(coarse[-1], end, out=out[-1])


def _gathered(fine: Tensor, end: float) -> Tensor:
    """``P'``."""
    found, between = fine[::2].clone(), fine[1::2].clone()
    inner = len(found) - 1
    found[:-1].add_(between[:inner], alpha=0.5)
    found[1:].add_(between[:inner], alpha=0.5)
    found[-1:].add_(between[inner:].sum(0), alpha=end)
    return found


def _halved(bands: list[Tensor], end: float) -> list[Tensor]:
    """``P'B P``, of a B with three bands: elements between a row and the one before, itself, and the one after."""
    (even_before, between_before), (even, between), (even_after, between_after) = (
        (each[::2].clone(), each[1::2].clone()) for each in bands
    )
    inner = len(even) - 1
    if len(between) > inner:
        even[-1] += end * (end * between[-1] + even_after[-1] + between_before[-1])
    quarter = 0.25 * between[:inner]
    even[:-1].add_(quarter).add_(even_after[:-1] + between_before[:inner], alpha=0.5)
    even[1:].add_(quarter).add_(even_before[1:] + between_after[:inner], alpha=0.5)
    # To the next coarse row lead two ways: over what lies between, and from it to itself.
    even_after[:-1].add_(between_after[:inner]).mul_(0.5).add_(quarter)
    even_before[1:].add_(between_before[:inner]).mul_(0.5).add_(quarter)
    even_before[0], even_after[-1] = 0, 0
    return [even_before, even, even_after]


def _pairs(step: Step) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where the pixels are that have a neighbour at a step, and where these neighbours are."""
    (top, left), (below, beside) = (
        (slice(max(0, -s), -s if s > 0 else None), slice(max(0, s), s if s < 0 else None)) for s in step
    )
    return (top, below), (left, beside)
