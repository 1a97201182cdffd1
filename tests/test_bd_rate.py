from math import isnan, log, log2

import numpy as np
import pytest
from benchmarks.rates.bd_rate import bd_rate, frontier, quality_at
from scipy.interpolate import Akima1DInterpolator

RATES = np.geomspace(0.5, 9, 10)


def straight(slope=6.0, offset=30.0, factor=1.0, rates=RATES):
    """Points of a codec whose quality rises by ``slope`` dB per doubling of the rate."""
    return [(factor * rate, offset + slope * log2(rate)) for rate in rates]


def bent(factor=1.0, rates=RATES):
    return [(factor * rate, 30 + 6 * log2(rate) + 0.8 * np.sin(3 * log(rate))) for rate in rates]


@pytest.mark.parametrize("curve", [straight, bent])
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.3])
def test_a_constant_factor_of_the_rate(curve, factor):
    result = bd_rate(curve(factor=factor), curve())
    assert result.percent == pytest.approx(100 * (factor - 1), abs=1e-9)
    assert result.share == pytest.approx(1)


def test_other_points_of_the_same_curve():
    assert bd_rate(straight(rates=np.geomspace(0.4, 11, 7)), straight()).percent == pytest.approx(0, abs=1e-9)


def test_curves_of_different_slopes():
    """log2 rate is (q - 30) / 6 and (q - 30) / 5: the mean difference is that at the middle of the interval."""
    result = bd_rate(straight(slope=5.0), straight())
    assert (result.low, result.high) == pytest.approx((30, 30 + 6 * log2(6)))
    middle = 0.5 * (result.low + result.high) - 30
    expected = 2 ** (middle * (1 / 5 - 1 / 6)) - 1
    assert result.percent == pytest.approx(100 * expected)


def test_the_integral_agrees_with_a_sum():
    codec, reference = bent(factor=0.8), straight()
    result = bd_rate(codec, reference)
    grid = np.linspace(result.low, result.high, 200_001)
    logs = [Akima1DInterpolator(*np.array([(q, log(r)) for r, q in points]).T)(grid) for points in (codec, reference)]
    assert result.percent == pytest.approx(100 * np.expm1(np.mean(logs[0] - logs[1])), abs=1e-3)


def test_the_interval_is_clipped_to_both_curves():
    short = [point for point in straight(factor=0.9) if 33 < point[1] < 40]
    result = bd_rate(short, straight())
    assert (result.low, result.high) == (short[0][1], short[-1][1])
    assert result.percent == pytest.approx(-10)
    assert result.share == pytest.approx((result.high - result.low) / (6 * log2(6)))
    cut = straight(rates=[1.5, 2, 3, 4])  # a reference that reaches neither 1 nor 6 bits per pixel
    assert bd_rate(straight(factor=0.9), cut).share == pytest.approx(1)


def test_ends_of_the_reference_are_exact():
    """The interpolated quality at the last point must not exceed it by a rounding error: the mean was NaN."""
    random = np.random.default_rng(0)
    for _ in range(200):
        qualities = 30 + np.cumsum(random.uniform(1, 4, 6))
        reference = list(zip(np.geomspace(1.2, 5, 6), qualities, strict=True))
        wider = [(0.9, 20.0), *((0.9 * rate, quality) for rate, quality in reference), (9.0, 70.0)]
        result = bd_rate(wider, reference)
        assert result.share == pytest.approx(1)
        assert (result.low, result.high) == pytest.approx((qualities[0], qualities[-1]))
        assert np.isfinite(result.percent)


def test_single_points_are_compared_at_their_quality():
    assert bd_rate([(3.0, 36.0)], straight()).percent == pytest.approx(50)
    assert isnan(bd_rate([(9.0, 60.0)], straight()).percent)


def test_curves_without_overlap():
    for points in ([], straight(offset=80), straight(offset=-20)):
        assert isnan(bd_rate(points, straight()).percent)
        assert isnan(bd_rate(straight(), points).percent)
    assert isnan(bd_rate(straight(), straight(rates=[0.1, 0.2, 0.4])).percent)


def test_points_that_are_no_better_than_cheaper_ones_are_left_out():
    assert frontier([(3, 31), (1, 30), (2, 32), (2, 31.5), (4, 32), (5, 33)]) == [(1, 30), (2, 32), (5, 33)]


def test_quality_at_a_rate():
    for rate in (0.5, 1.0, 3.3, 9.0):
        assert quality_at(straight(), rate) == pytest.approx(30 + 6 * log2(rate))
    assert isnan(quality_at(straight(), 0.49))
    assert isnan(quality_at(straight(), 9.1))
    assert isnan(quality_at([], 1.0))
