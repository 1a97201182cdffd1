import numpy as np
import pytest
import torch

from eoren.coding.lowpass import LIFTING, SCALE, synthesize_level
from eoren.model.latents import wavelet

SIZES = [(1, 1), (1, 2), (2, 1), (1, 9), (8, 1), (2, 2), (3, 3), (4, 5), (7, 6), (31, 40)]
UNIT = 2.0**-15  # largest error of a coefficient


def bound(size, error):
    """Bounds of samples and of their error after one axis, by the lifting steps, given those before it."""
    sizes = {"even": SCALE * size, "odd": size / SCALE}
    errors = {"even": SCALE * error, "odd": error / SCALE}
    for k in errors:
        errors[k] += UNIT * (size + error) + 0.5
    first, second, third, fourth = map(abs, LIFTING)
    for to, other, factor in (
        ("even", "odd", fourth),
        ("odd", "even", third),
        ("even", "odd", second),
        ("odd", "even", first),
    ):
        errors[to] += 2 * factor * errors[other] + 2 * UNIT * (sizes[other] + errors[other]) + 0.5
        sizes[to] += 2 * factor * sizes[other]
    return max(sizes.values()), max(errors.values())


def random_bands(rows, columns, limit, seed):
    generator = np.random.default_rng(seed)
    low, high = (-(-rows // 2), -(-columns // 2)), (rows // 2, columns // 2)
    sizes = (low, (low[0], high[1]), (high[0], low[1]), high)
    return [generator.integers(-limit, limit, size, np.int32, endpoint=True) for size in sizes]


def in_float(low, *details):
    given = wavelet.Details(*(torch.from_numpy(band).double() for band in details))
    return wavelet.synthesize_level(torch.from_numpy(low).double(), given).numpy()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("limit", [1, 100, 8 << 20])
def test_it_is_the_inverse_wavelet_transform_to_rounding(size, limit):
    bands = random_bands(*size, limit, seed=sum(size))
    found = synthesize_level(*bands)
    assert found.shape == size
    error = np.abs(found - in_float(*bands)).max()
    assert error <= bound(*bound(limit, 0.0))[1]
    # Errors of random samples do not add up like their bounds.
    assert error <= 8 + limit * 2.0**-11


def test_six_levels_stay_within_32_bits():
    """The largest latents with signs that add up: twice the gain of all levels is below 2**31 / 2**23."""
    gains = []
    for rows in (2, 3, 4, 5, 32, 33):
        low, high = np.eye(-(-rows // 2)), np.eye(rows // 2)
        none_low, none_high = np.zeros((len(high), len(low))), np.zeros((len(low), len(high)))
        columns = [
            wavelet._merge(torch.from_numpy(a), torch.from_numpy(b)).abs().sum(1).max().item()
            for a, b in ((low, none_low), (none_high, high))
        ]
        gains.append(columns)
    low, high = np.max(gains, 0)
    gain = 1.0
    for _ in range(6):
        gain = low * low * gain + 2 * low * high + high * high
    assert 2 * gain * 8 < 1 << (31 - 20)


def test_a_constant_stays_constant():
    low = np.full((9, 8), 8000, np.int32)
    details = [np.zeros(size, np.int32) for size in ((9, 8), (9, 8), (9, 8))]
    found = synthesize_level(low, *details)
    assert np.abs(found - 4000).max() <= 4  # the low-pass filters have a gain of 2
