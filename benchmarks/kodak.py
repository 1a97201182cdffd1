"""The Kodak suite: every image fitted by the command line, measured from the file that it wrote.

    python -m benchmarks.kodak --objective sobolev --seconds 60 --parameters 300000
    python -m benchmarks.kodak --pictures 4 --preset single        # one network

One image after the other, each in a process of its own, so that peak memory is the image's. ``sgemm_share`` is
what the matrix products of its training steps reach of a large product's speed, timed right after.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import torch

import eoren
from benchmarks.record import data, run_eoren, sgemm_peak, write_table
from eoren.model.siren import training_flops
from eoren.training.settings import Settings
from eoren.training.trainer import Trainer

COLUMNS = ("psnr", "psnr_8bit", "gradient_psnr", "ssim", "parameters", "bits_per_pixel")
# Fewer than after which easy tiles may rest.
TIMED = 12


def fit(picture: Path, options: list[str]) -> dict[str, Any]:
    """Fit one image in a new process; the row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "field.eoren")
        printed, peak = run_eoren("fit", str(picture), "-o", output, "--json", "--quiet", *options)
        measured, _ = run_eoren("evaluate", output, str(picture), "--json")
    said, values = json.loads(printed), json.loads(measured)
    return {
        "picture": picture.stem,
        **{name: values[name] for name in COLUMNS},
        "steps": said["steps"],
        "seconds": said["seconds"],
        "peak_memory_mib": peak,
        "sgemm_share": share_of_peak(picture, Settings(**said["settings"])),
    }


def share_of_peak(picture: Path, settings: Settings) -> float:
    """What the matrix products of the training step reach of a large product's speed, here and now."""
    trainer = Trainer.of_picture(eoren.read_image(picture), settings, seed=0, device=torch.device("cpu"))
    for _ in range(3):
        trainer.step(1.0)
    start = perf_counter()
    for _ in range(TIMED):
        trainer.step(1.0)
    seconds = (perf_counter() - start) / TIMED
    points = trainer.patches.most / -(-trainer.patches.most // trainer.points_per_step)
    axes = 0 if trainer.objective.gradient == 0 else 1 if settings.alternate else 2
    work = points * trainer.siren.batch * training_flops(trainer.siren, 1 + axes)
    return work / seconds / sgemm_peak() / 1e9


def main() -> None:
    """Run the suite and write results/kodak_*.tsv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="*", default=list(range(1, 25)))
    parser.add_argument("--name", help="of the result file")
    chosen, options = parser.parse_known_args()
    rows = []
    for number in chosen.pictures:
        rows.append(fit(data() / "kodak" / f"kodim{number:02}.png", options))
        print(*rows[-1].values(), sep="\t", file=sys.stderr)
    if len(rows) > 1:
        means = {
            name: mean(row[name] for row in rows if row[name] is not None) for name in rows[0] if name != "picture"
        }
        rows.append({"picture": "mean", **means})
    write_table(chosen.name or "kodak_" + "_".join(o.strip("-").replace("/", "") for o in options), rows)


if __name__ == "__main__":
    main()
