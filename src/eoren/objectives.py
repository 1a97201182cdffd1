"""What a network is asked to get right: its derivative, its colour, or both.

Errors are measured per pixel, not per unit square, so that a weight means the same for every picture size
(the design of Sobolev training, arXiv 1706.04859, with the derivative taken forward).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from jaxtyping import Float
from torch import Tensor


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


@dataclass(frozen=True)
class Loss:
    """One evaluation of an objective on a chunk.

    Attributes:
        total: what is differentiated; a sum over points, so that chunks add up.
        color: sum of squared colour errors, over points and channels.
        gradient: sum of squared gradient errors, over points, channels and the axes asked for.
    """

    total: Tensor
    color: Tensor
    gradient: Tensor


def loss(
    objective: Objective,
    said: Float[Tensor, "batch streams points channels"],
    color: Float[Tensor, "batch points channels"],
    gradient: Float[Tensor, "batch points channels 2"],
    axes: Sequence[int],
    *,
    in_turn: bool = True,
) -> Loss:
    """The objective, summed over the points of a chunk and averaged over channels.

    Args:
        objective: the weights.
        said: the field's colour and its derivatives along ``axes``, per pixel.
        color: the true colour.
        gradient: the true derivatives, ``(d/dx, d/dy)``, per pixel.
        axes: which derivatives there are.
        in_turn: one axis alone stands for both, and counts twice.
    """
    channels = color.shape[-1]
    color_error = (said[:, 0] - color).square().sum()
    if not axes:
        nothing = color_error.new_zeros(())
        return Loss(objective.color * color_error / channels, color_error.detach(), nothing)
    target = gradient.movedim(-1, 1) if tuple(axes) == (0, 1) else gradient[..., axes[0]].unsqueeze(1)
    gradient_error = (said[:, 1:] - target).square().sum()
    total = objective.gradient * (2 / len(axes) if in_turn else 1) * gradient_error
    if objective.color:
        total = total + objective.color * color_error
    return Loss(total / channels, color_error.detach(), gradient_error.detach())
