import json
import math

import numpy as np
import pytest

from eoren.errors import EorenError
from eoren.evaluation.metrics import evaluate
from eoren.experiments.comparison import compare, final_numbers
from eoren.experiments.trials import run_trials
from eoren.field.serialization import dumps
from eoren.image.io import SourceImage

KEYS = ["pixel", "gradient", "eoren", "ours"]


def random_source(height, width, channels=1, seed=0):
    pixels = np.random.default_rng(seed).random((height, width, channels), np.float32)
    return SourceImage(pixels, 8, "0" * 64, "noise.png")


@pytest.fixture(scope="module")
def comparison():
    return compare(random_source(14, 12, 3), epochs=4.0, seconds=0.02, seed=3)


def test_one_trial_a_method_in_both_rounds(comparison):
    for trials in (comparison.equal_epochs, comparison.equal_time):
        assert [trial.method.key for trial in trials] == KEYS
        assert {trial.field.size for trial in trials} == {(12, 14)}
    assert {trial.final.epoch for trial in comparison.equal_epochs} == {4.0}
    assert all(trial.final.seconds >= 0.02 for trial in comparison.equal_time)


def test_numbers_are_those_of_the_field(comparison):
    for trial in [*comparison.equal_epochs, *comparison.equal_time]:
        final, measured = final_numbers(trial), evaluate(trial.field, comparison.image)
        assert final["psnr"] == pytest.approx(measured.psnr)
        assert final["gradient_psnr"] == pytest.approx(measured.gradient_psnr)
        assert final["ssim"] == pytest.approx(measured.ssim)
        assert final["bytes"] == len(dumps(trial.field))
        assert final["parameters"] == trial.field.parameters


def test_json(comparison):
    values = comparison.as_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["picture"] == {
        "name": "noise.png", "sha256": "0" * 64, "width": 12, "height": 14,
        "fitted_width": 12, "fitted_height": 14, "channels": 3, "profile": "",
    }  # fmt: skip
    assert (values["seed"], values["scale"], values["epochs"], values["seconds"]) == (3, "small", 4, 0.02)
    assert [method["key"] for method in values["methods"]] == KEYS
    assert [method["tuned"] for method in values["methods"]] == [False, False, True, True]
    assert values["methods"][1]["settings"]["objective"] == "gradient"
    for trials, rows in (
        (comparison.equal_epochs, values["equal_epochs"]),
        (comparison.equal_time, values["equal_time"]),
    ):
        for trial, row in zip(trials, rows, strict=True):
            assert row["method"] == trial.method.key
            assert {name: row[name] for name in final_numbers(trial)} == final_numbers(trial)
            assert [sample["epoch"] for sample in row["samples"]] == [sample.epoch for sample in trial.samples]
            assert set(row["samples"][-1]) == {"epoch", "seconds", "psnr", "gradient_psnr", "ssim"}
            assert row["samples"][-1]["psnr"] == row["psnr"]


def test_nan_is_null_in_json():
    small = compare(random_source(3, 2), epochs=1.0, seconds=0.001)
    assert math.isnan(small.equal_epochs[0].final.ssim)
    assert small.as_dict()["equal_epochs"][0]["ssim"] is None
    json.dumps(small.as_dict(), allow_nan=False)


@pytest.mark.parametrize("seconds", [None, 0.003])
def test_equal_time_is_what_eoren_took_unless_given(monkeypatch, seconds):
    budgets = []

    def spied(*arguments, epochs, seconds, **options):
        budgets.append((epochs, seconds))
        return run_trials(*arguments, epochs=epochs, seconds=seconds, **options)

    monkeypatch.setattr("eoren.experiments.comparison.run_trials", spied)
    comparison = compare(random_source(8, 8), epochs=2.0, seconds=seconds)
    took = next(trial.final.seconds for trial in comparison.equal_epochs if trial.method.key == "eoren")
    assert comparison.seconds == (took if seconds is None else seconds)
    assert budgets == [(2.0, None), (None, comparison.seconds)]


def test_larger_images_are_reduced_for_every_method():
    comparison = compare(random_source(20, 40), epochs=1.0, seconds=0.001, side=10)
    assert comparison.image.shape == (5, 10, 1)
    assert comparison.source.pixels.shape == (20, 40, 1)
    assert {trial.field.size for trial in comparison.equal_epochs} == {(10, 5)}


def test_same_seed_same_epochs_same_fields():
    first, again, other = (
        compare(random_source(9, 7), epochs=2.0, seconds=0.001, seed=seed).equal_epochs for seed in (1, 1, 2)
    )
    for one, two, three in zip(first, again, other, strict=True):
        assert (one.final.psnr, one.final.gradient_psnr) == (two.final.psnr, two.final.gradient_psnr)
        assert one.final.psnr != three.final.psnr


def test_progress_of_both_rounds():
    seen = []
    compare(random_source(8, 8), epochs=3.0, seconds=0.001, watch=lambda what, share: seen.append((what, share)))
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    names = ("equal epochs", "equal time", "equal bytes")
    for number, name in enumerate(names):
        assert {what.split(",")[0] for what, share in seen if number < 3 * share < number + 1} == {name}


def test_interrupted():
    def stop(what, share):
        if what.startswith("equal time"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(random_source(8, 8), epochs=1.0, seconds=0.01, watch=stop)


@pytest.mark.parametrize("wrong", [{"epochs": 0.0}, {"seconds": -1.0}, {"seconds": math.nan}, {"side": 0}])
def test_invalid_budgets(wrong):
    name = "size" if "side" in wrong else next(iter(wrong))
    with pytest.raises(EorenError, match=f"^{name} must be a positive number, got "):
        compare(random_source(8, 8), **wrong)
