"""IIIF Image API 3.0 (https://iiif.io/api/image/3.0/), level 2: requests, ``info.json`` and image files.

The path of an image request is ``/{identifier}/{region}/{size}/{rotation}/{quality}.{format}``.
"""

import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from eoren.checks import check_choice
from eoren.errors import EorenError
from eoren.image.profiles import gray_to_rgb
from eoren.image.writers import as_pillow, to_unsigned

MAX_AREA = 1 << 24  # pixels of one response: 4096 x 4096
MAX_SIDE = (1 << 14) - 1  # pixels per side of one response: the limit of WebP, the lowest of all formats
TILE = 256  # side of the tiles that info.json recommends, in pixels

QUALITIES = ("default", "color", "gray", "bitonal")
FORMATS = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}

CONTEXT = "http://iiif.io/api/image/3/context.json"
PROFILE = "http://iiif.io/api/image/3/level2.json"

_ROTATIONS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
# Lossy formats are set to near-lossless quality; PNG compression is set for speed, as most clients are local.
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "jpg": {"format": "JPEG", "quality": 92, "subsampling": 0},
    "png": {"format": "PNG", "compress_level": 1},
    "webp": {"format": "WEBP", "quality": 92, "method": 1},
}
# Enough digits for every image; converting a number of a million digits takes minutes.
_WHOLE = r"(\d{1,9})"
_NUMBER = r"(\d{1,9}(?:\.\d{0,18})?|\.\d{1,18})"


@dataclass(frozen=True)
class Region:
    """A non-empty rectangle within an image, in pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class ImageRequest:
    """A parsed image request."""

    region: Region
    width: int  # of the scaled region before rotation, in pixels
    height: int
    rotation: int  # clockwise, in degrees
    quality: str
    format: str
    canonical: str  # region/size/rotation/quality.format


def parse(region: str, size: str, rotation: str, last: str, *, width: int, height: int) -> ImageRequest:
    """Parse the last four parts of an image request's path, after percent-decoding, for an image of a size.

    Raises:
        EorenError: a part is malformed, unsupported or beyond the limits.

    Example:
        >>> request = parse("square", "^!100,50", "90", "gray.png", width=30, height=20)
        >>> request.region, request.width, request.height
        (Region(x=5, y=0, width=20, height=20), 50, 50)
        >>> request.canonical
        '5,0,20,20/^50,50/90/gray.png'
    """
    part = _region(region, width, height)
    columns, rows = _size(size, part)
    check_choice("rotation", rotation, ("0", "90", "180", "270"))
    quality, _, format = last.rpartition(".")
    check_choice("quality", quality, QUALITIES)
    check_choice("format", format, FORMATS)
    whole = part == Region(0, 0, width, height)
    canonical_region = "full" if whole else f"{part.x},{part.y},{part.width},{part.height}"
    canonical = f"{canonical_region}/{_canonical_size(columns, rows, part)}/{rotation}/{last}"
    return ImageRequest(part, columns, rows, int(rotation), quality, format, canonical)


def information(address: str, width: int, height: int) -> dict[str, Any]:
    """Build the ``info.json`` of an image; ``address`` is that of the image, without ``/info.json``."""
    factors = [1]
    while factors[-1] * TILE < max(width, height):
        factors.append(2 * factors[-1])
    sizes = [(max(1, width // factor), max(1, height // factor)) for factor in reversed(factors)]
    return {
        "@context": CONTEXT,
        "id": address,
        "type": "ImageService3",
        "protocol": "http://iiif.io/api/image",
        "profile": "level2",
        "width": width,
        "height": height,
        "maxWidth": MAX_SIDE,
        "maxHeight": MAX_SIDE,
        "maxArea": MAX_AREA,
        "sizes": [{"width": w, "height": h} for w, h in sizes if _within_limits(w, h)],
        "tiles": [{"width": TILE, "scaleFactors": factors}],
        "preferredFormats": ["png"],
        "extraFormats": ["webp"],
        "extraQualities": ["color", "gray", "bitonal"],
        "extraFeatures": ["canonicalLinkHeader", "profileLinkHeader", "sizeUpscaling"],
    }


def encode(pixels: UInt8[np.ndarray, "height width channels"], request: ImageRequest, profile: bytes = b"") -> bytes:
    """Rotate a drawn region, convert it to the requested quality and encode it in the requested format.

    ``profile`` is the ICC profile of the colours; qualities without colours leave it out. WebP has no gray: it is
    converted from its profile to sRGB.
    """
    if request.quality not in ("default", "color"):
        profile = b""
    if profile and request.format == "webp" and pixels.shape[2] < 3:
        pixels, profile = to_unsigned(gray_to_rgb(pixels / np.float32(255), profile)[0]), b""
    image = as_pillow(pixels)
    if request.rotation:
        image = image.transpose(_ROTATIONS[request.rotation])
    if image.has_transparency_data and (request.format == "jpg" or request.quality == "bitonal"):
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    if request.quality in ("gray", "bitonal") or pixels.shape[2] < 3:
        image = image.convert("LA" if image.has_transparency_data else "L")
    if request.quality == "bitonal":
        image = image.point([0] * 128 + [255] * 128, "1")
    file = io.BytesIO()
    image.save(file, **_SAVE_OPTIONS[request.format], icc_profile=profile or None)
    return file.getvalue()


def _region(text: str, width: int, height: int) -> Region:
    if text == "full":
        return Region(0, 0, width, height)
    if text == "square":
        side = min(width, height)
        return Region((width - side) // 2, (height - side) // 2, side, side)
    if match := re.fullmatch(",".join([_WHOLE] * 4), text, re.ASCII):
        x, y, w, h = map(int, match.groups())
    elif match := re.fullmatch("pct:" + ",".join([_NUMBER] * 4), text, re.ASCII):
        left, top, share_x, share_y = (float(number) / 100 for number in match.groups())
        x, y = round(left * width), round(top * height)
        # A positive percentage selects at least one pixel.
        w, h = max(share_x > 0, round(share_x * width)), max(share_y > 0, round(share_y * height))
    else:
        raise EorenError(f"region must be of the form full, square, x,y,w,h or pct:x,y,w,h, got {text!r}")
    w, h = min(w, width - x), min(h, height - y)
    if w < 1 or h < 1:
        raise EorenError(f"region must contain at least one of the {width} x {height} pixels, got {text!r}")
    return Region(x, y, w, h)


def _size(text: str, region: Region) -> tuple[int, int]:
    upscaling, form = text.startswith("^"), text.removeprefix("^")
    match = re.fullmatch(f"{_WHOLE}?,{_WHOLE}?|pct:{_NUMBER}|!{_WHOLE},{_WHOLE}|max", form, re.ASCII)
    if match is None or form == ",":
        raise EorenError(f"size must be max, w,  ,h  pct:n  w,h or !w,h, with or without ^, got {text!r}")
    width, height, percentage, box_width, box_height = match.groups()
    scale = 0.0
    if width or height:
        columns = int(width) if width else max(1, round(region.width * int(height) / region.height))
        rows = int(height) if height else max(1, round(region.height * int(width) / region.width))
    else:
        if percentage:
            scale = float(percentage) / 100
        elif box_width:
            scale = min(int(box_width) / region.width, int(box_height) / region.height)
        else:
            scale = _largest_scale(region) if upscaling else min(1.0, _largest_scale(region))
        # The largest size within a box also respects the limits.
        fitted = min(scale, _largest_scale(region)) if box_width else scale
        columns, rows = _scaled(region, fitted) if scale else (0, 0)
    if columns < 1 or rows < 1:
        raise EorenError(f"size must be at least one pixel, got {text!r}")
    # For !w,h the specification returns the region unscaled; its official validator expects an error.
    if not upscaling and (scale > 1 or columns > region.width or rows > region.height):
        raise EorenError(
            f"size must not exceed the region of {region.width} x {region.height} pixels, got {text!r}; put ^ in "
            "front to enlarge"
        )
    if not _within_limits(columns, rows):
        raise EorenError(
            f"size must be at most {MAX_AREA} pixels and {MAX_SIDE} per side, got {text!r}: {columns} x {rows}"
        )
    return columns, rows


def _scaled(region: Region, scale: float) -> tuple[int, int]:
    # At the largest scale, rounding up would exceed a limit.
    rounded = int if scale != 1 and scale == _largest_scale(region) else round
    return max(1, rounded(region.width * scale)), max(1, rounded(region.height * scale))


def _largest_scale(region: Region) -> float:
    by_area: float = (MAX_AREA / (region.width * region.height)) ** 0.5
    return min(by_area, MAX_SIDE / region.width, MAX_SIDE / region.height)


def _within_limits(columns: int, rows: int) -> bool:
    return columns * rows <= MAX_AREA and max(columns, rows) <= MAX_SIDE


def _canonical_size(columns: int, rows: int, region: Region) -> str:
    upscaling = "^" if columns > region.width or rows > region.height else ""
    is_largest = (columns, rows) == _size(f"{upscaling}max", region)
    return f"{upscaling}max" if is_largest else f"{upscaling}{columns},{rows}"
