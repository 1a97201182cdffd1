"""Drawing a region of a layer as 8-bit pixels, at any zoom.

A drawn pixel no larger than an image pixel shows the field at its centre; a larger one shows the mean of several
points.
"""

from functools import partial
from math import ceil
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from eoren.cancellation import CancelToken
from eoren.field.representation import Quantity
from eoren.image.channels import average_by_alpha, average_cells
from eoren.image.writers import to_unsigned
from eoren.viewer.catalog import FieldEntry, Layer, View
from eoren.viewer.iiif import ImageRequest, Region, encode
from eoren.visualization.colormaps import (
    direction_image,
    direction_stops,
    error_image,
    error_map,
    heat_stops,
)
from eoren.visualization.derivatives import GRADIENT_WHITE, LAPLACIAN_WHITE, laplacian_image, magnitude_image

Pixels = UInt8[np.ndarray, "height width channels"]
Box = tuple[float, float, float, float]

# Largest number of points per drawn pixel and side: means over all points of a gigapixel image would take minutes,
# and derivatives take three times as long as colours.
_MAX_COLOR_POINTS = 3
_MAX_DERIVATIVE_POINTS = 2
_COLORS = ("color", "original", "spline")  # layers in the colours of the field
_POINTS_AT_ONCE = 1 << 18
# Gradient magnitude (intensity per pixel) shown at full lightness, and error shown in pale yellow.
_FULL_GRADIENT = 0.25
_FULL_ERROR = 0.05


def color_key(layer: Layer) -> dict[str, Any] | None:
    """Describe the meaning of a layer's colours for the page; None for colours of the field or the image."""
    gray = ["rgb(0 0 0)", "rgb(255 255 255)"]
    ramps: dict[str, tuple[list[str], float, float, str]] = {
        "gradient": (gray, 0, GRADIENT_WHITE, "per pixel"),
        "laplacian": (gray, -LAPLACIAN_WHITE, LAPLACIAN_WHITE, "per pixel²"),
        "difference": (heat_stops(), 0, _FULL_ERROR, "error"),
        "direction": (direction_stops(), 0, _FULL_GRADIENT, "per pixel"),
    }
    if layer.name not in ramps:
        return None
    colors, low, high, unit = ramps[layer.name]
    kind = "wheel" if layer.name == "direction" else "ramp"
    numbers = {"low": f"{low:g}".replace("-", "−"), "high": f"{high:g}"}
    return {"kind": kind, "colors": colors, **numbers, "unit": unit}


def render(view: View, request: ImageRequest, token: CancelToken) -> bytes:
    """Draw and encode the image of a request."""
    profile = view.entry.field.provenance.profile if view.layer.name in _COLORS else view.layer.profile
    return encode(draw(view, request.region, request.width, request.height, token=token), request, profile)


def draw(view: View, region: Region, width: int, height: int, *, token: CancelToken | None = None) -> Pixels:
    """Draw a region, in pixels of the magnified layer. The token is checked before every strip of rows."""
    token = token or CancelToken()
    right, bottom = region.x + region.width, region.y + region.height
    box = (region.x / view.size[0], region.y / view.size[1], right / view.size[0], bottom / view.size[1])
    if view.layer.pixels is not None:
        return _resize(view.layer.pixels, _in_pixels(view.entry, box), width, height)
    if view.layer.name == "original":
        return _resize(view.entry.image_8bit, _in_pixels(view.entry, box), width, height)
    if view.layer.name == "difference":
        return _draw_difference(view.entry, box, width, height, token)
    pixels_per_point = max(region.width / width, region.height / height) / view.magnification
    is_derivative = view.layer.name in ("gradient", "direction", "laplacian")
    most = _MAX_DERIVATIVE_POINTS if is_derivative else _MAX_COLOR_POINTS
    factor = min(most, max(1, ceil(pixels_per_point - 0.5)))
    strip = max(1, _POINTS_AT_ONCE // (width * factor * factor))
    average = partial(average_cells, rows=factor, columns=factor)
    strips = []
    for top in range(0, height, strip):
        token.raise_if_cancelled()
        rows = slice(top * factor, min(height, top + strip) * factor)
        samples = _sample(view, box, width * factor, height * factor, rows)
        if view.layer.name == "direction":  # hues have no mean, gradients have
            pixels = direction_image(average(samples), _FULL_GRADIENT)
        else:
            pixels = average_by_alpha(samples.clip(0, 1), average)
        strips.append(to_unsigned(pixels))
    return np.concatenate(strips)


def _sample(
    view: View, box: Box, width: int, height: int, rows: slice
) -> Float[np.ndarray, "height width channels *axes"]:
    """Sample a layer on some rows of a grid: as an image in [0, 1], or for its direction as the gradient itself."""
    entry, layer = view.entry, view.layer.name
    if layer == "spline":
        x0, y0, x1, y1 = _in_pixels(entry, box)
        x = x0 + (np.arange(width) + 0.5) * ((x1 - x0) / width) - 0.5
        y = y0 + (np.arange(height)[rows] + 0.5) * ((y1 - y0) / height) - 0.5
        spline: np.ndarray = entry.spline(y, x)
        return spline
    if layer == "color":
        return entry.field.sample(width, height, "color", region=box, rows=rows)[0]
    quantity: Quantity = "laplacian" if layer == "laplacian" else "gradient"
    per_pixel = (float(entry.field.size[0]), float(entry.field.size[1]))
    values = entry.field.sample(width, height, quantity, region=box, rows=rows, extent=per_pixel)[0]
    if layer == "laplacian":
        return laplacian_image(values)
    return magnitude_image(values) if layer == "gradient" else values


def _draw_difference(entry: FieldEntry, box: Box, width: int, height: int, token: CancelToken) -> Pixels:
    """Draw the error at the centre of every pixel, or of every n-th where drawn pixels cover many."""
    image_width, image_height = entry.field.size
    x0, y0, x1, y1 = _in_pixels(entry, box)
    step = max(1, int(min((x1 - x0) / width, (y1 - y0) / height) / _MAX_COLOR_POINTS))
    left, top = int(x0), int(y0)
    columns = ceil((min(ceil(x1), image_width) - left) / step)
    rows = ceil((min(ceil(y1), image_height) - top) / step)
    # Positions of a cell's corner and centre differ by half a step, those of a pixel by half a pixel.
    x, y = left + 0.5 - step / 2, top + 0.5 - step / 2
    right, bottom = x + step * columns, y + step * rows
    grid = (x / image_width, y / image_height, right / image_width, bottom / image_height)
    expected = entry.expected_colors[top : top + step * rows : step, left : left + step * columns : step]
    strips = []
    strip = max(1, _POINTS_AT_ONCE // columns)
    for first in range(0, rows, strip):
        token.raise_if_cancelled()
        part = slice(first, min(rows, first + strip))
        color = entry.field.sample(columns, rows, "color", region=grid, rows=part)[0]
        strips.append(to_unsigned(error_image(error_map(color, expected[part]), _FULL_ERROR)))
    crop = ((x0 - left) / step, (y0 - top) / step, min((x1 - left) / step, columns), min((y1 - top) / step, rows))
    return _resize(Image.fromarray(np.concatenate(strips)), crop, width, height)


def _resize(image: Image.Image, box: Box, width: int, height: int) -> Pixels:
    """Enlarge pixels to squares, or reduce them to means over areas."""
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BOX, box=box))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _in_pixels(entry: FieldEntry, box: Box) -> Box:
    width, height = entry.field.size
    return box[0] * width, box[1] * height, min(box[2] * width, width), min(box[3] * height, height)
