"""Large images: cost per megapixel, peak memory, and a fit of 24 megapixels that is killed and resumed.

    EOREN_DATA=... python -m benchmarks.large                    # mosaics
    EOREN_DATA=... python -m benchmarks.large --preset balanced  # compact fields

Every image is cropped from, or extended by reflection from, one photograph, so that they differ only in size.
"""

import argparse
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

PHOTOGRAPH = "large/Boothbay.jpg"
SIZES = ((768, 512), (1536, 1024), (2448, 1632), (3504, 2336))  # 0.4 to 8.2 megapixels
STEPS, COMPACT_STEPS = 60, 12
LARGEST = (6000, 4000)
LARGEST_STEPS, LARGEST_COMPACT_STEPS = 30, 24
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
    result, peak = run_eoren("fit", str(path), "-o", str(output), "--json", "-q", *options)
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
    command = [sys.executable, "-m", "eoren", "fit", str(path), "-o", str(output), "-q", *options]
    started = monotonic()
    running = subprocess.Popen(command)
    sleep(KILLED_AFTER)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not output.exists(), "the fit ended before it was killed"
    assert Path(f"{output}.resume").exists()
    return monotonic() - started


def main() -> None:
    """Measure and write results/large.tsv, or results/large_PRESET.tsv for a compact preset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="mosaic", choices=["mosaic", "fast", "balanced", "best"])
    preset, rows = parser.parse_args().preset, []
    is_mosaic = preset == "mosaic"
    steps, largest_steps = (STEPS, LARGEST_STEPS) if is_mosaic else (COMPACT_STEPS, LARGEST_COMPACT_STEPS)
    options = ("--preset", preset, "--steps")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, output = folder / "picture.png", folder / "field.eoren"
        for size in SIZES:
            eoren.write_image(path, crop_photograph(size))
            result = fitted(path, output, *options, str(steps), "--overwrite")
            rows.append(row("fit", size, result))
            print(*rows[-1].values(), sep="\t", file=sys.stderr)
        eoren.write_image(path, crop_photograph(LARGEST))
        largest = folder / "largest.eoren"
        lost = kill(path, largest, *options, str(largest_steps))
        result = fitted(path, largest, *options, str(largest_steps), "--resume")
        rows.append(row(f"fit, killed after {lost:.0f} s, then --resume", LARGEST, result))
        print(*rows[-1].values(), sep="\t", file=sys.stderr)
        for target, scale in (("a.png", ()), ("b.tif", ("--scale", "2"))):
            peak = run_eoren("render", str(largest), "-o", str(folder / target), *scale)[1]
            what = f"render {' '.join(scale) or 'at its own size'}, {target[2:]}"
            rows.append({**dict.fromkeys(rows[0]), "what": what, "peak_memory_mib": peak})
    costs = [line["seconds_per_megapixel"] for line in rows[: len(SIZES)]]
    notes = [f"seconds per megapixel from 0.4 to 8 megapixels: {min(costs):.2f} to {max(costs):.2f}"]
    write_table("large" if is_mosaic else f"large_{preset}", rows, notes)


if __name__ == "__main__":
    main()
