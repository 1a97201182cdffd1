"""Derivatives and errors as images whose scale is given, so that several can share one."""

import base64
import io

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy.ndimage import map_coordinates

Pixels = Float[np.ndarray, "height width channels"]

# Evenly darker to evenly lighter, so that it reads in gray and to every eye: black, violet, red, orange, pale yellow.
_HEAT = np.array(
    [[0, 0, 4], [59, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]], np.float64
)
# Hues differ in lightness; full saturation would make blue edges look weaker than yellow ones.
_SATURATION = 0.75


def color_channels(pixels: np.ndarray) -> slice:
    """Which of ``(H, W, C, ...)`` are colours: all but an alpha channel.

    Example:
        >>> color_channels(np.zeros((2, 2, 4)))
        slice(0, 3, None)
    """
    return slice(0, 1 if pixels.shape[2] < 3 else 3)


def brightness(pixels: Float[np.ndarray, "height width channels *more"]) -> Float[np.ndarray, "height width *more"]:
    """The mean over colour channels, alpha left out; of their gradients likewise."""
    return np.asarray(pixels[:, :, color_channels(pixels)].mean(2))


def direction_picture(
    gradient: Float[np.ndarray, "height width channels 2"], full: float
) -> Float[np.ndarray, "height width 3"]:
    """The gradient of the brightness: its direction as hue, its magnitude as lightness.

    Args:
        gradient: ``(H, W, C, 2)``, last axis (d/dx, d/dy).
        full: magnitude of full lightness, in the units of the gradient, above zero.

    Returns:
        RGB in [0, 1]. Red where the image gets brighter to the right, and from there through yellow, green and
        blue as the direction turns clockwise; black where it is flat.

    Example:
        >>> image = direction_picture(np.array([[[[2.0, 0.0]], [[0.0, 0.0]]]]), full=1.0)
        >>> picture.tolist()
        [[[1.0, 0.25, 0.25], [0.0, 0.0, 0.0]]]
    """
    d_dx, d_dy = np.moveaxis(brightness(gradient), -1, 0)
    sixth = np.arctan2(d_dy, d_dx)[..., None] * (3 / np.pi)
    light = np.clip(np.hypot(d_dx, d_dy)[..., None] / full, 0, 1)
    # Each of red, green and blue lacks where the hue is more than a sixth of the circle from its own.
    away = (sixth + np.array([5, 3, 1], sixth.dtype)) % 6
    lacking = np.minimum(away, 4 - away).clip(0, 1)
    return np.asarray(light * (1 - _SATURATION * lacking))


def direction_wheel(side: int = 96) -> Float[np.ndarray, "side side 4"]:
    """The key to :func:`direction_picture`: what every direction and magnitude looks like. RGBA."""
    along = (np.arange(side) + 0.5) / side * 2 - 1
    out = np.stack(np.meshgrid(along, along), -1)
    inside = np.hypot(out[..., 0], out[..., 1]) <= 1
    return np.dstack([direction_picture(out[:, :, None], 1.0), inside])


def error_map(said: Pixels, image: Pixels) -> Float[np.ndarray, "height width"]:
    """The error of every pixel: root of the mean square over channels, what was said clamped to [0, 1]."""
    return np.asarray(np.sqrt(np.square(np.clip(said, 0, 1) - image).mean(2)))


def error_picture(error: Float[np.ndarray, "height width"], full: float) -> Float[np.ndarray, "height width 3"]:
    """Errors as colours from black, none, to pale yellow, ``full`` or more. RGB in [0, 1].

    Example:
        >>> error_picture(np.array([[0.0, 0.5]]), full=0.5).round(2).tolist()
        [[[0.0, 0.0, 0.02], [0.99, 0.99, 0.75]]]
    """
    places = np.linspace(0, full, len(_HEAT))
    return np.stack([np.interp(error, places, stops) for stops in (_HEAT / 255).T], -1)


def heat_stops() -> list[str]:
    """The colours of :func:`error_picture` at equal steps from none to full, as CSS writes them."""
    return [f"rgb({red:.0f} {green:.0f} {blue:.0f})" for red, green, blue in _HEAT]


def reduced(image: Pixels, side: int) -> Float[np.ndarray, "rows columns channels"]:
    """An image whose longer side is at most so many pixels; Lanczos filter, clamped to [0, 1].

    Example:
        >>> reduced(np.zeros((40, 100, 3), np.float32), 50).shape
        (20, 50, 3)
    """
    height, width, channels = image.shape
    if max(height, width) <= side:
        return image
    size = max(1, round(width * side / max(height, width))), max(1, round(height * side / max(height, width)))
    planes = [Image.fromarray(np.float32(image[..., c])) for c in range(channels)]
    small = [np.asarray(plane.resize(size, Image.Resampling.LANCZOS)) for plane in planes]
    return np.stack(small, -1).clip(0, 1)


def spline_enlarged(
    image: Pixels, box: tuple[int, int, int, int], scale: int
) -> Float[np.ndarray, "rows columns channels"]:
    """Part of an image enlarged by the cubic spline through its pixels.

    Args:
        image: ``(H, W, C)``.
        box: ``(column0, row0, column1, row1)`` in pixels, ends excluded.
        scale: times its own size.

    Returns:
        ``(scale * rows, scale * columns, C)``, pixel centres where they belong.
    """
    left, top, right, bottom = box
    rows = top + (np.arange(scale * (bottom - top)) + 0.5) / scale - 0.5
    columns = left + (np.arange(scale * (right - left)) + 0.5) / scale - 0.5
    at = np.meshgrid(rows, columns, indexing="ij")
    planes = [map_coordinates(image[..., c], at, np.float32, 3, mode="mirror") for c in range(image.shape[2])]
    return np.stack(planes, -1)


def data_uri(pixels: Pixels) -> str:
    """An image, clamped to [0, 1], as an 8-bit PNG within an address."""
    samples = np.floor(np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
