"""Plans of runs against the runs: is ``eoren fit-many --dry-run`` within 20 % of the time and of the bytes?

    EOREN_DATA=... python -m benchmarks.plans

For the 10,000 digits of MNIST's test set, Kodak and Set14 together, and the large photographs: the plan, then the run
itself, both by the command line with two workers. Writes ``results/plans.tsv``. Takes about ten minutes of a machine
without other work; the start of a process, 2 to 3 s, is measured apart and taken off the time of the run.
"""

import json
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.record import data, run_eoren, write_table

RUNS: dict[str, tuple[list[str], list[str]]] = {
    "MNIST": (["mnist/t10k-images-idx3-ubyte.gz"], []),
    "Kodak and Set14": (["kodak", "set14"], ["--preset", "fast"]),
    "Kodak and Set14, balanced": (["kodak", "set14"], ["--preset", "balanced"]),
    "large photographs": (["large"], ["--preset", "fast"]),
}
_WORKERS = "2"


def main() -> None:
    """Measure every plan and its run."""
    start = perf_counter()
    run_eoren("info", "--backend")
    startup = perf_counter() - start
    rows = []
    for name, (sources, options) in RUNS.items():
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder, "store")
            paths = [str(data() / source) for source in sources]
            words = ["fit-many", *paths, "-o", str(store), "--workers", _WORKERS, *options]
            planned: dict[str, Any] = json.loads(run_eoren(*words, "--dry-run", "--json")[0])
            start = perf_counter()
            run_eoren(*words, "--quiet")
            seconds = perf_counter() - start - startup
            stored = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        rows.append(
            {
                "images": name,
                "pictures": planned["pictures"],
                "sampled": planned["sampled"],
                "planned_seconds": round(planned["wall_seconds"], 2),
                "seconds": round(seconds, 2),
                "ratio": round(planned["wall_seconds"] / seconds, 3),
                "planned_bytes": planned["bytes"],
                "bytes": stored,
                "bytes_ratio": round(planned["bytes"] / stored, 3),
            }
        )
        print(rows[-1], flush=True)
    write_table("plans", rows)


if __name__ == "__main__":
    main()
