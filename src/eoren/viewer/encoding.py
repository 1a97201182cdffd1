"""From a drawn region to the bytes of an answer: mirroring, turning, quality, format."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from eoren.viewer.catalog import View
from eoren.viewer.iiif import Request
from eoren.viewer.layers import draw

_TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
# Lossy formats show edges nearly as they are; PNG is packed fast, for it travels no further than this machine.
_OPTIONS: dict[str, dict[str, Any]] = {
    "jpg": {"format": "JPEG", "quality": 92, "subsampling": 0},
    "png": {"format": "PNG", "compress_level": 1},
    "webp": {"format": "WEBP", "quality": 92, "method": 1},
}


def answer(view: View, request: Request, go_on: Callable[[], None]) -> bytes:
    """The file that answers a request; ``go_on`` is called every now and then, and may raise to end it."""
    return encoded(draw(view, request.region, request.width, request.height, go_on=go_on), request)


def encoded(pixels: UInt8[np.ndarray, "height width channels"], request: Request) -> bytes:
    """A drawn region, mirrored and turned and in the quality and format that are asked for."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if request.mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if request.rotation in _TURNS:
        image = image.transpose(_TURNS[int(request.rotation)])
    elif request.rotation:
        image = _turned(image, request.rotation)
    if request.format == "jpg" and "A" in image.getbands():  # has no transparency
        image = _on_white(image)
    image = _in_quality(image, request.quality)
    if request.format == "webp" and image.mode in ("LA", "1"):  # knows neither
        image = image.convert("RGBA" if image.mode == "LA" else "L")
    file = io.BytesIO()
    image.save(file, **_OPTIONS[request.format])
    return file.getvalue()


def _turned(image: Image.Image, degrees: float) -> Image.Image:
    """Clockwise by any angle, in a frame that holds all of it; what is outside of the image is transparent."""
    with_alpha = image.convert("LA" if image.mode in ("L", "LA") else "RGBA")
    return with_alpha.rotate(-degrees, Image.Resampling.BICUBIC, expand=True)


def _on_white(image: Image.Image) -> Image.Image:
    page = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(page, image.convert("RGBA")).convert("L" if image.mode == "LA" else "RGB")


def _in_quality(image: Image.Image, quality: str) -> Image.Image:
    alpha = "A" in image.getbands()
    if quality == "gray":
        return image.convert("LA" if alpha else "L")
    if quality == "bitonal":
        gray = (_on_white(image) if alpha else image).convert("L")
        return gray.point([0] * 128 + [255] * 128, "1")
    return image
