"""The Kodak suite: every picture fitted by the command line, measured from the file that it wrote.

    python -m benchmarks.kodak --objective sobolev --seconds 60 --parameters 300000
    python -m benchmarks.kodak --pictures 4 --preset single        # one network

One picture after the other, each in a process of its own, so that peak memory is the picture's. ``sgemm_share`` is
what the matrix products of training reach of a large product's speed, measured before and after.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import eoren
from benchmarks.record import data, run_eoren, sgemm_peak, write_table
from eoren.field import Field
from eoren.presets import Settings
from eoren.siren import flops

COLUMNS = ("psnr", "psnr_8bit", "gradient_psnr", "ssim", "parameters", "bits_per_pixel")


def fit(picture: Path, options: list[str]) -> dict[str, Any]:
    """Fit one picture in a new process; the row of the table."""
    peak_before = sgemm_peak()
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "field.eoren")
        printed, peak = run_eoren("fit", str(picture), "-o", output, "--json", "--quiet", *options)
        measured, _ = run_eoren("evaluate", output, str(picture), "--json")
        field = eoren.load(output)
    said, values = json.loads(printed), json.loads(measured)
    return {
        "picture": picture.stem,
        **{name: values[name] for name in COLUMNS},
        "steps": said["steps"],
        "seconds": said["seconds"],
        "peak_memory_mib": peak,
        "sgemm_share": speed(field, Settings(**said["settings"])) / (peak_before + sgemm_peak()) * 2,
    }


def speed(field: Field, settings: Settings) -> float:
    """GFLOP/s of the matrix products of training alone, over the whole time of the fit, targets included."""
    spans = field.tiling.pixel_boxes[:, 2:] - field.tiling.pixel_boxes[:, :2]
    most = int(spans.prod(1).max())
    points = most / -(-most // min(settings.batch or most, most))
    axes = 0 if settings.weights().gradient == 0 else 1 if settings.alternate else 2
    work = field.provenance.steps * points * field.siren.batch * flops(field.siren, 1 + axes)
    return work / field.provenance.seconds / 1e9


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
