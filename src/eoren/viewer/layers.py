"""Layers as images of 8 bits, at any zoom.

Where the answer has more pixels than the image, a field is asked at the centres of the answer's pixels; where it
has fewer, at several points of each, whose mean is shown.
"""

from collections.abc import Callable
from math import ceil

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from eoren.viewer.catalog import FieldEntry, View
from eoren.viewer.iiif import Region
from eoren.visualization.colormaps import color_channels, direction_picture, error_map, error_picture
from eoren.visualization.derivatives import laplacian_picture, magnitude_picture

Pixels = Float[np.ndarray, "height width channels"]
Box = tuple[float, float, float, float]

# Points of an answer's pixel along each side, at most: in an image of gigapixels means over all would take minutes,
# and derivatives take three times as long as colours.
_MOST = 3
_MOST_SLOPES = 2
_POINTS_AT_ONCE = 1 << 18
# Intensity per pixel that is as light as it gets, and the error that is pale yellow.
_DIRECTION_FULL = 0.25
_ERROR_FULL = 0.05


def draw(
    view: View, region: Region, width: int, height: int, *, go_on: Callable[[], None] = lambda: None
) -> UInt8[np.ndarray, "height width channels"]:
    """Part of a layer.

    Args:
        view: what to draw.
        region: of it, in its own (magnified) pixels.
        width: of the answer, in pixels.
        height: of the answer, in pixels.
        go_on: called before every strip of rows; it may raise to end the drawing.
    """
    box = (
        region.x / view.width,
        region.y / view.height,
        (region.x + region.width) / view.width,
        (region.y + region.height) / view.height,
    )
    if view.layer.name == "original":
        return _resized(view.exhibit.samples, _in_pixels(view.exhibit, box), width, height)
    if view.layer.name == "difference":
        return _difference(view.exhibit, box, width, height, go_on)
    across, down = view.exhibit.field.size
    shares = (box[2] - box[0]) * across / width, (box[3] - box[1]) * down / height
    slopes = view.layer.name in ("gradient", "direction", "laplacian")
    fine = min(_MOST_SLOPES if slopes else _MOST, max(1, ceil(max(shares) - 1e-9)))
    strip = max(1, _POINTS_AT_ONCE // (width * fine * fine))
    parts = []
    for top in range(0, height, strip):
        go_on()
        rows = slice(top * fine, min(height, top + strip) * fine)
        sampled = _sampled(view, box, width * fine, height * fine, rows)
        if view.layer.name == "direction":  # that of the mean, as hues have none
            shown = direction_picture(_means(sampled, fine), _DIRECTION_FULL)
        else:
            shown = _means(sampled.clip(0, 1), fine)
        parts.append(_bits(shown))
    return np.concatenate(parts)


def _sampled(
    view: View, box: Box, width: int, height: int, rows: slice
) -> Float[np.ndarray, "height width channels *axes"]:
    """Some rows of a grid, as an image in [0, 1]; for its direction, the gradient itself."""
    exhibit = view.exhibit
    across, down = exhibit.field.size
    if view.layer.name == "spline":
        x0, y0, x1, y1 = _in_pixels(exhibit, box)
        x = x0 + (np.arange(width) + 0.5) * ((x1 - x0) / width) - 0.5
        y = y0 + (np.arange(height)[rows] + 0.5) * ((y1 - y0) / height) - 0.5
        return exhibit.spline(y, x)
    sides = (float(across), float(down))
    if view.layer.name == "color":
        return exhibit.field.sample(width, height, "color", region=box, rows=rows)[0]
    if view.layer.name == "laplacian":
        laplacian = exhibit.field.sample(width, height, "laplacian", region=box, rows=rows, extent=sides)[0]
        return laplacian_picture(laplacian[:, :, color_channels(laplacian)])
    gradient = exhibit.field.sample(width, height, "gradient", region=box, rows=rows, extent=sides)[0]
    return magnitude_picture(gradient) if view.layer.name == "gradient" else gradient


def _difference(
    exhibit: FieldEntry, box: Box, width: int, height: int, go_on: Callable[[], None]
) -> UInt8[np.ndarray, "height width channels"]:
    """The error at the centres of the pixels, or of every so many-th, and no finer than that."""
    across, down = exhibit.field.size
    x0, y0, x1, y1 = _in_pixels(exhibit, box)
    step = max(1, int(min((x1 - x0) / width, (y1 - y0) / height) / _MOST))
    left, top = int(x0), int(y0)
    columns, rows = ceil((min(ceil(x1), across) - left) / step), ceil((min(ceil(y1), down) - top) / step)
    corner = (left + 0.5 - step / 2, top + 0.5 - step / 2)
    grid = (
        corner[0] / across,
        corner[1] / down,
        (corner[0] + step * columns) / across,
        (corner[1] + step * rows) / down,
    )
    targets = exhibit.targets[top : top + step * rows : step, left : left + step * columns : step]
    parts = []
    strip = max(1, _POINTS_AT_ONCE // columns)
    for first in range(0, rows, strip):
        go_on()
        lines = slice(first, min(rows, first + strip))
        said = exhibit.field.sample(columns, rows, "color", region=grid, rows=lines)[0]
        parts.append(_bits(error_picture(error_map(said, targets[lines]), _ERROR_FULL)))
    around = ((x0 - left) / step, (y0 - top) / step, (x1 - left) / step, (y1 - top) / step)
    within = (*around[:2], min(around[2], columns), min(around[3], rows))
    return _resized(Image.fromarray(np.concatenate(parts)), within, width, height)


def _resized(image: Image.Image, box: Box, width: int, height: int) -> UInt8[np.ndarray, "height width channels"]:
    """Pixels as squares where they are enlarged, means over them where they are reduced."""
    found = np.asarray(image.resize((width, height), Image.Resampling.BOX, box=box))
    return found[..., None] if found.ndim == 2 else found


def _in_pixels(exhibit: FieldEntry, box: Box) -> Box:
    across, down = exhibit.field.size
    return box[0] * across, box[1] * down, min(box[2] * across, across), min(box[3] * down, down)


def _means(
    sampled: Float[np.ndarray, "height width channels *axes"], fine: int
) -> Float[np.ndarray, "rows columns channels *axes"]:
    """Over squares of so many points a side."""
    if fine == 1:
        return sampled
    rows, columns, *rest = sampled.shape
    return np.asarray(sampled.reshape(rows // fine, fine, columns // fine, fine, *rest).mean((1, 3)))


def _bits(pixels: Pixels) -> UInt8[np.ndarray, "height width channels"]:
    return np.floor(pixels.clip(0, 1) * 255 + 0.5).astype(np.uint8)
