"""Entropy coding into characters of HTML pages: adaptive binary decisions as digits of base 125.

A page in UTF-8 has 125 characters of one byte that it can hold anywhere in a script: all below 128 but NUL, the
carriage return and ``<``. Range asymmetric numeral systems (:mod:`eoren.coding.rans`) write their state digit by
digit, so that a byte of the page carries 6.97 bits, and no step in between loses any. ``decoder.js`` reads them.

Probabilities of decisions follow from how often each context decided either way before. They are computed for all
decisions at once.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Int32

PRECISION = 16
"""Bits of probabilities."""
_BASE = 125
_LOWEST = 1 << 24  # of the state between symbols: below 2**31, the integers of JavaScript, after every step
_CHUNK = 1 << 16  # symbols that are lists at a time
_ALPHABET = "".join(chr(code) for code in range(1, 128) if chr(code) not in "\r<")


def encode_decisions(decisions: Bool[np.ndarray, " decisions"], contexts: Int[np.ndarray, " decisions"]) -> str:
    """Encode decisions, each in a context, which is any integer from 0.

    Example:
        >>> len(encode_decisions(np.zeros(1000, bool), np.zeros(1000, int)))
        5
    """
    ones = adaptive_frequencies(decisions, contexts)
    start = np.where(decisions, 0, ones)
    frequency = np.where(decisions, ones, (1 << PRECISION) - ones)
    return _encode(start, frequency)


def adaptive_frequencies(
    decisions: Bool[np.ndarray, " decisions"], contexts: Int[np.ndarray, " decisions"]
) -> Int32[np.ndarray, " decisions"]:
    """Return the frequency of a yes before each decision: ``(2 yes + 1) / (2 all + 2)``, of 65536."""
    order = np.argsort(contexts, kind="stable")
    sorted_contexts, yes = contexts[order], decisions[order].astype(np.int64)
    first = np.searchsorted(sorted_contexts, sorted_contexts)  # of the same context
    before = np.concatenate([[0], np.cumsum(yes)])
    count, total = before[:-1] - before[first], np.arange(len(order)) - first
    frequencies = np.empty(len(order), np.int32)
    frequencies[order] = np.clip((2 * count + 1 << PRECISION - 1) // (total + 1), 1, (1 << PRECISION) - 1)
    return frequencies


def encode_bits(values: Sequence[int], counts: Sequence[int]) -> str:
    """Encode integers of known numbers of bits, at most 16 each, whose bits are all equally probable."""
    shift = PRECISION - np.array(counts, np.int64)
    return _encode(np.array(values, np.int64) << shift, 1 << shift)


def _encode(start: Int[np.ndarray, " symbols"], frequency: Int[np.ndarray, " symbols"]) -> str:
    """Encode symbols, each an interval of [0, 65536)."""
    state, digits = _LOWEST, []
    limit = _BASE * _LOWEST >> PRECISION
    for end in range(len(start), 0, -_CHUNK):
        part = slice(max(0, end - _CHUNK), end)
        for low, count in zip(start[part][::-1].tolist(), frequency[part][::-1].tolist(), strict=True):
            while state >= count * limit:
                state, digit = divmod(state, _BASE)
                digits.append(digit)
            quotient, remainder = divmod(state, count)
            state = (quotient << PRECISION) + remainder + low
    for _ in range(5):  # the state is below 125 ** 5
        state, digit = divmod(state, _BASE)
        digits.append(digit)
    return "".join(map(_ALPHABET.__getitem__, digits[::-1]))
