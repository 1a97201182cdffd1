"""Names of files that are not UTF-8 or look like options, and streams that cannot encode them: every command."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest

import eoren as library
from eoren.cli import main, page, signals

NAMES = {
    "not UTF-8": os.fsdecode(b"caf\xe9"),
    "other letters": "日本é\udce9",
    "leading dash": "-o",
    "spaces": " two  words ",
    "newline": "two\nlines",
    "terminal": "\x1b[2J\x9b",
}
MOSAIC = ["--preset", "mosaic", "--set", "width=8", "--set", "depth=2", "--set", "tile=none"]


def prepare(name):
    """Write the files that the commands read; skip where the file system cannot have such a name."""
    image = np.random.default_rng(0).random((9, 12, 3), np.float32)
    try:
        library.write_image(f"{name}.png", image)
        library.write_image(f"{name}.mask.png", image[..., :1] > 0.5)
        Path(name).mkdir()
    except (library.EorenError, OSError):
        pytest.skip("this file system cannot store the name")
    library.write_image(Path(name, f"{name}.png"), image)
    Path(name, f"{name}.jpg").write_text("not an image")
    library.save(library.fit(image, preset="mosaic", steps=2, width=8, depth=2, tile=None).field, f"{name}.eoren")
    library.save(library.fit(image, preset="fast", steps=0).field, f"{name}.compact.eoren")


def commands(name):
    """Yield the arguments of every command that names files, with its status, in an order that works."""
    image, mask, field, steps = f"{name}.png", f"{name}.mask.png", f"{name}.eoren", ["--steps", "2"]
    yield 0, ["fit", *steps, *MOSAIC, f"--output={name}.1.eoren", "--", image]
    yield 0, ["fit", *steps, *MOSAIC, "--overwrite", "--json", f"-o{name}.1.eoren", "--", image]
    for file in (field, f"{name}.compact.eoren"):
        yield 0, ["info", "--", file]
        yield 0, ["render", f"-o{file}.png", "--", file]
        yield 0, ["evaluate", "--", file, image]
    for suffix in ("html", "onnx", "glsl"):
        yield 0, ["export", f"-o{name}.{suffix}", "--", field]
    yield 0, ["gradient", f"-o{name}.npy", "--", image]
    yield 0, ["mix", f"-o{name}.mixed.png", "--", image, field]
    yield 0, ["mix", *steps, f"-o{name}.mixed.eoren", "--", image, image]
    yield 0, ["clone", f"--mask={mask}", f"-o{name}.cloned.png", "--", image, image]
    yield 0, ["fill", f"--mask={mask}", f"-o{name}.filled.tif", "--", image]
    yield 0, ["retouch", "--denoise-edges", f"-o{name}.clean.webp", "--", image]
    yield 3, ["fit-many", *steps, f"-o{name}.store", "--", name]
    yield 0, ["info", "--", f"{name}.store"]
    yield 0, ["export", f"-o{name}.exported", "--", f"{name}.store"]
    yield 0, ["compare", "--epochs", "1", "--seconds", "0.01", "--size", "8", f"-o{name}.c.html", "--", image]
    yield 0, ["view", f"--compare={image}", "--", field]
    for wrong in (["info"], ["fit", "-oa.eoren"], ["export", "-oa.html"], ["render", "-oa.png"], ["fit-many", "-oa"]):
        yield 2, [*wrong, "--", f"{name}.missing"]
    yield 2, ["info", "--", image, name]
    yield 2, ["export", f"--to={name}", "-oa.onnx", "--", field]
    yield 2, ["fit", f"--set={name}", "-oa.eoren", "--", image]


@contextlib.contextmanager
def streams(encoding):
    """Replace stdout and stderr by streams with an encoding, as Python opens them, and yield their bytes."""
    out, err = io.BytesIO(), io.BytesIO()
    with (
        contextlib.redirect_stdout(io.TextIOWrapper(out, encoding, "strict", write_through=True)),
        contextlib.redirect_stderr(io.TextIOWrapper(err, encoding, "backslashreplace", write_through=True)),
    ):
        yield out, err


def run_all(name, encoding):
    """Run every command in this process; return arguments, expected status, status, stdout and stderr of each."""
    results = []
    for expected, arguments in commands(name):
        with streams(encoding) as (out, err):
            try:
                main(arguments)
            except SystemExit as ended:
                results.append((arguments, expected, ended.code, out.getvalue(), err.getvalue()))
    return results


@pytest.fixture
def page_of_view(monkeypatch):
    """Record what the page of ``eoren view`` receives; the command ends at once."""
    seen = {}

    def wait(message):
        seen["catalog"] = json.load(urlopen(seen["address"].partition("?")[0] + "api/catalog", timeout=60))

    monkeypatch.setattr(page, "show_page", lambda address, no_browser: seen.update(address=address))
    monkeypatch.setattr(signals, "wait_for_interruption", wait)
    return seen


@pytest.mark.filterwarnings("ignore:PyTorch does the work")
@pytest.mark.parametrize(
    ("kind", "encoding"),
    [(kind, "utf-8") for kind in NAMES] + [("other letters", name) for name in ("cp1252", "latin-1", "ascii")],
)
def test_every_command(folder, page_of_view, kind, encoding):
    name = NAMES[kind]
    prepare(name)
    for arguments, expected, status, out, err in run_all(name, encoding):
        assert status == expected, (arguments, err)
        text = (out + err).decode(encoding)
        assert all(c.isprintable() or c == "\n" for c in text), arguments
        if status == 2:
            assert err.startswith(b"eoren: "), arguments
            assert err.count(b"\n") == 1, arguments
        elif "--json" in arguments:
            assert Path(json.loads(out)["file"]).exists()
    assert page_of_view["catalog"]["entries"][0]["title"] == name.encode("utf-8", "backslashreplace").decode()
    for suffix in ("html", "c.html"):
        assert Path(f"{name}.{suffix}").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert [path.suffix for path in Path(f"{name}.exported").iterdir()] == [".png"]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names have a fixed encoding here")
def test_every_command_where_the_system_is_ascii(folder):
    """With ``PYTHONUTF8=0`` and the C locale, every letter beyond ASCII reaches Python as lone surrogates."""
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    root = Path(__file__).parents[2]
    code = f"""
import sys; sys.path[:] = {[str(root), *sys.path]!r}
import os, warnings
warnings.simplefilter('ignore')
from tests.cli import test_names as t
assert sys.getfilesystemencoding() == "ascii" and not sys.flags.utf8_mode
t.signals.wait_for_interruption = lambda message: None
name = os.fsdecode({"日本é".encode()!r} + b"\\xe9")
t.prepare(name)
wrong = [r for r in t.run_all(name, "ascii") if r[1] != r[2]]
assert not wrong, wrong
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
