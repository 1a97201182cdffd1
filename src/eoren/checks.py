"""Checks of arguments, one line of error for each."""

from collections.abc import Iterable
from operator import index
from typing import Any

from eoren.errors import EorenError

MAX_SEED = 2**32 - 1


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Check that a value is one of the allowed ones."""
    if value not in (allowed := tuple(choices)):
        raise EorenError(f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}")


def check_integer(name: str, value: Any, minimum: int, maximum: int) -> int:
    """Check that a value is an integer of a range, ends included, and return it as an ``int``."""
    try:
        number = minimum - 1 if isinstance(value, bool) else index(value)
    except TypeError:
        number = minimum - 1
    if not minimum <= number <= maximum:
        raise EorenError(f"{name} must be an integer from {minimum} to {maximum}, got {value!r}")
    return number
