"""The low-pass band that contexts see: one level of the inverse wavelet transform, in integers alone.

The field itself is synthesised in floating point (:mod:`eoren.model.latents.wavelet`). Contexts must be the same on
every processor, so they have a transform of their own, with coefficients of 14 fractional bits.
"""

import numpy as np
from jaxtyping import Int64

from eoren.coding.bands import Plane

# Daubechies and Sweldens, "Factoring wavelet transforms into lifting steps", 1998; ISO/IEC 15444-1, annex F.
LIFTING = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
"""Coefficients of the lifting steps of CDF 9/7: odd samples, even samples, odd samples, even samples."""
SCALE = 1.230174104914001 / 2**0.5
"""Factor of the high-pass samples after the last step; the low-pass samples are divided by it."""

_BITS = 14
_FIRST, _SECOND, _THIRD, _FOURTH = (round(c * (1 << _BITS)) for c in LIFTING)
_SCALE, _INVERSE_SCALE = round(SCALE * (1 << _BITS)), round((1 << _BITS) / SCALE)


def synthesize_level(low: Plane, horizontal: Plane, vertical: Plane, diagonal: Plane) -> Plane:
    """Compute the low-pass band of the level below, to a few units, like :func:`.wavelet.synthesize_level`."""
    left = _merge(low.astype(np.int64), vertical.astype(np.int64)).T
    right = _merge(horizontal.astype(np.int64), diagonal.astype(np.int64)).T
    return _merge(left, right).T.astype(np.int32)


def _merge(low: Int64[np.ndarray, "_ _"], high: Int64[np.ndarray, "_ _"]) -> np.ndarray:
    rows, count = len(low), len(high)
    if not count:
        return low
    even, odd = _times(_SCALE, low), _times(_INVERSE_SCALE, high)
    even = even - _times(_FOURTH, _around_even(odd, rows))
    odd = odd - _times(_THIRD, _around_odd(even, count))
    even = even - _times(_SECOND, _around_even(odd, rows))
    odd = odd - _times(_FIRST, _around_odd(even, count))
    merged = np.empty((rows + count, low.shape[1]), np.int64)
    merged[0::2], merged[1::2] = even, odd
    return merged


def _times(factor: int, values: np.ndarray) -> np.ndarray:
    """Multiply by a coefficient and round: ties up."""
    product: np.ndarray = (factor * values + (1 << (_BITS - 1))) >> _BITS
    return product


def _around_odd(even: np.ndarray, count: int) -> np.ndarray:
    right = even[1:] if len(even) > count else np.concatenate([even[1:], even[-1:]])
    total: np.ndarray = even[:count] + right
    return total


def _around_even(odd: np.ndarray, count: int) -> np.ndarray:
    padded = np.concatenate([odd[:1], odd, odd[-1:]])
    total: np.ndarray = padded[:count] + padded[1 : count + 1]
    return total
