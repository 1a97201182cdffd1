"""Random damage to inputs: bits, bytes, numbers at their limits, and pieces that are cut, repeated, moved or swapped.

It needs no other package, so that every test run can fuzz the readers a little. Atheris, which few systems have
wheels for, adds coverage guidance; hypothesis generates headers and numbers, not damaged files.
"""

import random
from collections.abc import Sequence

_LIMITS = (0, 1, 2, 7, 8, 16, 64, 127, 128, 255, 256, 1000, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
_TOKENS = (b"null", b"-1", b"1e999", b"[]", b"{}", b'""', b"NaN", b"true", b"0", b"9" * 20, b"9" * 400, b"[" * 200)


def mutate(seeds: Sequence[bytes], rng: random.Random, max_length: int) -> bytes:
    """Choose a seed and damage it one to eight times.

    Args:
        seeds: valid inputs.
        rng: random generator.
        max_length: limit on the length of the result, in bytes.
    """
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 8))):
        # Half of the damage goes to the beginning, where headers are.
        end = max(1, len(data) if rng.random() < 0.5 else min(len(data), 600))
        rng.choice(_MUTATIONS)(data, rng.randrange(end), rng, seeds)
    return bytes(data[:max_length])


def _flip_bit(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    data[at : at + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in data[at : at + 1])


def _set_byte(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    data[at : at + 1] = rng.randbytes(1)


def _change_digit(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    for position in range(at, min(at + 64, len(data))):
        if chr(data[position]).isdigit():
            data[position] = ord(rng.choice("0123456789-.e"))
            return


def _set_integer(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    size = rng.choice((2, 4, 8))
    value = (rng.choice(_LIMITS) + rng.choice((-1, 0, 0, 1))) % 256**size
    data[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _insert_token(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    data[at : at + rng.choice((0, 1, 4))] = rng.choice(_TOKENS)


def _cut(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    del data[at : at + rng.choice((1, 2, 4, 16, 256, len(data)))]


def _repeat(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    piece = data[at : at + rng.choice((1, 4, 12, 64, 1024))]
    data[at:at] = piece * rng.choice((1, 1, 2, 20))


def _copy(data: bytearray, at: int, rng: random.Random, seeds: Sequence[bytes]) -> None:
    _copy_from(data, data, at, rng, (1, 4, 12, 64))


def _splice(data: bytearray, at: int, rng: random.Random, seeds: Sequence[bytes]) -> None:
    _copy_from(rng.choice(seeds), data, at, rng, (8, 64, 512, 4096))


def _copy_from(source: bytes | bytearray, data: bytearray, at: int, rng: random.Random, sizes: Sequence[int]) -> None:
    start, size = rng.randrange(len(source) + 1), rng.choice(sizes)
    data[at : at + size] = source[start : start + size]


_MUTATIONS = (
    *(_flip_bit, _flip_bit, _set_byte, _set_byte, _change_digit, _set_integer, _set_integer),
    *(_insert_token, _cut, _repeat, _copy, _splice),
)
