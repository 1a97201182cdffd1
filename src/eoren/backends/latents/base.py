"""The interface of an evaluator of compact fields. Implementations agree to rounding."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64

from eoren.backends.mosaic_evaluation import Jet
from eoren.coding.bands import Box
from eoren.model.arrays import Array, Tensor
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.edge_prior import EdgePrior
from eoren.model.latents.wavelet import Subbands

PredictDetails = Callable[[EdgePrior, Float[Array, "colors rows columns"]], Array]
"""A function that computes the outputs of an edge prior for pixels, see :meth:`.EdgePrior.__call__`."""


@runtime_checkable
class Features(Protocol):
    """Images that a color decoder sees; see :class:`eoren.model.latents.features.LatentFeatures`."""

    @property
    def width(self) -> int:
        """Width of the images in pixels."""

    @property
    def height(self) -> int:
        """Height of the images."""

    @property
    def separate(self) -> bool:
        """Whether the groups of bands are features of their own, or added up."""

    def as_tensors(self, like: Tensor) -> "Features":
        """Return the same features as tensors on the device and in the precision of another tensor."""

    def mixed(self, linear: Float[Array, "features channels"]) -> "Features":
        """Return a linear function of the features as features."""

    def with_margin(self, box: Box) -> Box:
        """Return the pixels that the features of a window depend on."""

    def window(self, box: Box) -> tuple[Float[Array, "features rows columns"], tuple[int, int]]:
        """Compute the features of a window with its margin, and column and row of the first of them."""

    def window_bands(self, outer: Box) -> Subbands:
        """Compute the bands of the pixels that :meth:`with_margin` returns."""


@runtime_checkable
class LatentEvaluator(Protocol):
    """Evaluates a field of latents anywhere; keeps the features of recently used windows.

    Several threads of the caller may use an evaluator at once. Neither the features nor the decoder may change.
    """

    def jet(
        self,
        points: Float[Array, "points 2"],
        *,
        gradient: bool = False,
        laplacian: bool = False,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> Jet:
        """Evaluate at any points; see :meth:`eoren.field.representation.Representation.jet`."""

    def sample(
        self,
        x: Float64[np.ndarray, " columns"],
        y: Float64[np.ndarray, " rows"],
        *quantities: str,
        extent: tuple[float, float] = (1.0, 1.0),
    ) -> tuple[np.ndarray, ...]:
        """Evaluate quantities on a grid; see :meth:`eoren.field.representation.Representation.sample`."""

    def pixels(self, box: Box) -> Float[Array, "channels rows columns"]:
        """Evaluate the colours at the centres of pixels: tensors where PyTorch computes, which it can follow."""


@runtime_checkable
class LatentBackend(Protocol):
    """The evaluators of one backend."""

    def __call__(self, features: Features, decoder: ColorDecoder) -> LatentEvaluator:
        """Create an evaluator."""

    def predict_details(self, prior: EdgePrior, pixels: Float[Array, "colors rows columns"]) -> Array:
        """Compute the outputs of an edge prior."""
