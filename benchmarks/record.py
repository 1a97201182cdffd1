"""Result tables with command, commit, hardware, versions and date; helpers of all benchmarks."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
import torch

import eoren
from eoren.experiments.machine import machine

RESULTS = Path(os.environ.get("EOREN_RESULTS") or Path(__file__).parent / "results")

LIBRARY = (":/src", ":/pyproject.toml", ":/constraints.txt")
"""Paths of the repository that the measured library consists of."""
SCRIPTS = (":/benchmarks", ":(exclude,top)benchmarks/results")
"""Paths of the benchmarks without their tables."""


def data() -> Path:
    """Return the folder of real images."""
    folder = os.environ.get("EOREN_DATA")
    if not folder:
        raise SystemExit("EOREN_DATA must name the folder of real images, see CONTRIBUTING.md")
    return Path(folder)


def conditions() -> list[str]:
    """Format the comment lines at the head of a result file."""
    command = " ".join(["python -m", _module(), *sys.argv[1:]])
    # The last commit that changed the library: later ones of tests, documentation or tables are as good.
    commit = _git("log", "-1", "--format=%h", "--abbrev=10", "--", *LIBRARY)
    if _git("status", "--porcelain", "--untracked-files=no", "--", *LIBRARY, *SCRIPTS):
        commit += "-dirty"
    hardware = machine()
    return [
        f"# {command}",
        f"# eoren {eoren.__version__}, commit {commit}, {date.today()}",
        f"# {hardware['processor']}, {hardware['threads']} threads, {sgemm_peak():.0f} GFLOP/s sgemm",
        f"# Python {hardware['python']}, PyTorch {hardware['pytorch']}, {hardware['system']}",
    ]


def write_table(name: str, rows: Sequence[Mapping[str, object]], notes: Sequence[str] = ()) -> Path:
    """Write rows as a TSV file under results/, conditions first, and print it."""
    RESULTS.mkdir(exist_ok=True)
    lines = [*conditions(), *(f"# {note}" for note in notes), "\t".join(rows[0])]
    lines += ["\t".join(_cell(value) for value in row.values()) for row in rows]
    path = RESULTS / f"{name}.tsv"
    path.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return path


def run_eoren(*arguments: str) -> tuple[str, float]:
    """Run an eoren command in a separate process.

    Returns:
        Its standard output, and its peak resident memory in MiB (Linux). ``ru_maxrss`` would start at the peak
        of this process.
    """
    with tempfile.NamedTemporaryFile("r") as report:
        command = [sys.executable, "-c", _REPORTING, report.name, *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"eoren {' '.join(arguments)} failed")
        return done.stdout, int(report.read()) / 1024


_REPORTING = """
import sys, re
from pathlib import Path
from eoren.cli import main
try:
    main(sys.argv[2:])
finally:
    Path(sys.argv[1]).write_text(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def sgemm_peak(size: int = 1024, repeats: int = 20) -> float:
    """Measure the speed of a float32 matrix product on this machine, in GFLOP/s: the best of several runs.

    That of PyTorch or NumPy, whichever is faster, because their libraries do not use every processor equally well.
    On AMD neither uses AVX-512 by itself; ``OPENBLAS_CORETYPE=SkylakeX`` makes NumPy use it.
    """
    a, b = torch.rand(size, size), torch.rand(size, size)
    products = partial(torch.mm, a, b), partial(np.matmul, a.numpy(), b.numpy())
    best = min(timed(product) for product in products for _ in range(repeats))
    sleep(0.3)  # NumPy's threads spin for a while, and would slow down what is measured next
    return 2 * size**3 / best / 1e9


def timed(work: Callable[[], object]) -> float:
    """Measure the seconds that a call takes."""
    start = perf_counter()
    work()
    return perf_counter() - start


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec is not None else Path(sys.argv[0]).name
