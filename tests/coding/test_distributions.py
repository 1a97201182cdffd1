import numpy as np
import pytest

from eoren.coding.bands import LARGE_LATENT, MAX_LATENT
from eoren.coding.context_model import context_model
from eoren.coding.distributions import FRACTIONS, MEAN_LIMIT, SCALES, TABLES
from eoren.coding.rans import PRECISION, Decoder, encode

TOTAL = 1 << PRECISION


@pytest.fixture(scope="module")
def tables():
    return context_model().distributions


def ints(values):
    return np.asarray(values, np.int32)


def every_prediction():
    """Every pair of a mean and a scale."""
    means, scales = np.meshgrid(np.arange(-MEAN_LIMIT, MEAN_LIMIT + 1), np.arange(SCALES))
    return ints(means.ravel()), ints(scales.ravel())


def test_frequencies_are_positive_and_add_up(tables):
    assert tables.table.shape[0] == TABLES * FRACTIONS
    for row, reach in zip(tables.table.astype(np.int64), np.repeat(tables.reach, FRACTIONS), strict=True):
        frequencies = np.diff(row[: 2 * reach + 4])
        assert (frequencies > 0).all()
        assert frequencies.sum() == TOTAL
        assert (row[2 * reach + 3 :] == TOTAL).all()


def test_costs_are_the_information_of_the_intervals(tables):
    generator = np.random.default_rng(0)
    mean, scale = every_prediction()
    values = ints(generator.laplace(0, 3 ** generator.uniform(0, 12, len(mean)))).clip(-MAX_LATENT, MAX_LATENT)
    costs = tables.cost(values, mean, scale)
    for k in generator.integers(0, len(mean), 2000):
        one = slice(k, k + 1)
        _, frequency = tables.intervals(values[one], mean[one], scale[one])
        assert costs[k] == pytest.approx(-np.log2(frequency / TOTAL).sum(), rel=1e-12)


@pytest.mark.parametrize("scale", [0, 13, 27, 31, 32, 40, 63])
@pytest.mark.parametrize("mean", [-127, -8, -1, 0, 5, 8, 100])
def test_probabilities_add_up_to_one(tables, mean, scale):
    values = np.arange(-(1 << 15), 1 << 15, dtype=np.int32)
    total = (2.0 ** -tables.cost(values, np.full_like(values, mean), np.full_like(values, scale))).sum()
    # Values beyond this range, whose counts of bits are among the 32 that an escape can have, take the rest.
    assert 0.9 < total <= 1 + 1e-9


@pytest.mark.parametrize("scale", range(0, SCALES, 3))
def test_probabilities_are_those_around_the_mean(tables, scale):
    values = np.arange(-2000, 2001, dtype=np.int32)
    for mean in (-100, -7, 0, 3, 8, 127):
        costs = tables.cost(values, np.full_like(values, mean), np.full_like(values, scale))
        weight = 2.0**-costs
        assert abs((weight * values).sum() / weight.sum() - mean / 16) < 0.5 + 0.1 * 2 ** (scale / 4)
        # The same for the opposite; a mean halfway between two integers is rounded up on both sides.
        opposite = tables.cost(-values, np.full_like(values, -mean), np.full_like(values, scale))
        if abs(mean) % 16 != 8 and scale < TABLES:
            np.testing.assert_array_equal(costs, opposite)


def test_larger_scales_are_wider(tables):
    values = np.arange(-3000, 3001, dtype=np.int32)
    spreads = []
    for scale in range(SCALES):
        weight = 2.0 ** -tables.cost(values, np.zeros_like(values), np.full_like(values, scale))
        spreads.append((weight * np.abs(values)).sum() / weight.sum())
    assert (np.diff(spreads) > 0).all()


@pytest.mark.parametrize("reach", [0, 1, 10, 200, 30_000, MAX_LATENT])
def test_values_come_back(tables, reach):
    mean, scale = every_prediction()
    values = np.random.default_rng(reach).integers(-reach, reach, len(mean), np.int32, endpoint=True)
    values[:2] = reach, -reach
    data = encode(*tables.intervals(values, mean, scale))
    decoder = Decoder(data)
    np.testing.assert_array_equal(tables.decode(decoder, mean, scale), values)
    decoder.finish()
    assert abs(8 * len(data) - 63 - tables.cost(values, mean, scale).sum()) < 34


def test_values_that_are_too_large_are_an_error(tables):
    for value in (MAX_LATENT + 1, -MAX_LATENT - 1, (1 << 31) - 200):
        data = encode(*tables.intervals(ints([value]), ints([0]), ints([0])))
        with pytest.raises(ValueError, match=LARGE_LATENT):
            tables.decode(Decoder(data), ints([0]), ints([0]))
