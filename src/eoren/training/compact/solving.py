"""The argument at which a falling measure, such as a file's size, meets its target."""

from collections.abc import Callable
from math import log2
from typing import NamedTuple

_COARSEST = 4.0
_SMALLEST_CHANGE = 1e-5  # of a step's logarithm: finer ones do not change the latents of a small image
_FLATTEST = 0.2  # least slope of a secant beside the last slope
_LONGEST = 4.0
_MOST_TRIALS = 16


class Trial(NamedTuple):
    """An argument and its measure."""

    at: float
    value: float


def search(
    measure: Callable[[float], float],
    target: float,
    start: float,
    limits: tuple[float, float],
    *,
    slope: float,
    tolerance: float,
    most: int = _MOST_TRIALS,
    stop: Callable[[], bool] = lambda: False,
) -> list[Trial]:
    """Search by secants within an interval that shrinks; bisect it where a secant leaves it.

    Args:
        measure: function that falls, perhaps in jumps.
        target: value to meet.
        start: first argument to try.
        limits: smallest and largest argument.
        slope: expected slope of the measure, negative.
        tolerance: difference from the target that ends the search.
        most: largest number of trials.
        stop: function that is called after every trial, and returns true to end the search.

    Returns:
        All trials; the last one meets the target if any does.
    """
    (low, high), at = limits, start
    trials: list[Trial] = []
    while True:
        value = measure(at)
        trials.append(Trial(at, value))
        low, high = (at, high) if value > target else (low, at)
        is_met = abs(value - target) <= tolerance
        if is_met or high - low < _SMALLEST_CHANGE or len(trials) == most or stop():
            return trials
        if len(trials) > 1:
            (a, u), (b, v) = trials[-2:]
            slope = min((v - u) / (b - a), _FLATTEST * slope) if a != b else slope
        at += min(max((target - value) / slope, -_LONGEST), _LONGEST)
        if not low < at < high:
            at = (low + high) / 2


def solve_step(
    measure: Callable[[float], float],
    target: float,
    start: float,
    *,
    slope: float,
    tolerance: float,
    at_most: bool,
    finest: float = 2.0**-20,
    stop: Callable[[], bool] = lambda: False,
) -> float | None:
    """Find the base step at which a falling measure meets its target.

    Small images have few latents, so that no step may meet the target; then the nearest value on the right side of
    it is taken.

    Args:
        measure: function of the base step, such as its bits' logarithm or its PSNR.
        target: value to meet.
        start: first step to try.
        slope: expected change of the measure if the step doubles, negative.
        tolerance: largest difference from the target.
        at_most: whether the right side of the target is below it, as for sizes, or above it, as for PSNR.
        finest: smallest step to try.
        stop: function that is called after every trial, and returns true to end the search.

    Returns:
        The step, or None if even the last one on the right side is on the wrong side of the target. Of a search that
        was stopped, the step that came nearest, on either side.
    """
    low, high = limits = log2(finest), log2(_COARSEST)
    begin = min(max(log2(start), low), high)
    trials = search(lambda at: measure(2.0**at), target, begin, limits, slope=slope, tolerance=tolerance, stop=stop)
    if abs(trials[-1].value - target) <= tolerance:
        return float(2.0 ** trials[-1].at)
    right = trials if stop() else [trial for trial in trials if (trial.value < target) == at_most]
    if not right:
        last = high if at_most else low
        right = [Trial(last, measure(2.0**last))]
        if (right[0].value < target) != at_most:
            return None
    return float(2.0 ** min(right, key=lambda trial: abs(trial.value - target)).at)
