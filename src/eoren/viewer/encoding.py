"""Rotation, quality and file format of a drawn region."""

import io
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from eoren.cancellation import CancelToken
from eoren.viewer.catalog import View
from eoren.viewer.iiif import ImageRequest
from eoren.viewer.layers import draw

_ROTATIONS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
# Lossy formats are set to near-lossless quality; PNG compression is set for speed, as most clients are local.
_OPTIONS: dict[str, dict[str, Any]] = {
    "jpg": {"format": "JPEG", "quality": 92, "subsampling": 0},
    "png": {"format": "PNG", "compress_level": 1},
    "webp": {"format": "WEBP", "quality": 92, "method": 1},
}


def render(view: View, request: ImageRequest, token: CancelToken) -> bytes:
    """Draw and encode the image of a request.

    Raises:
        Cancelled: the token was cancelled.
    """
    return encode(draw(view, request.region, request.width, request.height, token=token), request)


def encode(pixels: UInt8[np.ndarray, "height width channels"], request: ImageRequest) -> bytes:
    """Rotate a drawn region, convert it to the requested quality and encode it in the requested format."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if request.rotation:
        image = image.transpose(_ROTATIONS[request.rotation])
    if image.has_transparency_data and (request.format == "jpg" or request.quality == "bitonal"):
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    if request.quality in ("gray", "bitonal") or pixels.shape[2] < 3:
        image = image.convert("LA" if image.has_transparency_data else "L")
    if request.quality == "bitonal":
        image = image.point([0] * 128 + [255] * 128, "1")
    file = io.BytesIO()
    image.save(file, **_OPTIONS[request.format])
    return file.getvalue()
