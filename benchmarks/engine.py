r"""Training steps and rendering of the native backend and of PyTorch, in one run.

    EOREN_DATA=... GOMP_SPINCOUNT=20000 python -m benchmarks.engine

and for other processors, each into a table of its own, with PyTorch and NumPy limited alike:

    EOREN_TARGET=avx2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 \
    OPENBLAS_CORETYPE=Haswell NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL" ...
    EOREN_TARGET=generic ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 ONEDNN_MAX_CPU_ISA=SSE41 \
    OPENBLAS_CORETYPE=Prescott NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX512_ICL" ...

Mosaics: steps of 1024 points of every tile, value and both axes of the gradient, as a share of the speed of sgemm in
the same run; a whole step includes the optimisers. Rendering: at four times the width and height of the image, by
PyTorch at the image's own size. Compact fields: the fit by ``balanced``, and rendering at four times the size. Both
backends and sgemm take turns; set OPENBLAS_CORETYPE=SkylakeX on AMD processors with AVX-512. GOMP_SPINCOUNT limits
the spinning of PyTorch's idle threads, which would slow down the others; the command line sets it for every fit.
"""

import os
from collections.abc import Mapping
from statistics import median

import numpy as np
import torch

import eoren
from benchmarks.record import data, sgemm_peak, timed, write_table
from eoren.backends.base import StepBatch
from eoren.backends.native_library import target
from eoren.field.mosaic import SirenMosaic
from eoren.field.serialization import dumps, loads
from eoren.image.io import read_image
from eoren.model.siren import training_flops
from eoren.training.presets import make_settings
from eoren.training.trainer import Trainer

REPEATS = 7
SCALE = 4  # of rendered images
SIZES = ((560_000, 48), (300_000, 32))


def main() -> None:
    """Measure and write results/engine.tsv, or results/engine-TARGET.tsv for a target that is forced."""
    image = read_image(data() / "kodak" / "kodim05.png")
    rows: list[dict[str, object]] = []
    for parameters, width in SIZES:
        trainers = {}
        for engine in ("native", "torch"):
            os.environ["EOREN_BACKEND"] = engine
            chosen = make_settings("mosaic", parameters=parameters, width=width, alternate=False)
            trainers[engine] = Trainer.of_image(image, chosen, seed=0, device=torch.device("cpu"))
        seconds: dict[str, list[float]] = {f"{name} {what}": [] for name in trainers for what in ("gradient", "step")}
        peaks = []
        for repeat in range(REPEATS + 1):
            peaks.append(sgemm_peak(repeats=5) * 1e9)
            for name, trainer in trainers.items():
                durations = timed(lambda t=trainer: differentiate(t)), timed(lambda t=trainer: t.step(1.0))  # type: ignore[misc]
                if repeat:  # the first one warms up
                    seconds[f"{name} gradient"].append(durations[0])
                    seconds[f"{name} step"].append(durations[1])
        trainer = trainers["native"]
        work = training_flops(trainer.siren, 3) * trainer.points_per_step * trainer.siren.batch
        for name, times in seconds.items():
            middle = median(times)
            rows.append(
                {
                    "what": name,
                    "parameters": parameters,
                    "width": width,
                    "milliseconds": 1e3 * middle,
                    "rate": work / middle / 1e9,
                    "unit": "GFLOP/s",
                    "share_of_sgemm": work / middle / median(peaks),
                    "times_torch": median(seconds["torch " + name.split()[1]]) / middle,
                }
            )
        os.environ["EOREN_BACKEND"] = "native"
        field = eoren.fit(image, preset="mosaic", parameters=parameters, width=width, steps=10, seed=0).field
        rows += rendering(field, "render", {"parameters": parameters, "width": width})
    rows += compact(image)
    forced = os.environ.get("EOREN_TARGET")
    write_table(f"engine-{forced}" if forced else "engine", rows, [f"native target: {target()}"])


def differentiate(trainer: Trainer) -> None:
    """Compute the gradient of a step, without the optimisers."""
    points, tiles = trainer._points_of_step(0), torch.arange(trainer.siren.batch)
    trainer._loss_gradient(StepBatch(tiles, points, trainer._passes(), trainer.tuning), None, lambda: False)


def compact(image: np.ndarray) -> list[dict[str, object]]:
    """Measure fits and rendering of compact fields in megapixels per second."""
    rates: dict[str, list[float]] = {"native": [], "torch": []}
    for repeat in range(REPEATS // 3 + 1):
        for engine, values in rates.items():
            os.environ["EOREN_BACKEND"] = engine
            result = eoren.fit(image, preset="balanced", seed=0)
            if repeat or REPEATS == 1:  # the first one warms up
                values.append(image.shape[0] * image.shape[1] / result.seconds / 1e6)
    shared = {"parameters": result.field.parameters, "width": ""}
    return [*_speeds("fit balanced", rates, result.field, shared), *rendering(result.field, "compact render", shared)]


def rendering(field: eoren.Field, what: str, shared: Mapping[str, object]) -> list[dict[str, object]]:
    """Measure rendering in megapixels per second."""
    data = dumps(field)
    results: list[dict[str, object]] = []
    for show in ("color", "gradient", "laplacian"):
        rates: dict[str, list[float]] = {"native": [], "torch": []}
        for repeat in range(min(4, REPEATS + 1)):
            for engine, values in rates.items():
                os.environ["EOREN_BACKEND"] = engine
                # Mosaics take PyTorch long; compact fields take it less at their own pixels than between them.
                scale = 1 if engine == "torch" and isinstance(field.representation, SirenMosaic) else SCALE
                columns, rows = scale * field.size[0], scale * field.size[1]
                fresh = loads(data)  # has nothing kept from an earlier rendering
                seconds = timed(lambda f=fresh, s=show, c=columns, r=rows: list(f.render_rows(c, r, show=s)))  # type: ignore[misc]
                if repeat:
                    values.append(columns * rows / seconds / 1e6)
        results += _speeds(f"{what} {show}", rates, field, shared)
    return results


def _speeds(
    what: str, rates: Mapping[str, list[float]], field: eoren.Field, shared: Mapping[str, object]
) -> list[dict[str, object]]:
    """Return a row for each engine, of its median rate in megapixels per second."""
    medians = {engine: median(values) for engine, values in rates.items()}
    return [
        {
            "what": f"{engine} {what}",
            **shared,
            "milliseconds": 1e-3 * field.size[0] * field.size[1] / rate,
            "rate": rate,
            "unit": "MP/s",
            "share_of_sgemm": "",
            "times_torch": rate / medians["torch"],
        }
        for engine, rate in medians.items()
    ]


if __name__ == "__main__":
    main()
