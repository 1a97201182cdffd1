"""Workers of a large run: one and two measured on Ray, 1 to 256 simulated from the measured times of shards.

    EOREN_DATA=... python -m benchmarks.scaling

Digits of MNIST with ``small``, and squares of 224 pixels from Kodak with ``fast``, each with one and two workers on
this machine. The run with one worker gives the time of every shard, and the processor's time that a shard takes in
the process that reads, hands out, writes and indexes. Writes ``results/scaling.tsv``. Takes about four minutes.

The simulation assumes:

- Workers are cores like this one, and none is lost. The times of their shards are drawn from the measured ones.
- The process that hands out the work has a core of its own, and does one thing at a time, in the order of arrival:
  half of its time for a shard before the shard is fitted, half of it after.
- A shard travels to its worker, and its result back, at 10 Gbit/s through the one link of that process.
- As in the product, one shard beyond those of the workers is handed out, and waits for the next free one.
"""

import heapq
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from PIL import Image

import eoren
from benchmarks.record import data, write_table

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
IMAGES = 1_281_167  # of the training set of ImageNet
SIDE = 224
# Images, preset, number of images in a shard.
WORKLOADS = (("digits", "small", 500), ("squares", "fast", 6))
PICTURES = 24  # of Kodak, six squares of each
_BYTES_A_SECOND = 10e9 / 8


@dataclass(frozen=True)
class Shards:
    """Measured shards of a run.

    Attributes:
        seconds: time of each shard on its worker.
        handling: time of a shard in the process that hands out the work, in seconds.
        size: bytes of a shard and its result.
    """

    seconds: tuple[float, ...]
    handling: float
    size: float


def simulate(shards: Shards, workers: int, count: int, *, seed: int = 0) -> float:
    """Simulate a run, and return its seconds.

    Args:
        shards: times to draw from.
        workers: number of workers.
        count: number of shards of the run.
        seed: of the draw.
    """
    times = np.random.default_rng(seed).choice(shards.seconds, count).tolist()
    half = (shards.handling + shards.size / _BYTES_A_SECOND) / 2
    free = [0.0] * workers  # when each worker is free
    ends: list[float] = []  # when each shard that was handed out is fitted
    clock, handed, ended = 0.0, 0, 0
    while ended < count:
        if ends and ends[0] <= clock:
            heapq.heappop(ends)
            clock, ended = clock + half, ended + 1
        elif handed < count and len(ends) <= workers:
            clock += half
            end = max(clock, heapq.heappop(free)) + times[handed]
            heapq.heappush(free, end)
            heapq.heappush(ends, end)
            handed += 1
        else:
            clock = ends[0]
    return clock


def measure(sources: list[Any], shard: int, workers: int, **settings: Any) -> tuple[Shards, float]:
    """Fit images on Ray, and return the times of the shards and the images a second, without Ray's start."""
    began: list[float] = []

    def watch(_: object) -> None:
        if not began:
            began.append(process_time())

    with tempfile.TemporaryDirectory() as folder:
        summary = eoren.fit_many(
            *sources, store=folder, executor="ray", workers=workers, shard=shard, watch=watch, **settings
        )
        used = process_time() - began[0]
        ends = sorted(path.stat().st_mtime for path in Path(folder, "index").iterdir())
        stored = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    rate = (len(ends) - workers) * shard / (ends[-1] - ends[workers - 1])
    read = summary.pictures * (28 * 28 if settings["preset"] == "small" else 3 * SIDE**2)
    return Shards(tuple(np.diff(ends)), used / len(ends), (stored + read) / len(ends)), rate


def digits(folder: Path) -> list[Any]:
    """Return the file of the test set of MNIST; nothing is written."""
    return [data() / "mnist" / "t10k-images-idx3-ubyte.gz"]


def squares(folder: Path) -> list[Any]:
    """Write the squares of 224 pixels of the images of Kodak, six of each."""
    for path in sorted((data() / "kodak").glob("*.png"))[:PICTURES]:
        with Image.open(path) as image:
            for row in range(image.height // SIDE):
                for column in range(image.width // SIDE):
                    box = (column * SIDE, row * SIDE, (column + 1) * SIDE, (row + 1) * SIDE)
                    image.crop(box).save(folder / f"{path.stem}-{row}-{column}.png")
    return [folder]


def main() -> None:
    """Measure, simulate, and write the table."""
    rows = []
    for name, preset, shard in WORKLOADS:
        with tempfile.TemporaryDirectory() as folder:
            images = {"digits": digits, "squares": squares}[name](Path(folder))
            measured = [measure(images, shard, workers, preset=preset) for workers in WORKERS[:2]]
        shards = measured[0][0]
        count = -(-IMAGES // shard)
        alone = float(np.mean(shards.seconds))
        for number, workers in enumerate(WORKERS):
            seconds = simulate(shards, workers, count)
            rows.append(
                {
                    "images": f"{name}, {preset}",
                    "workers": workers,
                    "measured_images_per_second": round(measured[number][1], 1) if number < len(measured) else "-",
                    "images_per_second": IMAGES / seconds,
                    "hours": seconds / 3600,
                    "efficiency": count * alone / seconds / workers,
                    "handling_ms_per_image": 1000 * shards.handling / shard,
                    "worker_ms_per_image": 1000 * alone / shard,
                }
            )
    write_table("scaling", rows, [f"simulated: {IMAGES} images"])


if __name__ == "__main__":
    main()
