"""Quintic splines as matrices and taps: how features continue between the pixels.

The curve is that of the reference gradient (:mod:`eoren.image.spline`): it interpolates the samples and continues
beyond the outermost ones by odd reflection, up to one pixel; beyond, it is constant. Positions are in pixels, the
centre of the first pixel is 0.
"""

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from eoren.model.arrays import Array, cast, like, namespace

TAPS = 6
PADDING = 4
"""Coefficients beyond the outermost samples that positions up to one pixel outside need."""
REACH = 24
"""Distance in pixels beyond which a sample has no influence: it falls by 0.43 a pixel, to 1e-8."""
_OUTSIDE = 1.0  # pixels
# Smaller entries of matrices are zero: no sum changes, and float32 would compute slowly with numbers below 1e-38.
_NEGLIGIBLE = 1e-30

# Powers of the distance from the knot before the position, ascending, for each of six B-spline coefficients.
_PIECES = np.array(
    [
        [1, -5, 10, -10, 5, -1],
        [26, -50, 20, 20, -20, 5],
        [66, 0, -60, 0, 30, -10],
        [26, 50, 20, -20, -20, 10],
        [1, 5, 10, 10, 5, -5],
        [0, 0, 0, 0, 0, 1],
    ],
    dtype=np.float64,
)
_PIECES /= 120


class Reflection(NamedTuple):
    """Samples that continue beyond their ends: ``sign * samples[source] + ends[0] * first + ends[1] * last``."""

    source: Int[np.ndarray, " indices"]
    sign: Int[np.ndarray, " indices"]
    ends: Int[np.ndarray, "2 indices"]


@lru_cache(maxsize=16)
def coefficient_matrix(length: int) -> Float[np.ndarray, "padded length"]:
    """Return the matrix from samples to padded B-spline coefficients, float64.

    Row ``PADDING + k`` is the coefficient at sample k. Its entries fall by 0.43 a sample.
    """
    extended = _extension(np.arange(-PADDING, length + PADDING), length)
    stencil = np.array([1, 26, 66, 26, 1]) / 120
    values = sum(w * extended[PADDING - 2 + k : PADDING - 2 + k + length] for k, w in enumerate(stencil))
    matrix = extended @ np.linalg.inv(values)
    matrix[np.abs(matrix) < _NEGLIGIBLE] = 0
    return matrix


@cache
def prefilter() -> Float[np.ndarray, " weights"]:
    """Return the weights of samples up to :data:`REACH` pixels away in a B-spline coefficient, float64."""
    matrix = coefficient_matrix(4 * REACH + 1)
    return matrix[PADDING + 2 * REACH, REACH : 3 * REACH + 1]


def pieces(order: int = 0) -> Float[np.ndarray, "taps powers"]:
    """Return the weights of six coefficients as polynomials of the distance from the knot before, or a derivative.

    Args:
        order: order of the derivative.
    """
    polynomials = _PIECES
    for _ in range(order):
        polynomials = polynomials[:, 1:] * np.arange(1, polynomials.shape[1])
    return polynomials


def taps(position: Float[Array, " points"], length: int, order: int = 0) -> tuple[Int[Array, " points"], Array]:
    """Return the first of six padded coefficients of each position, and their weights.

    Args:
        position: positions in pixels.
        length: number of samples.
        order: order of the derivative, 0 to 2, by the position in pixels.

    Returns:
        Indices into padded coefficients, and ``(points, 6)`` weights, which PyTorch can differentiate by the
        position.
    """
    xp, inside = namespace(position), position.clip(-_OUTSIDE, length - 1 + _OUTSIDE)
    knot = xp.floor(inside).clip(None, length - 1 + _OUTSIDE - 1)
    fraction = inside - knot
    powers = xp.stack([fraction**k for k in range(TAPS - order)], -1)
    weights = powers @ like(powers, np.ascontiguousarray(pieces(order).T))
    if order:
        weights = weights * (inside == position)[:, None]
    return cast(knot, "int64") + PADDING - 2, weights


def sampling_matrix(
    position: Float[np.ndarray, " points"], length: int, order: int = 0
) -> Float[np.ndarray, "points length"]:
    """Return the matrix from samples to the curve, or one of its derivatives, at positions, float64."""
    first, weights = taps(position, length, order)
    coefficients, rows = coefficient_matrix(length), np.zeros((len(position), length))
    for tap in range(TAPS):
        rows += weights[:, tap, None] * coefficients[first + tap]
    return rows


def odd_reflection(indices: Int[np.ndarray, " indices"], length: int) -> Reflection:
    """Return how samples continue at indices beyond the outermost ones, by odd reflection about these."""
    if length == 1:
        zero = np.zeros(len(indices), int)
        return Reflection(zero, zero + 1, np.stack([zero, zero]))
    turns, place = np.divmod(indices, 2 * (length - 1))
    mirrored = place >= length
    source, sign = np.where(mirrored, 2 * (length - 1) - place, place), np.where(mirrored, -1, 1)
    return Reflection(source, sign, np.stack([-2 * turns, 2 * (turns + mirrored)]))


def _extension(indices: Int[np.ndarray, " indices"], length: int) -> Float[np.ndarray, "indices length"]:
    """Return the matrix that continues samples by odd reflection about the outermost ones."""
    reflection = odd_reflection(indices, length)
    matrix, rows = np.zeros((len(indices), length)), np.arange(len(indices))
    np.add.at(matrix, (rows, reflection.source), reflection.sign)
    for end, factors in zip((0, length - 1), reflection.ends, strict=True):
        np.add.at(matrix, (rows, np.full(len(rows), end)), factors)
    return matrix
