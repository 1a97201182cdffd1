"""The native engine beside PyTorch, in one run: training steps and rendering.

    EOREN_DATA=... GOMP_SPINCOUNT=20000 python -m benchmarks.engine

Steps: 1024 points of every tile, value and both axes of the gradient, as a share of what sgemm does in the same run;
the whole step has the optimisers in it. Rendering: four times as wide and high as the image, by PyTorch at the
image's own size. Both engines and sgemm take turns; the variable keeps the threads of PyTorch, which wait by
spinning, from taking the processor from the others, as the command line does for every fit.
"""

import os
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
import torch

import eoren
from benchmarks.record import data, sgemm_peak, write_table
from eoren.backends.base import StepBatch
from eoren.backends.native_library import target
from eoren.image.io import read_image
from eoren.model.siren import training_flops
from eoren.training.settings import make_settings
from eoren.training.trainer import Trainer

REPEATS = 7
SIZES = ((560_000, 48), (300_000, 32))


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = perf_counter()
    work()
    return perf_counter() - start


def main() -> None:
    """Measure and write results/engine.tsv."""
    image = read_image(data() / "kodak" / "kodim05.png")
    rows: list[dict[str, object]] = []
    for parameters, width in SIZES:
        trainers = {}
        for engine in ("native", "torch"):
            os.environ["EOREN_ENGINE"] = engine
            chosen = make_settings("balanced", parameters=parameters, width=width, alternate=False)
            trainers[engine] = Trainer.of_picture(image, chosen, seed=0, device=torch.device("cpu"))
        seconds: dict[str, list[float]] = {f"{name} {what}": [] for name in trainers for what in ("gradient", "step")}
        peaks = []
        for repeat in range(REPEATS + 1):
            peaks.append(sgemm_peak(repeats=5) * 1e9)
            for name, trainer in trainers.items():
                found = timed(lambda t=trainer: differentiate(t)), timed(lambda t=trainer: t.step(1.0))  # type: ignore[misc]
                if repeat:  # the first is for warming up
                    seconds[f"{name} gradient"].append(found[0])
                    seconds[f"{name} step"].append(found[1])
        trainer = trainers["native"]
        work = training_flops(trainer.siren, 3) * trainer.points_per_step * trainer.siren.batch
        for name, times in seconds.items():
            own = median(times)
            rows.append(
                {
                    "what": name,
                    "parameters": parameters,
                    "width": width,
                    "milliseconds": 1e3 * own,
                    "rate": work / own / 1e9,
                    "unit": "GFLOP/s",
                    "share_of_sgemm": work / own / median(peaks),
                    "times_torch": median(seconds["torch " + name.split()[1]]) / own,
                }
            )
        rows += rendering(image, parameters, width)
    write_table("engine", rows, [f"native target: {target()}"])


def differentiate(trainer: Trainer) -> None:
    """The gradient of a step, without the optimisers."""
    points, tiles = trainer._points_of_step(0), torch.arange(trainer.siren.batch)
    trainer._loss_gradient(StepBatch(tiles, points, trainer._passes(), trainer.tuning), None, lambda: False)


def rendering(image: np.ndarray, parameters: int, width: int) -> list[dict[str, object]]:
    """Megapixels a second."""
    os.environ["EOREN_ENGINE"] = "native"
    field = eoren.fit(image, parameters=parameters, width=width, steps=10, seed=0).field
    found: list[dict[str, object]] = []
    for show in ("color", "gradient", "laplacian"):
        rates: dict[str, list[float]] = {"native": [], "torch": []}
        for repeat in range(4):
            for engine, own in rates.items():
                os.environ["EOREN_ENGINE"] = engine
                scale = 4 if engine == "native" else 1
                columns, rows = scale * field.size[0], scale * field.size[1]
                seconds = timed(lambda s=show, c=columns, r=rows: list(field.render_rows(c, r, show=s)))  # type: ignore[misc]
                if repeat:
                    own.append(columns * rows / seconds / 1e6)
        for engine, own in rates.items():
            rate = median(own)
            found.append(
                {
                    "what": f"{engine} render {show}",
                    "parameters": parameters,
                    "width": width,
                    "milliseconds": 1e-3 * field.size[0] * field.size[1] / rate,
                    "rate": rate,
                    "unit": "MP/s",
                    "share_of_sgemm": "",
                    "times_torch": rate / median(rates["torch"]),
                }
            )
    return found


if __name__ == "__main__":
    main()
