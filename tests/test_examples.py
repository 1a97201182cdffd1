"""Run every example as a user does, with a smaller budget, and check its output."""

import re
import runpy
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from eoren.dataset.fit_many import fit_many

pytestmark = pytest.mark.filterwarnings("ignore::eoren.errors.ShortFitWarning")

WIDGET = "application/vnd.jupyter.widget-view+json"
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
def test_notebook(path, tmp_path):
    """Run the cells in a kernel; the stored outputs are of the same kinds as the new ones."""
    nbclient = pytest.importorskip("nbclient", reason="pip install nbclient ipykernel")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    pytest.importorskip("anywidget")
    stored = nbformat.read(path, as_version=4)
    notebook = deepcopy(stored)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=120, resources=resources, coalesce_streams=True).execute()
    assert {file.suffix for file in tmp_path.iterdir()} == {".eoren", ".html"}
    assert kinds(notebook) == kinds(stored)
    shown = [output for cell in stored.cells for output in cell.get("outputs", [])]
    assert any("data:image/webp" in output.get("data", {}).get("text/html", "") for output in shown)
    assert any({"image/png", WIDGET} <= output.get("data", {}).keys() for output in shown)


def kinds(notebook):
    """Return what each cell shows: streams, and the richest form of results; their PNG may be left out."""
    outputs = [cell.get("outputs", []) for cell in notebook.cells]
    return [
        [sorted({*shown.get("data", {shown.get("name"): ""})} - {"image/png"}) for shown in cell] for cell in outputs
    ]
