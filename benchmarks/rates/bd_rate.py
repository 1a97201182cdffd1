"""Rate-distortion curves, and the Bjøntegaard difference of two curves (VCEG-M33), interpolated by Akima splines.

A curve gives the logarithm of the rate as a function of quality, or the reverse, through the points of one codec on
one picture. Akima splines (doi:10.1145/321607.321609) do not oscillate, as the original cubic polynomial does.
"""

from collections.abc import Callable, Iterable, Sequence
from math import log, nan
from typing import NamedTuple

import numpy as np
from scipy.interpolate import Akima1DInterpolator

Point = tuple[float, float]
"""Bits per pixel, and quality in dB."""

RATE_RANGE = (1.0, 6.0)
"""Bits per pixel of the reference codec that the Bjøntegaard difference covers."""


class BdRate(NamedTuple):
    """The mean difference in rate at equal quality.

    Attributes:
        percent: difference in bits: -10 for 10 % fewer bits than the reference; NaN if the curves do not overlap.
        low: lower end of the compared interval in dB.
        high: upper end.
        share: compared part of the interval that the reference covers between the two rates.
    """

    percent: float
    low: float
    high: float
    share: float


def frontier(points: Iterable[Point]) -> list[Point]:
    """Select the points that are better than all cheaper ones, by rising rate."""
    selected: list[Point] = []
    for rate, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not selected or quality > selected[-1][1]:
            selected.append((rate, quality))
    return selected


def quality_at(points: Iterable[Point], rate: float) -> float:
    """Interpolate the quality at a rate in bits per pixel; NaN outside the curve."""
    curve = frontier(points)
    rates = [log(rate) for rate, _ in curve]
    if not curve or not rates[0] - 1e-12 <= log(rate) <= rates[-1] + 1e-12:
        return nan
    # Rounding must not lead beyond the ends, where the inverse curve is NaN.
    quality = _curve(rates, [quality for _, quality in curve])(min(max(log(rate), rates[0]), rates[-1]))
    return min(max(quality, curve[0][1]), curve[-1][1])


def bd_rate(
    points: Iterable[Point], reference: Iterable[Point], rate_range: tuple[float, float] = RATE_RANGE
) -> BdRate:
    """Compute the mean difference in rate at equal quality, over the qualities that both curves have.

    A codec of one point is compared at the quality of this point.

    Args:
        points: points of the codec, in any order.
        reference: points of the reference codec, in any order.
        rate_range: bits per pixel of the reference between which to compare.

    Example:
        >>> reference = [(1.0, 30.0), (2.0, 36.0), (4.0, 42.0), (8.0, 48.0)]
        >>> round(bd_rate([(0.9 * rate, quality) for rate, quality in reference], reference).percent, 9)
        -10.0
    """
    curve, other = frontier(points), frontier(reference)
    if not curve or not other:
        return BdRate(nan, nan, nan, 0.0)
    first, last = (quality_at(other, min(max(rate, other[0][0]), other[-1][0])) for rate in rate_range)
    low, high = max(first, curve[0][1]), min(last, curve[-1][1])
    # Nothing to compare, or a reference that lies outside the range of rates.
    if low > high or other[-1][0] < rate_range[0] or other[0][0] > rate_range[1]:
        return BdRate(nan, nan, nan, 0.0)
    difference = _mean_log_rate(curve, low, high) - _mean_log_rate(other, low, high)
    share = (high - low) / (last - first) if last > first else 1.0
    return BdRate(100 * float(np.expm1(difference)), low, high, share)


def _mean_log_rate(curve: Sequence[Point], low: float, high: float) -> float:
    """Average the logarithm of the rate between two qualities."""
    qualities, rates = [quality for _, quality in curve], [log(rate) for rate, _ in curve]
    if high <= low or len(curve) == 1:
        return _curve(qualities, rates)(low)
    return float(Akima1DInterpolator(qualities, rates).integrate(low, high)) / (high - low)


def _curve(positions: Sequence[float], values: Sequence[float]) -> Callable[[float], float]:
    """Interpolate between points; a single point is a constant."""
    if len(positions) == 1:
        return lambda _: values[0]
    spline = Akima1DInterpolator(positions, values)
    return lambda position: float(spline(position))
