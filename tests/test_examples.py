"""Run every example as a user does, with a smaller budget, and check its output."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from eoren.dataset.fit_many import fit_many

pytestmark = pytest.mark.filterwarnings("ignore::eoren.errors.ShortFitWarning")

EXAMPLES = Path(__file__).parent.parent / "examples"
# name -> (arguments, pattern of the output)
SCRIPTS = {
    "classify_weights.py": (["train", "test", "--epochs", "2"], r"[\d.]+% of 20 digits, from the weights of 40"),
    "edges.py": (["--steps", "600"], r"field: (\S+) pixels off.*\npixels: (\S+) pixels off"),
    "onnx_edges.py": (["--seconds", "0.3"], r"edges.png: from a graph of [\d,]+ bytes"),
    "zoom.py": (["--seconds", "0.3"], r"zoom.png: the field left"),
}


def test_every_script_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments, expected = SCRIPTS[name]
    if name == "classify_weights.py":
        for store, count in (("train", 40), ("test", 20)):
            images = [(np.random.default_rng(k).random((9, 8)) ** (1 + k % 2), k % 2) for k in range(count)]
            fit_many(images, store=store, steps=2, same_start=True)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    match = re.search(expected, capsys.readouterr().out)
    assert match
    if name == "edges.py":
        assert float(match[1]) < min(0.05, float(match[2]))
    elif name != "classify_weights.py":
        assert [path.suffix for path in tmp_path.iterdir()] == [".png"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebook(path, tmp_path, monkeypatch):
    """Run the cells in one namespace, as a kernel does; the cells contain plain Python only."""
    import matplotlib as mpl

    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(path.read_text())
    assert notebook["nbformat"] == 4
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code")
    names = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        exec(compile(cell.replace("seconds = 20", "seconds = 0.5"), f"cell {number}", "exec"), names)
    assert {path.suffix for path in tmp_path.iterdir()} == {".eoren", ".html"}
    mpl.pyplot.close("all")
