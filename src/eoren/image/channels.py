"""Meanings of channels: how samples as stored become gray or RGB, with or without alpha.

Every decoder uses these functions, so that the same image has the same pixels in every file format and as a Pillow
image. Samples are unsigned integers of 8 or 16 bits, or floats with white at 1.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Shaped, UInt
from PIL import Image

Samples = Shaped[np.ndarray, "height width _"]
Plane = Shaped[np.ndarray, "height width"]
AnySize = Shaped[np.ndarray, "_ _ _"]

PREMULTIPLIED = "colours divided by alpha, by which the file multiplies them"
UNSPECIFIED = "a channel of unspecified meaning left out"
CMYK = "CMYK converted to RGB"

# Sums of alpha below half a level of 16 bits are rounding errors.
_NO_WEIGHT = 2.0**-17


def peak(samples: Shaped[np.ndarray, "..."]) -> int:
    """Return the sample that means white, or opaque."""
    return 1 if samples.dtype.kind == "f" else int(np.iinfo(samples.dtype).max)


def stretch(samples: Shaped[np.ndarray, "*shape"], bits: int) -> UInt[np.ndarray, "*shape"]:
    """Scale samples of 1, 2 or 4 bits to the range of 8 bits, which is exact."""
    return samples.astype(np.uint8) * np.uint8(255 // (2**bits - 1))


def invert(samples: Shaped[np.ndarray, "*shape"]) -> Shaped[np.ndarray, "*shape"]:
    """Convert samples whose zero is white to samples whose zero is black."""
    inverted: np.ndarray = np.array(peak(samples), samples.dtype) - samples
    return inverted


def cmyk_to_rgb(inks: Samples) -> Samples:
    """Convert cyan, magenta, yellow and black to RGB: (1 - ink) (1 - black), rounded to the type of the samples.

    At 8 bits this is Pillow's conversion; it uses no colour profile.
    """
    white = peak(inks)
    left, light = invert(inks[..., :3]), invert(inks[..., 3:4])
    if inks.dtype.kind == "f":
        return np.asarray(left * light)
    # As Pillow, round the part that the inks take away.
    taken = ((white - left.astype(np.uint64)) * light + white // 2) // white
    return np.asarray((light - taken).astype(inks.dtype))


def divide_by_alpha(colors: Samples, alpha: Plane) -> Float64[np.ndarray, "height width _"]:
    """Undo the multiplication of colours by alpha; the result, in [0, 1], is 0 where alpha is 0.

    Raises:
        ValueError: a colour exceeds its alpha by more than rounding, so that it was not multiplied.
    """
    slack = 1e-6 if colors.dtype.kind == "f" else 1
    exact = alpha[..., None].astype(np.float64)
    if (colors > exact + slack).any():
        raise ValueError("colours exceed the alpha that they are said to be multiplied by; correct its ExtraSamples")
    quotient = np.divide(colors, exact, out=np.zeros(colors.shape), where=exact > 0)
    return np.asarray(quotient.clip(0, 1))


def join(colors: Samples, alpha: Plane | None) -> Samples:
    """Append an alpha channel, in the type that holds both without loss."""
    if alpha is None:
        return colors
    if colors.dtype != alpha.dtype:
        both = np.result_type(colors, alpha)
        colors, alpha = widen(colors, both), widen(alpha, both)
    return np.concatenate([colors, alpha[..., None]], axis=-1)


def widen(samples: Shaped[np.ndarray, "*shape"], dtype: np.dtype) -> Shaped[np.ndarray, "*shape"]:
    """Convert samples to a type that holds them exactly: from 8 to 16 bits, or to floats."""
    if dtype.kind == "f":
        return np.asarray(samples.astype(dtype) / dtype.type(peak(samples)))
    return np.asarray(samples.astype(dtype) * dtype.type(np.iinfo(dtype).max // peak(samples)))


def has_alpha(pixels: Shaped[np.ndarray, "_ _ channels *axes"]) -> bool:
    """Whether the last channel is alpha: of gray and alpha, and of RGBA."""
    return pixels.shape[2] in (2, 4)


def average_by_alpha(pixels: AnySize, average: Callable[[AnySize], AnySize]) -> AnySize:
    """Average the pixels of an image, with colours weighted by alpha: transparent pixels have no colour to see.

    Args:
        pixels: floats of shape (height, width, channels).
        average: linear function from such an image to a smaller or resized one, as one resamples each channel.

    Returns:
        Its result; colours where alpha is 0 are averages without weights.
    """
    averaged = average(pixels)
    if not has_alpha(pixels):
        return averaged
    weights = pixels[..., -1:].clip(0, 1)
    total = average(weights)
    weighted = average(pixels[..., :-1] * weights)
    plain = averaged[..., :-1]
    colors = np.divide(weighted, total, out=plain.copy(), where=total > _NO_WEIGHT)
    return np.concatenate([colors, averaged[..., -1:]], axis=-1)


def resize(pixels: AnySize, width: int, height: int, filter: Image.Resampling) -> AnySize:
    """Resize an image of floats by a filter of Pillow, with colours weighted by alpha; the result is not clamped."""

    def resample(part: AnySize) -> AnySize:
        planes = (Image.fromarray(np.float32(part[..., c])) for c in range(part.shape[2]))
        return np.stack([np.asarray(plane.resize((width, height), filter)) for plane in planes], axis=-1)

    return average_by_alpha(pixels, resample)


def average_cells(
    pixels: Shaped[np.ndarray, "_ _ *axes"], rows: int, columns: int
) -> Shaped[np.ndarray, "_ _ *axes"]:
    """Average over cells of ``rows`` x ``columns`` pixels, which divide the image."""
    height, width, *rest = pixels.shape
    cells = pixels.reshape(height // rows, rows, width // columns, columns, *rest)
    # Sums of large float32 would overflow.
    return np.asarray(cells.mean((1, 3), dtype=np.float64).astype(pixels.dtype))
