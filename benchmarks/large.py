"""Large images: cost per megapixel, peak memory, and a fit of 24 megapixels that is killed and resumed.

    EOREN_DATA=... python -m benchmarks.large

Every image is cropped from, or extended by reflection from, one photograph, so that they differ only in size.
"""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np

import eoren
from benchmarks.record import data, run_eoren, write_table

PRESET = ("--preset", "mosaic")
PHOTOGRAPH = "large/Boothbay.jpg"
SIZES = ((768, 512), (1536, 1024), (2448, 1632), (3504, 2336))  # 0.4 to 8.2 megapixels
STEPS = 60
LARGEST = (6000, 4000)
LARGEST_STEPS = 30
KILLED_AFTER = 75.0  # seconds: long enough for checkpoints that hold finished groups


def crop_photograph(size: tuple[int, int]) -> np.ndarray:
    """Crop the middle of the photograph to a size, reflected at its borders where it is too small."""
    image = eoren.read_image(data() / PHOTOGRAPH)
    for axis, side in ((1, size[0]), (0, size[1])):
        length = image.shape[axis]
        image = image.take(
            np.arange(side) + (length - side) // 2 if side <= length else _reflected(side, length), axis
        )
    return np.asarray(image)


def _reflected(side: int, length: int) -> np.ndarray:
    at = np.arange(side) % (2 * length)
    indices: np.ndarray = np.minimum(at, 2 * length - 1 - at)
    return indices


def fitted(path: Path, output: Path, *options: str) -> dict[str, Any]:
    """Run ``eoren fit``, and return its JSON output and its peak memory."""
    result, peak = run_eoren("fit", str(path), "-o", str(output), "--json", "-q", *PRESET, *options)
    return {**json.loads(result), "peak_memory_mib": peak}


def row(name: str, size: tuple[int, int], result: dict[str, Any]) -> dict[str, Any]:
    """Format a row of the table."""
    megapixels = size[0] * size[1] / 1e6
    return {
        "what": name,
        "megapixels": megapixels,
        "parameters": result["parameters"],
        "steps": result["steps"],
        "seconds": result["seconds"],
        "seconds_per_megapixel": result["seconds"] / megapixels,
        "psnr": result["psnr"],
        "gradient_psnr": result["gradient_psnr"],
        "peak_memory_mib": result["peak_memory_mib"],
    }


def kill(path: Path, output: Path, *options: str) -> float:
    """Start a fit, kill it, and return the seconds that it ran."""
    command = [sys.executable, "-m", "eoren", "fit", str(path), "-o", str(output), "-q", *PRESET, *options]
    started = monotonic()
    running = subprocess.Popen(command)
    sleep(KILLED_AFTER)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not output.exists(), "the fit ended before it was killed"
    assert Path(f"{output}.resume").exists()
    return monotonic() - started


def main() -> None:
    """Measure and write results/large.tsv."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, output = folder / "picture.png", folder / "field.eoren"
        for size in SIZES:
            eoren.write_image(path, crop_photograph(size))
            result = fitted(path, output, "--steps", str(STEPS), "--overwrite")
            rows.append(row("fit", size, result))
            print(*rows[-1].values(), sep="\t", file=sys.stderr)
        eoren.write_image(path, crop_photograph(LARGEST))
        largest = folder / "largest.eoren"
        lost = kill(path, largest, "--steps", str(LARGEST_STEPS))
        result = fitted(path, largest, "--steps", str(LARGEST_STEPS), "--resume")
        rows.append(row(f"fit, killed after {lost:.0f} s, then --resume", LARGEST, result))
        print(*rows[-1].values(), sep="\t", file=sys.stderr)
        for target, options in (("a.png", ()), ("b.tif", ("--scale", "2"))):
            peak = run_eoren("render", str(largest), "-o", str(folder / target), *options)[1]
            what = f"render {' '.join(options) or 'at its own size'}, {target[2:]}"
            rows.append({**dict.fromkeys(rows[0]), "what": what, "peak_memory_mib": peak})
    costs = [line["seconds_per_megapixel"] for line in rows[: len(SIZES)]]
    notes = [f"seconds per megapixel from 0.4 to 8 megapixels: {min(costs):.2f} to {max(costs):.2f}"]
    write_table("large", rows, notes)


if __name__ == "__main__":
    main()
