"""Composition: fields against exact colours, the solver against OpenCV and fpie, time and memory.

    EOREN_DATA=... python -m benchmarks.composition            # everything, ten minutes
    EOREN_DATA=... python -m benchmarks.composition --resume   # the parts that have no table yet
    EOREN_DATA=... python -m benchmarks.composition --parts solver --iterations 500
    EOREN_DATA=... python -m benchmarks.composition --parts fields --steps 50

Parts: ``fields``, every mode of both cloning sets, fitted and measured against SciPy's factorisation of the
five-point equations; ``solver``, mean differences from OpenCV and fpie in levels of 8 bits, and seconds; ``scale``,
seconds per megapixel; ``memory``, 12 megapixels cloned. fpie (``pip install fpie``) is skipped if it is not
installed.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu

import eoren
from benchmarks.cloning_peers import as_opencv, fpie, fpie_limit, opencv, truncate
from benchmarks.record import RESULTS, data, run_eoren, write_table
from eoren.composition.operands import mask_weights, open_operand
from eoren.composition.operations import Composition, Mode, clone
from eoren.composition.poisson import forward_differences, solve_mask, solve_rectangle
from eoren.evaluation.metrics import psnr

OFFSETS = {"jet": (100, 50), "portrait": (0, 0)}
MODES: tuple[Mode, ...] = ("import", "mixed", "average")


def scene(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Load source, target and mask; the JPEG mask in black and white, the only kind that OpenCV and fpie accept."""
    folder = data() / "cloning" / name
    names = ("fg.jpg", "bg.jpg", "mask.jpg") if name == "jet" else ("source.png", "target.png", "mask.png")
    source, target, mask = (eoren.read_image(folder / name) for name in names)
    share = mask_weights(open_operand(mask), open_operand(source), "source")
    return source, target, (share > 0.5).astype(np.float32)


def exact(composition: Composition, target: np.ndarray) -> np.ndarray:
    """Solve the five-point equations of a guidance field, by SciPy's factorisation."""
    unknown, guidance = ~composition.known, composition.guide()
    number = np.full(unknown.shape, -1)
    number[unknown] = np.arange(np.count_nonzero(unknown))
    colors = target.astype(np.float64).copy()
    diagonal = np.zeros(np.count_nonzero(unknown))
    right = np.zeros((len(diagonal), target.shape[2]))
    rows: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    for axis, (here, there) in enumerate(
        [((np.s_[:], np.s_[:-1]), (np.s_[:], np.s_[1:])), ((np.s_[:-1], np.s_[:]), (np.s_[1:], np.s_[:]))]
    ):
        step = guidance[here][..., axis].astype(np.float64)
        for a, b, sign in ((here, there, -1.0), (there, here, 1.0)):
            inside, neighbour = number[a], number[b]
            inner = inside >= 0
            np.add.at(diagonal, inside[inner], 1.0)
            np.add.at(right, inside[inner], sign * step[inner])
            both = inner & (neighbour >= 0)
            rows.append(inside[both])
            columns.append(neighbour[both])
            edge = inner & (neighbour < 0)
            np.add.at(right, inside[edge], colors[b][edge])
    row = np.concatenate([*rows, np.arange(len(diagonal))])
    column = np.concatenate([*columns, np.arange(len(diagonal))])
    values = np.concatenate([-np.ones(len(row) - len(diagonal)), diagonal])
    matrix = coo_matrix((values, (row, column))).tocsc()
    colors[unknown] = splu(matrix, permc_spec="MMD_AT_PLUS_A").solve(right)
    return colors


def fields(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare rendered fields with the exact colours."""
    budget = {"steps": options.steps} if options.steps else {"seconds": options.seconds}
    rows: list[dict[str, Any]] = []
    for name, offset in OFFSETS.items():
        source, target, mask = scene(name)
        for mode in MODES:
            start = perf_counter()
            composition = clone(source, target, mask, offset=offset, mode=mode)
            field = composition.fit(preset=options.preset, **budget).field
            seconds = perf_counter() - start
            truth = exact(composition, target)
            rows.append(
                {
                    "set": name,
                    "mode": mode,
                    "size": f"{target.shape[1]}x{target.shape[0]}",
                    "solver_error_levels": float(np.abs(composition.colors - truth.clip(0, 1)).max() * 255),
                    "field_psnr": psnr(field.render(), truth.clip(0, 1)),
                    "seconds": seconds,
                }
            )
    return rows


def solver(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare the colours with those of OpenCV and fpie in the mask, as they are and under the same conventions."""
    rows: list[dict[str, Any]] = []
    for name, offset in OFFSETS.items():
        source, target, mask = scene(name)
        for mode in MODES:
            arguments = (source, target, mask, offset, mode)
            composition = clone(source, target, mask, offset=offset, mode=mode)
            unknown, limit = ~composition.known, fpie_limit(arguments)
            # Library, its colours, its seconds, and EoREN's colours under its conventions.
            results = [("eoren", *timed(partial(ours, *arguments)), composition.colors)]
            if mode != "average":
                results.append(("opencv", *timed(partial(opencv, arguments)), as_opencv(arguments)))
            for label, run in fpie(arguments, options.iterations):
                run()  # compiles
                results.append((label, *timed(run, 1), truncate(composition.colors)))
            if limit is not None:
                results.append(("fpie, converged", limit, np.nan, composition.colors))
            rows += [
                {
                    "set": name,
                    "mode": mode,
                    "by": by,
                    "mask_pixels": int(np.count_nonzero(unknown)),
                    "levels_apart": float(np.abs(colors - composition.colors)[unknown].mean() * 255),
                    "levels_apart_conventions_alike": float(np.abs(colors - alike)[unknown].mean() * 255),
                    "seconds": seconds,
                }
                for by, colors, seconds, alike in results
            ]
    return rows


def ours(source: np.ndarray, target: np.ndarray, mask: np.ndarray, offset: tuple[int, int], mode: Mode) -> np.ndarray:
    """Compute the exact colours, without fitting a field."""
    return clone(source, target, mask, offset=offset, mode=mode).colors


def scale(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the seconds per megapixel of both solvers, at powers of two and at primes, three channels."""
    rows: list[dict[str, Any]] = []
    for height, width in ((1024, 1024), (1009, 1013), (2048, 2048)):
        image = np.random.default_rng(0).random((height, width, 3), np.float32)
        guidance = forward_differences(image)
        y, x = np.mgrid[:height, :width]
        disc = np.hypot(x / width - 0.5, y / height - 0.5) < 0.3
        jobs: dict[str, Callable[[], np.ndarray]] = {
            "rectangle": partial(solve_rectangle, guidance, mean=np.full(3, 0.5)),
            "disc": partial(solve_mask, disc, guidance, image[::-1, ::-1]),
        }
        for what, job in jobs.items():
            _, seconds = timed(job)
            unknown = height * width if what == "rectangle" else int(np.count_nonzero(disc))
            rows.append(
                {
                    "what": what,
                    "size": f"{width}x{height}",
                    "unknown_pixels": unknown,
                    "seconds": seconds,
                    "seconds_per_megapixel": seconds / (height * width / 1e6),
                    "seconds_per_unknown_megapixel": seconds / (unknown / 1e6),
                }
            )
    return rows


def memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Clone 4000 x 3000 pixels in a separate process."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        y, x = np.mgrid[0:3000, 0:4000].astype(np.float32) / 4000
        waves = np.stack([np.sin(40 * x * (c + 1) + 30 * y * y) for c in range(3)], -1)
        eoren.write_image(folder / "source.png", 0.5 + np.float32(0.4) * waves)
        eoren.write_image(folder / "target.png", 0.5 + np.float32(0.3) * waves[::-1])
        for share, radius in (("third", 0.28), ("everything but the corners", 0.6)):
            eoren.write_image(folder / "mask.png", (np.hypot(x - 0.5, y - 0.375) < radius).astype(np.float32))
            start = perf_counter()
            files = [str(folder / name) for name in ("source.png", "target.png", "mask.png", "result.png")]
            _, peak = run_eoren("clone", *files[:2], "--mask", files[2], "-o", files[3], "--overwrite")
            rows.append({"mask": share, "peak_memory_mib": peak, "seconds": perf_counter() - start})
    return rows


def timed(job: Callable[[], np.ndarray], runs: int = 3) -> tuple[np.ndarray, float]:
    """Return the result of a call, and the seconds of the fastest run."""
    best = np.inf
    for _ in range(runs):
        start = perf_counter()
        result = job()
        best = min(best, perf_counter() - start)
    return result, float(best)


PARTS = {"fields": fields, "solver": solver, "scale": scale, "memory": memory}


def main() -> None:
    """Measure and write results/composition_*.tsv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--preset", default="mosaic")
    parser.add_argument("--seconds", type=float, default=50.0, help="seconds of a fit")
    parser.add_argument("--steps", type=int, help="steps of a fit, instead of seconds")
    parser.add_argument("--iterations", type=int, default=5000, help="iterations of fpie, its own default")
    parser.add_argument("--name", default="composition", help="name of the result files")
    parser.add_argument("--resume", action="store_true", help="skip parts that have a table")
    chosen = parser.parse_args()
    for part in chosen.parts:
        table = f"{chosen.name}_{part}"
        if not (chosen.resume and (RESULTS / f"{table}.tsv").exists()):
            write_table(table, PARTS[part](chosen))


if __name__ == "__main__":
    main()
