import numpy as np
import pytest

from eoren.coding.bands import COARSE
from eoren.coding.context_model import (
    CHANNELS,
    HIDDEN_LIMIT,
    LEVELS,
    NETWORKS,
    OFFSETS,
    ContextModel,
    context_model,
    network_of,
    offset_of,
)
from eoren.coding.contexts import COMPRESSED, SLOTS
from eoren.coding.distributions import MEAN_LIMIT, SCALES

WEIGHTS = ContextModel._fields[:-1]


def integers(name):
    return getattr(context_model(), name).astype(np.int64)


def test_weights_are_integers_of_16_bits_in_dense_arrays():
    for name in WEIGHTS:
        weight = getattr(context_model(), name)
        assert weight.dtype == np.float32
        assert weight.flags.c_contiguous
        assert (weight == np.rint(weight)).all()
        assert np.abs(weight).max() < (1 << 24 if "bias" in name or "offset" in name else 1 << 15)
    assert integers("first").shape[:2] == (NETWORKS, SLOTS)
    assert len(integers("first_offset")) == len(integers("last_offset")) == OFFSETS


def test_sums_are_exact_in_float32():
    """All partial sums, in any order, are below 2**24."""
    most = int(COMPRESSED.max())
    first = np.abs(integers("first")).sum(1) * most + np.abs(integers("first_bias"))
    second = np.abs(integers("second")).sum(1) * HIDDEN_LIMIT + np.abs(integers("second_bias"))
    last = np.abs(integers("last")).sum(1) * HIDDEN_LIMIT + np.abs(integers("skip")).sum(1) * most
    last += np.abs(integers("last_bias"))
    for sums, offset in ((first, "first_offset"), (second, None), (last, "last_offset")):
        assert sums.max() + (np.abs(integers(offset)).max() if offset else 0) < 1 << 24


@pytest.mark.parametrize("network", range(NETWORKS))
def test_predictions_are_those_of_integers(network):
    generator = np.random.default_rng(network)
    contexts = generator.integers(-127, 128, (50, SLOTS)).astype(np.int16)
    contexts[:10] = 0
    contexts[10:20] = 127 * generator.choice([-1, 1], (10, SLOTS))
    offset = int(generator.integers(OFFSETS))
    x = contexts.astype(np.int64)
    hidden = x @ integers("first")[network] + integers("first_bias")[network] + integers("first_offset")[offset]
    hidden = (hidden >> 8).clip(0, HIDDEN_LIMIT)
    hidden = ((hidden @ integers("second")[network] + integers("second_bias")[network]) >> 8).clip(0, HIDDEN_LIMIT)
    outputs = hidden @ integers("last")[network] + x @ integers("skip")[network]
    outputs += integers("last_bias")[network] + integers("last_offset")[offset]
    mean, scale = context_model().predict(contexts, network, offset)
    np.testing.assert_array_equal(mean, (outputs[:, 0] >> 8).clip(-MEAN_LIMIT, MEAN_LIMIT))
    np.testing.assert_array_equal(scale, (outputs[:, 1] >> 12).clip(0, SCALES - 1))


def test_networks_and_offsets_are_numbered():
    assert {network_of(phase, channel) for phase in range(7) for channel in range(4)} == {*range(NETWORKS)}
    bands = [(level, orientation) for level in range(1, 7) for orientation in range(3)]
    bands += [(level, COARSE) for level in range(7)]
    found = {offset_of(*band, channel) for band in bands for channel in range(5)}
    assert found == {*range(OFFSETS)}
    assert offset_of(6, 0, 4) == offset_of(LEVELS, 0, CHANNELS - 1)
