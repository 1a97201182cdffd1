"""Colour and derivatives of a mosaic: the predictions of the tiles, blended by their weights.

With the weight w of each tile (:meth:`eoren.model.tiling.Tiling.blend`)::

    Phi      = sum w Phi_i
    grad Phi = sum w grad Phi_i + Phi_i grad w
    L Phi    = sum w L Phi_i + 2 grad w . grad Phi_i + Phi_i L w
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from eoren.model.arrays import Array, as_tensor, is_tensor, like, namespace
from eoren.model.channel_tuning import Tuning
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling

# Points per call, which bounds memory; fewer where more tiles overlap than at a corner.
POINTS_PER_CALL = 1 << 18
_TILES_AT_A_CORNER = 4


class Jet(NamedTuple):
    """Value and derivatives of an image function at N points, NumPy arrays or tensors.

    Attributes:
        color: ``(N, C)``, intensity, not clamped.
        gradient: ``(N, C, 2)``, per unit of the extent, last axis ``(d/dx, d/dy)``; None if not requested.
        laplacian: ``(N, C)``, per unit squared; None if not requested.
    """

    color: Float[Array, "points channels"]
    gradient: Float[Array, "points channels 2"] | None = None
    laplacian: Float[Array, "points channels"] | None = None

    def like(self, points: Array) -> "Jet":
        """Return the same values as tensors if points are a tensor."""
        return Jet(*(None if v is None else as_tensor(v) for v in self)) if is_tensor(points) else self


def evaluate_mosaic(
    evaluate: Callable[..., Array],
    siren: Siren,
    tuning: Tuning,
    tiling: Tiling,
    points: Float[Array, "points 2"],
    *,
    gradient: bool = False,
    laplacian: bool = False,
    extent: tuple[float, float] = (1.0, 1.0),
) -> Jet:
    """Evaluate a mosaic at any points of the unit square, in parts that bound memory.

    ``evaluate`` is :meth:`eoren.backends.base.Backend.evaluate`. The Laplacian brings the gradient with it;
    derivatives are in the units of an image of ``extent``.
    """
    xp, per_call = namespace(points), max(1, POINTS_PER_CALL // max(1, tiling.max_overlap - _TILES_AT_A_CORNER + 1))
    if len(points) > per_call:
        options: Any = {"gradient": gradient, "laplacian": laplacian, "extent": extent}
        pieces = (points[start : start + per_call] for start in range(0, len(points), per_call))
        jets = [evaluate_mosaic(evaluate, siren, tuning, tiling, piece, **options) for piece in pieces]
        columns: Any = zip(*jets, strict=True)
        joined: Any = (None if column[0] is None else xp.concatenate(column) for column in columns)
        return Jet(*joined)
    gradient = gradient or laplacian
    blend = tiling.blend(points)
    weights, units = siren.weights[0], like(blend.grad, extent)
    prediction = evaluate(
        siren,
        like(weights, tiling.local(points[blend.point], blend.tile)),
        xp.bincount(blend.tile, minlength=tiling.count),
        tuning=tuning,
        axes=(0, 1) if gradient else (),
        scale=like(points, tiling.local_per_unit) / units,
        laplacian=laplacian,
    )
    weight, weight_grad = like(weights, blend.weight)[:, None], like(weights, blend.grad / units)[:, None]
    color = prediction[:, 0]
    parts = [weight * color]
    if gradient:
        color_grad = xp.moveaxis(prediction[:, 1:3], 1, -1)
        weighted = weight[..., None] * color_grad + color[..., None] * weight_grad
        parts.append(weighted.reshape(len(weighted), 2 * siren.channels))
    if laplacian:
        weight_laplacian = like(weights, (blend.second_derivatives / units**2).sum(-1))[:, None]
        cross = 2 * (color_grad * weight_grad).sum(-1)
        parts.append(weight * prediction[:, 3] + cross + color * weight_laplacian)
    total, c = xp.concatenate(parts, 1), siren.channels
    if tiling.count > 1:
        total = _sum_by_point(total, blend.point, len(points))
    return Jet(
        total[:, :c],
        total[:, c : 3 * c].reshape(-1, c, 2) if gradient else None,
        total[:, 3 * c :] if laplacian else None,
    )


def _sum_by_point(
    parts: Float[Array, "entries features"], point: Int[Array, " entries"], count: int
) -> Float[Array, "points features"]:
    """Add the parts of the tiles that cover each point."""
    if is_tensor(parts):
        return parts.new_zeros(count, parts.shape[1]).index_add(0, point, parts)
    # By column: ufunc.at with whole rows is many times slower.
    sums = [np.bincount(point, column, minlength=count) for column in parts.T]
    return np.stack(sums, 1).astype(parts.dtype)
