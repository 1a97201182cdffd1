"""Interpolation: images are halved, fitted, rendered at full size and compared with the original.

    EOREN_DATA=... python -m benchmarks.zoom --set pixel_model=cell_average --set tile=28 --steps 800

For comparison, cubic and quintic spline interpolation of the same halved image (SciPy), with aligned pixel centres,
and the quintic spline whose cell averages are the pixels. Images are halved by Pillow's bicubic filter and rounded
to 8 bits, as is common in tests of this kind.
"""

import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

import eoren
from benchmarks.kodak import with_preset
from benchmarks.record import data, run_eoren, write_table
from eoren.evaluation.metrics import psnr
from eoren.field.serialization import dumps
from eoren.image.cell_averages import point_values

SETS = ("set5", "set14", "kodak")


def halved(image: np.ndarray) -> np.ndarray:
    """Halve an image ``(H, W, C)`` in [0, 1] with even sides, and round to 8 bits."""
    height, width, channels = image.shape
    samples = (image * 255).round().astype(np.uint8)
    planes = [Image.fromarray(samples[..., c]) for c in range(channels)]
    small = [np.asarray(p.resize((width // 2, height // 2), Image.Resampling.BICUBIC)) for p in planes]
    return np.stack(small, -1).astype(np.float32) / 255


def spline(image: np.ndarray, order: int) -> np.ndarray:
    """Sample the interpolating spline through the pixels at twice the size."""
    height, width, channels = image.shape
    rows, columns = ((np.arange(2 * n) + 0.5) / 2 - 0.5 for n in (height, width))
    at = np.meshgrid(rows, columns, indexing="ij")
    planes = [map_coordinates(image[..., c], at, np.float64, order, mode="mirror") for c in range(channels)]
    return np.stack(planes, -1)


def row(name: str, path: Path, options: list[str]) -> dict[str, Any]:
    """Measure one image by all methods."""
    image = eoren.read_image(path)
    image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    small = halved(image)
    with tempfile.TemporaryDirectory() as folder:
        source, output = str(Path(folder) / "small.png"), str(Path(folder) / "field.eoren")
        eoren.write_image(source, small)
        run_eoren("fit", source, "-o", output, "-q", *with_preset(options))
        field = eoren.load(output)
    ours = field.render(image.shape[1], image.shape[0])
    # Without a border of 8 pixels, where interpolation has no data beyond the image.
    inner = np.s_[8:-8, 8:-8]
    cubic = spline(small, 3)
    return {
        "set": name,
        "picture": path.stem,
        "ours": psnr(ours, image),
        "cubic_spline": psnr(cubic, image),
        "quintic_spline": psnr(spline(small, 5), image),
        "quintic_spline_of_averages": psnr(spline(point_values(small), 5), image),
        "ours_inside": psnr(ours[inner], image[inner]),
        "cubic_spline_inside": psnr(cubic[inner], image[inner]),
        "fit_psnr": field.provenance.metrics["psnr"],
        "seconds": field.provenance.seconds,
        "bits_per_pixel": 8 * len(dumps(field)) / (image.shape[0] * image.shape[1]),
    }


def main() -> None:
    """Run all sets and write results/zoom.tsv; options go to ``eoren fit``, ``--name`` is the name of the file."""
    options = sys.argv[1:]
    result = "zoom"
    if "--name" in options:
        at = options.index("--name")
        result = options[at + 1]
        del options[at : at + 2]
    rows = []
    for name in SETS:
        dataset_rows = []
        for path in sorted((data() / name).glob("*.png")):
            dataset_rows.append(row(name, path, options))
            print(*dataset_rows[-1].values(), sep="\t", file=sys.stderr)
        keys = [key for key in dataset_rows[0] if key not in ("set", "picture")]
        means = {key: mean(line[key] for line in dataset_rows) for key in keys}
        rows += [*dataset_rows, {"set": name, "picture": "mean", **means}]
    every = [line for line in rows if line["picture"] != "mean"]
    rows.append({"set": "all", "picture": "mean", **{key: mean(line[key] for line in every) for key in means}})
    write_table(result, rows)


if __name__ == "__main__":
    main()
