"""Checks of arguments, one line of error for each."""

from collections.abc import Iterable
from difflib import get_close_matches
from operator import index
from typing import Any

from eoren.errors import EorenError

MAX_SEED = 2**32 - 1


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Check that a value is one of the allowed ones; the error names the most similar one."""
    if value not in (allowed := tuple(choices)):
        names = [str(choice) for choice in allowed]
        similar = get_close_matches(str(value), names, 1, cutoff=0.7)
        remedy = f"; did you mean {similar[0]}?" if similar else ""
        raise EorenError(f"{name} must be one of {', '.join(names)}, got {value!r}{remedy}")


def check_integer(name: str, value: Any, minimum: int, maximum: int) -> int:
    """Check that a value is an integer of a range, ends included, and return it as an ``int``."""
    try:
        number = minimum - 1 if isinstance(value, bool) else index(value)
    except TypeError:
        number = minimum - 1
    if not minimum <= number <= maximum:
        raise EorenError(f"{name} must be an integer from {minimum} to {maximum}, got {value!r}")
    return number
