"""Colours from gradients: least squares on the pixel grid, the standard five-point discretisation.

Of all images u, the one whose forward differences are closest to a guidance field v, ``sum |D u - v|^2 + w sum (u -
c)^2``, where v need not be the gradient of anything. Known colours stay; the image's border is free ("natural").
Its normal equations are ``D'D u + w u = D'v + w c``, with D'D the five-point Laplacian.

- :func:`over_rectangle`, nothing known: cosines across one axis, a tridiagonal system along the other (Buzbee, Golub
  and Nielson, "On direct methods for solving Poisson's equations", 1970). Exact for any size; it is the friendlier
  of the two lengths that is transformed.
- :func:`inside`, a mask of unknown pixels: by :mod:`eoren.composition.multigrid`, to ``TOLERANCE``.
- :func:`biharmonic_inside`: the smoothest filling whose slopes go on, too; a sparse factorisation.

Colours are held in float64, channel by channel.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.fft import dct, idct
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import splu

from eoren.composition.multigrid import Cycle, grid_of, solved
from eoren.errors import EorenError

# What the factorisation of so many unknowns takes is about two gigabytes.
_MOST_FACTORED = 400_000

Image = Float[np.ndarray, "height width channels"]
Guidance = Float[np.ndarray, "height width channels 2"]
Mask = Bool[np.ndarray, "height width"]


def differences(image: Image) -> Guidance:
    """Forward differences, in intensity per pixel, at the place of the pixel before.

    Args:
        image: ``(H, W, C)``.

    Returns:
        ``(H, W, C, 2)``, last axis (to the right, down). The last column and row, which have no next pixel, repeat
        the ones before, as a straight line would; an axis of one pixel has zero.

    Example:
        >>> differences(np.array([[0.0, 1.0, 3.0]])[..., None])[0, :, 0, 0].tolist()
        [1.0, 2.0, 2.0]
    """
    found = np.zeros((*image.shape, 2), image.dtype)
    if image.shape[1] > 1:
        np.subtract(image[:, 1:], image[:, :-1], out=found[:, :-1, :, 0])
        found[:, -1, :, 0] = found[:, -2, :, 0]
    if image.shape[0] > 1:
        np.subtract(image[1:], image[:-1], out=found[:-1, :, :, 1])
        found[-1, :, :, 1] = found[-2, :, :, 1]
    return found


def over_rectangle(
    guidance: Guidance,
    *,
    mean: Float[np.ndarray, " channels"] | None = None,
    colors: Image | None = None,
    weight: float = 0.0,
) -> Float[np.ndarray, "height width channels"]:
    """The image whose differences are closest to a guidance field, nothing of it being known but its mean.

    Args:
        guidance: ``(H, W, C, 2)``, as :func:`differences` has it; the last column and row do not count.
        mean: of every channel of the result. It is free where there is no weight, zero by default.
        colors: ``(H, W, C)`` to stay near to, where there is a weight.
        weight: w, of the squared distance from them. Waves longer than ``2 pi / sqrt(w)`` pixels follow the colours
            rather than the guidance.

    Returns:
        ``(H, W, C)``, float32, not clamped.

    Example:
        >>> image = np.random.default_rng(0).random((5, 7, 1))
        >>> found = over_rectangle(differences(image), mean=image.mean((0, 1)))
        >>> bool(np.abs(found - image).max() < 1e-6)
        True
    """
    height, width, channels, _ = guidance.shape
    found = np.empty((height, width, channels), np.float32)
    for c in range(channels):
        right = _adjoint(guidance[:, :, c])
        if colors is not None and weight:
            right += weight * colors[:, :, c]
        # The transform goes along the second axis.
        turned = _awkwardness(height) < _awkwardness(width)
        solved = _by_cosines(right.T if turned else right, weight)
        if not weight:
            solved += (0.0 if mean is None else float(mean[c])) - solved.mean()
        found[:, :, c] = solved.T if turned else solved
    return found


def inside(
    unknown: Mask,
    guidance: Guidance,
    colors: Image,
    *,
    weight: Float[np.ndarray, "height width"] | None = None,
    pull: Image | None = None,
) -> Float[np.ndarray, "height width channels"]:
    """Fill a mask so that differences are closest to a guidance field and colours beside the mask stay as they are.

    Differences between two known pixels do not count. Cost and memory are those of the mask's bounding box.

    Args:
        unknown: ``(H, W)``; at least one pixel has to be known.
        guidance: ``(H, W, C, 2)``, as :func:`differences` has it.
        colors: ``(H, W, C)``: those known, and where the iteration starts.
        weight: ``(H, W)``, of the squared distance from ``pull`` in the mask; none by default.
        pull: ``(H, W, C)``, colours to stay near to.

    Returns:
        ``(H, W, C)``, float32, not clamped; to within about ``TOLERANCE`` of the exact solution.

    Raises:
        EorenError: nothing is known, or numbers grow beyond what float64 holds.

    Example:
        >>> ramp = np.linspace(0, 1, 9)[None, :, None].repeat(9, 0)
        >>> hole = np.zeros((9, 9), bool)
        >>> hole[2:7, 2:7] = True
        >>> found = inside(hole, np.zeros((9, 9, 1, 2)), np.where(hole[..., None], 0.0, ramp))
        >>> bool(np.abs(found - ramp).max() < 1e-5)  # a membrane over a frame that is a plane
        True
    """
    if unknown.all() and weight is None:
        raise EorenError("the mask covers every pixel, so no colour is known; leave some of them out")
    found = colors.astype(np.float32)
    if not unknown.any():
        return found
    box = box_around(unknown)
    mask = unknown[box]
    cycle = Cycle(grid_of(mask, None if weight is None else weight[box]))
    for c in range(colors.shape[2]):
        start = colors[box][:, :, c].astype(np.float64)
        # What the colours at hand leave of the equations.
        right = _adjoint(guidance[box][:, :, c])
        right -= _laplacian(start)
        if weight is not None and pull is not None:
            right += weight[box] * (pull[box][:, :, c] - start)
        right *= mask
        start += solved(cycle, right)
        found[box][:, :, c] = start
    return found


def biharmonic_inside(unknown: Mask, colors: Image) -> Float[np.ndarray, "height width channels"]:
    """Fill a mask so that the sum of squared Laplacians is least: colours and slopes go on into it.

    Args:
        unknown: ``(H, W)``; at least one pixel has to be known.
        colors: ``(H, W, C)``; what is in the mask does not matter.

    Returns:
        ``(H, W, C)``, float32, not clamped.

    Raises:
        EorenError: nothing is known, or the mask is too large to be factorised.
    """
    if unknown.all():
        raise EorenError("the mask covers every pixel, so no colour is known; leave some of them out")
    found = colors.astype(np.float32)
    if not unknown.any():
        return found
    if np.count_nonzero(unknown) > _MOST_FACTORED:
        raise EorenError(
            f"the mask has {np.count_nonzero(unknown):,} pixels, but biharmonic filling takes at most "
            f"{_MOST_FACTORED:,}; use the membrane"
        )
    # Two pixels around are what a squared five-point Laplacian sees.
    box = box_around(unknown, 2)
    mask, near = unknown[box].ravel(), colors[box]
    laplacian = _graph_laplacian(*near.shape[:2])
    squared = (laplacian.T @ laplacian).tocsc()
    solve = splu(squared[mask][:, mask], permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0)
    for c in range(colors.shape[2]):
        known = np.where(mask, 0.0, near[:, :, c].ravel().astype(np.float64))
        filled = found[box][:, :, c]
        filled[unknown[box]] = solve.solve(-(squared @ known)[mask])
    return found


def _adjoint(guidance: Float[np.ndarray, "height width 2"]) -> Float[np.ndarray, "height width"]:
    """``D' v``: minus the divergence, without what leads out of the rectangle. float64."""
    x, y = guidance[:, :-1, 0], guidance[:-1, :, 1]
    found = np.zeros(guidance.shape[:2])
    found[:, :-1] -= x
    found[:, 1:] += x
    found[:-1] -= y
    found[1:] += y
    return found


def _laplacian(u: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """``D'D u``, without the memory that ``D u`` would take."""
    found = np.zeros_like(u)
    for axis in (0, 1):
        across, rising = np.moveaxis(found, axis, 0), np.diff(u, axis=axis)
        steps = np.moveaxis(rising, axis, 0)
        across[:-1] -= steps
        across[1:] += steps
    return found


def _awkwardness(length: int) -> int:
    """The largest prime factor: what a fast transform of such a length suffers from."""
    largest, factor = 1, 2
    while factor * factor <= length:
        while length % factor == 0:
            largest, length = factor, length // factor
        factor += 1
    return max(largest, length)


def _by_cosines(right: Float[np.ndarray, "rows columns"], weight: float) -> Float[np.ndarray, "rows columns"]:
    """Solve ``(D'D + w) u = right``; without a weight, up to a constant."""
    rows, columns = right.shape
    waves = dct(right, axis=1, norm="ortho")
    across = weight + 2 - 2 * np.cos(np.pi * np.arange(columns) / columns)
    # Every wave is a tridiagonal system along the rows, whose diagonal is 2, or 1 at a free end, plus `across`.
    ratio = np.empty_like(waves)
    for row in range(rows):
        pivot = across + (row > 0) + (row < rows - 1)
        if row:
            pivot -= ratio[row - 1]
            waves[row] += waves[row - 1]
        if row == rows - 1 and not weight:
            # The mean is free: what is left of its equations says 0 = 0.
            pivot[0], waves[row, 0] = 1.0, 0.0
        ratio[row] = 1 / pivot
        waves[row] *= ratio[row]
    for row in range(rows - 2, -1, -1):
        waves[row] += ratio[row] * waves[row + 1]
    found: Float[np.ndarray, "rows columns"] = idct(waves, axis=1, norm="ortho", overwrite_x=True)
    return found


def box_around(mask: Mask, margin: int = 1) -> tuple[slice, slice]:
    """The smallest rectangle that holds a mask, with so many pixels around it where there are any."""
    rows, columns = (
        slice(max(0, int(found[0]) - margin), min(size, int(found[-1]) + 1 + margin))
        for found, size in zip((np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))), mask.shape, strict=True)
    )
    return rows, columns


def _graph_laplacian(height: int, width: int) -> csr_matrix:
    """D'D of a rectangle with free borders, as a sparse matrix."""
    number = np.arange(height * width).reshape(height, width)
    first = np.concatenate([number[:, :-1].ravel(), number[:-1].ravel()])
    second = np.concatenate([number[:, 1:].ravel(), number[1:].ravel()])
    ones = np.ones(len(first))
    joined = coo_matrix((ones, (first, second)), shape=(number.size, number.size))
    joined = (joined + joined.T).tocsr()
    return diags(np.asarray(joined.sum(1)).ravel()) - joined
