"""IIIF Image API 3.0: what an address asks for, and what the server says it can do. Nothing of the web in here.

``/{identifier}/{region}/{size}/{rotation}/{quality}.{format}``: https://iiif.io/api/image/3.0/
"""

import re
from dataclasses import dataclass
from math import ceil, cos, radians, sin
from typing import Any

MAX_AREA = 1 << 24
"""Pixels of a single answer, at most: 4096 x 4096."""

MAX_SIDE = (1 << 14) - 1
"""Pixels of a side of a single answer, at most: what every format can hold (WebP the least)."""

MAX_FRAME = 5 * MAX_AREA // 2
"""Pixels of the frame around an image that is turned, at most; enough for those half as high as wide."""

TILE = 256
"""Side of the tiles that clients are told to ask for, in pixels."""

QUALITIES = ("default", "color", "gray", "bitonal")
FORMATS = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}

CONTEXT = "http://iiif.io/api/image/3/context.json"
PROFILE = "http://iiif.io/api/image/3/level2.json"

# Long enough for every image; Python would take minutes over a number of a million digits.
_WHOLE = r"(\d{1,9})"
_NUMBER = r"(\d{1,9}(?:\.\d{0,18})?|\.\d{1,18})"


class BadRequest(Exception):
    """A request that the protocol answers with status 400. The message says what is wrong with it."""


@dataclass(frozen=True)
class Region:
    """Part of an image, in its pixels; never empty, never beyond the border."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Request:
    """An image that is asked for.

    Attributes:
        region: of the image.
        width: of the region once scaled, in pixels, before it is turned.
        height: likewise.
        mirrored: left and right change places, before it is turned.
        rotation: clockwise, in degrees, 0 <= rotation < 360.
        quality: one of `QUALITIES`.
        format: one of `FORMATS`.
        canonical: the one way to write this request, ``region/size/rotation/quality.format``.
    """

    region: Region
    width: int
    height: int
    mirrored: bool
    rotation: float
    quality: str
    format: str
    canonical: str


def parse(region: str, size: str, rotation: str, last: str, *, width: int, height: int) -> Request:
    """Read the four last parts of an image's address, decoded.

    Args:
        region: ``full``, ``square``, ``x,y,w,h`` or ``pct:x,y,w,h``.
        size: ``max``, ``w,``, ``,h``, ``pct:n``, ``w,h`` or ``!w,h``; with ``^`` before it, the region may grow.
        rotation: degrees, with ``!`` before them mirrored.
        last: ``quality.format``.
        width: of the image, in pixels.
        height: of the image, in pixels.

    Raises:
        BadRequest: something that the protocol does not know, or does not allow.

    Example:
        >>> asked = parse("square", "^!100,50", "90", "gray.png", width=30, height=20)
        >>> asked.region, asked.width, asked.height
        (Region(x=5, y=0, width=20, height=20), 50, 50)
        >>> asked.canonical
        '5,0,20,20/^50,50/90/gray.png'
    """
    part = _region(region, width, height)
    columns, rows = _size(size, part)
    mirrored, degrees = _rotation(rotation)
    across, down = _frame(columns, rows, degrees)
    if not _allowed(across, down, MAX_FRAME):
        raise BadRequest(
            f"rotation {rotation!r} means {across} x {down} pixels; an answer that is turned has at most {MAX_FRAME} "
            f"of them, and {MAX_SIDE} a side"
        )
    quality, _, format = last.rpartition(".")
    if quality not in QUALITIES:
        raise BadRequest(f"quality {quality!r} is not one of {', '.join(QUALITIES)}")
    if format not in FORMATS:
        raise BadRequest(f"format {format!r} is not one of {', '.join(FORMATS)}")
    whole = part == Region(0, 0, width, height)
    canonical = "/".join(
        (
            "full" if whole else f"{part.x},{part.y},{part.width},{part.height}",
            _canonical_size(columns, rows, part),
            f"{'!' * mirrored}{degrees:.10f}".rstrip("0").rstrip("."),
            f"{quality}.{format}",
        )
    )
    return Request(part, columns, rows, mirrored, degrees, quality, format, canonical)


def information(address: str, width: int, height: int) -> dict[str, Any]:
    """What ``info.json`` says of an image.

    Args:
        address: of the image, without ``/info.json``.
        width: in pixels.
        height: in pixels.

    Example:
        >>> information("http://127.0.0.1/iiif/a", 768, 512)["tiles"]
        [{'width': 256, 'scaleFactors': [1, 2, 4]}]
    """
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
        "sizes": [{"width": w, "height": h} for w, h in sizes if _allowed(w, h)],
        "tiles": [{"width": TILE, "scaleFactors": factors}],
        "preferredFormats": ["png"],
        "extraFormats": ["webp"],
        "extraQualities": ["color", "gray", "bitonal"],
        "extraFeatures": [
            "canonicalLinkHeader",
            "mirroring",
            "profileLinkHeader",
            "rotationArbitrary",
            "sizeUpscaling",
        ],
    }


def _region(text: str, width: int, height: int) -> Region:
    if text == "full":
        return Region(0, 0, width, height)
    if text == "square":
        side = min(width, height)
        return Region((width - side) // 2, (height - side) // 2, side, side)
    if found := re.fullmatch(",".join([_WHOLE] * 4), text, re.ASCII):
        x, y, w, h = map(int, found.groups())
    elif found := re.fullmatch("pct:" + ",".join([_NUMBER] * 4), text, re.ASCII):
        left, top, share_x, share_y = (float(each) / 100 for each in found.groups())
        x, y = round(left * width), round(top * height)
        # A part of some per cent is never nothing, unless it is asked to be.
        w, h = (max(share > 0, round(share * side)) for share, side in ((share_x, width), (share_y, height)))
    else:
        raise BadRequest(f"region {text!r} is not of the form full, square, x,y,w,h or pct:x,y,w,h")
    w, h = min(w, width - x), min(h, height - y)
    if w < 1 or h < 1:
        raise BadRequest(f"region {text!r} is empty, or lies outside of the {width} x {height} pixels")
    return Region(x, y, w, h)


def _size(text: str, region: Region) -> tuple[int, int]:
    grows, asked = text.startswith("^"), text.removeprefix("^")
    if asked == "max":
        limit = _largest(region)
        scale = limit if grows else min(1.0, limit)
        return _scaled(region, scale)
    if found := re.fullmatch(f"{_WHOLE},", asked, re.ASCII):
        columns = int(found[1])
        rows = max(1, round(region.height * columns / region.width))
    elif found := re.fullmatch(f",{_WHOLE}", asked, re.ASCII):
        rows = int(found[1])
        columns = max(1, round(region.width * rows / region.height))
    elif found := re.fullmatch(f"{_WHOLE},{_WHOLE}", asked, re.ASCII):
        columns, rows = int(found[1]), int(found[2])
    elif found := re.fullmatch(f"pct:{_NUMBER}", asked, re.ASCII):
        share = float(found[1]) / 100
        if share == 0:
            raise BadRequest(f"size {text!r} leaves nothing")
        columns, rows = (max(1, round(share * side)) for side in (region.width, region.height))
        if share > 1 and not grows:
            raise _too_large(text, region)
    elif found := re.fullmatch(f"!{_WHOLE},{_WHOLE}", asked, re.ASCII):
        columns, rows = _confined(text, int(found[1]), int(found[2]), region, grows)
    else:
        raise BadRequest(f"size {text!r} is not of the form max, w,  ,h  pct:n  w,h or !w,h, with or without ^")
    if columns < 1 or rows < 1:
        raise BadRequest(f"size {text!r} leaves nothing")
    if not grows and (columns > region.width or rows > region.height):
        raise _too_large(text, region)
    if not _allowed(columns, rows):
        raise BadRequest(
            f"size {text!r} means {columns} x {rows} pixels; an answer has at most {MAX_AREA} of them, and "
            f"{MAX_SIDE} a side"
        )
    return columns, rows


def _confined(text: str, columns: int, rows: int, region: Region, grows: bool) -> tuple[int, int]:
    """The largest size with the region's proportions in a box."""
    if columns < 1 or rows < 1:
        raise BadRequest(f"size {text!r} leaves nothing")
    scale = min(columns / region.width, rows / region.height)
    # The text of the protocol would have the region as it is here; its validator asks for an error.
    if scale > 1 and not grows:
        raise _too_large(text, region)
    return _scaled(region, min(scale, _largest(region)))


def _scaled(region: Region, scale: float) -> tuple[int, int]:
    # A limit is never passed for the sake of rounding.
    rounded = int if scale != 1 and scale == _largest(region) else round
    return max(1, rounded(region.width * scale)), max(1, rounded(region.height * scale))


def _largest(region: Region) -> float:
    """What a region can be multiplied by before it passes a limit."""
    by_area: float = (MAX_AREA / (region.width * region.height)) ** 0.5
    return min(by_area, MAX_SIDE / region.width, MAX_SIDE / region.height)


def _allowed(columns: int, rows: int, most: int = MAX_AREA) -> bool:
    return columns * rows <= most and max(columns, rows) <= MAX_SIDE


def _too_large(text: str, region: Region) -> BadRequest:
    return BadRequest(
        f"size {text!r} is larger than the region, {region.width} x {region.height} pixels; put ^ before it"
    )


def _canonical_size(columns: int, rows: int, region: Region) -> str:
    grown = columns > region.width or rows > region.height
    if (columns, rows) == _size("max", region):
        return "max"
    if grown and (columns, rows) == _size("^max", region):
        return "^max"
    return f"{'^' * grown}{columns},{rows}"


def _rotation(text: str) -> tuple[bool, float]:
    found = re.fullmatch(f"(!?){_NUMBER}", text, re.ASCII)
    if found is None or not 0 <= float(found[2]) <= 360:
        raise BadRequest(f"rotation {text!r} is not a number of degrees from 0 to 360, with or without !")
    # As many places as the canonical form writes: what is written alike is answered alike.
    return found[1] == "!", round(float(found[2]), 10) % 360


def _frame(columns: int, rows: int, degrees: float) -> tuple[int, int]:
    """Sides of the frame that holds a turned image, and no less than it will have."""
    if degrees % 90 == 0:
        return columns, rows
    c, s = abs(cos(radians(degrees))), abs(sin(radians(degrees)))
    return ceil(columns * c + rows * s) + 1, ceil(columns * s + rows * c) + 1
