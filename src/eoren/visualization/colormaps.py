"""Gradient directions and errors as colours on a given scale, so that several images can share one."""

import base64
import io

import numpy as np
from jaxtyping import Float
from PIL import Image as Pillow

from eoren.image.arrays import Gradient, Image
from eoren.image.writers import as_pillow, to_unsigned

# Black, violet, red, orange, pale yellow: lightness increases evenly, so the map is readable in gray and to the
# colour-blind.
_HEAT = np.array(
    [[0, 0, 4], [59, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]], np.float64
)
# Hues differ in lightness; at full saturation, blue edges would look weaker than yellow ones.
_SATURATION = 0.75


def color_channels(pixels: np.ndarray) -> slice:
    """Return the colour channels of ``(H, W, C, ...)``: all but an alpha channel."""
    return slice(0, 1 if pixels.shape[2] < 3 else 3)


def brightness(pixels: Float[np.ndarray, "height width channels *more"]) -> Float[np.ndarray, "height width *more"]:
    """Average the colour channels, or their gradients."""
    return np.asarray(pixels[:, :, color_channels(pixels)].mean(2))


def direction_image(gradient: Gradient, full: float) -> Float[np.ndarray, "height width 3"]:
    """Show the gradient of the brightness: its direction as hue, its magnitude, up to ``full``, as lightness.

    RGB in [0, 1]. Red where brightness increases to the right; through yellow, green and blue as the direction turns
    clockwise; black where the image is flat.
    """
    d_dx, d_dy = np.moveaxis(brightness(gradient), -1, 0)
    hue = np.arctan2(d_dy, d_dx)[..., None] * (3 / np.pi)  # in sixths of the circle
    lightness = np.clip(np.hypot(d_dx, d_dy)[..., None] / full, 0, 1)
    # A primary colour decreases from one to two sixths of the circle away from its own hue.
    distance = (hue + np.array([5, 3, 1], hue.dtype)) % 6
    decrease = np.minimum(distance, 4 - distance).clip(0, 1)
    return np.asarray(lightness * (1 - _SATURATION * decrease))


def direction_wheel(side: int = 96) -> Float[np.ndarray, "side side 4"]:
    """Draw the key to :func:`direction_image`: every direction and magnitude on a disc. RGBA."""
    positions = (np.arange(side) + 0.5) / side * 2 - 1
    gradient = np.stack(np.meshgrid(positions, positions), -1)
    inside = np.hypot(gradient[..., 0], gradient[..., 1]) <= 1
    return np.dstack([direction_image(gradient[:, :, None], 1.0), inside])


def direction_stops(count: int = 24) -> list[str]:
    """Return the colours of full magnitude for equal steps of the direction, from the right clockwise, for CSS."""
    angles = np.arange(count) * (2 * np.pi / count)
    gradient = np.stack([np.cos(angles), np.sin(angles)], -1)[None, :, None]
    return [f"rgb({red} {green} {blue})" for red, green, blue in to_unsigned(direction_image(gradient, 1.0))[0]]


def error_map(prediction: Image, image: Image) -> Float[np.ndarray, "height width"]:
    """Compute the root mean square error over the channels of every pixel, with the prediction clamped to [0, 1]."""
    return np.asarray(np.sqrt(np.square(np.clip(prediction, 0, 1) - image).mean(2)))


def error_image(error: Float[np.ndarray, "height width"], full: float) -> Float[np.ndarray, "height width 3"]:
    """Show errors as colours from black (none) to pale yellow (``full`` or more). RGB in [0, 1]."""
    positions = np.linspace(0, full, len(_HEAT))
    return np.stack([np.interp(error, positions, stops) for stops in (_HEAT / 255).T], -1)


def heat_stops() -> list[str]:
    """Return the colours of :func:`error_image` at equal steps from none to full, as CSS colours."""
    return [f"rgb({red:.0f} {green:.0f} {blue:.0f})" for red, green, blue in _HEAT]


def as_8bit_image(pixels: Image) -> Pillow.Image:
    """Convert pixels in [0, 1], clamped, to a Pillow image of 8 bits per channel."""
    return as_pillow(to_unsigned(pixels))


def data_uri(pixels: Image) -> str:
    """Encode an image, clamped to [0, 1], as the data URI of an 8-bit PNG."""
    buffer = io.BytesIO()
    as_8bit_image(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
