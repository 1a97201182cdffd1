"""Types of the public API, for mypy alone: a revealed type is never Any, and a wrong name is an error."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

import eoren

if TYPE_CHECKING:  # never run
    from typing import assert_type

    fit: Callable[..., eoren.FitResult] = eoren.fit
    assert_type(eoren.fit("image.png").field, eoren.Field)
    assert_type(eoren.load("image.eoren"), eoren.Field)
    assert_type(eoren.Collection("store")[0], eoren.Field)
    _ = eoren.fitt  # type: ignore[attr-defined]

    def values(field: eoren.Field, points: np.ndarray, tensor: Tensor) -> None:
        """Check the types of a field's values: arrays give arrays, tensors give tensors."""
        assert_type(field.color(points), np.ndarray)
        assert_type(field.gradient(tensor), Tensor)
        assert_type(field.save("image.eoren"), None)
