"""Run every experiment at the smallest scale: its files and conclusions, and that it resumes when interrupted."""

import csv
import itertools
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import eoren
from eoren.errors import EorenError
from eoren.experiments import datasets, sweep, trials
from eoren.experiments.datasets import IMAGE_DATASETS, Digits
from eoren.experiments.methods import Networks
from eoren.experiments.paper import composition, gma, mnist, natural, remedies

TINY = Networks(width=16, depth=2, epochs=8, rate=1e-3)
PROTOCOL = sweep.Protocol(TINY, side=16, seeds=2, samples=2, batch=2)


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    """Two digits of two kinds, and one image per data set."""
    generator = np.random.default_rng(0)
    noise = generator.random((4, 28, 28, 1), np.float32)
    monkeypatch.setattr(datasets, "mnist", lambda split: Digits(noise, np.array([0, 1, 1, 0])))
    monkeypatch.setattr(datasets, "images", lambda name: iter([("one", generator.random((20, 24, 3), np.float32))]))
    monkeypatch.setattr(mnist, "_SIDES", (14,))
    waves = (0.5 + 0.4 * np.sin(np.add.outer(np.arange(30), np.arange(20)) / 4))[..., None].astype(np.float32)
    for module in (composition, gma):
        monkeypatch.setattr(module, "read_image", lambda source: waves if "sample" in str(source) else read(source))


def read(path):
    with Image.open(path) as stored:
        return (np.asarray(stored, np.float32) / 255)[..., None]


def go(_label, _share):
    return None


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def assert_figures(folder, *stems):
    for stem in stems:
        with Image.open(folder / f"{stem}.png") as drawn:
            drawn.load()
            assert min(drawn.size) > 300
        assert ET.parse(folder / f"{stem}.svg").getroot().tag.endswith("svg")


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr(mnist, "EXPERIMENT", replace(mnist.EXPERIMENT, figures={}))


def test_gma(tmp_path):
    text = gma.EXPERIMENT.reproduce(tmp_path, gma.Protocol(20), seed=0, watch=go, command="c").read_text()
    rows = table(tmp_path / "gma.csv")
    scales = {(row["image"], row["filter"], row["method"]): float(row["scale"]) for row in rows}
    assert scales["ramp", "sobel", "bare"] == pytest.approx(8)
    assert scales["ramp", "central", "bare"] == pytest.approx(2)
    assert [scales["ramp", name, "adjusted"] for name in gma.STENCILS] == pytest.approx([1] * len(gma.STENCILS))
    assert scales["camera", "sobel", "bare"] == pytest.approx(8 * scales["camera", "sobel", "adjusted"])
    assert "| sobel | 8.000 | 1.000 |" in text
    assert_figures(tmp_path, "gma", "gma-photograph")


def test_mnist(tmp_path):
    text = mnist.EXPERIMENT.reproduce(tmp_path, PROTOCOL, seed=3, watch=go, command="the command").read_text()
    rows = table(tmp_path / "mnist.csv")
    key = [(row["image"], row["method"], row["seed"], row["budget"]) for row in rows]
    images = ("0-0000", "0-0003", "1-0001", "1-0002")
    measured = [("pixel", "epochs"), ("gradient", "epochs"), ("eoren", "epochs"), ("ours", "epochs")]
    measured += [("pixel", "time"), ("ours", "time")]
    assert sorted(key) == sorted((i, m, s, b) for i in images for m, b in measured for s in "34")
    assert {row["epoch"] for row in rows if row["budget"] == "epochs"} == {"8.0"}
    assert len(table(tmp_path / "mnist-curves.csv")) == 2 * len(rows)
    mean = {
        m: np.mean([float(row["psnr"]) for row in rows if (row["method"], row["budget"]) == (m, "epochs")])
        for m in ("eoren", "pixel")
    }
    line = next(line for line in text.splitlines() if line.startswith("| equal epochs | PSNR (dB) | SIREN + pixels"))
    assert f"| {mean['eoren'] - mean['pixel']:+.2f} [" in line
    assert f"| {mean['eoren'] + 48.13:.2f} |" in text
    assert "`the command`" in text
    assert_figures(tmp_path, "mnist", "mnist-curves", "mnist-digits", "mnist-sides")


def test_a_sample_has_one_digit_of_each_kind(tmp_path):
    protocol = replace(PROTOCOL, seeds=1, batch=1, images=1)
    mnist.EXPERIMENT.reproduce(tmp_path, protocol, seed=0, watch=go, command="c")
    assert {row["image"] for row in table(tmp_path / "mnist.csv")} == {"0-0000", "1-0001"}
    assert_figures(tmp_path, "mnist", "mnist-curves", "mnist-digits", "mnist-sides")


def test_a_sample_has_one_image_of_each_data_set(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    several = [(name, generator.random((20, 24, 3), np.float32)) for name in ("one", "two", "three")]
    monkeypatch.setattr(datasets, "images", lambda name: iter(several))
    protocol = sweep.Protocol(TINY, side=16, seeds=1, samples=2, batch=1, images=1)
    natural.EXPERIMENT.reproduce(tmp_path, protocol, seed=0, watch=go, command="c")
    assert {row["image"] for row in table(tmp_path / "natural.csv")} == {f"{name}-one" for name in IMAGE_DATASETS}
    assert_figures(tmp_path, "natural", "natural-predictors", "natural-pictures")


def test_another_seed_has_figures_of_its_own(tmp_path):
    for seed in (0, 1):
        text = mnist.EXPERIMENT.reproduce(tmp_path, PROTOCOL, seed=seed, watch=go, command="c").read_text()
        assert "confirmed" in text or "refuted" in text
    assert len(table(tmp_path / "mnist.csv")) == 3 * 24
    pair = composition.Protocol(TINY, side=16, seeds=2, steps=2)
    for seed in (1, 0):
        composition.EXPERIMENT.reproduce(tmp_path, pair, seed=seed, watch=go, command="c")
    values = composition._Measurements(
        (),
        {},
        range(2),
        composition.Table(tmp_path / "composition.csv", key=("mix", "method", "seed"), protocol=str(pair)),
        tmp_path,
    ).values(0.5, "eoren")
    rows = {
        row["seed"]: row
        for row in table(tmp_path / "composition.csv")
        if (row["mix"], row["method"]) == ("0.5", "eoren")
    }
    assert values == [float(rows[seed]["psnr"]) for seed in "01"]


def test_differences_come_in_the_order_of_the_images(tmp_path):
    """Whatever the order in which they were measured: correlations pair them by position."""
    protocol = sweep.Protocol(TINY, side=16, seeds=1, samples=2, batch=1)
    images = {name: np.random.default_rng(k).random((16, 16, 1), np.float32) for k, name in enumerate("abc")}

    def prepare(names):
        return sweep.Sweep(tmp_path, "s", protocol, {n: images[n] for n in names}, {n: {} for n in names}, seed=0)

    prepare("c").run(go)
    whole = prepare("abc")
    whole.run(go)
    psnr = {
        (row["image"], row["method"]): float(row["psnr"])
        for row in table(tmp_path / "s.csv")
        if row["budget"] == "epochs"
    }
    gains = whole.gains(sweep.EPOCHS, "psnr")
    assert [*gains] == [*"abc"]
    assert [*gains.values()] == [psnr[name, "eoren"] - psnr[name, "pixel"] for name in "abc"]


def test_equal_time_is_the_time_of_eoren(tmp_path, monkeypatch, no_figures):
    ticks = itertools.count()
    monkeypatch.setattr("eoren.experiments.trials.perf_counter", lambda: float(next(ticks)))
    mnist.EXPERIMENT.reproduce(tmp_path, PROTOCOL, seed=0, watch=go, command="c")
    rows = table(tmp_path / "mnist.csv")
    # Every step takes one second of the clock, and a batch has two images.
    assert {float(row["seconds"]) for row in rows if row["method"] in ("eoren", "gradient")} == {4.0}
    assert {float(row["seconds"]) for row in rows if row["budget"] == "time"} == {4.0}


def test_an_interrupted_experiment_resumes(tmp_path, no_figures):
    def stop(_label, share):
        if share > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mnist.EXPERIMENT.reproduce(tmp_path, PROTOCOL, seed=0, watch=stop, command="c")
    first = table(tmp_path / "mnist.csv")
    assert 0 < len(first) < 48
    assert not (tmp_path / "mnist.md").exists()
    mnist.EXPERIMENT.reproduce(tmp_path, PROTOCOL, seed=0, watch=go, command="c")
    then = table(tmp_path / "mnist.csv")
    assert len(then) == 48
    assert then[: len(first)] == first
    before = (tmp_path / "mnist.csv").stat().st_mtime_ns
    mnist.EXPERIMENT.reproduce(tmp_path, PROTOCOL, seed=0, watch=go, command="c")
    assert (tmp_path / "mnist.csv").stat().st_mtime_ns == before
    with pytest.raises(EorenError, match="protocol must be"):
        mnist.EXPERIMENT.reproduce(tmp_path, replace(PROTOCOL, side=18), seed=0, watch=go, command="c")


def test_natural(tmp_path):
    protocol = sweep.Protocol(TINY, side=16, seeds=1, samples=2, batch=3)
    text = natural.EXPERIMENT.reproduce(tmp_path, protocol, seed=0, watch=go, command="c").read_text()
    rows = table(tmp_path / "natural.csv")
    assert {row["dataset"] for row in rows} == {"set5", "set14", "kodak", "div2k"}
    assert len(rows) == 4 * 6
    psnr = {(row["image"], row["method"]): float(row["psnr"]) for row in rows if row["budget"] == "epochs"}
    gains = [psnr[f"{name}-one", "eoren"] - psnr[f"{name}-one", "pixel"] for name in IMAGE_DATASETS]
    assert all(5 < float(row["zoom_psnr"]) < 60 for row in rows)
    assert f"| all | PSNR (dB) | {np.mean(gains):+.2f} [" in text
    assert f"{sum(gain > 0 for gain in gains)} of 4 |" in text
    assert_figures(tmp_path, "natural", "natural-predictors", "natural-pictures")


def test_between_the_pixels(tmp_path, monkeypatch):
    """The PSNR of constant gray against black is 6.02 dB, at any size."""
    gray = np.full((16, 16, 1), 0.5, np.float32)
    field = eoren.fit(gray, preset="mosaic", steps=1, width=8, depth=2).field
    sample = trials.Sample(1.0, 0.1, 60.0, 60.0, 1.0)

    def constant(images, group, **_):
        return {m.key: [trials.Trial(m, field, (sample, sample)) for _ in images] for m in group}

    monkeypatch.setattr(sweep, "run_trials", constant)
    gray_sweep = sweep.Sweep(
        tmp_path,
        "gray",
        PROTOCOL,
        {"gray": gray},
        {"gray": {}},
        seed=0,
        doubled={"gray": np.zeros((32, 32, 1), np.float32)},
    )
    gray_sweep.run(go)
    assert [row["zoom_psnr"] for row in gray_sweep.rows("ours", sweep.EPOCHS)] == [pytest.approx(6.02, abs=0.01)] * 2


def test_remedies(tmp_path, monkeypatch):
    monkeypatch.setattr(remedies, "_DIGITS", 16)
    protocol = sweep.Protocol(TINY, side=16, seeds=1, samples=1, batch=3)
    text = remedies.EXPERIMENT.reproduce(tmp_path, protocol, seed=0, watch=go, command="c").read_text()
    rows = table(tmp_path / "remedies.csv")
    assert len(rows) == (4 + 2) * len(remedies.VARIANTS)
    by_key = {(row["image"], row["remedy"]): row for row in rows}
    assert {row["kind"] for row in rows} == {"natural", "digits"}
    for image in {row["image"] for row in rows}:
        # Least squares with more coefficients cannot have a larger error, except for clamping.
        base = float(by_key[image, "eoren"]["psnr"])
        assert all(float(by_key[image, key]["psnr"]) > base - 0.01 for key in ("smooth", "tiles"))
    parameters = {key: int(by_key["set5-one", key]["parameters"]) for key in ("eoren", "smooth", "tiles", "mixed")}
    assert parameters["smooth"] - parameters["eoren"] == 64 + 1 - 2
    assert parameters["tiles"] - parameters["eoren"] == 2 * 64 - 2
    assert parameters["mixed"] == parameters["eoren"]
    gain = [
        float(by_key[f"{d}-one", "smooth"]["psnr"]) - float(by_key[f"{d}-one", "eoren"]["psnr"])
        for d in IMAGE_DATASETS
    ]
    line = next(line for line in text.splitlines() if line.startswith("| smooth field"))
    assert f"({np.mean(gain):+.2f} [" in line
    assert_figures(tmp_path, "remedies")


def test_variants_differ_from_eoren_in_target_and_objective():
    targets = {key: (t.settings.objective, t.settings.filter) for key, t in remedies.trainings(TINY).items()}
    assert targets["eoren"] == ("gradient", "central")
    assert targets["spline"] == ("gradient", "spline")
    assert targets["mixed"] == ("sobolev", "central")
    assert targets["mixed-spline"] == ("sobolev", "spline")


def test_variants_are_measured_like_any_field(tmp_path, monkeypatch):
    """The numbers of EoREN itself agree with eoren.evaluate."""
    monkeypatch.setattr(remedies, "_DIGITS", 16)
    monkeypatch.setattr(remedies, "EXPERIMENT", replace(remedies.EXPERIMENT, figures={}))
    kept = []
    whole = remedies.run_trials
    monkeypatch.setattr(remedies, "run_trials", lambda *a, **k: kept.append(whole(*a, **k)) or kept[-1])
    protocol = sweep.Protocol(TINY, side=16, seeds=1, samples=1, batch=9)
    remedies.EXPERIMENT.reproduce(tmp_path, protocol, seed=0, watch=go, command="c")
    rows = {row["image"]: row for row in table(tmp_path / "remedies.csv") if row["remedy"] == "eoren"}
    for trial, name in zip(kept[1]["eoren"], [f"{d}-one" for d in IMAGE_DATASETS], strict=True):
        assert float(rows[name]["psnr"]) == pytest.approx(trial.final.psnr, abs=1e-4)
        assert float(rows[name]["gradient_psnr"]) == pytest.approx(trial.final.gradient_psnr, abs=1e-4)


def test_composition(tmp_path):
    protocol = composition.Protocol(TINY, side=16, seeds=2, steps=2)
    text = composition.EXPERIMENT.reproduce(tmp_path, protocol, seed=0, watch=go, command="c").read_text()
    rows = table(tmp_path / "composition.csv")
    assert len(rows) == 3 * 4 * 2
    psnrs = [float(row["psnr"]) for row in rows if (row["mix"], row["method"]) == ("0.5", "eoren")]
    line = next(line for line in text.splitlines() if line.startswith("| 0.5 |"))
    assert f"{np.mean(psnrs):.2f}" in line
    assert_figures(tmp_path, "composition", "composition-pictures")
