"""Where falling measures meet their targets: smooth ones, ones that jump, and targets out of reach."""

import numpy as np
import pytest

from eoren.training.compact.solving import search, solve_step


def test_a_search_counts_its_trials_and_stays_within_its_limits():
    trials = search(lambda at: -(at**3), 0.5, 0.9, (-1.0, 1.0), slope=-1.0, tolerance=1e-9, most=5)
    assert len(trials) == 5
    assert all(-1 < trial.at < 1 and trial.value == -(trial.at**3) for trial in trials)
    assert search(lambda at: -(at**3), 0.5, 0.9, (-1.0, 1.0), slope=-1.0, tolerance=1e-3)[-1].at == pytest.approx(
        -(0.5 ** (1 / 3)), abs=1e-3
    )


@pytest.mark.parametrize("slope", [-0.1, -1.0, -5.0])
@pytest.mark.parametrize("start", [1e-4, 0.3])
def test_a_smooth_measure_meets_its_target(slope, start):
    tried = []

    def measure(step):
        tried.append(step)
        return -3 * np.log2(step) - 0.2 * np.log2(step / 0.01) ** 2 * np.sign(np.log2(step / 0.01)) / 10

    step = solve_step(measure, 20.0, start, slope=slope, tolerance=1e-3, at_most=True)
    assert abs(measure(step) - 20) <= 1e-3
    assert len(tried) <= 17


@pytest.mark.parametrize(("at_most", "value"), [(True, 3), (False, 4)])
def test_a_measure_that_jumps_ends_on_the_right_side(at_most, value):
    step = solve_step(
        lambda step: float(np.floor(-np.log2(step))), 3.5, 0.5, slope=-1.0, tolerance=0.01, at_most=at_most
    )
    assert np.floor(-np.log2(step)) == value


def test_what_cannot_be_reached_gives_none():
    assert solve_step(lambda step: 30 + 1e-3 / step, 20.0, 0.1, slope=-1.0, tolerance=0.01, at_most=True) is None
    assert solve_step(lambda step: 10 - step, 20.0, 0.1, slope=-1.0, tolerance=0.01, at_most=False) is None


def test_what_is_always_reached_gives_a_step():
    """A constant image takes few bytes at any step, and is exact at any."""
    assert solve_step(lambda step: 5.0, 20.0, 0.1, slope=-1.0, tolerance=0.01, at_most=True) > 0
    assert solve_step(lambda step: float("inf"), 20.0, 0.1, slope=-1.0, tolerance=0.01, at_most=False) > 0
