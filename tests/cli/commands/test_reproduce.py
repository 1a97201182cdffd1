import json
import re

from eoren.experiments.paper.experiment import Experiment


def test_gma(eoren, folder):
    status, out, err = eoren("reproduce", "gma", "-o", "out")
    assert (status, out, err) == (0, "out/gma.md\n", "")
    summary = (folder / "out" / "gma.md").read_text()
    assert "`eoren reproduce gma --scale small --seed 0`" in summary
    assert re.search(r"- processor: \S", summary)
    assert {path.suffix for path in (folder / "out").iterdir()} == {".md", ".csv", ".png", ".svg"}


def test_wrong_arguments(refused, folder):
    (folder / "file").touch()
    assert "'fig2' is not one of 'gma'" in refused("reproduce", "fig2")
    assert refused("reproduce", "gma", "-o", "file").startswith("file: is a file")
    assert refused("reproduce", "gma", "-o", "no/such").startswith("no/such: cannot be created")
    assert "--seed must be an integer from 0 to 4294967295, got -1" in refused("reproduce", "gma", "--seed", -1)


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


def test_scale_and_json(eoren):
    status, out, err = eoren("reproduce", "gma", "-o", "out", "--scale", "small", "--json", "-q")
    assert (status, err, json.loads(out)) == (0, "", {"summaries": ["out/gma.md"]})


def test_unknown_scale(refused):
    assert "'tiny'" in refused("reproduce", "gma", "-o", "out", "--scale", "tiny")


def test_missing_data_sets_are_reported_before_any_work(refused, folder, monkeypatch):
    (folder / "out").mkdir()
    monkeypatch.delenv("EOREN_DATA", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    assert refused("reproduce", "all", "-o", "out").startswith(
        "mnist/t10k-images-idx3-ubyte.gz: is not in EOREN_DATA"
    )
