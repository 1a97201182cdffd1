import contextlib

import numpy as np
import pytest

from eoren.coding.rans import NOT_AT_END, PRECISION, TRUNCATED, Decoder, TruncatedError, encode

TOTAL = 1 << PRECISION


def random_bounds(generator, symbols):
    return [0, *np.sort(generator.choice(np.arange(1, TOTAL), symbols - 1, replace=False)).tolist(), TOTAL]


def random_stream(seed, count):
    """Tables, symbols and the encoded stream; symbols are drawn with their probabilities."""
    generator = np.random.default_rng(seed)
    tables = [random_bounds(generator, int(n)) for n in generator.integers(2, 300, 20)]
    tables += [[0, 1, TOTAL], [0, TOTAL - 1, TOTAL]]
    bounds = [tables[k] for k in generator.integers(0, len(tables), count)]
    slots = generator.integers(0, TOTAL, count)
    symbols = [int(np.searchsorted(b, slot, "right")) - 1 for b, slot in zip(bounds, slots, strict=True)]
    start = np.array([b[k] for b, k in zip(bounds, symbols, strict=True)], np.uint32)
    end = np.array([b[k + 1] for b, k in zip(bounds, symbols, strict=True)], np.uint32)
    return bounds, symbols, end - start, encode(start, end - start)


def decode(data, bounds):
    decoder = Decoder(data)
    symbols = [decoder.symbol(b) for b in bounds]
    decoder.finish()
    return symbols


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100, 5000])
def test_symbols_come_back_from_a_stream_of_the_length_of_their_information(count):
    bounds, symbols, frequency, data = random_stream(count, count)
    assert decode(data, bounds) == symbols
    bits = float(-np.log2(frequency / TOTAL).sum())
    # 31 bits of the first state, up to 32 of the last word, and 2**-15 of each division that is rounded.
    assert bits + 31 <= 8 * len(data) + 1e-6
    assert 8 * len(data) <= bits + 31 + 33 + count * 2.0**-14


@pytest.mark.parametrize("bits", [1, 5, 16])
def test_uniform_bits_come_back(bits):
    values = np.random.default_rng(bits).integers(0, 1 << bits, 200)
    shift = PRECISION - bits
    data = encode((values << shift).astype(np.uint32), np.full(200, 1 << shift, np.uint32))
    decoder = Decoder(data)
    assert [decoder.uniform(bits) for _ in values] == values.tolist()
    decoder.finish()
    assert 0 <= 8 * len(data) - 200 * bits - 31 <= 33


def test_a_truncated_stream_is_an_error_before_it_ends():
    bounds, _, _, data = random_stream(0, 300)
    for length in range(0, len(data), 4):
        with pytest.raises(TruncatedError, match="8 bytes or more" if length < 8 else TRUNCATED):
            decode(data[:length], bounds)
    with pytest.raises(TruncatedError, match="a multiple of 4, got 9"):
        Decoder(data[:9])


def test_a_stream_must_end_with_its_last_symbol():
    bounds, _, _, data = random_stream(1, 50)
    longer, shorter = Decoder(data + b"\0\0\0\0"), Decoder(data)
    for k, b in enumerate(bounds):
        longer.symbol(b)
        if k < len(bounds) - 1:
            shorter.symbol(b)
    for decoder in (longer, shorter):
        with pytest.raises(ValueError, match=NOT_AT_END):
            decoder.finish()


def test_damaged_streams_decode_to_symbols_or_end():
    generator = np.random.default_rng(2)
    bounds, _, _, data = random_stream(2, 100)
    for _ in range(100):
        noise = generator.integers(0, 256, len(data), np.uint8).tobytes()
        decoder = Decoder(noise)
        with contextlib.suppress(TruncatedError):
            assert all(0 <= decoder.symbol(b) < len(b) - 1 for b in bounds)
