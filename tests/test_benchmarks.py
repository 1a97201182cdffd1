"""The list of all benchmarks. `python -m benchmarks.all --quick` runs them."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from benchmarks.all import BENCHMARKS

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
