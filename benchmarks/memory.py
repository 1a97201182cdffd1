"""Peak memory of rendering and evaluating 4096 x 4096 pixels, each in a separate process.

python -m benchmarks.memory
"""

import tempfile
from pathlib import Path

import numpy as np

import eoren
from benchmarks.record import run_eoren, write_table

SIDE = 4096


def measured(name: str, *arguments: str) -> dict[str, object]:
    """Run an eoren command, and return a row of the table."""
    return {"what": name, "peak_memory_mib": run_eoren(*arguments)[1]}


def main() -> None:
    """Measure and write results/memory.tsv."""
    # Synthetic: smooth waves, 16.8 megapixels.
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    waves = [np.sin(40 * x * (c + 1) + 30 * y * y) for c in range(3)]
    image = np.stack(waves, -1) * np.float32(0.4) + np.float32(0.5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        eoren.write_image(folder / "picture.png", image)
        small = folder / "small.png"
        eoren.write_image(small, image[::16, ::16])
        one, tiles = str(folder / "one.eoren"), str(folder / "tiles.eoren")
        run_eoren("fit", str(small), "-o", one, "-q", "--preset", "paper", "--steps", "1")
        large = str(folder / "picture.png")
        size = ("--size", f"{SIDE}x{SIDE}")
        rows = [
            measured("render, paper's network, PNG", "render", one, "-o", str(folder / "a.png"), *size),
            measured(
                "fit, tiles of 128, two steps",
                *("fit", large, "-o", tiles, "-q", "--preset", "mosaic", "--steps", "2", "--set", "tile=128"),
            ),
            measured("render, tiles of 128, PNG", "render", tiles, "-o", str(folder / "b.png")),
            measured("evaluate, tiles of 128", "evaluate", tiles, large),
        ]
    write_table("memory", rows, [f"{SIDE} x {SIDE} RGB"])


if __name__ == "__main__":
    main()
