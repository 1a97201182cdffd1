"""The interface of an evaluator of compact fields. Implementations agree to rounding."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from eoren.backends.mosaic_evaluation import Jet
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.features import LatentFeatures


@runtime_checkable
class LatentEvaluator(Protocol):
    """Evaluates a field of latents anywhere; keeps the features of recently used windows.

    Several threads of the caller may use an evaluator at once. Neither the features nor the decoder may change.
    """

    def __init__(self, features: LatentFeatures, decoder: ColorDecoder) -> None: ...

    def jet(
        self,
        points: Float[Tensor, "points 2"],
        *,
        gradient: bool = False,
        laplacian: bool = False,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> Jet:
        """Evaluate at any points; see :meth:`eoren.field.representation.Representation.jet`."""

    def sample(
        self,
        x: Float[Tensor, " columns"],
        y: Float[Tensor, " rows"],
        *quantities: str,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> tuple[Tensor, ...]:
        """Evaluate quantities on a grid; see :meth:`eoren.field.representation.Representation.sample`."""
