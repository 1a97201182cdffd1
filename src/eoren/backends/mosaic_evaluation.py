"""Colour and derivatives of a mosaic: the predictions of the tiles, blended by their weights.

With the weight w of each tile (:meth:`eoren.model.tiling.Tiling.blend`)::

    Phi      = sum w Phi_i
    grad Phi = sum w grad Phi_i + Phi_i grad w
    L Phi    = sum w L Phi_i + 2 grad w . grad Phi_i + Phi_i L w
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from eoren.model.channel_tuning import Tuning
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling

# Points per call, which bounds memory; fewer where more tiles overlap than at a corner.
POINTS_PER_CALL = 1 << 18
_TILES_AT_A_CORNER = 4


class Jet(NamedTuple):
    """Value and derivatives of an image function at N points.

    Attributes:
        color: ``(N, C)``, intensity, not clamped.
        gradient: ``(N, C, 2)``, per unit of the extent, last axis ``(d/dx, d/dy)``; None if not requested.
        laplacian: ``(N, C)``, per unit squared; None if not requested.
    """

    color: Float[Tensor, "points channels"]
    gradient: Float[Tensor, "points channels 2"] | None = None
    laplacian: Float[Tensor, "points channels"] | None = None


def evaluate_mosaic(
    evaluate: Callable[..., Tensor],
    siren: Siren,
    tuning: Tuning,
    tiling: Tiling,
    points: Float[Tensor, "points 2"],
    *,
    gradient: bool = False,
    laplacian: bool = False,
    extent: tuple[float, float] = (1.0, 1.0),
) -> Jet:
    """Evaluate a mosaic at any points of the unit square, in parts that bound memory.

    ``evaluate`` is :meth:`eoren.backends.base.Backend.evaluate`. The Laplacian brings the gradient with it;
    derivatives are in the units of an image of ``extent``.
    """
    per_call = max(1, POINTS_PER_CALL // max(1, tiling.max_overlap - _TILES_AT_A_CORNER + 1))
    if len(points) > per_call:
        options: Any = {"gradient": gradient, "laplacian": laplacian, "extent": extent}
        jets = [evaluate_mosaic(evaluate, siren, tuning, tiling, p, **options) for p in points.split(per_call)]
        columns: Any = zip(*jets, strict=True)
        joined: Any = (None if parts[0] is None else torch.cat(parts) for parts in columns)
        return Jet(*joined)
    gradient = gradient or laplacian
    blend = tiling.blend(points)
    dtype = siren.weights[0].dtype
    units = torch.tensor(extent, dtype=blend.grad.dtype, device=points.device)
    prediction = evaluate(
        siren,
        tiling.local(points[blend.point], blend.tile).to(dtype),
        torch.bincount(blend.tile, minlength=tiling.count),
        tuning=tuning,
        axes=(0, 1) if gradient else (),
        scale=tiling.local_per_unit.to(points) / units,
        laplacian=laplacian,
    )
    weight, weight_grad = blend.weight.to(dtype)[:, None], (blend.grad / units).to(dtype)[:, None]
    color = prediction[:, 0]
    parts = [weight * color]
    if gradient:
        color_grad = prediction[:, 1:3].movedim(1, -1)
        parts.append((weight[..., None] * color_grad + color[..., None] * weight_grad).flatten(1))
    if laplacian:
        weight_laplacian = (blend.second_derivatives / units**2).sum(-1).to(dtype)[:, None]
        cross = 2 * (color_grad * weight_grad).sum(-1)
        parts.append(weight * prediction[:, 3] + cross + color * weight_laplacian)
    total = torch.cat(parts, 1)
    if tiling.count > 1:
        total = total.new_zeros(len(points), total.shape[1]).index_add(0, blend.point, total)
    c = siren.channels
    return Jet(
        total[:, :c],
        total[:, c : 3 * c].unflatten(1, (c, 2)) if gradient else None,
        total[:, 3 * c :] if laplacian else None,
    )
