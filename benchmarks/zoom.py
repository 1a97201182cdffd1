"""Interpolation: images are reduced, fitted, rendered at full size and compared with the original.

    EOREN_DATA=... python -m benchmarks.zoom --bits-per-pixel 8 --scales 2,3,4 --name zoom-8

For comparison: cubic and quintic spline interpolation of the same reduced image (SciPy), with aligned pixel centres,
the quintic spline whose cell averages are the pixels, and the field without its edge prior. Images are reduced by
Pillow's bicubic filter and rounded to 8 bits, as is common in tests of this kind.
"""

import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

import eoren
from benchmarks.record import data, write_table
from eoren.cli import main as eoren_command
from eoren.evaluation.metrics import psnr
from eoren.field.serialization import dumps
from eoren.field.wavelet_siren import WaveletSiren
from eoren.image.cell_averages import point_values

SETS = ("set5", "set14", "kodak")


def reduced(image: np.ndarray, scale: int = 2) -> np.ndarray:
    """Reduce an image ``(H, W, C)`` in [0, 1], whose sides are multiples of the scale, and round to 8 bits."""
    height, width, channels = image.shape
    samples = (image * 255).round().astype(np.uint8)
    planes = [Image.fromarray(samples[..., c]) for c in range(channels)]
    small = [np.asarray(p.resize((width // scale, height // scale), Image.Resampling.BICUBIC)) for p in planes]
    return np.stack(small, -1).astype(np.float32) / 255


def spline(image: np.ndarray, order: int, scale: int = 2) -> np.ndarray:
    """Sample the interpolating spline through the pixels at a multiple of the size."""
    height, width, channels = image.shape
    rows, columns = ((np.arange(scale * n) + 0.5) / scale - 0.5 for n in (height, width))
    at = np.meshgrid(rows, columns, indexing="ij")
    planes = [map_coordinates(image[..., c], at, np.float64, order, mode="mirror") for c in range(channels)]
    return np.stack(planes, -1)


def row(name: str, path: Path, scale: int, options: list[str]) -> dict[str, Any]:
    """Measure one image by all methods."""
    image = eoren.read_image(path)
    image = image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale]
    small = reduced(image, scale)
    with tempfile.TemporaryDirectory() as folder:
        source, output = str(Path(folder) / "small.png"), str(Path(folder) / "field.eoren")
        eoren.write_image(source, small)
        with suppress(SystemExit):  # a failed fit leaves no file
            eoren_command(["fit", source, "-o", output, "-q", *options])
        field = eoren.load(output)
    # Without a border of 8 pixels, where interpolation has no data beyond the image.
    inner = np.s_[8:-8, 8:-8]
    cubic, ours = spline(small, 3, scale), field.render(image.shape[1], image.shape[0])
    metrics = field.provenance.metrics
    return {
        "set": name,
        "picture": path.stem,
        "scale": scale,
        "field": psnr(ours, image),
        "field_without_prior": psnr(_without_prior(field).render(image.shape[1], image.shape[0]), image),
        "cubic_spline": psnr(cubic, image),
        "quintic_spline": psnr(spline(small, 5, scale), image),
        "quintic_spline_of_averages": psnr(spline(point_values(small), 5, scale), image),
        "field_inside": psnr(ours[inner], image[inner]),
        "cubic_spline_inside": psnr(cubic[inner], image[inner]),
        "fit_psnr": metrics["psnr"],
        "fit_gradient_psnr": metrics["gradient_psnr"],
        "bits_per_pixel": 8 * len(dumps(field)) / (small.shape[0] * small.shape[1]),
    }


def _without_prior(field: eoren.Field) -> eoren.Field:
    representation = field.representation
    if not isinstance(representation, WaveletSiren):
        return field
    return replace(field, representation=replace(representation, prior=0))


def _take_option(options: list[str], name: str, default: str) -> str:
    """Remove an option of this script and return its value."""
    if name not in options:
        return default
    at = options.index(name)
    value = options[at + 1]
    del options[at : at + 2]
    return value


def _mean(lines: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Average measurements, and add the smallest gain over the cubic spline."""
    words = {"set": name, "picture": "mean", "scale": lines[0]["scale"]}
    means = {key: mean(line[key] for line in lines) for key in lines[0] if key not in words}
    return {**words, **means, "least_gain": min(line["field"] - line["cubic_spline"] for line in lines)}


def main() -> None:
    """Run all sets; options but ``--name``, the file in results, and ``--scales`` go to ``eoren fit``."""
    options = sys.argv[1:]
    result = _take_option(options, "--name", "zoom")
    scales = [int(scale) for scale in _take_option(options, "--scales", "2").split(",")]
    rows = []
    for scale in scales:
        every = []
        for name in SETS:
            lines = []
            for path in sorted((data() / name).glob("*.png")):
                lines.append(row(name, path, scale, options))
                lines[-1]["least_gain"] = lines[-1]["field"] - lines[-1]["cubic_spline"]
                print(*lines[-1].values(), sep="\t", file=sys.stderr)
            rows += [*lines, _mean(lines, name)]
            every += lines
        rows.append(_mean(every, "all"))
    write_table(result, rows)


if __name__ == "__main__":
    main()
