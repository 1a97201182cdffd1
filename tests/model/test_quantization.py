import numpy as np
import pytest
import torch

from eoren.errors import EorenError
from eoren.model.quantization import BITS, pack, rounded, unpack
from eoren.model.siren import Siren


def drawn(batch=3, width=9, depth=3, channels=2):
    generator = torch.Generator().manual_seed(0)
    return Siren.init(batch, width=width, depth=depth, channels=channels, generator=generator)


def with_weight(value, layer=1):
    siren = drawn()
    weights = [w.clone() for w in siren.weights]
    weights[layer][1, 2, 0] = value
    return siren.with_tensors([*weights, *siren.biases])


def with_bias(value):
    siren = drawn()
    biases = [b.clone() for b in siren.biases]
    biases[0][0, 0, 3] = value
    return siren.with_tensors([*siren.weights, *biases])


@pytest.mark.parametrize("bits", BITS)
def test_shapes_types_and_names_of_what_is_packed(bits):
    siren = drawn()
    packed = pack(siren, bits)
    names = {f"{kind}.{layer}" for kind in ("weight", "bias") for layer in range(4)}
    assert set(packed) == names | ({f"scale.{layer}" for layer in range(4)} if bits == 8 else set())
    kinds = {32: torch.float32, 16: torch.float16, 8: torch.int8}
    for layer in range(4):
        assert packed[f"weight.{layer}"].dtype == kinds[bits]
        assert packed[f"weight.{layer}"].shape == siren.weights[layer].shape
        assert packed[f"bias.{layer}"].dtype == (torch.float32 if bits == 32 else torch.float16)
        if bits == 8:
            assert packed[f"scale.{layer}"].dtype == torch.float32
            assert packed[f"scale.{layer}"].shape == siren.biases[layer].shape
    again = unpack(packed, siren.omegas)
    assert again.omegas == siren.omegas
    assert all(t.dtype == torch.float32 for t in again.tensors())
    assert all(torch.equal(a, b) for a, b in zip(again.tensors(), rounded(siren, bits).tensors(), strict=True))


def test_32_bits_are_exact():
    siren = with_weight(1e30)
    assert all(torch.equal(a, b) for a, b in zip(rounded(siren, 32).tensors(), siren.tensors(), strict=True))


def test_16_bits_are_numpys_rounding():
    siren = with_weight(1e-7)  # below the smallest normal number of 16 bits
    for found, own in zip(rounded(siren, 16).tensors(), siren.tensors(), strict=True):
        expected = own.numpy().astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(found.numpy(), expected)


def test_8_bits_err_by_half_a_step_of_each_unit_at_most():
    generator = torch.Generator().manual_seed(1)
    siren = drawn()
    # Units of very different size.
    weights = [w * 10 ** (4 * torch.rand(w.shape[0], 1, w.shape[2], generator=generator)) for w in siren.weights]
    siren = siren.with_tensors([*weights, *siren.biases])
    packed = pack(siren, 8)
    again = unpack(packed, siren.omegas)
    for layer, (weight, found) in enumerate(zip(siren.weights, again.weights, strict=True)):
        largest = weight.numpy().astype(np.float64).__abs__().max(axis=1, keepdims=True)
        step = largest / 127
        error = np.abs(found.numpy().astype(np.float64) - weight.numpy())
        assert (error <= 0.5 * step * (1 + 1e-5)).all()
        codes = packed[f"weight.{layer}"].int()
        assert codes.min() >= -127
        assert codes.abs().amax(1).eq(127).all()
        at_largest = np.abs(weight.numpy()) == largest
        np.testing.assert_allclose(found.numpy()[at_largest], weight.numpy()[at_largest], rtol=3e-7)
    for own, found in zip(siren.biases, again.biases, strict=True):
        np.testing.assert_array_equal(found.numpy(), own.numpy().astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("bits", BITS)
def test_rounding_twice_is_rounding_once(bits):
    once = rounded(drawn(), bits)
    for a, b in zip(rounded(once, bits).tensors(), once.tensors(), strict=True):
        torch.testing.assert_close(a, b, rtol=3e-7, atol=0)


@pytest.mark.parametrize("bits", BITS)
def test_units_without_weights_stay_so(bits):
    siren = drawn()
    weights = [w.clone() for w in siren.weights]
    weights[1][:, :, 4] = 0
    found = rounded(siren.with_tensors([*weights, *siren.biases]), bits)
    assert not found.weights[1][:, :, 4].any()
    assert all(t.isfinite().all() for t in found.tensors())


def test_what_is_packed_is_no_view_that_later_steps_would_change():
    siren = drawn()
    before = rounded(siren, 8)
    kept = [t.clone() for t in before.tensors()]
    for tensor in siren.tensors():
        tensor.mul_(2)
    assert all(torch.equal(a, b) for a, b in zip(before.tensors(), kept, strict=True))


@pytest.mark.parametrize(
    ("siren", "bits"),
    [
        (with_weight(65520.0), 16),  # rounds up to 65536, one above the largest, 65504
        (with_weight(-1e6), 16),
        (with_bias(1e5), 16),
        (with_bias(1e5), 8),
        *((with_weight(float("nan")), bits) for bits in BITS),
        *((with_weight(float("inf")), bits) for bits in BITS),
        *((with_bias(float("nan")), bits) for bits in BITS),
    ],
)
def test_numbers_that_do_not_fit_are_refused(siren, bits):
    with pytest.raises(EorenError, match=rf"does not fit into {bits} bits"):
        pack(siren, bits)


def test_the_largest_number_of_16_bits_fits_and_8_bits_have_no_largest():
    assert float(rounded(with_weight(65504.0), 16).weights[1][1, 2, 0]) == 65504
    assert float(rounded(with_weight(1e6), 8).weights[1][1, 2, 0]) == pytest.approx(1e6)


@pytest.mark.parametrize("bits", [0, 4, 12, 64, -8])
def test_other_bits_are_refused(bits):
    with pytest.raises(EorenError, match=f"^bits must be one of 32, 16, 8, got {bits}$"):
        pack(drawn(), bits)
