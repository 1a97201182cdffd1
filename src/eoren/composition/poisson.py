"""Colours from gradients by least squares on the pixel grid (standard five-point discretisation).

Find the image u whose forward differences are closest to a guidance field v, ``sum |D u - v|^2 + w sum (u - c)^2``,
where v need not be a gradient. Known colours are fixed; the border of the image is free (natural boundary condition).
The normal equations are ``D'D u + w u = D'v + w c``, with D'D the five-point Laplacian.

- :func:`solve_rectangle`: no known colours. A cosine transform along one axis and a tridiagonal solve along the other
  (Buzbee, Golub and Nielson, "On direct methods for solving Poisson's equations", 1970). Exact for any size; the axis
  whose length has the smaller largest prime factor is transformed.
- :func:`solve_mask`: a mask of unknown pixels, by :mod:`eoren.composition.multigrid` to ``TOLERANCE``.
- :func:`fill_biharmonic`: the filling with the smallest squared Laplacian, by sparse factorisation.

All compute in float64, channel by channel.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.fft import dct, idct
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import splu

from eoren.composition.multigrid import VCycle, build_grid, solve
from eoren.errors import EorenError
from eoren.image.arrays import Gradient, Image
from eoren.model.isolation import isolated

# The factorisation of this number of unknowns takes about two gigabytes.
_MAX_FACTORED = 400_000

Mask = Bool[np.ndarray, "height width"]


def forward_differences(image: Image) -> Gradient:
    """Compute the forward differences of an image, in intensity per pixel; last axis (to the right, down).

    The last column and row, which have no next pixel, repeat the previous difference. Along an axis of one pixel all
    differences are zero.
    """
    differences = np.zeros((*image.shape, 2), image.dtype)
    if image.shape[1] > 1:
        np.subtract(image[:, 1:], image[:, :-1], out=differences[:, :-1, :, 0])
        differences[:, -1, :, 0] = differences[:, -2, :, 0]
    if image.shape[0] > 1:
        np.subtract(image[1:], image[:-1], out=differences[:-1, :, :, 1])
        differences[-1, :, :, 1] = differences[-2, :, :, 1]
    return differences


def solve_rectangle(
    guidance: Gradient,
    *,
    mean: Float[np.ndarray, " channels"] | None = None,
    colors: Image | None = None,
    weight: float = 0.0,
) -> Image:
    """Compute the image whose differences are closest to a guidance field, without known pixels, in float32.

    Without a weight, ``mean`` is the mean of the result, zero by default. With a weight w of the squared distance
    from ``colors``, waves longer than ``2 pi / sqrt(w)`` pixels follow the colours rather than the guidance.
    """
    height, width, channels, _ = guidance.shape
    result = np.empty((height, width, channels), np.float32)
    for c in range(channels):
        right = _adjoint(guidance[:, :, c])
        if colors is not None and weight:
            right += weight * colors[:, :, c]
        # The transform runs along the second axis.
        transposed = _largest_prime_factor(height) < _largest_prime_factor(width)
        solved = _solve_by_cosines(right.T if transposed else right, weight)
        if not weight:
            solved += (0.0 if mean is None else float(mean[c])) - solved.mean()
        result[:, :, c] = solved.T if transposed else solved
    return result


@isolated()
@np.errstate(invalid="ignore")  # the solver refuses what is not finite
def solve_mask(
    unknown: Mask,
    guidance: Gradient,
    colors: Image,
    *,
    weight: Float[np.ndarray, "height width"] | None = None,
    pull: Image | None = None,
) -> Image:
    """Fill a mask so that differences are closest to a guidance field, with the colours around it fixed, in float32.

    Differences between two known pixels do not count. Colours inside the mask are starting values; with a weight, the
    squared distance from ``pull`` counts, too. The result is within about ``TOLERANCE`` of the exact solution. Cost
    and memory are those of the bounding box of the mask.
    """
    if weight is None:
        _check_known(unknown)
    result = colors.astype(np.float32)
    if not unknown.any():
        return result
    box = bounding_box(unknown)
    mask = unknown[box]
    cycle = VCycle(build_grid(mask, None if weight is None else weight[box]))
    for c in range(colors.shape[2]):
        start = colors[box][:, :, c].astype(np.float64)
        right = _adjoint(guidance[box][:, :, c])
        right -= _laplacian(start)
        if weight is not None and pull is not None:
            right += weight[box] * (pull[box][:, :, c] - start)
        right *= mask
        start += solve(cycle, right)
        result[box][:, :, c] = start
    return result


def fill_biharmonic(unknown: Mask, colors: Image) -> Image:
    """Fill a mask with the smallest sum of squared Laplacians, which continues colours and slopes into it."""
    _check_known(unknown)
    result = colors.astype(np.float32)
    if not unknown.any():
        return result
    if np.count_nonzero(unknown) > _MAX_FACTORED:
        raise EorenError(
            f"a mask for biharmonic filling must have at most {_MAX_FACTORED:,} pixels, "
            f"got {np.count_nonzero(unknown):,}; use the membrane"
        )
    # The squared five-point Laplacian reaches two pixels beyond the mask.
    box = bounding_box(unknown, 2)
    mask, near = unknown[box].ravel(), colors[box]
    laplacian = _graph_laplacian(*near.shape[:2])
    squared = (laplacian.T @ laplacian).tocsc()
    factors = splu(squared[mask][:, mask], permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0)
    for c in range(colors.shape[2]):
        known = np.where(mask, 0.0, near[:, :, c].ravel().astype(np.float64))
        filled = result[box][:, :, c]
        filled[unknown[box]] = factors.solve(-(squared @ known)[mask])
    return result


def _check_known(unknown: Mask) -> None:
    if unknown.all():
        raise EorenError("the mask covers every pixel, so no colour is known; leave some of them out")


def _adjoint(guidance: Float[np.ndarray, "height width 2"]) -> Float[np.ndarray, "height width"]:
    """Compute ``D'v`` in float64: the negative divergence, without differences across the border."""
    x, y = guidance[:, :-1, 0], guidance[:-1, :, 1]
    result = np.zeros(guidance.shape[:2])
    result[:, :-1] -= x
    result[:, 1:] += x
    result[:-1] -= y
    result[1:] += y
    return result


def _laplacian(u: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Compute ``D'D u`` axis by axis, which needs less memory than ``D u`` as a whole."""
    result = np.zeros_like(u)
    for axis in (0, 1):
        rows, differences = np.moveaxis(result, axis, 0), np.moveaxis(np.diff(u, axis=axis), axis, 0)
        rows[:-1] -= differences
        rows[1:] += differences
    return result


def _largest_prime_factor(length: int) -> int:
    """Return the factor that dominates the cost of a fast transform of this length."""
    largest, factor = 1, 2
    while factor * factor <= length:
        while length % factor == 0:
            largest, length = factor, length // factor
        factor += 1
    return max(largest, length)


def _solve_by_cosines(right: Float[np.ndarray, "rows columns"], weight: float) -> Float[np.ndarray, "rows columns"]:
    """Solve ``(D'D + w) u = right``; without a weight, up to a constant."""
    rows, columns = right.shape
    waves = dct(right, axis=1, norm="ortho")
    across = weight + 2 - 2 * np.cos(np.pi * np.arange(columns) / columns)
    # Each wave gives a tridiagonal system along the rows with diagonal 2, or 1 at a free end, plus `across`.
    ratio = np.empty_like(waves)
    for row in range(rows):
        pivot = across + (row > 0) + (row < rows - 1)
        if row:
            pivot -= ratio[row - 1]
            waves[row] += waves[row - 1]
        if row == rows - 1 and not weight:
            # The mean is free: the last equation of the constant wave reads 0 = 0.
            pivot[0], waves[row, 0] = 1.0, 0.0
        ratio[row] = 1 / pivot
        waves[row] *= ratio[row]
    for row in range(rows - 2, -1, -1):
        waves[row] += ratio[row] * waves[row + 1]
    solution: Float[np.ndarray, "rows columns"] = idct(waves, axis=1, norm="ortho", overwrite_x=True)
    return solution


def bounding_box(mask: Mask, margin: int = 1) -> tuple[slice, slice]:
    """Return the smallest rectangle around a mask, widened by a margin as far as the image reaches."""
    rows, columns = (
        slice(max(0, int(marked[0]) - margin), min(size, int(marked[-1]) + 1 + margin))
        for marked, size in zip((np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))), mask.shape, strict=True)
    )
    return rows, columns


def _graph_laplacian(height: int, width: int) -> csr_matrix:
    """Build D'D of a rectangle with free borders as a sparse matrix."""
    pixels = np.arange(height * width).reshape(height, width)
    first = np.concatenate([pixels[:, :-1].ravel(), pixels[:-1].ravel()])
    second = np.concatenate([pixels[:, 1:].ravel(), pixels[1:].ravel()])
    adjacency = coo_matrix((np.ones(len(first)), (first, second)), shape=(pixels.size, pixels.size))
    adjacency = (adjacency + adjacency.T).tocsr()
    return diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency
