"""Fewer bits a number: what a network becomes when it is stored in 16 or 8 bits.

Eight bits are whole numbers from -127 to 127 times a scale, one scale for every unit of every network: units of a
SIREN differ in size, and the largest weight of each is then exact. Biases are few and stay at 16 bits.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from eoren.errors import EorenError, ImageError
from eoren.model.siren import Siren, parameter_count

BITS = (32, 16, 8)


def stored_bits(width: int, depth: int, channels: int, bits: int) -> int:
    """Bits that one network takes in a file of ``bits`` bits a weight, with its channel tuning, cut and checksum.

    Example:
        >>> stored_bits(256, 5, 3, 32) == 32 * (264707 + 2 * 3 + 2 * 2 + 1)
        True
    """
    units = width * depth + channels
    weights = parameter_count(width, depth, channels) - units
    per_unit = {32: 32, 16: 16, 8: 16 + 32}[bits]  # a bias, and with 8 bits a scale
    return weights * bits + units * per_unit + 32 * (2 * channels + 2 * 2 + 1)


def pack(siren: Siren, bits: int) -> dict[str, Tensor]:
    """Named tensors that hold the networks in ``bits`` bits a weight.

    Returns:
        ``weight.0 ...`` and ``bias.0 ...`` in float32 or float16; for 8 bits ``weight.k`` is int8 and
        ``scale.k`` ``(B, 1, outputs)`` float32.

    Raises:
        EorenError: another number of bits.
        ImageError: weights too large for 16 bits.
    """
    if bits not in BITS:
        raise EorenError(f"bits is {bits}, but must be one of 32, 16, 8")
    kind = torch.float32 if bits == 32 else torch.float16
    packed: dict[str, Tensor] = {}
    for layer, (weight, bias) in enumerate(zip(siren.weights, siren.biases, strict=True)):
        packed[f"bias.{layer}"] = bias.to(kind)
        if bits == 8:
            packed[f"weight.{layer}"], packed[f"scale.{layer}"] = _to_int8(weight)
        else:
            packed[f"weight.{layer}"] = weight.to(kind)
    if not all(bool(t.isfinite().all()) for t in packed.values()):
        raise ImageError(f"a weight does not fit into {bits} bits; store the field with bits=32")
    return packed


def unpack(packed: Mapping[str, Tensor], omegas: tuple[float, ...]) -> Siren:
    """The networks, float32, that :func:`pack` stored."""
    weights, biases = [], []
    for layer in range(len(omegas) + 1):
        weight = packed[f"weight.{layer}"].float()
        if f"scale.{layer}" in packed:
            weight = weight * packed[f"scale.{layer}"]
        weights.append(weight)
        biases.append(packed[f"bias.{layer}"].float())
    return Siren(tuple(weights), tuple(biases), omegas)


def rounded(siren: Siren, bits: int) -> Siren:
    """The networks as they will come back from a file of ``bits`` bits a weight."""
    return unpack(pack(siren, bits), siren.omegas)


def _to_int8(
    weight: Float[Tensor, "batch inputs outputs"],
) -> tuple[Int8[Tensor, "batch inputs outputs"], Float[Tensor, "batch 1 outputs"]]:
    scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
    return (weight / scale).round().to(torch.int8), scale
