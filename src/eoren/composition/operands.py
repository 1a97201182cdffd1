"""What compositions are made from: images and fields, read and brought to the same size and channels."""

from dataclasses import dataclass
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
from eoren.image.decoders import most_pixels
from eoren.image.io import SourceImage, as_image, digest_of, read_source_image

Operand = ArrayLike | str | PathLike[str] | SourceImage | Field
"""An image as :func:`eoren.fit` takes it, or a field, or an ``.eoren`` file."""

# What a mask says below this is noise, and above one minus this: JPEG leaves some around every edge.
_MASK_NOISE = 0.02
Image = Float[np.ndarray, "_ _ _"]
Plane = Float[np.ndarray, "_ _"]


@dataclass(frozen=True, eq=False)
class Opened:
    """An operand that was read: an image, or a field rendered at its image's size.

    Attributes:
        pixels: ``(H, W, C)``, in [0, 1].
        sha256: of the file, or of the array, or of the field.
        notes: what was changed in reading.
        field: if it is one.
    """

    pixels: Image
    sha256: str
    notes: tuple[str, ...] = ()
    field: Field | None = None

    def sized(self, width: int, height: int) -> Image:
        """At another size: a field is asked for it, an image resampled."""
        if self.field is not None:
            rendered: Image = self.field.render(width, height).clip(0, 1)
            return rendered
        channels = np.moveaxis(self.pixels, 2, 0)
        scaled = [Pillow.fromarray(c).resize((width, height), Pillow.Resampling.BICUBIC) for c in channels]
        resampled: Image = np.stack([np.asarray(c) for c in scaled], 2).clip(0, 1)
        return resampled


def opened_as(operand: Operand) -> Opened:
    """Read an operand.

    Raises:
        EorenError: it cannot be read.
    """
    if isinstance(operand, str | PathLike):
        if Path(operand).suffix == ".eoren":
            operand = load(operand)
        else:
            operand = read_source_image(operand if isinstance(operand, str) else Path(operand))
    if isinstance(operand, Field):
        data = dumps(operand)
        width, height = operand.size
        if width * height > most_pixels(len(data)):
            raise EorenError(
                f"a field of {width} x {height} pixels and {len(data)} bytes: to be mixed, it would be drawn whole; "
                "draw it with 'eoren render --size', and give that picture"
            )
        digest = sha256(data).hexdigest()
        return Opened(operand.to("cpu").render().clip(0, 1), digest, field=operand.to("cpu"))
    if isinstance(operand, SourceImage):
        return Opened(operand.pixels, operand.sha256, operand.notes)
    pixels = as_image(operand)
    return Opened(pixels, digest_of(pixels))


def mask_of(mask: Opened, picture: Opened, what: str) -> Plane:
    """A mask's shares from 0 to 1: the mean of its colours, times its alpha.

    Raises:
        EorenError: it has another size than the image, called ``what``.
    """
    if mask.pixels.shape[:2] != picture.pixels.shape[:2]:
        raise EorenError(
            f"the mask is {size_of(mask.pixels)}, but the {what} {size_of(picture.pixels)}; give one of the same size"
        )
    shades, alpha = split(mask.pixels)
    share: Plane = shades.mean(2) if alpha is None else shades.mean(2) * alpha
    share[share < _MASK_NOISE] = 0
    share[share > 1 - _MASK_NOISE] = 1
    return share


def size_of(pixels: Shaped[np.ndarray, "_ _ ..."]) -> str:
    """Width and height, for people."""
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def split(pixels: Image) -> tuple[Image, Plane | None]:
    """Colours, and alpha if there is one."""
    return (pixels[..., :-1], pixels[..., -1]) if pixels.shape[2] in (2, 4) else (pixels, None)


def joined(colors: Image, alpha: Plane | None) -> Image:
    """Colours with alpha as their last channel, if there is one."""
    return colors if alpha is None else np.concatenate([colors, alpha[..., None]], 2)


def alike(first: Image, second: Image) -> tuple[Image, Image]:
    """With the same channels: gray as equal colours, a missing alpha as opaque, where the other has them."""
    colored = any(each.shape[2] >= 3 for each in (first, second))
    clear = any(each.shape[2] in (2, 4) for each in (first, second))

    def brought(pixels: Image) -> Image:
        colors, alpha = split(pixels)
        if colored and colors.shape[2] == 1:
            colors = colors.repeat(3, 2)
        if clear and alpha is None:
            alpha = np.ones(colors.shape[:2], colors.dtype)
        return joined(colors, alpha)

    return brought(first), brought(second)


def centred(pixels: Image, height: int, width: int) -> Image:
    """Cut, or continued by its border pixels, around its middle."""
    rows, columns = (
        np.clip(np.arange(size) + (have - size) // 2, 0, have - 1)
        for size, have in zip((height, width), pixels.shape[:2], strict=True)
    )
    found: Image = pixels[rows[:, None], columns]
    return found
