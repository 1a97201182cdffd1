from enum import Enum

import numpy as np
import pytest

from eoren.checks import MAX_SEED, check_choice, check_integer
from eoren.errors import EorenError


@pytest.mark.parametrize(
    ("value", "choices"), [("b", ["a", "b"]), (8, (32, 16, 8)), (None, ["a", None]), ("a", {"a": 1})]
)
def test_allowed_choices(value, choices):
    check_choice("name", value, choices)


@pytest.mark.parametrize("value", ["c", "", "bcd", 1, None, []])
def test_other_choices(value):
    with pytest.raises(EorenError) as error:
        check_choice("name", value, (letter for letter in "ab"))
    assert str(error.value) == f"name must be one of a, b, got {value!r}"


def test_the_error_names_the_most_similar_choice():
    with pytest.raises(EorenError, match=r"^name must be one of width, depth, got 'widht'; did you mean width\?$"):
        check_choice("name", "widht", ["width", "depth"])


class Index(Enum):
    SEVEN = 7

    def __index__(self):
        return self.value


@pytest.mark.parametrize("value", [2, 7, MAX_SEED, np.int64(7), np.uint8(7), np.array(7), Index.SEVEN])
def test_integers_of_any_type(value):
    number = check_integer("name", value, 2, MAX_SEED)
    assert type(number) is int
    assert number == np.asarray(getattr(value, "value", value))


@pytest.mark.parametrize("value", [-1, 1, 2**32, 10**30, 3.0, "3", None, True, np.float32(3), [3], float("nan")])
def test_other_integers(value):
    with pytest.raises(EorenError) as error:
        check_integer("name", value, 2, MAX_SEED)
    assert str(error.value) == f"name must be an integer from 2 to 4294967295, got {value!r}"
