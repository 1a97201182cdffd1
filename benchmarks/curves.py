"""Colour and gradient PSNR of two Kodak images over seconds and parameters.

    EOREN_DATA=... python -m benchmarks.curves --set batch=512

Other options go to ``eoren fit``. Each fit runs in a separate process and is measured from its output file.
"""

import sys
from itertools import product
from statistics import mean
from typing import Any

from benchmarks.kodak import fit
from benchmarks.record import data, write_table

PICTURES = (5, 20)
SIZES = (150_000, 300_000, 560_000)
SECONDS = (10, 30, 60)
# More time, for comparison with the preset ``best`` and with GaussianImage.
MORE = ((560_000, 107),)


def main() -> None:
    """Fit all combinations and write results/curves.tsv."""
    options = sys.argv[1:]
    rows: list[dict[str, Any]] = []
    for size, seconds in (*product(SIZES, SECONDS), *MORE):
        given = ["--parameters", str(size), "--seconds", str(seconds), *options]
        results = [fit(data() / "kodak" / f"kodim{number:02}.png", given) for number in PICTURES]
        rows.append(
            {
                "parameters": size,
                "seconds": seconds,
                **{name: mean(row[name] for row in results) for name in ("psnr", "gradient_psnr", "ssim", "steps")},
                **{f"{row['picture']} {name}": row[name] for row in results for name in ("psnr", "gradient_psnr")},
            }
        )
        print(*rows[-1].values(), sep="\t", file=sys.stderr)
    write_table("curves", rows)


if __name__ == "__main__":
    main()
