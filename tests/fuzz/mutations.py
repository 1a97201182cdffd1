"""Damage at random, where it hurts: single bits, numbers at their limits, pieces moved, cut out, doubled, swapped."""

import random

_ODD = (0, 1, 2, 7, 8, 16, 64, 127, 128, 255, 256, 1000, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
_TOKENS = (b"null", b"-1", b"1e999", b"[]", b"{}", b'""', b"NaN", b"true", b"0", b"9" * 20, b"9" * 400, b"[" * 200)


def mutated(seeds: list[bytes], chance: random.Random, longest: int) -> bytes:
    """One of the inputs, damaged up to eight times.

    Args:
        seeds: good inputs.
        chance: of what is done where.
        longest: the result has no more bytes.
    """
    data = bytearray(chance.choice(seeds))
    # Half of it goes to the beginning, where headers are.
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 8))):
        end = max(1, len(data) if chance.random() < 0.5 else min(len(data), 600))
        chance.choice(_WAYS)(data, chance.randrange(end), chance, seeds)
    return bytes(data[:longest])


def _bit(data: bytearray, at: int, chance: random.Random, _: list[bytes]) -> None:
    data[at : at + 1] = bytes(each ^ 1 << chance.randrange(8) for each in data[at : at + 1])


def _byte(data: bytearray, at: int, chance: random.Random, _: list[bytes]) -> None:
    data[at : at + 1] = chance.randbytes(1)


def _digit(data: bytearray, at: int, chance: random.Random, _: list[bytes]) -> None:
    """The next digit of a text becomes another."""
    for place in range(at, min(at + 64, len(data))):
        if chr(data[place]).isdigit():
            data[place] = ord(chance.choice("0123456789-.e"))
            return


def _number(data: bytearray, at: int, chance: random.Random, _: list[bytes]) -> None:
    size = chance.choice((2, 4, 8))
    value = (chance.choice(_ODD) + chance.choice((-1, 0, 0, 1))) % 256**size
    data[at : at + size] = value.to_bytes(size, chance.choice(("little", "big")))


def _token(data: bytearray, at: int, chance: random.Random, _: list[bytes]) -> None:
    data[at : at + chance.choice((0, 1, 4))] = chance.choice(_TOKENS)


def _cut(data: bytearray, at: int, chance: random.Random, _: list[bytes]) -> None:
    del data[at : at + chance.choice((1, 2, 4, 16, 256, len(data)))]


def _double(data: bytearray, at: int, chance: random.Random, _: list[bytes]) -> None:
    piece = data[at : at + chance.choice((1, 4, 12, 64, 1024))]
    data[at:at] = piece * chance.choice((1, 1, 2, 20))


def _move(data: bytearray, at: int, chance: random.Random, _: list[bytes]) -> None:
    start, size = chance.randrange(len(data) + 1), chance.choice((1, 4, 12, 64))
    data[at : at + size] = data[start : start + size]


def _splice(data: bytearray, at: int, chance: random.Random, seeds: list[bytes]) -> None:
    other = chance.choice(seeds)
    start, size = chance.randrange(len(other) + 1), chance.choice((8, 64, 512, 4096))
    data[at : at + size] = other[start : start + size]


_WAYS = (_bit, _bit, _byte, _byte, _digit, _number, _number, _token, _cut, _double, _move, _splice)
