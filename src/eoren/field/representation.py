"""The interface of a representation: what a :class:`eoren.Field` needs to evaluate, store and describe a function.

There are two: the mosaic of SIRENs (:mod:`eoren.field.mosaic`) and wavelet latents with a SIREN
(:mod:`eoren.field.wavelet_siren`). A new kind implements this protocol and is in
:data:`eoren.field.file_format.KINDS`. All that reads fields then works, but stores and exports support only these.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64

from eoren.backends.mosaic_evaluation import Jet
from eoren.model.arrays import Array

if TYPE_CHECKING:
    import torch

Quantity = Literal["color", "gradient", "laplacian"]
QUANTITIES: tuple[Quantity, ...] = ("color", "gradient", "laplacian")

Extent = tuple[float, float]
"""Width and height of the image in the units of the derivatives: its size in pixels for derivatives per pixel."""
UNIT: Extent = (1.0, 1.0)


@runtime_checkable
class Representation(Protocol):
    """A continuous function from the plane to C channels, with exact derivatives, that can be stored.

    Its parameters are NumPy arrays where they were read from a file, and tensors where PyTorch has to follow or move
    them, see :meth:`to`.

    Attributes:
        kind: name of the representation in files.
    """

    kind: ClassVar[str]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image in pixels."""

    @property
    def channels(self) -> int:
        """Number of channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA."""

    @property
    def parameters(self) -> int:
        """Number of stored numbers."""

    @property
    def device(self) -> "torch.device":
        """Device of the parameters."""

    @property
    def requires_grad(self) -> bool:
        """Whether PyTorch follows any of the parameters."""

    @property
    def is_native(self) -> bool:
        """Whether the native backend evaluates the function where PyTorch does not have to follow it."""

    def to(self, *args: Any, **kwargs: Any) -> "Representation":
        """Return the same function with tensors on another device or in another precision, as ``Tensor.to``."""

    def jet(
        self,
        points: Float[Array, "points 2"],
        *,
        gradient: bool = False,
        laplacian: bool = False,
        extent: Extent = UNIT,
        differentiable: bool = False,
    ) -> Jet:
        """Evaluate colour, and optionally gradient and Laplacian, at any points.

        Args:
            points: ``(N, 2)``, points of the unit square: a tensor on the device of the parameters, or where the
                function is native, a float64 array.
            gradient: whether to compute the gradient.
            laplacian: whether to compute the Laplacian, and with it the gradient.
            extent: width and height of the image in the units of the derivatives.
            differentiable: whether PyTorch has to differentiate the result, by the points or the parameters.

        Returns:
            Tensors for tensors, arrays for arrays.
        """

    def sample(
        self,
        x: Float64[np.ndarray, " columns"],
        y: Float64[np.ndarray, " rows"],
        *quantities: Quantity,
        extent: Extent = UNIT,
    ) -> tuple[np.ndarray, ...]:
        """Evaluate quantities on a grid, see :meth:`jet`.

        Args:
            x: positions of the columns in the unit square, ascending or descending.
            y: float64 positions of the rows, ascending or descending.
            quantities: quantities to compute.
            extent: width and height of the image in the units of the derivatives.

        Returns:
            ``(rows, columns, C)`` per quantity, ``(rows, columns, C, 2)`` for the gradient.
        """

    def summary(self) -> dict[str, Any]:
        """Describe the architecture, for ``eoren info --json``."""

    def describe(self) -> str:
        """Describe the architecture in a few words."""

    def encode(self, kind: Mapping[str, str], provenance: Mapping[str, Any]) -> tuple[str, dict[str, np.ndarray]]:
        """Encode the function and its provenance for a file.

        Args:
            kind: entries that the JSON header must have beside ``format_version``.
            provenance: JSON values.

        Returns:
            The JSON header, and the file's tensors as contiguous arrays.
        """

    @classmethod
    def decode(
        cls, text: str, header: Mapping[str, Any], tensors: dict[str, np.ndarray], *, skip_damaged: bool = False
    ) -> tuple["Representation", Mapping[str, Any]]:
        """Check what :meth:`encode` returned, and build function and provenance from it.

        Args:
            text: JSON header.
            header: its values, of which only ``format_version`` was checked.
            tensors: tensors of the file.
            skip_damaged: whether to read the other parts of the function if some are damaged, where it has parts.

        Raises:
            KeyError, TypeError, ValueError, OverflowError, DamagedError: header or tensors are damaged.
        """
