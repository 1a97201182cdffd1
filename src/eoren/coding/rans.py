"""Range asymmetric numeral systems (rANS): entropy coding of symbols with known probabilities, in integers alone.

Probabilities are multiples of 2**-16: a symbol is an interval ``[start, start + frequency)`` of [0, 65536). The state
is an integer in [2**31, 2**63), which is written 32 bits at a time. The method is that of Duda, "Asymmetric numeral
systems", arXiv 1311.2540; docs/file-format.md specifies it for readers in other languages.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt32

PRECISION = 16
"""Bits of the probabilities."""
_MASK = (1 << PRECISION) - 1
_LOWEST = 1 << 31  # of the state between symbols

# Messages of errors, which other implementations share.
TRUNCATED = "a stream ends before its last symbol"
NOT_AT_END = "a stream does not end with its last symbol"


class TruncatedError(ValueError):
    """The words of a stream end before its symbols."""


def encode(start: UInt32[np.ndarray, " symbols"], frequency: UInt32[np.ndarray, " symbols"]) -> bytes:
    """Encode symbols, each given by its interval.

    Example:
        >>> data = encode(np.array([0, 49152], np.uint32), np.array([49152, 16384], np.uint32))
        >>> decoder = Decoder(data)
        >>> decoder.symbol([0, 49152, 65536]), decoder.symbol([0, 49152, 65536])
        (0, 1)
    """
    state, words = _LOWEST, []
    for low, count in zip(reversed(start.tolist()), reversed(frequency.tolist()), strict=True):
        if state >= count << (63 - PRECISION):
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        state = (state // count << PRECISION) + state % count + low
    words += [state & 0xFFFFFFFF, state >> 32]
    return np.array(words[::-1], "<u4").tobytes()


def check_length(data: bytes) -> None:
    """Check that data can be a stream; a TruncatedError if not."""
    if len(data) < 8 or len(data) % 4:
        raise TruncatedError(f"a stream must have 8 bytes or more, a multiple of 4, got {len(data)}")


class Decoder:
    """Decoder of one stream, symbol by symbol.

    Args:
        data: bytes from :func:`encode`.

    Raises:
        TruncatedError: the data are too short, here or in :meth:`symbol`.
    """

    def __init__(self, data: bytes) -> None:
        check_length(data)
        words: list[int] = np.frombuffer(data, "<u4").tolist()
        self._state, self._words, self._next = words[0] << 32 | words[1], words, 2

    def symbol(self, bounds: Sequence[int]) -> int:
        """Decode a symbol whose interval is one of ``[bounds[k], bounds[k + 1])``, and return k."""
        slot = self._state & _MASK
        k = bisect_right(bounds, slot) - 1
        self._advance(slot - bounds[k], bounds[k + 1] - bounds[k])
        return k

    def uniform(self, bits: int) -> int:
        """Decode an integer of ``bits`` equally probable bits, at most 16."""
        slot = self._state & _MASK
        value = slot >> (PRECISION - bits)
        self._advance(slot - (value << (PRECISION - bits)), 1 << (PRECISION - bits))
        return value

    def finish(self) -> None:
        """Check that all words were used; a ValueError if not."""
        if self._next != len(self._words) or self._state != _LOWEST:
            raise ValueError(NOT_AT_END)

    def _advance(self, offset: int, frequency: int) -> None:
        self._state = frequency * (self._state >> PRECISION) + offset
        if self._state < _LOWEST:
            if self._next == len(self._words):
                raise TruncatedError(TRUNCATED)
            self._state = self._state << 32 | self._words[self._next]
            self._next += 1
