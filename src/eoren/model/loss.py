"""The training loss: squared errors of the colour, of the gradient, or of both.

Errors are measured per pixel, not per unit square, so that a weight means the same for every image size. The design
is that of Sobolev training (arXiv 1706.04859), with derivatives computed in the forward pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Objective:
    """``color * mean (f - Phi)^2 + gradient * mean |grad f - grad Phi|^2`` over pixels and channels."""

    name: str
    color: float
    gradient: float

    def stream_weights(self, axes: Sequence[int], *, in_turn: bool = True) -> tuple[float, ...]:
        """Compute the weights of the squared errors of the colour and of its derivatives along some axes.

        With ``in_turn``, a single axis stands for both, and counts twice.
        """
        per_axis = self.gradient * (2 / len(axes) if in_turn and axes else 1)
        return (self.color, *[per_axis] * len(axes))


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass of a training step."""

    axes: tuple[int, ...]  # derivatives that are compared, 0 for d/dx and 1 for d/dy
    weights: tuple[float, ...]  # of the squared errors of the colour and of these derivatives
    # Displacement (x, y) from the pixel centres, in pixels: forward differences belong half a pixel away.
    offset: tuple[float, float] = (0.0, 0.0)


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        objective.name: objective
        for objective in (
            Objective("gradient", color=0.0, gradient=1.0),
            Objective("pixel", color=1.0, gradient=0.0),
            Objective("sobolev", color=1.0, gradient=0.1),
        )
    }
)
