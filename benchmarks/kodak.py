"""The Kodak suite: every image is fitted by the command line and measured from the output file.

    python -m benchmarks.kodak --objective sobolev --seconds 60 --parameters 300000
    python -m benchmarks.kodak --pictures 4 --preset single        # one network
    python -m benchmarks.kodak --preset fast --bits-per-pixel 3    # compact fields

The preset is ``mosaic`` unless the options name another. Every image is fitted in a separate process, so that peak
memory belongs to the image. ``sgemm_share`` is the speed of the matrix products in its training steps, as a share of
the speed of a large product measured right after; compact fields have none.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import torch

import eoren
from benchmarks.record import data, run_eoren, sgemm_peak, write_table
from eoren.model.siren import training_flops
from eoren.training.presets import PRESETS
from eoren.training.settings import Settings
from eoren.training.trainer import Trainer

COLUMNS = ("psnr", "psnr_8bit", "gradient_psnr", "ssim", "parameters", "bits_per_pixel")
# Fewer steps than before the tile scheduler may skip easy tiles.
TIMED = 12


def fit(path: Path, options: list[str]) -> dict[str, Any]:
    """Fit one image in a new process, and return a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "field.eoren")
        printed, peak = run_eoren("fit", str(path), "-o", output, "--json", "--quiet", *with_preset(options))
        measured, _ = run_eoren("evaluate", output, str(path), "--json")
    fitted, values = json.loads(printed), json.loads(measured)
    settings = fitted["settings"]
    return {
        "picture": path.stem,
        **{name: values[name] for name in COLUMNS},
        "steps": fitted["steps"],
        "seconds": fitted["seconds"],
        "peak_memory_mib": peak,
        "sgemm_share": share_of_peak(path, Settings(**settings)) if settings["preset"] in PRESETS else None,
    }


def with_preset(options: Sequence[str]) -> list[str]:
    """Add the preset ``mosaic`` to options of ``eoren fit`` that name no preset."""
    return [*([] if "--preset" in options else ["--preset", "mosaic"]), *options]


def share_of_peak(path: Path, settings: Settings) -> float:
    """Measure the speed of the matrix products of a training step, as a share of that of a large product."""
    trainer = Trainer.of_image(eoren.read_image(path), settings, seed=0, device=torch.device("cpu"))
    for _ in range(3):
        trainer.step(1.0)
    start = perf_counter()
    for _ in range(TIMED):
        trainer.step(1.0)
    seconds = (perf_counter() - start) / TIMED
    points = trainer.tile_pixels.most / -(-trainer.tile_pixels.most // trainer.points_per_step)
    axes = 0 if trainer.objective.gradient == 0 else 1 if settings.alternate else 2
    work = points * trainer.siren.batch * training_flops(trainer.siren, 1 + axes)
    return work / seconds / sgemm_peak() / 1e9


def main() -> None:
    """Run the suite and write results/kodak_*.tsv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="*", default=list(range(1, 25)))
    parser.add_argument("--name", help="name of the result file")
    chosen, options = parser.parse_known_args()
    rows = []
    for number in chosen.pictures:
        rows.append(fit(data() / "kodak" / f"kodim{number:02}.png", options))
        print(*rows[-1].values(), sep="\t", file=sys.stderr)
    if len(rows) > 1:
        means = {
            name: mean(row[name] for row in rows)
            for name in rows[0]
            if name != "picture" and rows[0][name] is not None
        }
        rows.append({"picture": "mean", **means})
    write_table(chosen.name or "kodak_" + "_".join(o.strip("-").replace("/", "") for o in options), rows)


if __name__ == "__main__":
    main()
