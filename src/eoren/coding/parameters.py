"""Coding of a few thousand rounded numbers: steps of bands, colour mixing, weights of a SIREN.

Every tensor has a step of its own, a power of two, and the scale of its distribution, whose mean is 0. Both precede
its numbers in the stream, in 6 bits each.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from eoren.coding.bands import MAX_LATENT
from eoren.coding.context_model import context_model
from eoren.coding.distributions import SCALES
from eoren.coding.rans import PRECISION, Decoder, encode

FINEST = 31
"""Exponent of the finest step: ``2**-31``; the coarsest one is ``2**32``."""
_HEADER_BITS = 6

Arrays = Sequence[Float[np.ndarray, "..."]]


def round_parameters(arrays: Arrays, exponents: Sequence[int]) -> list[np.ndarray]:
    """Round arrays to multiples of ``2**-exponent``: what :func:`decode_parameters` returns of them, float64."""
    return [_integers(a, e) * 2.0**-e for a, e in zip(arrays, exponents, strict=True)]


def encode_parameters(arrays: Arrays, exponents: Sequence[int]) -> bytes:
    """Encode arrays, rounded to multiples of ``2**-exponent`` each.

    Example:
        >>> data = encode_parameters([np.array([[0.5, -1.25]])], [2])
        >>> decode_parameters(data, [(1, 2)])
        ([array([[ 0.5 , -1.25]])], [2])
    """
    distributions = context_model().distributions
    starts, frequencies = [], []
    for array, exponent in zip(arrays, exponents, strict=True):
        values = _integers(array, exponent).ravel()
        mean = np.zeros(len(values), np.int32)
        costs = [distributions.cost(values, mean, np.full_like(mean, scale)).sum() for scale in range(SCALES)]
        scale = int(np.argmin(costs))
        for number in (exponent - FINEST + (1 << _HEADER_BITS) - 1, scale):
            starts.append(np.array([number << PRECISION - _HEADER_BITS], np.uint32))
            frequencies.append(np.array([1 << PRECISION - _HEADER_BITS], np.uint32))
        start, frequency = distributions.intervals(values, mean, np.full_like(mean, scale))
        starts.append(start)
        frequencies.append(frequency)
    return encode(np.concatenate(starts), np.concatenate(frequencies))


def decode_parameters(
    data: bytes, shapes: Sequence[tuple[int, ...]]
) -> tuple[list[Float[np.ndarray, "..."]], list[int]]:
    """Decode arrays of known shapes, and the exponents of their steps; a ValueError if the data are damaged."""
    distributions, decoder = context_model().distributions, Decoder(data)
    arrays, exponents = [], []
    for shape in shapes:
        exponent = decoder.uniform(_HEADER_BITS) + FINEST - (1 << _HEADER_BITS) + 1
        scale = decoder.uniform(_HEADER_BITS)
        mean = np.zeros(int(np.prod(shape)), np.int32)
        values = distributions.decode(decoder, mean, np.full_like(mean, scale))
        arrays.append(values.reshape(shape) * 2.0**-exponent)
        exponents.append(exponent)
    decoder.finish()
    return arrays, exponents


def _integers(array: Float[np.ndarray, "*shape"], exponent: int) -> np.ndarray:
    return np.clip(np.rint(array * 2.0**exponent), -MAX_LATENT, MAX_LATENT).astype(np.int32)
