"""The estimate before a fit, and the warning after one that had too little time."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.compact import picture

import eoren
from eoren.errors import ShortFitWarning, SmallFileWarning
from eoren.training import plan
from eoren.training.compact import finish
from eoren.training.plan import Plan, plan_fit
from eoren.training.presets import choose_settings

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((12_200_000, 250.0, 5.04e6), "12.2 MP: about 4.2 min, about 5 MB"),
        ((400_000, 60.0, 1.1e6), "0.4 MP: about 60 s, about 1.1 MB"),
        ((10**9, 20_000.0, 3.1e8), "1e+03 MP: about 5.6 h, about 310 MB"),
        ((3_000_000, 0.2, 950.0), "3 MP: about 1 s, about 950 B"),
        ((3_000_000, None, 95_400.0), "3 MP: about 95 kB"),
    ],
)
def test_one_line(numbers, text):
    assert str(Plan(*numbers)) == text


def test_a_mosaic_takes_its_budget_and_its_numbers():
    image = picture(150, 200, 3)
    estimate = plan_fit(image, choose_settings("mosaic", seconds=20.0), device=CPU)
    assert (estimate.pixels, estimate.seconds) == (30_000, 20.0)
    # The description takes a few bytes more.
    assert estimate.bytes == pytest.approx(eoren.fit(image, preset="mosaic", steps=1).bytes, rel=0.1)


@pytest.mark.parametrize(
    ("preset", "given"), [("mosaic", {"seconds": 5.0}), ("small", {}), ("balanced", {}), ("balanced", {"bytes": 900})]
)
def test_short_fits_have_no_estimate(preset, given):
    assert plan_fit(picture(60, 70, 3), choose_settings(preset, **given), device=CPU) is None


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(plan, "_LEAST_PIXELS", 1)
    monkeypatch.setattr(plan, "_SIDES", (64, 96))


@pytest.mark.usefixtures("small_windows")
def test_a_compact_field_is_estimated_from_windows():
    image = picture(160, 200, 3)
    estimate = plan_fit(image, choose_settings("fast"), device=CPU)
    assert estimate.seconds > 0
    assert estimate.bytes == pytest.approx(eoren.fit(image, preset="fast").bytes, rel=0.25)
    assert plan_fit(image, choose_settings("fast", bytes=5000), device=CPU).bytes == 5000
    assert plan_fit(image, choose_settings("fast", seconds=1e-3), device=CPU).seconds <= 10


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("is_column", [False, True])
def test_a_row_is_estimated_from_windows_of_as_many_pixels(is_column):
    row = picture(1, 30_000, 1)
    image = row.swapaxes(0, 1) if is_column else row
    assert plan._window(image, 64, 0.75).size == 64 * 64
    estimate = plan_fit(image, choose_settings("fast"), device=CPU)
    assert estimate.bytes == pytest.approx(eoren.fit(image, preset="fast").bytes, rel=0.25)


def test_the_parts_of_a_fit_grow_differently(monkeypatch):
    monkeypatch.setattr(plan, "_GROWTH", (0.5, 1.0, 0.25))
    assert plan._growing_seconds([100.0, 102.0, 103.0, 106.0, 110.0]) == 1 + 4 + 1
    assert plan._growing_seconds([100.0, 102.0, 102.0, 110.0]) == 1 + 0 + 2
    assert plan._growing_seconds([100.0, 102.0, 110.0]) == 1 + 0 + 2


@pytest.mark.usefixtures("small_windows")
def test_a_fit_without_steps_is_estimated():
    assert plan_fit(picture(160, 200, 1), choose_settings("fast", steps=0), device=CPU).seconds > 0


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("given", [{}, {"bytes": 5000}, {"until_psnr": 34.0}], ids=str)
def test_only_the_steps_are_taken_for_the_loop(monkeypatch, given):
    counts, growing = [], plan._growing_seconds
    monkeypatch.setattr(plan, "_growing_seconds", lambda moments: counts.append(len(moments)) or growing(moments))
    plan_fit(picture(160, 200, 1), choose_settings("fast", steps=2, **given), device=CPU)
    assert counts == [5, 5, 5]  # start, before and after both steps, end


@pytest.mark.usefixtures("small_windows", "unchecked")
def test_a_siren_is_timed_on_the_cpu_wherever_the_field_is(monkeypatch):
    """Its samples are drawn on the CPU; a fit on a GPU returns a field there."""
    fit_compact = plan.fit_compact

    def fit_elsewhere(*given, **options):
        result = fit_compact(*given, **options)
        here = SimpleNamespace(representation=result.field.representation)
        elsewhere = result.field.representation.to("meta")
        field = SimpleNamespace(representation=elsewhere, to=lambda device: {"cpu": here}[device])
        return SimpleNamespace(field=field, bytes=result.bytes)

    monkeypatch.setattr(plan, "fit_compact", fit_elsewhere)
    assert plan_fit(picture(160, 200, 1), choose_settings("best", steps=1), device=CPU).seconds > 0


def test_the_time_of_a_siren_is_that_of_its_steps(monkeypatch):
    """By a clock on which a step takes a hundredth of a second."""
    image, best = picture(64, 80, 1), choose_settings("best")
    field = eoren.fit(image, preset="fast").field.representation
    steps, adam = [0], torch.optim.Adam.step

    def step(*given, **options):
        steps[0] += 1
        return adam(*given, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    monkeypatch.setattr(plan, "monotonic", lambda: 5 + 0.01 * steps[0])
    assert plan._siren_seconds(field, image, best) == pytest.approx(0.01 * finish._SIREN_STEPS, rel=0.05)
    assert steps[0] < finish._SIREN_STEPS / 4


@pytest.mark.usefixtures("small_windows")
def test_an_impossible_quality_has_no_estimate():
    assert plan_fit(picture(120, 150, 1), choose_settings("fast", until_psnr=500.0), device=CPU) is None


@pytest.mark.filterwarnings("always")
def test_too_little_time_for_networks_is_a_warning():
    image = picture(300, 400, 3)
    with pytest.warns(
        ShortFitWarning, match=r"\d+ steps in .* are too few for the networks of 400 x 300 pixels; give about "
    ):
        eoren.fit(image, preset="mosaic", seconds=0.05)
    with pytest.warns(ShortFitWarning, match="are too few"):
        eoren.mix(image, image).fit(preset="mosaic", seconds=0.05)


def test_given_steps_are_enough(recwarn):
    eoren.fit(picture(20, 30, 1), preset="mosaic", steps=3)
    eoren.fit(picture(20, 30, 1), preset="mosaic", steps=3, seconds=1000.0)
    assert not recwarn.list


@pytest.mark.filterwarnings("always")
def test_far_too_small_a_size_is_a_warning(recwarn):
    image = np.random.default_rng(0).random((30, 40, 3))
    with pytest.warns(
        SmallFileWarning, match=r"^50\d bytes are too few for 40 x 30 pixels: PSNR is 1\d\.\d dB; give a "
    ):
        result = eoren.fit(image, preset="fast", bytes=500)
    assert result.metrics.psnr < 20
    with pytest.warns(SmallFileWarning, match="are too few"):
        eoren.mix(image, image).fit(preset="fast", bits_per_pixel=3.5)
    recwarn.clear()
    eoren.fit(0.4 + 0.2 * image, preset="fast", bytes=500)
    eoren.fit(image, preset="fast", until_psnr=15.0)
    assert not recwarn.list
