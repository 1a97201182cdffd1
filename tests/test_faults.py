"""Kills, full disks, deleted files, too little memory: nothing is lost, and the error is one line.

`python -m benchmarks.faults --moments 200` runs the same checks with more kills.
"""

import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.faults import compact, fits, outputs, stores
from benchmarks.faults.refusals import endure
from benchmarks.faults.survival import Stage, survive

from eoren.errors import EorenError, FitWarning
from eoren.fs.files import locked
from eoren.training.fit import fit

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


PARTS = {"fits": fits, "stores": stores, "outputs": outputs, "compact": compact}
SCENES = {
    "fits": ["fit", "fit --resume", "save"],
    "stores": [
        "fit-many",
        "fit-many, resumed",
        "fit-many of one in pieces",
        "fit-many of one in pieces, resumed",
        "export of a store, images",
        "export of a store, fields",
    ],
    "compact": [
        "compact fit, fast",
        "compact fit",
        "compact fit --resume",
        "compact clone",
        "compact retouch",
        "compact render",
        "compact export, onnx",
        "compact export, glsl",
        "compact export, html",
        "compact fit-many",
        "compact fit-many, resumed",
        "compact fit-many of one image",
        "compact fit-many of one image, resumed",
    ],
}


@pytest.fixture(scope="module")
def stage():
    return Stage()


@pytest.fixture(scope="module")
def user_files():
    return {name: part.prepare_files() for name, part in PARTS.items()}


@pytest.fixture(scope="module")
def scenes(user_files):
    return {scene.name: scene for name, part in PARTS.items() for scene in part.scenes(user_files[name])}


def test_every_scene_is_tested(scenes):
    assert [*scenes] == [name for names in SCENES.values() for name in names]


@pytest.mark.parametrize("name", [name for names in SCENES.values() for name in names])
def test_kills_lose_nothing(stage, scenes, name):
    # The first run, which sets the time within which the others are killed, may have been slowed down by other work.
    moments = 2 if name in SCENES["compact"] else 4
    least = moments // 2
    assert survive(scenes[name], moments, stage=stage, seed=1, least=least).kills >= least


def test_harness_detects_losses(stage, scenes):
    """A file written in place is found truncated, and a lost seed is found by another result."""
    careless = replace(scenes["save"], work=_careless)
    with pytest.raises((EorenError, AssertionError), match=r"damaged|not an \.eoren file"):
        survive(careless, 3, stage=stage, seed=1)
    forgetful = replace(scenes["fit"], finish=lambda _: fits.fit_command("--overwrite", "--seed", "9"))
    with pytest.raises(AssertionError, match="not the result without kills"):
        survive(forgetful, 3, stage=stage, seed=1)


def _careless(folder):
    for _ in range(200):
        with (folder / "out.eoren").open("wb") as file:
            file.write((folder / "new.eoren").read_bytes()[:50])
            file.flush()
            time.sleep(2e-3)
            file.write((folder / "new.eoren").read_bytes()[50:])


@pytest.mark.parametrize(
    ("part", "fault"),
    [(name, fault) for name, part in PARTS.items() for fault in part.faults()],
    ids=lambda given: getattr(given, "name", given),
)
def test_faults_give_one_line_and_lose_nothing(stage, user_files, part, fault):
    message = endure(fault, user_files[part], stage=stage)
    if message is None:
        pytest.skip("a separate disk cannot be mounted here")
    words = {
        "full disk": "(No space left on device)",
        "room for one of two files": "(No space left on device)",
        "read-only disk": "no permission|Read-only file system",
        "source vanished": "No such file",
        "source vanishes at work": "pictures: has disappeared; restore it",
        "one image vanishes at work": "1 failed; column 'error'",
        "field vanished": "No such file",
        "file limit": "File too large",
    }
    reason = fault.name.split(":")[0].split(" of ")[0] if fault.name.startswith("file") else fault.name.split(":")[0]
    assert any(part in message for part in words.get(reason, "memory").split("|"))


# Concurrent fits.


def test_second_fit_to_the_same_checkpoint_is_refused(tmp_path, monkeypatch):
    path, picture = tmp_path / "a.checkpoint", np.full((8, 8), 0.5, np.float32)
    small = {"preset": "mosaic", "steps": 3, "width": 4, "depth": 2, "device": "cpu", "checkpoint": path}

    def second(_):
        with pytest.raises(EorenError, match=r"a\.checkpoint: another process is working on it"):
            fit(picture, **small)

    fit(picture, **small, watch=second)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.checkpoint"]


def test_lock_holds_across_processes_and_ends_with_its_owner(tmp_path):
    target = tmp_path / "a.eoren"
    holding = "import sys, time; from eoren.fs.files import locked\nwith locked(sys.argv[1]): print(1, flush=True); "
    holding += "time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", holding, target], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        with pytest.raises(EorenError, match=r"a\.eoren: another process"), locked(target):
            pass
        child.kill()
    assert [path.name for path in tmp_path.iterdir()] == ["a.eoren.lock"]
    with locked(target):
        pass
    assert [*tmp_path.iterdir()] == []


def test_command_line_refuses_a_locked_output_and_keeps_the_checkpoint(tmp_path, monkeypatch, capsys):
    from eoren.cli import main

    monkeypatch.chdir(tmp_path)
    np.save("p.npy", np.full((8, 8), 0.5, np.float32))
    (tmp_path / "p.eoren.resume").write_bytes(b"of the other fit")
    with locked(tmp_path / "p.eoren"), pytest.raises(SystemExit) as ended:
        main(["fit", "p.npy", "-o", "p.eoren", "--overwrite"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("eoren: p.eoren: another process is working on it")
    assert (tmp_path / "p.eoren.resume").read_bytes() == b"of the other fit"


# A checkpoint that cannot be written.


def test_fit_continues_without_a_checkpoint(tmp_path, monkeypatch):
    def full(*_):
        raise EorenError("disk full")

    picture = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    small = {"preset": "mosaic", "steps": 3, "width": 4, "depth": 2, "device": "cpu"}
    expected = fit(picture, **small)
    monkeypatch.setattr("eoren.training.loop.write_checkpoint", full)
    with pytest.warns(FitWarning, match="disk full; the fit goes on without this checkpoint"):
        result = fit(picture, **small, checkpoint=tmp_path / "a")
    assert np.array_equal(result.field.render(), expected.field.render())
