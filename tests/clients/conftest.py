"""What programs of other people get from eoren: files of fields and stores, with eoren's own numbers beside them.

Each module tests one program, and is skipped where it is not installed. `.ci/clients` installs them.
"""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from tests.fields import TILINGS, compact_field, doubled, field_of

import eoren
from eoren.export.onnx import write_onnx
from eoren.field.field import Field

CLOSE = 1e-5  # of the largest value: rounding in sums of float32

FIELDS = {
    "compact": lambda: compact_field(37, 23, siren_width=8),
    "mosaic": lambda: field_of(TILINGS["grid"], channels=3),
}


def assert_close(values, expected):
    """Compare numbers of a program with those of eoren."""
    values = np.asarray(values)
    assert values.shape == expected.shape
    assert np.abs(values - expected).max() <= CLOSE * max(1, np.abs(expected).max())


@pytest.fixture(params=FIELDS)
def field(request) -> Field:
    return FIELDS[request.param]()


@pytest.fixture
def graph(field, tmp_path):
    """The path of the field as ONNX, points, and colours and gradients there."""
    path = tmp_path / "field.onnx"
    write_onnx(path, field)
    points = np.random.default_rng(0).uniform(-0.1, 1.1, (200, 2))
    exact = doubled(field)
    color, gradient = exact.to("cpu").color_and_gradient(points)
    return path, points, color, gradient


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """A store of six images with labels, and one that could not be fitted."""
    noise = np.random.default_rng(0).random((6, 12, 14, 1))
    images = [(f"{k % 2}/{k}.png", image, f"class {k % 2}") for k, image in enumerate(noise)]
    images.insert(2, ("damaged", np.full((3, 3), np.nan), None))
    folder = tmp_path_factory.mktemp("stores") / "store"
    eoren.fit_many(images, store=folder, steps=5, shard=4)
    return folder


@pytest.fixture
def picture(tmp_path):
    """A photograph-like image of 24 x 20 pixels, with a field that was fitted to it; returns their paths."""
    y, x = np.mgrid[:20, :24]
    waves = 0.5 + 0.3 * np.sin(x[..., None] / [3, 4, 5] + y[..., None] / [6, 3, 4])
    path = tmp_path / "tiny.png"
    eoren.write_image(path, waves)
    eoren.fit(path, preset="fast").field.save(tmp_path / "tiny.eoren")
    return path, tmp_path / "tiny.eoren"


@pytest.fixture
def program():
    """Find a program, or skip the test; run it, and return what it printed."""

    def run(*command, cwd=None, stdin=b""):
        if shutil.which(str(command[0])) is None:
            pytest.skip(f"{command[0]} is not installed")
        done = subprocess.run(
            [*map(str, command)], input=stdin, cwd=cwd, capture_output=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


@pytest.fixture
def eoren_command(tmp_path):
    """An executable of the command line, for programs that call it."""
    path = tmp_path / "bin" / "eoren"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m eoren "$@"\n')
    path.chmod(0o755)
    return path
