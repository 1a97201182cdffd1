"""The Channel Tuning Module: a linear map per network and channel from the prediction to the true colour.

:mod:`eoren.model.moments` computes the best one (arXiv 2209.11697, section 3.3).
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int

from eoren.model.arrays import Array, as_tensor, namespace


@dataclass(frozen=True, eq=False)
class Tuning:
    """The linear map ``Phi = alpha g + beta``, and so ``grad Phi = alpha grad g``, per network and channel."""

    alpha: Float[Array, "batch 1 channels"]
    beta: Float[Array, "batch 1 channels"]

    def apply(
        self, prediction: Float[Array, "batch streams points channels"]
    ) -> Float[Array, "batch streams points channels"]:
        """Tune the streams of :class:`eoren.model.siren.Siren`: beta is added to the value, the first, alone."""
        scaled = self.alpha[:, None] * prediction
        return namespace(scaled).concatenate([scaled[:, :1] + self.beta[:, None], scaled[:, 1:]], 1)

    def select(self, networks: slice | Int[Array, " networks"]) -> "Tuning":
        """Return the tuning of some networks of the batch."""
        return Tuning(self.alpha[networks], self.beta[networks])

    def to(self, *args: Any, **kwargs: Any) -> "Tuning":
        """Return the same tuning as tensors on another device or in another precision, as ``Tensor.to``."""
        return Tuning(*(as_tensor(t).to(*args, **kwargs) for t in (self.alpha, self.beta)))
