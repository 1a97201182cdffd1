"""Draw the first picture of the README: a detail sixteen times enlarged, by four ways, and its gradient.

    python -m tools.draw_zoom --output docs/pictures/zoom.jpg

The ways are the pixels, the cubic spline through them, a SIREN fitted to the colours of the pixels for a minute, and
the default fit of this library; the SIREN has as many bytes, with weights of 16 bits. The gradient of the pixels is
that of central differences; the others are the derivatives of the functions that are shown.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from scipy.interpolate import RectBivariateSpline

import eoren
from eoren.field.serialization import dumps
from eoren.training.presets import PRESETS
from eoren.visualization.derivatives import magnitude_image

PICTURE = "sample:astronaut"
LEFT, TOP, SIDE = 194, 88, 24
"""The detail, in pixels: an eye."""
SCALE = 16
_GAP, _LABEL, _FONT = 12, 48, 36
_INK, _PAPER = (31, 35, 40), (255, 255, 255)

Pixels = Float[np.ndarray, "height width channels"]
Gradient = Float[np.ndarray, "height width channels 2"]


class Way(NamedTuple):
    """One way to enlarge the detail."""

    label: str
    color: Pixels
    gradient: Gradient  # intensity per pixel


def ways(seconds: float) -> Iterator[Way]:
    """Enlarge the detail in every way."""
    image = eoren.read_image(PICTURE)
    height, width, channels = image.shape
    detail = np.s_[TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    differences = np.stack(np.gradient(image, axis=(1, 0)), -1)
    yield Way("pixels", _repeated(image[detail]), _repeated(differences[detail]))

    rows, columns = ((start - 0.5 + (np.arange(SIDE * SCALE) + 0.5) / SCALE) for start in (TOP, LEFT))
    splines = [RectBivariateSpline(np.arange(height), np.arange(width), image[..., c]) for c in range(channels)]
    values = [np.stack([s(rows, columns, dx=dy, dy=dx) for s in splines], -1) for dx, dy in ((0, 0), (1, 0), (0, 1))]
    yield Way("cubic spline", values[0], np.stack(values[1:], -1))

    compact = eoren.fit(PICTURE).field
    size = len(dumps(compact))
    settings = replace(PRESETS["single"], parameters=size // 2)
    # The nearest width that the native backend trains.
    units = 16 * round(settings.architecture(width, height, channels)[1] / 16)
    siren = eoren.fit(PICTURE, preset="single", objective="pixel", width=units, bits=16, seconds=seconds).field
    for label, field in (("SIREN", siren), (f"compact field, {size / 1000:.0f} kB", compact)):
        region = LEFT / width, TOP / height, (LEFT + SIDE) / width, (TOP + SIDE) / height
        color, gradient = (
            field.render(SIDE * SCALE, SIDE * SCALE, region=region, show=show) for show in ("color", "gradient")
        )
        yield Way(label, color, gradient / [width, height])


def _repeated(values: np.ndarray) -> np.ndarray:
    return values.repeat(SCALE, 0).repeat(SCALE, 1)


def draw(found: list[Way]) -> Image.Image:
    """Arrange colours above gradients, with a label over each column."""
    side, font = SIDE * SCALE, ImageFont.load_default(size=_FONT)
    sheet = Image.new("RGB", (len(found) * (side + _GAP) - _GAP, _LABEL + 2 * side + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, way in enumerate(found):
        left = number * (side + _GAP)
        pen.text((left + side / 2, _LABEL / 2 - 2), way.label, _INK, font, anchor="mm")
        for row, pixels in enumerate((way.color, magnitude_image(way.gradient).repeat(3, 2))):
            samples = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
            sheet.paste(Image.fromarray(samples), (left, _LABEL + row * (side + _GAP)))
    return sheet


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60, help="time of the SIREN")
    chosen = parser.parse_args()
    draw(list(ways(chosen.seconds))).save(chosen.output, quality=92, subsampling=0)


if __name__ == "__main__":
    main()
