"""Nothing that reads a file can run what is in it: the source calls nothing that could."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("src/eoren/**/*.py"), *ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("tests/fuzz/*.py")])
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "jsonpickle"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "torch.load",
    "torch.jit.load",
    "pandas.read_pickle",
}
NUMPY = {"np.load", "numpy.load", "np.lib.format.read_array"}


def dangers(code):
    """What a piece of Python could run a file's content by."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
            yield from (f"import {each}" for each in modules if each.split(".")[0] in MODULES)
            if isinstance(node, ast.ImportFrom):  # by another name: from torch import load
                full = {f"{node.module}.{each.name}" for each in node.names}
                yield from (f"import {each}" for each in full & (CALLS | NUMPY))
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            safe = any(each.arg == "allow_pickle" and ast.unparse(each.value) == "False" for each in node.keywords)
            if name in CALLS or (name in NUMPY and not safe):
                yield name
            yield from (f"shell in {name}" for each in node.keywords if each.arg == "shell")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_can_run_what_it_reads(path):
    assert list(dangers(path.read_text(encoding="utf-8"))) == []


def test_there_are_sources():
    assert len(SOURCES) > 60


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import torch, pickle as p",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "from torch import load",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_search_finds(code):
    assert list(dangers(code))


def test_the_search_finds_no_more():
    assert list(dangers("np.load(path, allow_pickle=False); safetensors.torch.load(data); re.compile('a')")) == []
