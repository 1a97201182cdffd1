"""Fixtures: a tiny image, a field fitted to it, and functions that call the command line in this process."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from eoren.cli import console, main

SMALL = ["--preset", "mosaic", "--set", "width=8", "--set", "depth=2", "--set", "tile=none"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Change to an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def eoren(capsys, monkeypatch):
    """Call the command line, without lines of progress on a slow machine; return (exit status, stdout, stderr)."""
    monkeypatch.setattr(console, "LINE_EVERY", float("inf"))

    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        return ended.value.code, streams.out, streams.err

    return call


@pytest.fixture
def refused(eoren, folder):
    """Call the command line with an error; check status 2 and unchanged files, and return the line on stderr."""

    def call(*arguments):
        before = contents(folder)
        status, out, err = eoren(*arguments)
        assert (status, out) == (2, ""), err
        assert err.startswith("eoren: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        assert contents(folder) == before
        return err.removeprefix("eoren: ").removesuffix("\n")

    return call


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def tiny():
    """24 x 20, RGB, 8 bits: waves and noise."""
    y, x = np.mgrid[:20, :24]
    waves = 0.5 + 0.3 * np.sin(x[..., None] / [3, 4, 5] + y[..., None] / [6, 3, 4])
    noisy = waves + np.random.default_rng(0).normal(0, 0.05, (20, 24, 3))
    return np.uint8(np.clip(noisy * 255, 0, 255))


@pytest.fixture
def picture(tiny, folder):
    path = folder / "tiny.png"
    Image.fromarray(tiny).save(path)
    return path


@pytest.fixture(scope="session")
def _fitted(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    Image.fromarray(tiny).save(folder / "tiny.png")
    files = [str(folder / "tiny.png"), "-o", str(folder / "tiny.eoren")]
    with contextlib.redirect_stderr(io.StringIO()) as err, pytest.raises(SystemExit) as ended:
        main(["fit", *files, "--steps", "150", "--seed", "3", "--quiet", *SMALL])
    assert (ended.value.code, err.getvalue()) == (0, "")
    return (folder / "tiny.eoren").read_bytes()


@pytest.fixture
def field_file(_fitted, folder):
    """A field fitted to `picture`."""
    path = folder / "tiny.eoren"
    path.write_bytes(_fitted)
    return path


@pytest.fixture(scope="session")
def _compact(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compact")
    Image.fromarray(tiny).save(folder / "tiny.png")
    files = [str(folder / "tiny.png"), "-o", str(folder / "compact.eoren")]
    with contextlib.redirect_stderr(io.StringIO()) as err, pytest.raises(SystemExit) as ended:
        main(["fit", *files, "--preset", "fast", "--quiet"])
    assert (ended.value.code, err.getvalue()) == (0, "")
    return (folder / "compact.eoren").read_bytes()


@pytest.fixture
def compact_file(_compact, folder):
    """A compact field fitted to `picture`."""
    path = folder / "compact.eoren"
    path.write_bytes(_compact)
    return path
