"""Large images: cost per megapixel, peak memory, and a 24-megapixel image that is killed and goes on.

    EOREN_DATA=... python -m benchmarks.large

Every image is cut from, or mirrored together out of, one photograph, so that they differ in size alone.
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

PHOTOGRAPH = "large/Boothbay.jpg"
SIZES = ((768, 512), (1536, 1024), (2448, 1632), (3504, 2336))  # 0.4 to 8.2 megapixels
STEPS = 60
LARGEST = (6000, 4000)
LARGEST_STEPS = 30
KILLED_AFTER = 75.0  # seconds: long enough for checkpoints that hold finished groups


def picture(size: tuple[int, int]) -> np.ndarray:
    """So much of the photograph from its middle, mirrored at its borders where it is too small."""
    image = eoren.read_image(data() / PHOTOGRAPH)
    for axis, want in ((1, size[0]), (0, size[1])):
        have = image.shape[axis]
        image = image.take(np.arange(want) + (have - want) // 2 if want <= have else _mirrored(want, have), axis)
    return np.asarray(image)


def _mirrored(want: int, have: int) -> np.ndarray:
    at = np.arange(want) % (2 * have)
    mirrored: np.ndarray = np.minimum(at, 2 * have - 1 - at)
    return mirrored


def fitted(path: Path, output: Path, *options: str) -> dict[str, Any]:
    """What ``eoren fit`` says, with its peak memory."""
    said, peak = run_eoren("fit", str(path), "-o", str(output), "--json", "-q", *options)
    return {**json.loads(said), "peak_memory_mib": peak}


def row(name: str, size: tuple[int, int], said: dict[str, Any]) -> dict[str, Any]:
    """A line of the table."""
    megapixels = size[0] * size[1] / 1e6
    return {
        "what": name,
        "megapixels": megapixels,
        "parameters": said["parameters"],
        "steps": said["steps"],
        "seconds": said["seconds"],
        "seconds_per_megapixel": said["seconds"] / megapixels,
        "psnr": said["psnr"],
        "gradient_psnr": said["gradient_psnr"],
        "peak_memory_mib": said["peak_memory_mib"],
    }


def kill(path: Path, output: Path, *options: str) -> float:
    """Start a fit, end it with SIGKILL; the seconds that its checkpoint kept."""
    command = [sys.executable, "-m", "eoren", "fit", str(path), "-o", str(output), "-q", *options]
    started = monotonic()
    running = subprocess.Popen(command)
    sleep(KILLED_AFTER)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not output.exists(), "it was to be killed amid its work"
    assert Path(f"{output}.resume").exists()
    return monotonic() - started


def main() -> None:
    """Measure and write results/large.tsv."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, output = folder / "picture.png", folder / "field.eoren"
        for size in SIZES:
            eoren.write_image(path, picture(size))
            said = fitted(path, output, "--steps", str(STEPS), "--overwrite")
            rows.append(row("fit", size, said))
            print(*rows[-1].values(), sep="\t", file=sys.stderr)
        eoren.write_image(path, picture(LARGEST))
        largest = folder / "largest.eoren"
        lost = kill(path, largest, "--steps", str(LARGEST_STEPS))
        said = fitted(path, largest, "--steps", str(LARGEST_STEPS), "--resume")
        rows.append(row(f"fit, killed after {lost:.0f} s, then --resume", LARGEST, said))
        print(*rows[-1].values(), sep="\t", file=sys.stderr)
        for target, options in (("a.png", ()), ("b.tif", ("--scale", "2"))):
            peak = run_eoren("render", str(largest), "-o", str(folder / target), *options)[1]
            what = f"render {' '.join(options) or 'at its own size'}, {target[2:]}"
            rows.append({**dict.fromkeys(rows[0]), "what": what, "peak_memory_mib": peak})
    costs = [each["seconds_per_megapixel"] for each in rows[: len(SIZES)]]
    notes = [f"seconds per megapixel from 0.4 to 8 megapixels: {min(costs):.2f} to {max(costs):.2f}"]
    write_table("large", rows, notes)


if __name__ == "__main__":
    main()
