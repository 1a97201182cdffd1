"""Composition: fields against the exact colours, the solver against OpenCV and fpie, time and memory.

    EOREN_DATA=... python -m benchmarks.composition            # everything, ten minutes
    EOREN_DATA=... python -m benchmarks.composition --resume   # the parts that have no table yet
    EOREN_DATA=... python -m benchmarks.composition --parts solver --iterations 500
    EOREN_DATA=... python -m benchmarks.composition --parts fields --steps 50

Parts: ``fields``, every mode of both cloning sets, fitted and measured against SciPy's factorisation of the
five-point equations; ``solver``, mean differences from OpenCV and fpie in levels of 8 bits, and seconds; ``scale``,
seconds per megapixel; ``memory``, 12 megapixels cloned. fpie (``pip install fpie``) is left out where it is not
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
from benchmarks.cloning_peers import as_opencv, cut_off, fpie, fpie_limit, opencv
from benchmarks.record import RESULTS, data, run_eoren, write_table
from eoren.composition.operands import mask_weights, open_operand
from eoren.composition.operations import Composition, Mode, clone
from eoren.composition.poisson import forward_differences, solve_mask, solve_rectangle
from eoren.evaluation.metrics import psnr

OFFSETS = {"jet": (100, 50), "portrait": (0, 0)}
MODES: tuple[Mode, ...] = ("import", "mixed", "average")


def scene(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source, target and mask; the JPEG mask as black and white, because OpenCV and fpie know no other."""
    folder = data() / "cloning" / name
    names = ("fg.jpg", "bg.jpg", "mask.jpg") if name == "jet" else ("source.png", "target.png", "mask.png")
    source, target, mask = (eoren.read_image(folder / each) for each in names)
    share = mask_weights(open_operand(mask), open_operand(source), "source")
    return source, target, (share > 0.5).astype(np.float32)


def exact(composition: Composition, target: np.ndarray) -> np.ndarray:
    """The five-point equations of a guidance field, factorised by SciPy."""
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
            own, other = number[a], number[b]
            inner = own >= 0
            np.add.at(diagonal, own[inner], 1.0)
            np.add.at(right, own[inner], sign * step[inner])
            both = inner & (other >= 0)
            rows.append(own[both])
            columns.append(other[both])
            edge = inner & (other < 0)
            np.add.at(right, own[edge], colors[b][edge])
    row = np.concatenate([*rows, np.arange(len(diagonal))])
    column = np.concatenate([*columns, np.arange(len(diagonal))])
    values = np.concatenate([-np.ones(len(row) - len(diagonal)), diagonal])
    matrix = coo_matrix((values, (row, column))).tocsc()
    colors[unknown] = splu(matrix, permc_spec="MMD_AT_PLUS_A").solve(right)
    return colors


def fields(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rendered fields against the exact colours."""
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
    """Our colours beside OpenCV's and fpie's, in the mask: as they are, and with conventions alike."""
    rows: list[dict[str, Any]] = []
    for name, offset in OFFSETS.items():
        source, target, mask = scene(name)
        for mode in MODES:
            place = (source, target, mask, offset, mode)
            composition = clone(source, target, mask, offset=offset, mode=mode)
            unknown, limit = ~composition.known, fpie_limit(place)
            # By whom, their colours, their seconds, and ours under their conventions.
            found = [("eoren", *timed(partial(ours, *place)), composition.colors)]
            if mode != "average":
                found.append(("opencv", *timed(partial(opencv, place)), as_opencv(place)))
            for label, run in fpie(place, options.iterations):
                run()  # what is compiled is compiled now
                found.append((label, *timed(run, 1), cut_off(composition.colors)))
            if limit is not None:
                found.append(("fpie, were it to end", limit, np.nan, composition.colors))
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
                for by, colors, seconds, alike in found
            ]
    return rows


def ours(source: np.ndarray, target: np.ndarray, mask: np.ndarray, offset: tuple[int, int], mode: Mode) -> np.ndarray:
    """Our exact colours, without any field."""
    return clone(source, target, mask, offset=offset, mode=mode).colors


def scale(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds a megapixel of the two solvers, friendly sizes and prime ones, three channels."""
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
    """A clone of 4000 x 3000 pixels, in a process of its own."""
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
            files = [str(folder / each) for each in ("source.png", "target.png", "mask.png", "result.png")]
            _, peak = run_eoren("clone", *files[:2], "--mask", files[2], "-o", files[3], "--overwrite")
            rows.append({"mask": share, "peak_memory_mib": peak, "seconds": perf_counter() - start})
    return rows


def timed(job: Callable[[], np.ndarray], runs: int = 3) -> tuple[np.ndarray, float]:
    """What it gives, and the seconds of the fastest run."""
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
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--seconds", type=float, default=50.0, help="of a fit")
    parser.add_argument("--steps", type=int, help="of a fit, instead")
    parser.add_argument("--iterations", type=int, default=5000, help="of fpie, its own default")
    parser.add_argument("--name", default="composition", help="of the result files")
    parser.add_argument("--resume", action="store_true", help="leave out parts that have a table")
    chosen = parser.parse_args()
    for part in chosen.parts:
        table = f"{chosen.name}_{part}"
        if not (chosen.resume and (RESULTS / f"{table}.tsv").exists()):
            write_table(table, PARTS[part](chosen))


if __name__ == "__main__":
    main()
