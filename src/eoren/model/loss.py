"""What a network is asked to get right: its derivative, its colour, or both.

Errors are measured per pixel, not per unit square, so that a weight means the same for every image size
(the design of Sobolev training, arXiv 1706.04859, with the derivative taken forward).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Objective:
    """``color * mean (f - Phi)^2 + gradient * mean |grad f - grad Phi|^2`` over pixels and channels.

    Attributes:
        name: as users say it.
        color: weight of the squared colour error.
        gradient: weight of the squared gradient error, in intensity per pixel, both axes summed.
    """

    name: str
    color: float
    gradient: float

    def stream_weights(self, axes: Sequence[int], *, in_turn: bool = True) -> tuple[float, ...]:
        """Weights of the squared errors of the streams: the colour, and its derivatives along some axes.

        Args:
            axes: which derivatives there are.
            in_turn: one axis alone stands for both, and counts twice.

        Example:
            >>> OBJECTIVES["sobolev"].stream_weights((0, 1)), OBJECTIVES["sobolev"].stream_weights((1,))
            ((1.0, 0.1, 0.1), (1.0, 0.2))
        """
        each = self.gradient * (2 / len(axes) if in_turn and axes else 1)
        return (self.color, *[each] * len(axes))


@dataclass(frozen=True)
class Pass:
    """Points of a step that are propagated together.

    Attributes:
        axes: the derivatives compared there.
        weights: of the squared errors of the colour and of these derivatives.
        offset: of the points from the pixel centres, in pixels: forward differences sit half a pixel off.
    """

    axes: tuple[int, ...]
    weights: tuple[float, ...]
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
