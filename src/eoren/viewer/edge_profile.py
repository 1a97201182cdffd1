"""Field, spline and pixels along a line over an image, their derivative along it, and the position of the edge.

The edge of a curve is where the brightness, the mean of the colour channels, changes fastest between the ends of the
line: the strongest local maximum of the magnitude of the derivative, as for an edge detector that works along one
direction (J. Canny, IEEE PAMI 8, 1986). That of the spline is the strongest one near the field's, so that both are
positions of the same edge.
"""

from collections.abc import Callable
from math import ceil, hypot
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from eoren.errors import EorenError
from eoren.viewer.catalog import FieldEntry

Colors = Float[np.ndarray, "points channels"]
# Colours at positions along the line, 0..1, and their derivatives in intensity per pixel.
Curve = Callable[[Float[np.ndarray, " points"]], tuple[Colors, Colors]]
Line = tuple[float, float, float, float]

_SAMPLES_PER_PIXEL = 16
_SAMPLES = (65, 1025)  # at least, at most
_REFINED_SAMPLES = 65  # around the steepest sample
_SHORTEST = 0.01  # length of a line, in pixels
_SAME_EDGE = 2.0  # largest distance between positions of the same edge, in pixels
_FAINTEST = 1e-3  # derivative of an edge: a quarter of a step of 8 bits per pixel


def edge_profile(entry: FieldEntry, line: Line) -> dict[str, Any]:
    """Evaluate a field, and its image if known, along a line.

    Args:
        entry: field, and image that it is compared with.
        line: ends ``(x0, y0, x1, y1)`` in the unit square.

    Returns:
        JSON object: ``length`` in pixels; distances ``s`` from the first end and positions ``x``, ``y``, in pixels
        from the image's corner; ``curves`` with the colours, their mean (``value``) and the derivative of the mean
        along the line (``slope``, per pixel); ``edges`` with ``s``, ``x``, ``y`` and ``slope``, or None.

    Raises:
        EorenError: the line leaves the unit square, or has no length.
    """
    width, height = entry.field.size
    x0, y0, x1, y1 = line
    if not all(0 <= value <= 1 for value in line):
        raise EorenError(f"the ends of the line must lie in the unit square, got {line}")
    across, down = (x1 - x0) * width, (y1 - y0) * height
    length = hypot(across, down)
    if length < _SHORTEST:
        raise EorenError(f"the line must be at least {_SHORTEST} pixels long, got {length:.2g}")

    def positions(t: Float[np.ndarray, " points"]) -> tuple[np.ndarray, np.ndarray]:
        return x0 * width + t * across, y0 * height + t * down

    def field(t: Float[np.ndarray, " points"]) -> tuple[Colors, Colors]:
        x, y = positions(t)
        color, gradient = entry.field.color_and_gradient(np.stack([x / width, y / height], -1))
        return color, gradient @ np.array([x1 - x0, y1 - y0]) / length

    def spline(t: Float[np.ndarray, " points"]) -> tuple[Colors, Colors]:
        x, y = positions(t)
        color, gradient = entry.spline.at(y - 0.5, x - 0.5)
        return color, gradient @ np.array([across, down]) / length

    t = np.linspace(0, 1, min(max(ceil(_SAMPLES_PER_PIXEL * length) + 1, _SAMPLES[0]), _SAMPLES[1]))
    x, y = positions(t)
    curves: dict[str, Any] = {}
    edges: dict[str, Any] = {}
    among = np.ones(len(t), bool)
    for name, curve in {"field": field, **({} if entry.image is None else {"spline": spline})}.items():
        color, slope = curve(t)
        curves[name] = _describe(color) | {"slope": _brightness(slope).tolist()}
        at = _find_edge(curve, t, among)
        if at is not None:
            among = np.abs(t - at) * length <= _SAME_EDGE
        edges[name] = None
        if at is not None:
            steepest = float(_brightness(curve(np.array([at]))[1])[0])
            edges[name] = {"s": at * length, "x": x0 * width + at * across, "y": y0 * height + at * down}
            edges[name]["slope"] = steepest
    if entry.image is not None:
        column, row = (np.minimum(at.astype(int), side - 1) for at, side in ((x, width), (y, height)))
        curves["pixels"] = _describe(entry.image[row, column])
    places = {"s": t * length, "x": x, "y": y}
    return {"length": length, **{k: v.tolist() for k, v in places.items()}, "curves": curves, "edges": edges}


def _describe(color: Colors) -> dict[str, Any]:
    return {"value": _brightness(color).tolist(), "channels": color.tolist()}


def _brightness(color: Colors) -> Float[np.ndarray, " points"]:
    return np.asarray(color[:, : 1 if color.shape[1] < 3 else 3].mean(1))


def _find_edge(curve: Curve, t: Float[np.ndarray, " points"], among: Bool[np.ndarray, " points"]) -> float | None:
    """Find the strongest local maximum of the change of brightness among some samples, if there is one."""

    def steepness(t: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
        return np.asarray(np.abs(_brightness(curve(t)[1])))

    values = steepness(t)
    inner = values[1:-1]
    is_maximum = (inner >= values[:-2]) & (inner >= values[2:]) & (inner > _FAINTEST) & among[1:-1]
    if not is_maximum.any():
        return None
    k = 1 + int(np.argmax(np.where(is_maximum, inner, 0)))
    near = np.linspace(t[k - 1], t[k + 1], _REFINED_SAMPLES)
    # The vertex of a parabola through all of them: rounding errors of float32 would move a maximum.
    offset = near - t[k]
    a, b, _ = np.polyfit(offset / offset[-1], steepness(near), 2)
    return float(t[k] - b / (2 * a) * offset[-1]) if a < 0 else float(t[k])
