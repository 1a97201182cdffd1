"""Storage of network parameters in 32, 16 or 8 bits.

Eight bits are integers from -127 to 127 times a scale, one scale per unit of every network: units of a SIREN differ
in size, and the largest weight of each is stored exactly. Biases are few and take 16 bits.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int8

from eoren.checks import check_choice
from eoren.errors import ImageError
from eoren.model.arrays import Array, cast, namespace
from eoren.model.siren import Siren, parameter_count

BITS = (32, 16, 8)


def stored_bits(width: int, depth: int, channels: int, bits: int) -> int:
    """Count the bits of one network in a file, with its channel tuning, its cut and its checksum."""
    units = width * depth + channels
    weights = parameter_count(width, depth, channels) - units
    per_unit = {32: 32, 16: 16, 8: 16 + 32}[bits]  # a bias, and with 8 bits a scale
    return weights * bits + units * per_unit + 32 * (2 * channels + 2 * 2 + 1)


def pack(siren: Siren, bits: int) -> dict[str, Array]:
    """Convert networks to the arrays of a file, of the kind of their parameters.

    ``weight.k`` and ``bias.k`` are float32 or float16; with 8 bits ``weight.k`` is int8, and ``scale.k`` float32
    ``(B, 1, outputs)``.

    Raises:
        EorenError: the number of bits is not supported.
        ImageError: a weight is too large for 16 bits.
    """
    check_choice("bits", bits, BITS)
    dtype = "float32" if bits == 32 else "float16"
    packed: dict[str, Array] = {}
    for layer, (weight, bias) in enumerate(zip(siren.weights, siren.biases, strict=True)):
        packed[f"bias.{layer}"] = cast(bias, dtype)
        if bits == 8:
            packed[f"weight.{layer}"], packed[f"scale.{layer}"] = _to_int8(weight)
        else:
            packed[f"weight.{layer}"] = cast(weight, dtype)
    if not all(bool(namespace(t).isfinite(t).all()) for t in packed.values()):
        raise ImageError(f"a weight does not fit into {bits} bits; store the field with bits=32")
    return packed


def unpack(packed: Mapping[str, Array], omegas: tuple[float, ...]) -> Siren:
    """Convert the arrays of :func:`pack` back to networks, float32."""
    weights, biases = [], []
    for layer in range(len(omegas) + 1):
        weight = cast(packed[f"weight.{layer}"], "float32")
        if f"scale.{layer}" in packed:
            with np.errstate(over="ignore"):  # readers check that parameters are finite
                weight = weight * packed[f"scale.{layer}"]
        weights.append(weight)
        biases.append(cast(packed[f"bias.{layer}"], "float32"))
    return Siren(tuple(weights), tuple(biases), omegas)


def rounded(siren: Siren, bits: int) -> Siren:
    """Round networks to the values that a file of ``bits`` bits per weight gives back."""
    return unpack(pack(siren, bits), siren.omegas)


def _to_int8(
    weight: Float[Array, "batch inputs outputs"],
) -> tuple[Int8[Array, "batch inputs outputs"], Float[Array, "batch 1 outputs"]]:
    xp = namespace(weight)
    scale = xp.clip(xp.amax(abs(weight), axis=1, keepdims=True), 1e-30, None) / 127
    return cast((weight / scale).round(), "int8"), scale
