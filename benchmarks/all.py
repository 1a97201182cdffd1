"""All benchmarks, one after the other, each in a process of its own.

    EOREN_DATA=... python -m benchmarks.all           # every published table from one commit: days on two cores
    EOREN_DATA=... python -m benchmarks.all --quick   # whether each still runs, on a little work: minutes

A quick run writes its tables into a temporary folder. Packages of rivals that are not installed are skipped.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

from benchmarks.record import RESULTS, data

_QUICK = """
import json, sys
from importlib import import_module
name, arguments, constants = sys.argv[1], *map(json.loads, sys.argv[2:])
module = import_module(name)
for constant, value in constants.items():
    setattr(module, constant, value)
sys.argv = [name, *arguments]
module.main()
"""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark, and how to shorten it.

    Attributes:
        module: module under ``benchmarks``.
        runs: arguments of every run for the published tables.
        quick: arguments of the quick run.
        constants: constants of the module that the quick run replaces.
        needs: package that must be installed.
    """

    module: str
    runs: Sequence[str] = ("",)
    quick: str = ""
    constants: Mapping[str, object] = field(default_factory=dict)
    needs: str = ""


BENCHMARKS = (
    Benchmark(
        "kodak",
        (
            "--name kodak_pixel_60s --seconds 60 --parameters 300000 --set batch=512 --objective pixel",
            "--name kodim04_single --pictures 4 --preset single",
        ),
        "--pictures 4 --seconds 2 --parameters 30000",
    ),
    Benchmark(
        "rates.__main__",
        ("",),
        "--pictures 4 --codecs jpeg2000,fast",
    ),
    Benchmark(
        "zoom",
        (
            "--bits-per-pixel 8 --scales 2,3,4 --name zoom-8",
            "--bits-per-pixel 4 --scales 2,3,4 --name zoom-4",
            "--preset mosaic --set pixel_model=cell_average --set tile=28 --steps 800",
        ),
        "--bits-per-pixel 8",
        {"SETS": ["set5"]},
    ),
    Benchmark("classes", constants={"LIMIT": 1, "SECONDS": 1.0}),
    Benchmark("curves", ("--set batch=512",), "", {"PICTURES": [5], "SIZES": [30_000], "SECONDS": [2], "MORE": []}),
    Benchmark("engine", constants={"REPEATS": 1, "SCALE": 1, "SIZES": [[60_000, 32]]}),
    Benchmark("gradient_step", constants={"REPEATS": 1, "SIDE": 64}),
    Benchmark("peers", ("",), "--pictures 4 --seconds 2", needs="siren_pytorch"),
    Benchmark(
        "large",
        ("", "--preset balanced"),
        "",
        {"SIZES": [[192, 128]], "STEPS": 4, "LARGEST": [2400, 1600], "LARGEST_STEPS": 20, "KILLED_AFTER": 12.0},
    ),
    Benchmark("memory", constants={"SIDE": 512}),
    Benchmark("composition", ("",), "--steps 2 --iterations 50"),
    Benchmark("many", ("",), "--parts ours --digits 200"),
    Benchmark("plans", constants={"RUNS": {"Set5": [["set5"], ["--preset", "fast"]]}}),
    Benchmark("scaling", constants={"WORKLOADS": [["squares", "fast", 2]], "PICTURES": 4}, needs="ray"),
    Benchmark("viewer", ("", "--watching"), "--seconds 2 --rounds 1"),
    Benchmark("faults.__main__", ("--moments 200",), "--moments 2 --only ^fit"),
    Benchmark("faults.cluster", ("",), "--only 'a slow node'", needs="ray"),
)


def main() -> int:
    """Run the benchmarks, and return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="check that every benchmark runs")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these alone")
    chosen = parser.parse_args()
    data()
    names = {benchmark.module.removesuffix(".__main__"): benchmark for benchmark in BENCHMARKS}
    if unknown := {*(chosen.only or ())} - {*names}:
        parser.error(f"--only must be among {', '.join(names)}, got {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) if chosen.quick else RESULTS
        selected = [(name, names[name]) for name in chosen.only or names]
        outcomes = [_report(name, benchmark, results, quick=chosen.quick) for name, benchmark in selected]
    return int(not all(outcomes))


def _report(name: str, benchmark: Benchmark, results: Path, *, quick: bool) -> bool:
    """Run a benchmark, print one line, and return whether it succeeded."""
    if benchmark.needs and find_spec(benchmark.needs) is None:
        print(f"{name:14} skipped: {benchmark.needs} is not installed", flush=True)
        return True
    start = monotonic()
    failure = next(filter(None, (_run(command, results) for command in _commands(benchmark, quick=quick))), "")
    print(f"{name:14} {failure or 'done'}, {monotonic() - start:.0f} s", flush=True)
    return not failure


def _commands(benchmark: Benchmark, *, quick: bool) -> list[list[str]]:
    module = f"benchmarks.{benchmark.module}"
    if not quick:
        return [[sys.executable, "-m", module.removesuffix(".__main__"), *shlex.split(run)] for run in benchmark.runs]
    arguments = json.dumps(shlex.split(benchmark.quick)), json.dumps(dict(benchmark.constants))
    return [[sys.executable, "-c", _QUICK, module, *arguments]]


def _run(command: list[str], results: Path) -> str:
    """Run a command, and return the last line of its errors if it failed."""
    environment = os.environ | {"EOREN_RESULTS": str(results), "GOMP_SPINCOUNT": "20000"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if not done.returncode:
        return ""
    return f"FAILED: {(done.stderr.strip().splitlines() or [f'exit status {done.returncode}'])[-1]}"


if __name__ == "__main__":
    sys.exit(main())
