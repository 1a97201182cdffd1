"""The list of all benchmarks. `python -m benchmarks.all --quick` runs them."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from benchmarks.all import BENCHMARKS
from benchmarks.scaling import Shards, simulate

FOLDER = Path(__file__).parents[1] / "benchmarks"


def main_modules():
    """Modules that are run as commands."""
    sources = {path: path.read_text() for path in FOLDER.rglob("*.py") if path.name != "all.py"}
    return {
        ".".join(path.relative_to(FOLDER).with_suffix("").parts)
        for path, text in sources.items()
        if '__name__ == "__main__"' in text
    }


def test_no_benchmark_is_left_out():
    assert {benchmark.module for benchmark in BENCHMARKS} == main_modules()


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.module)
def test_quick_runs_replace_constants_that_exist(benchmark):
    if benchmark.needs:
        pytest.importorskip(benchmark.needs)
    assert {*benchmark.constants} <= {*vars(import_module(f"benchmarks.{benchmark.module}"))}


def run_all(folder, *arguments):
    environment = os.environ | {"EOREN_DATA": str(folder)}
    command = [sys.executable, "-m", "benchmarks.all", "--quick", *arguments]
    return subprocess.run(command, cwd=FOLDER.parent, env=environment, capture_output=True, text=True, check=False)


def test_a_failed_benchmark_is_named(tmp_path):
    done = run_all(tmp_path, "--only", "engine")
    assert done.returncode == 1
    assert done.stdout.startswith("engine         FAILED: ")
    assert "kodim05.png" in done.stdout


def test_an_unknown_benchmark_is_refused(tmp_path):
    done = run_all(tmp_path, "--only", "sorting")
    assert done.returncode == 2
    assert "--only must be among kodak, rates," in done.stderr


def test_simulated_workers_share_the_shards():
    """Closed forms: free hand-outs, one worker, and a process that hands out too slowly."""
    free = Shards(seconds=(2.0,), handling=0.0, size=0.0)
    for workers, rounds in ((1, 100), (3, 34), (64, 2), (200, 1)):
        assert simulate(free, workers, 100) == pytest.approx(2.0 * rounds)
    dear = Shards(seconds=(2.0,), handling=0.5, size=0.0)
    # The next shard is handed out, and the last result stored, while the worker works.
    assert simulate(dear, 1, 100) == pytest.approx(0.25 + 100 * 2.0 + 0.25)
    # Never faster than handling alone; the last shard is fitted after all others were handed out.
    assert 100 * 0.5 <= simulate(dear, 64, 100) <= 100 * 0.5 + 2.0
    # A link of 10 Gbit/s takes 1 s for 1.25 GB.
    assert simulate(Shards((2.0,), 0.0, 1.25e9), 64, 100) == pytest.approx(100, rel=0.03)


def test_simulated_times_are_drawn_from_the_measured_ones():
    shards = Shards(seconds=(1.0, 3.0), handling=0.0, size=0.0)
    assert simulate(shards, 1, 1000) == pytest.approx(1000 * np.mean(shards.seconds), rel=0.1)
    assert simulate(shards, 1, 1000) == simulate(shards, 1, 1000)
    assert simulate(shards, 1, 1000) != simulate(shards, 1, 1000, seed=1)
