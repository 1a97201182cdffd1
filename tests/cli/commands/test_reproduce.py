import re

import pytest

from eoren.experiments.paper.experiment import Experiment


def test_gma(eoren, folder):
    status, out, err = eoren("reproduce", "gma", "-o", "out")
    assert (status, out, err) == (0, "out/gma.md\n", "")
    said = (folder / "out" / "gma.md").read_text()
    assert "`eoren reproduce gma --scale small --seed 0`" in said
    assert re.search(r"- processor: \S", said)
    assert {path.suffix for path in (folder / "out").iterdir()} == {".md", ".csv", ".png", ".svg"}


def test_mistakes(refused, folder):
    (folder / "file").touch()
    assert refused("reproduce", "fig2").startswith("Invalid value for '{experiment}': 'fig2' is not one of 'gma'")
    assert refused("reproduce", "gma", "-o", "file").startswith("file: is a file")
    assert refused("reproduce", "gma", "-o", "no/such").startswith("no/such: cannot be made")
    assert "'--seed': -1 is not" in refused("reproduce", "gma", "--seed", -1)


def test_without_matplotlib(refused, folder, monkeypatch):
    (folder / "out").mkdir()
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert refused("reproduce", "gma", "-o", "out").startswith("figures need matplotlib; pip install 'eoren[exp")


def test_ctrl_c(eoren, folder, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Experiment, "reproduce", interrupted)
    status, out, err = eoren("reproduce", "gma", "-o", "out")
    assert (status, out) == (130, "")
    assert err == "eoren: interrupted; out keeps the measurements, and the same command continues\n"


@pytest.mark.parametrize("scale", ["tiny", "small"])
def test_scales(eoren, scale):
    status, _, err = eoren("reproduce", "gma", "-o", "out", "--scale", scale, "-q")
    assert (status, "tiny" in err) == ((0, False) if scale == "small" else (2, True))


def test_pictures_that_are_missing_are_missed_before_any_work(refused, folder, monkeypatch):
    (folder / "out").mkdir()
    monkeypatch.delenv("EOREN_DATA", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    assert refused("reproduce", "all", "-o", "out").startswith(
        "mnist/t10k-images-idx3-ubyte.gz: is not in EOREN_DATA"
    )
