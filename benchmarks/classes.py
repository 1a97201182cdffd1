"""Gradients or pixels: fields and codecs at equal bytes, by class of picture.

    EOREN_DATA=... python -m benchmarks.classes

Pictures are squares of 224 pixels: crops in their own resolution; digits enlarged bilinearly, as the paper does;
drawn lines; printed text. Each is reduced by Pillow's bicubic filter to 112 pixels, and that is stored in 6,738
bytes, 4.3 bits per pixel: as a compact field, by JPEG 2000 and AVIF (whole files), and as networks: four sine layers
of 32, whose numbers of 16 bits take these bytes, or a mosaic of at most five networks of three layers of 16;
descriptions of networks are not counted. Networks train for as long as the fit of the compact field took, and again
for 10 s. Colours and gradients are measured at the pixels, colours at twice the size against the picture before it
was reduced. Codecs are read through the quintic spline of the reference gradient. PSNRs above 80 dB count as 80 dB.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from statistics import mean
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

import eoren
from benchmarks.record import data, write_table
from benchmarks.zoom import reduced
from eoren.evaluation.metrics import psnr
from eoren.experiments.datasets import first_digits
from eoren.experiments.rates import render_spline
from eoren.experiments.results import interval
from eoren.experiments.rivals import RIVALS, unit
from eoren.image.gradients import pixel_gradient
from eoren.image.writers import to_unsigned

SIDE = 224
BYTES = 6738
SECONDS = 10.0
LIMIT: int | None = None  # pictures of a class
SEED = 0
_HIGHEST = 80.0  # dB
METRICS = ("psnr", "gradient_psnr", "zoom_psnr")
_EQUAL = 0.1  # of the bytes
_NO_DIFFERENCES = {f"{name}_minus_compact": "" for name in METRICS}

FACES = ("set5/baby", "set5/head", "set5/woman", "set14/lenna", "kodak/kodim04", "kodak/kodim15")
TEXTURES = ("set14/baboon", "set14/barbara", "set14/bridge", "set14/zebra", "kodak/kodim08", "kodak/kodim13")
PHOTOGRAPHS = ("set5/bird", "set14/flowers", "set14/monarch", "set14/pepper", "kodak/kodim05", "kodak/kodim19")
_PAPER = {"preset": "paper", "width": 32, "depth": 4, "learning_rate": 4e-4}
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "EoREN (paper)": {**_PAPER, "objective": "gradient"},
    "SIREN + pixels": {**_PAPER, "objective": "pixel"},
    "mosaic": {"preset": "mosaic", "width": 16, "tile": 50},
}
CODECS = ("jpeg2000", "avif6psnr")
Draw = Callable[[ImageDraw.ImageDraw, np.random.Generator], None]


def digits() -> Iterator[tuple[str, np.ndarray]]:
    """Enlarge one digit of each kind."""
    for label, _, image in first_digits(1):
        gray = Pillow.fromarray(to_unsigned(image)[..., 0])
        large = np.asarray(gray.resize((SIDE, SIDE), Pillow.Resampling.BILINEAR))
        yield f"digit {label}", unit(large[..., None]).astype(np.float32)


def drawn(name: str, draw: Draw) -> Iterator[tuple[str, np.ndarray]]:
    """Draw pages at four times the size, and reduce them."""
    for seed in range(6):
        page = Pillow.new("RGB", (4 * SIDE, 4 * SIDE), "white")
        draw(ImageDraw.Draw(page), np.random.default_rng(seed))
        small = page.resize((SIDE, SIDE), Pillow.Resampling.BOX)
        yield f"{name} {seed}", unit(np.asarray(small)).astype(np.float32)


def lines(page: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Draw outlined shapes in flat colours, and lines."""
    size = 4 * SIDE
    for _ in range(12):
        corners = [tuple(point) for point in rng.uniform(0, size, (int(rng.integers(2, 6)), 2)).tolist()]
        color, width = tuple(rng.integers(0, 256, 3).tolist()), int(rng.integers(4, 17))
        if len(corners) > 2:
            page.polygon(corners, fill=color, outline="black", width=width)
        else:
            page.line(corners, fill=color, width=width)
        x, y, radius = rng.uniform(0, size, 3) * [1, 1, 0.2]
        page.ellipse((x, y, x + radius, y + radius), outline=tuple(rng.integers(0, 256, 3).tolist()), width=width)


def text(page: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Print lines of words in sizes of 10 to 28 pixels."""
    letters, y = np.array([*"abcdefghijklmnopqrstuvwxyz"]), 8.0
    while y < 4 * SIDE:
        height = 4 * int(rng.integers(10, 29))
        words = ["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(24)]
        page.text((16, y), " ".join(words).capitalize(), "black", font=ImageFont.load_default(height))
        y += 1.3 * height


def crops(*names: str) -> Iterator[tuple[str, np.ndarray]]:
    """Crop the centres of pictures."""
    for name in names:
        image = eoren.read_image(data() / f"{name}.png")
        top, left = (image.shape[0] - SIDE) // 2, (image.shape[1] - SIDE) // 2
        yield name, np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE], np.float32)


def printed() -> Iterator[tuple[str, np.ndarray]]:
    """Yield the corner of a slide, and printed pages."""
    slide = eoren.read_image(data() / "set14" / "ppt3.png")
    yield "set14/ppt3", np.ascontiguousarray(slide[:SIDE, :SIDE], np.float32)
    yield from drawn("text", text)


CLASSES: Mapping[str, Callable[[], Iterator[tuple[str, np.ndarray]]]] = {
    "digits": digits,
    "drawings": lambda: drawn("drawing", lines),
    "text": printed,
    "faces": lambda: crops(*FACES),
    "textures": lambda: crops(*TEXTURES),
    "photographs": lambda: crops(*PHOTOGRAPHS),
}


def measure(image: np.ndarray) -> Iterator[dict[str, Any]]:
    """Store the reduced picture in all ways, and measure each."""
    small = reduced(image)
    fitted = eoren.fit(small, bytes=BYTES, seed=SEED)
    yield {"method": "compact", **quality(fitted, image), "bytes": fitted.bytes, "seconds": fitted.seconds}
    for label, seconds in (("", fitted.seconds), (f", {SECONDS:g} s", SECONDS)):
        for name, options in NETWORKS.items():
            result = eoren.fit(small, **options, bits=16, seconds=seconds, seed=SEED)
            numbers = {"bytes": 2 * result.field.parameters, "seconds": result.seconds}
            yield {"method": name + label, **quality(result, image), **numbers}
    pixels, gradient = to_unsigned(small), pixel_gradient(small)
    for key in CODECS:
        rival = RIVALS[key]
        decoded, coded = rival.measure(pixels, small, gradient, rival.setting_of_size(pixels, BYTES))
        zoomed = render_spline(unit(decoded).astype(np.float32), SIDE, SIDE)
        measured = {"psnr": coded.psnr, "gradient_psnr": coded.gradient_psnr, "zoom_psnr": psnr(zoomed, image)}
        yield {"method": rival.title, **measured, "bytes": coded.bytes, "seconds": coded.encode_seconds}


def quality(result: eoren.FitResult, image: np.ndarray) -> dict[str, float]:
    """Measure a field at the pixels and at twice the size."""
    zoomed = psnr(result.field.render(SIDE, SIDE), image)
    return {"psnr": result.metrics.psnr_8bit, "gradient_psnr": result.metrics.gradient_psnr, "zoom_psnr": zoomed}


def summary(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Average over the pictures of each class, with intervals of the differences from the compact field.

    Files whose sizes differ by more than `_EQUAL` have no difference: codecs stop growing at their best quality.
    """
    for kind in CLASSES:
        chosen = [row for row in rows if row["class"] == kind]
        ours = {row["picture"]: row for row in chosen if row["method"] == "compact"}
        for method in dict.fromkeys(row["method"] for row in chosen):
            of_method = [row for row in chosen if row["method"] == method]
            equal = [row for row in of_method if abs(row["bytes"] / ours[row["picture"]]["bytes"] - 1) <= _EQUAL]
            means = {name: mean(row[name] for row in of_method) for name in (*METRICS, "bytes", "seconds")}
            differences = {
                f"{name}_minus_compact": str(interval([row[name] - ours[row["picture"]][name] for row in equal]))
                for name in METRICS
                if equal
            }
            count = f"mean of {len(of_method)}, {len(equal)} of equal bytes"
            yield {"class": kind, "picture": count, "method": method, **means, **_NO_DIFFERENCES, **differences}


def main() -> None:
    """Measure all pictures, and write results/classes.tsv."""
    rows: list[dict[str, Any]] = []
    for kind, pictures in CLASSES.items():
        for name, image in islice(pictures(), LIMIT):
            for row in measure(image):
                row |= {metric: min(row[metric], _HIGHEST) for metric in METRICS}
                rows.append({"class": kind, "picture": name, **row})
                print(*rows[-1].values(), sep="\t", file=sys.stderr)
    write_table("classes", [*({**row, **_NO_DIFFERENCES} for row in rows), *summary(rows)], [f"seed {SEED}"])


if __name__ == "__main__":
    main()
