"""Operands of a composition: load images, fields and masks; match their sizes and channels."""

from dataclasses import dataclass, replace
from hashlib import sha256
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import ArrayLike
from PIL import Image as Pillow

from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.field.serialization import dumps, load
from eoren.image.channels import resize
from eoren.image.decoders import max_pixels
from eoren.image.io import SourceImage, as_source_image
from eoren.image.profiles import describe_profile, gray_to_rgb

Operand = ArrayLike | Pillow.Image | str | PathLike[str] | SourceImage | Field
"""An image in any form that :func:`eoren.fit` accepts, a field, or the path of an ``.eoren`` file."""

# JPEG compression leaves such deviations from black and white around every edge of a mask.
_MASK_NOISE = 0.02
# And such differences between the channels of gray.
_MASK_COLOR = 0.1
AnyImage = Float[np.ndarray, "_ _ _"]
AnyPlane = Float[np.ndarray, "_ _"]


@dataclass(frozen=True, eq=False)
class LoadedOperand:
    """Pixels of an image, or of a field rendered at the size of its image."""

    pixels: AnyImage  # in [0, 1]
    sha256: str  # of the file, the array or the serialized field
    notes: tuple[str, ...] = ()  # changes that were made in reading
    field: Field | None = None
    profile: bytes = b""  # ICC profile of the colours

    def resized(self, width: int, height: int) -> AnyImage:
        """Return the pixels at another size: a field is rendered at it, an image is resampled."""
        if self.field is not None:
            return self.field.render(width, height).clip(0, 1)
        return resize(self.pixels, width, height, Pillow.Resampling.BICUBIC).clip(0, 1)


def open_operand(operand: Operand) -> LoadedOperand:
    """Read an operand; refuse a field whose pixels would take too much memory."""
    if isinstance(operand, str | PathLike) and Path(operand).suffix == ".eoren":
        operand = load(operand)
    if isinstance(operand, Field):
        data = dumps(operand)
        width, height = operand.size
        if width * height > max_pixels(len(data)):
            raise EorenError(
                f"a field of {width} x {height} pixels in {len(data)} bytes is too large to be rendered whole; "
                "render it with 'eoren render --size' and give that image"
            )
        field = operand.to("cpu")
        pixels, profile = field.render().clip(0, 1), field.provenance.profile
        return LoadedOperand(pixels, sha256(data).hexdigest(), field=field, profile=profile)
    source = as_source_image(operand)
    return LoadedOperand(source.pixels, source.sha256, source.notes, profile=source.profile)


def mask_weights(mask: LoadedOperand, image: LoadedOperand, name: str) -> AnyPlane:
    """Compute the weights of the mask of an image, 0 to 1: its gray value, times its alpha.

    Colours, as of a map of labels, are refused, and so is a mask whose brightest value is 1 of 255 or 65535.
    """
    if mask.pixels.shape[:2] != image.pixels.shape[:2]:
        raise EorenError(
            f"the mask must have the size of the {name}, {size_text(image.pixels)}, got {size_text(mask.pixels)}; "
            "resize it"
        )
    colors, alpha = split_alpha(mask.pixels)
    if np.ptp(colors, axis=2).max() > _MASK_COLOR:
        raise EorenError("the mask must be gray, got colours; make the labels that you select white and others black")
    brightest = float(colors.max())
    if 0 < brightest < _MASK_NOISE:
        raise EorenError(f"the mask must have white, 1, where it selects, got at most {brightest:.2g}; scale it to 1")
    weights: AnyPlane = colors.mean(2) if alpha is None else colors.mean(2) * alpha
    weights[weights < _MASK_NOISE] = 0
    weights[weights > 1 - _MASK_NOISE] = 1
    return weights


def profile_notes(kept: LoadedOperand, other: LoadedOperand) -> tuple[str, ...]:
    """Note that two operands have different colour profiles, whose numbers are combined as they are."""
    if kept.profile == other.profile:
        return ()
    name = describe_profile(kept.profile) if kept.profile else "sRGB"
    return (f"the images have different colour profiles; numbers are combined as stored, as {name}",)


def size_text(pixels: Shaped[np.ndarray, "_ _ ..."]) -> str:
    """Format the size of an image as ``WIDTHxHEIGHT``."""
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def split_alpha(pixels: AnyImage) -> tuple[AnyImage, AnyPlane | None]:
    """Separate the colours from the alpha channel, which is None if the image has none."""
    return (pixels[..., :-1], pixels[..., -1]) if pixels.shape[2] in (2, 4) else (pixels, None)


def join_alpha(colors: AnyImage, alpha: AnyPlane | None) -> AnyImage:
    """Append the alpha channel, if any, to the colours."""
    return colors if alpha is None else np.concatenate([colors, alpha[..., None]], 2)


def match_colors(first: LoadedOperand, second: LoadedOperand) -> tuple[LoadedOperand, LoadedOperand]:
    """Convert an operand in gray to RGB, in sRGB, where the other one has colours."""
    if any(operand.pixels.shape[2] >= 3 for operand in (first, second)):
        return _in_color(first), _in_color(second)
    return first, second


def _in_color(operand: LoadedOperand) -> LoadedOperand:
    if operand.pixels.shape[2] >= 3:
        return operand
    pixels, notes = gray_to_rgb(operand.pixels, operand.profile)
    return replace(operand, pixels=pixels, notes=operand.notes + notes, profile=b"")


def match_alpha(first: AnyImage, second: AnyImage) -> tuple[AnyImage, AnyImage]:
    """Append an opaque alpha where the other image of as many colours has one."""
    channels = max(first.shape[2], second.shape[2])

    def expand(pixels: AnyImage) -> AnyImage:
        return pixels if pixels.shape[2] == channels else join_alpha(pixels, np.ones_like(pixels[..., 0]))

    return expand(first), expand(second)


def match_sizes(first: LoadedOperand, second: LoadedOperand, how: str) -> tuple[LoadedOperand, LoadedOperand]:
    """Bring two operands to one size: ``crop`` or ``pad`` both around their centres, or ``resize`` the second."""
    a, b = first.pixels, second.pixels
    if a.shape[:2] == b.shape[:2]:
        return first, second
    if how == "resize":
        return first, replace(second, pixels=second.resized(a.shape[1], a.shape[0]))
    bound = min if how == "crop" else max
    height, width = bound(a.shape[0], b.shape[0]), bound(a.shape[1], b.shape[1])
    first = replace(first, pixels=_crop_or_pad(a, height, width))
    return first, replace(second, pixels=_crop_or_pad(b, height, width))


def _crop_or_pad(pixels: AnyImage, height: int, width: int) -> AnyImage:
    """Crop an image around its centre, or pad it by repeating its border pixels."""
    rows, columns = (
        np.clip(np.arange(size) + (length - size) // 2, 0, length - 1)
        for size, length in zip((height, width), pixels.shape[:2], strict=True)
    )
    resized: AnyImage = pixels[rows[:, None], columns]
    return resized
