import contextlib
from itertools import pairwise

import numpy as np
import pytest
from tests.coding.samples import KINDS, equal, random_latents, zeros_like

from eoren.coding.bands import LARGE_LATENT, MAX_LATENT, PHASES, Latents
from eoren.coding.block_coder import STREAM_BITS, block_bits, decode_block, encode_block, quantize_block, walk
from eoren.coding.context_model import context_model
from eoren.coding.rans import NOT_AT_END, TRUNCATED, TruncatedError

SHAPES = [((1, 1, 1), 0), ((3, 1, 1), 6), ((1, 1, 9), 3), ((4, 7, 1), 4), ((3, 13, 17), 2), ((2, 40, 33), 5)]


def coefficients_near(latents, seed=0):
    generator = np.random.default_rng(seed)
    return tuple((b + generator.normal(0, 0.7, b.shape)).astype(np.float32) for b in latents.bands())


@pytest.mark.parametrize(("shape", "levels"), SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_latents_come_back(shape, levels, kind):
    latents = random_latents(*shape, levels, kind)
    data = encode_block(latents)
    decoded = zeros_like(latents)
    decode_block(data, decoded)
    assert equal(decoded, latents)
    assert abs(8 * len(data) - block_bits(latents).sum() - STREAM_BITS) < 34


def test_zeros_take_few_bits():
    latents = Latents.zeros(3, 64, 64, 3)
    assert block_bits(latents).sum() < 0.1 * latents.coarse.size * 64


def test_latents_that_are_too_large_are_an_error():
    for value in (MAX_LATENT + 1, -MAX_LATENT - 1, -(1 << 31)):
        latents = Latents.zeros(1, 4, 4, 1)
        latents.details[0][2][0, 1, 1] = value
        for function in (encode_block, block_bits):
            with pytest.raises(ValueError, match=LARGE_LATENT):
                function(latents)


def test_damaged_blocks_are_an_error(unchecked):
    latents = random_latents(2, 14, 15, 2)
    data, generator = encode_block(latents), np.random.default_rng(0)
    for length in range(8, len(data), 36):
        with pytest.raises(TruncatedError, match=TRUNCATED):
            decode_block(data[:length], zeros_like(latents))
    with pytest.raises(ValueError, match=NOT_AT_END):
        decode_block(data + b"\1\2\3\4", zeros_like(latents))
    unnoticed = 0
    for _ in range(20):
        damaged = bytearray(data)
        for _ in range(int(generator.integers(1, 5))):
            damaged[int(generator.integers(len(data)))] ^= 1 << int(generator.integers(8))
        # Streams have no checksum, but few changes go unnoticed.
        with contextlib.suppress(ValueError):
            decode_block(bytes(damaged), zeros_like(latents))
            unnoticed += 1
    assert unnoticed < 5


def test_without_a_price_of_bits_latents_are_the_nearest_integers():
    latents = random_latents(2, 12, 15, 2)
    coefficients = coefficients_near(latents)
    found = zeros_like(latents)
    quantize_block(coefficients, found, 0.0)
    for band, exact in zip(found.bands(), coefficients, strict=True):
        np.testing.assert_array_equal(band, np.rint(exact))


def test_bits_are_saved_for_the_squared_error_that_they_are_worth(unchecked):
    latents = random_latents(3, 32, 32, 3)
    coefficients = coefficients_near(latents)
    results = []
    for weight in (0.0, 0.1, 0.3):
        found = zeros_like(latents)
        quantize_block(coefficients, found, weight)
        error = sum(
            float(((a - b.astype(float)) ** 2).sum()) for a, b in zip(found.bands(), coefficients, strict=True)
        )
        results.append((weight, error, block_bits(found).sum()))
    for (_, less_error, more_bits), (weight, error, bits) in pairwise(results):
        assert less_error < error
        assert bits < more_bits
        assert error + weight * bits < results[0][1] + weight * results[0][2]


def test_each_choice_is_the_better_of_two():
    weight, latents = 0.15, random_latents(2, 11, 14, 2)
    coefficients = coefficients_near(latents)
    found = zeros_like(latents)
    quantize_block(coefficients, found, weight)
    exact = Latents.from_bands(coefficients)
    model, checked = context_model(), 0

    def check(key, phase, mean, scale):
        nonlocal checked
        bands = [
            x.coarse if key.orientation == 3 else x.details[key.level - 1][key.orientation] for x in (found, exact)
        ]
        planes = [band[key.channel].T if key.orientation == 0 else band[key.channel] for band in bands]
        chosen, wanted = (plane[PHASES[phase].rows, PHASES[phase].columns].ravel() for plane in planes)

        def costs(values):
            return (values - wanted.astype(float)) ** 2 + weight * model.distributions.cost(values, mean, scale)

        nearest = np.rint(wanted).astype(np.int32)
        towards_mean = nearest + np.sign((mean + 8) // 16 - nearest)
        assert ((chosen == nearest) | (chosen == towards_mean)).all()
        best = np.minimum(costs(nearest), costs(towards_mean))
        np.testing.assert_allclose(costs(chosen), best, rtol=1e-12)
        checked += len(chosen)
        return chosen.copy()

    walk(zeros_like(latents), check, model)
    assert checked == 2 * 11 * 14


def test_coefficients_are_checked_and_limited():
    latents = random_latents(1, 6, 6, 1)
    coefficients = coefficients_near(latents)
    with pytest.raises(ValueError, match="the same shapes"):
        quantize_block(coefficients[:-1], zeros_like(latents), 0.1)
    for value in (np.nan, np.inf):
        coefficients[2][0, 1, 1] = value
        with pytest.raises(ValueError, match="must be finite"):
            quantize_block(coefficients, zeros_like(latents), 0.1)
    coefficients[2][0, 1, 1], coefficients[1][0, 1, 1] = 1e30, -3e6
    found = zeros_like(latents)
    quantize_block(coefficients, found, 0.0)
    assert (found.details[0][1][0, 1, 1], found.details[0][0][0, 1, 1]) == (MAX_LATENT, -MAX_LATENT)
    decode_block(encode_block(found), zeros_like(latents))
