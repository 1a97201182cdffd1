"""The native coder of latents against the one in NumPy: the same bytes, latents and errors."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from tests.backends.targets import needs_library, targets
from tests.coding.samples import KINDS, equal, random_latents, zeros_like

from eoren.backends import native_coder
from eoren.backends.block_coders import BlockCoder, NumpyCoder
from eoren.backends.native_coder import NativeCoder
from eoren.coding.bands import BLOCK, LARGE_LATENT, MAX_LATENT, MAX_LEVELS, Latents, blocks, choose_levels
from eoren.coding.block_coder import STREAM_BITS
from eoren.coding.context_model import context_model
from eoren.coding.rans import TruncatedError
from eoren.model.latents.wavelet import analyze

pytestmark = needs_library

NATIVE, NUMPY = NativeCoder(), NumpyCoder()
SHAPES = [
    ((1, 1, 1), 0),
    ((3, 1, 1), 6),
    ((1, 1, 9), 3),
    ((4, 7, 1), 4),
    ((3, 13, 17), 2),
    ((1, 130, 70), 0),
    ((3, 90, 101), 4),
    ((4, 33, 250), 5),
    ((2, 128, 192), 6),
]


def coefficients_near(latents, deviation=0.7):
    generator = np.random.default_rng(1)
    return tuple((b + generator.normal(0, deviation, b.shape)).astype(np.float32) for b in latents.bands())


@cache
def reference(shape, levels, kind):
    """Latents, their code and bits, coefficients, and the latents chosen for these, by the coder in NumPy."""
    latents = random_latents(*shape, levels, kind)
    coefficients, chosen = coefficients_near(latents), zeros_like(latents)
    NUMPY.quantize(coefficients, chosen, 0.115)
    return latents, NUMPY.encode(latents), NUMPY.bits(latents), coefficients, chosen


@pytest.mark.parametrize(("shape", "levels"), SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_results_are_those_of_numpy(unchecked, target, threads, shape, levels, kind):
    latents, data, bits, coefficients, chosen = reference(shape, levels, kind)
    for name in targets():
        assert target(name)
        for count in (1, 2):
            threads(count)
            assert NATIVE.encode(latents) == data
            decoded, found = zeros_like(latents), zeros_like(latents)
            NATIVE.decode(data, decoded)
            assert equal(decoded, latents)
            assert NATIVE.bits(latents) == pytest.approx(bits, rel=1e-12)
            NATIVE.quantize(coefficients, found, 0.115)
            assert equal(found, chosen)


def test_every_compressed_value_is_exact(unchecked, target):
    """All numbers in eighths that contexts compress occur in the low-pass band of a smooth image."""
    values = np.arange(0, 2100, dtype=np.int32)
    latents = Latents.zeros(1, 100, 170, 1)
    # Neighbours differ by 0, 1, 2, ... eighths of a step; the latents themselves by whole steps.
    latents.coarse[0].reshape(-1)[: len(values)] = np.cumsum(values) // 64 % MAX_LATENT
    latents.details[0][1][0].reshape(-1)[: len(values)] = values
    data = NUMPY.encode(latents)
    for name in targets():
        assert target(name)
        assert NATIVE.encode(latents) == data


def test_a_photograph_is_coded_like_by_numpy(unchecked, target, data):
    with Image.open(data / "kodak" / "kodim05.png") as image:
        pixels = np.asarray(image.crop((200, 100, 456, 300)), np.float32)
    levels = choose_levels(256, 200)
    bands = analyze(torch.from_numpy(pixels).permute(2, 0, 1) - 128, levels)
    coefficients = tuple(band.numpy() / 12 for band in (bands.coarse, *(b for d in bands.details for b in d)))
    chosen = Latents.zeros(3, 200, 256, levels)
    NUMPY.quantize(coefficients, chosen, 0.115)
    code, bits = NUMPY.encode(chosen), NUMPY.bits(chosen)
    assert 8 * len(code) == pytest.approx(bits.sum() + STREAM_BITS, abs=34)
    for name in targets():
        assert target(name)
        found = zeros_like(chosen)
        NATIVE.quantize(coefficients, found, 0.115)
        assert equal(found, chosen)
        assert NATIVE.encode(found) == code
        assert NATIVE.bits(found) == pytest.approx(bits, rel=1e-12)


def error_of(function):
    with pytest.raises(ValueError) as caught:
        function()
    return caught.type, str(caught.value)


def decoding_error(coder, data, like):
    """The error of decoding as type and message, or the latents."""
    decoded = zeros_like(like)
    try:
        coder.decode(data, decoded)
    except ValueError as error:
        return type(error), str(error)
    return [band.tolist() for band in decoded.bands()]


@pytest.mark.parametrize("kind", ["small", "mixed"])
def test_damaged_data_are_the_same_error(unchecked, target, threads, kind):
    latents = random_latents(2, 20, 25, 2, kind)
    data, generator = NUMPY.encode(latents), np.random.default_rng(0)
    damaged = [data[:length] for length in (0, 4, 8, 9, 12, len(data) // 8 * 4, len(data) - 4)]
    damaged += [data + bytes(4), data + b"\xff" * 40, bytes(len(data)), b"\xff" * len(data), b"\xff" * 8, bytes(8)]
    damaged += [generator.integers(0, 256, len(data), np.uint8).tobytes() for _ in range(5)]
    for _ in range(15):
        changed = bytearray(data)
        changed[int(generator.integers(len(data)))] ^= 1 << int(generator.integers(8))
        damaged.append(bytes(changed))
    expected = [decoding_error(NUMPY, d, latents) for d in damaged]
    # Streams have no checksum: some changes of low bits go unnoticed.
    assert {TruncatedError, ValueError} <= {result[0] for result in expected if isinstance(result, tuple)}
    assert (ValueError, LARGE_LATENT) in expected or kind == "small"
    for name in targets():
        assert target(name)
        for count in (1, 2):
            threads(count)
            assert [decoding_error(NATIVE, d, latents) for d in damaged] == expected


def test_noise_is_decoded_or_refused(unchecked, threads):
    generator, latents = np.random.default_rng(3), Latents.zeros(3, 150, 170, 4)
    for size in (2, 100, 1000, 20_000, 60_000):
        words = generator.integers(0, 1 << 32, size, np.uint32)
        for count in (1, 2):
            threads(count)
            assert decoding_error(NATIVE, words.tobytes(), latents)[0] in (ValueError, TruncatedError)


def test_latents_are_checked():
    for value in (MAX_LATENT + 1, -MAX_LATENT - 1, (1 << 31) - 1, -(1 << 31)):
        latents = Latents.zeros(1, 5, 4, 1)
        latents.details[0][0][0, 1, 1] = value
        for name in ("encode", "bits"):
            assert error_of(lambda name=name, latents=latents: getattr(NATIVE, name)(latents)) == (
                ValueError,
                LARGE_LATENT,
            )
    with pytest.raises(ValueError, match=f"at most {MAX_LEVELS} levels, got 7"):
        NATIVE.encode(Latents.zeros(1, 4, 4, 7))
    latents = Latents.zeros(1, 4, 4, 1)
    with pytest.raises(ValueError, match="bands must be those of"):
        NATIVE.encode(latents._replace(coarse=np.zeros((1, 3, 2), np.int32)))
    latents.coarse.flags.writeable = False
    NATIVE.encode(latents)
    with pytest.raises(ValueError, match="writeable"):
        NATIVE.decode(NATIVE.encode(latents), latents)


def test_latents_of_another_type_are_an_error(unchecked):
    latents = Latents.zeros(1, 4, 4, 1)
    with pytest.raises(ValueError, match="must be int32, got int32, int64"):
        NATIVE.encode(latents._replace(coarse=latents.coarse.astype(np.int64)))


def test_coefficients_are_checked_and_limited():
    latents = Latents.zeros(1, 6, 6, 1)
    coefficients = coefficients_near(latents)
    with pytest.raises(ValueError, match="the same shapes"):
        NATIVE.quantize(coefficients[:-1], latents, 0.1)
    for value in (np.nan, np.inf):
        coefficients[2][0, 1, 1] = value
        with pytest.raises(ValueError, match="must be finite"):
            NATIVE.quantize(coefficients, latents, 0.1)
    coefficients[2][0, 1, 1], coefficients[1][0, 1, 1] = 3e38, -3e6
    found, expected = zeros_like(latents), zeros_like(latents)
    for weight in (0.0, 0.1, 1e30):
        NATIVE.quantize(coefficients, found, weight)
        NUMPY.quantize(coefficients, expected, weight)
        assert equal(found, expected)


def test_blocks_are_views_of_an_image(unchecked):
    levels, whole = 3, random_latents(3, 70, 110, 3)
    decoded = zeros_like(whole)
    for box in blocks(110, 70, levels, side=40):
        data = NATIVE.encode(whole.block(box))
        assert data == NUMPY.encode(whole.block(box))
        NATIVE.decode(data, decoded.block(box))
    assert equal(decoded, whole)


def test_columns_may_lie_apart(unchecked):
    latents = random_latents(2, 21, 34, 2)
    apart = Latents(
        *(
            tuple(tuple(np.repeat(b, 2, 2)[..., ::2] for b in level) for level in part)
            if isinstance(part, tuple)
            else np.repeat(part, 2, 2)[..., ::2]
            for part in latents
        )
    )
    assert equal(apart, latents)
    data = NATIVE.encode(latents)
    assert NATIVE.encode(apart) == data
    for band in apart.bands():
        band[...] = 0
    NATIVE.decode(data, apart)
    assert equal(apart, latents)


def test_coders_work_in_several_threads_at_once(unchecked, threads, monkeypatch):
    monkeypatch.setattr(native_coder, "_model", cache(lambda: native_coder._tables(context_model())))
    latents = [random_latents(3, 60 + k, 90, 3, seed=k) for k in range(8)]
    expected = [NUMPY.encode(one) for one in latents]
    threads(2)

    def both_ways(one):
        data, decoded = NATIVE.encode(one), zeros_like(one)
        NATIVE.decode(data, decoded)
        return data, equal(decoded, one)

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(both_ways, latents)] == [(data, True) for data in expected]


def test_the_largest_block_has_the_same_code_with_any_number_of_threads(unchecked, threads):
    side = BLOCK // 2
    latents = random_latents(3, side, side, 6)
    coefficients = coefficients_near(latents)
    results = []
    for count in (1, 2, 3, 8):
        threads(count)
        decoded, chosen = zeros_like(latents), zeros_like(latents)
        data = NATIVE.encode(latents)
        NATIVE.decode(data, decoded)
        NATIVE.quantize(coefficients, chosen, 0.1)
        assert equal(decoded, latents)
        results.append((data, NATIVE.bits(latents).tobytes(), [band.tobytes() for band in chosen.bands()]))
    assert all(result == results[0] for result in results)


def test_wider_models_and_other_weights_are_supported(unchecked, target, monkeypatch):
    generator, model = np.random.default_rng(0), context_model()

    def weights(*shape, most=60):
        return generator.integers(-most, most, shape).astype(np.float32)

    networks, slots, _ = model.first.shape
    wide = model._replace(
        first=weights(networks, slots, 48),
        first_bias=weights(networks, 48, most=3000),
        first_offset=weights(len(model.first_offset), 48, most=3000),
        second=weights(networks, 48, 48),
        second_bias=weights(networks, 48, most=3000),
        last=weights(networks, 48, 2),
        skip=weights(networks, slots, 2, most=300),
    )
    monkeypatch.setattr("eoren.coding.block_coder.context_model", lambda: wide)
    monkeypatch.setattr(native_coder, "_model", cache(lambda: native_coder._tables(wide)))
    latents = random_latents(3, 37, 52, 3, "mixed")
    data = NUMPY.encode(latents)
    for name in targets():
        assert target(name)
        assert NATIVE.encode(latents) == data


def test_models_that_the_library_does_not_support_are_an_error():
    model = context_model()
    with pytest.raises(ValueError, match="a multiple of 16 up to 128"):
        native_coder._tables(model._replace(second=model.second[:, :20, :20]))
    with pytest.raises(ValueError, match="skip must be integers of 16 bits"):
        native_coder._tables(model._replace(skip=model.skip + 0.5))


def test_both_coders_satisfy_the_protocol():
    assert isinstance(NATIVE, BlockCoder)
    assert isinstance(NUMPY, BlockCoder)
    assert (NATIVE.name, NUMPY.name) == ("native", "numpy")
