import json
from dataclasses import FrozenInstanceError, fields

import pytest
import torch

from eoren.errors import EorenError
from eoren.gradients import STENCILS
from eoren.objectives import OBJECTIVES
from eoren.presets import PRESETS, Settings, resolve
from eoren.siren import initialise

NAN, INFINITE = float("nan"), float("inf")


def test_the_paper_preset_is_the_paper_to_the_letter():
    paper = resolve("paper")
    assert (paper.depth, paper.width, paper.omega_first, paper.omega_hidden) == (5, 256, 30.0, 30.0)
    assert paper.tile is None
    assert (paper.optimizer, paper.rate, paper.decay, paper.batch) == ("adam", 1e-4, 1.0, 1.0)
    assert (paper.objective, paper.filter, paper.steps, paper.seconds) == ("gradient", "central", 950, None)
    assert (paper.standardize, paper.alternate, paper.bits, paper.until_psnr) == (False, False, 32, None)
    assert (paper.weights().color, paper.weights().gradient) == (0.0, 1.0)
    siren = initialise(
        1, width=paper.width, depth=paper.depth, channels=3, generator=torch.Generator().manual_seed(0)
    )
    assert sum(t.numel() for t in siren.tensors()) == 264_707


def test_presets_are_named_after_themselves_and_cannot_be_changed():
    assert "paper" in PRESETS
    assert "balanced" in PRESETS
    for name, settings in PRESETS.items():
        assert settings.preset == name
        assert resolve(name) == settings
        assert settings.seconds is not None or settings.steps is not None
    with pytest.raises(TypeError):
        PRESETS["mine"] = PRESETS["paper"]
    with pytest.raises(FrozenInstanceError):
        PRESETS["paper"].width = 3


def test_every_setting_is_explained():
    for field in fields(Settings):
        assert f"\n        {field.name}: " in Settings.__doc__


def test_changes_change_what_they_name_and_nothing_else():
    changed = resolve("paper", width=32, objective="sobolev", gradient_weight=0.5, bits=8, until_psnr=40)
    expected = PRESETS["paper"].as_dict() | {
        "width": 32,
        "objective": "sobolev",
        "gradient_weight": 0.5,
        "bits": 8,
        "until_psnr": 40.0,
    }
    assert changed.as_dict() == expected
    assert resolve("paper", width=None, tile=None, objective=None) == PRESETS["paper"]


def test_settings_go_through_json():
    settings = resolve("balanced", tile=64, until_psnr=40)
    assert Settings(**json.loads(json.dumps(settings.as_dict()))) == settings


@pytest.mark.parametrize(
    ("given", "steps", "seconds"),
    [
        ({}, 950, None),
        ({"steps": 7}, 7, None),
        ({"steps": 0}, 0, None),
        ({"seconds": 2}, None, 2.0),
        ({"seconds": 2.5, "steps": 9}, 9, 2.5),
        ({"seconds": None, "steps": 9}, 9, None),
    ],
)
def test_a_budget_replaces_the_presets(given, steps, seconds):
    found = resolve("paper", **given)
    assert (found.steps, found.seconds) == (steps, seconds)
    assert type(found.seconds) in (float, type(None))


def test_whole_numbers_are_welcome_where_fractions_are_meant():
    found = resolve("paper", rate=1, seconds=3, omega_first=20)
    assert [type(v) for v in (found.rate, found.seconds, found.omega_first)] == [float] * 3


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradient_weight_belongs_to_sobolev_alone(objective):
    weights = resolve("balanced", objective=objective, gradient_weight=0.25).weights()
    standard = OBJECTIVES[objective]
    assert weights.name == objective
    assert weights.color == standard.color
    assert weights.gradient == (0.25 if objective == "sobolev" else standard.gradient)


@pytest.mark.parametrize("name", ["spline", *STENCILS])
def test_every_filter_can_be_chosen(name):
    assert resolve("paper", filter=name).filter == name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "nonsense"}, "preset 'nonsense' is unknown; choose one of paper, balanced"),
        ({"nonsense": 3}, "setting 'nonsense' is unknown; choose one of objective, .*width"),
        ({"objective": "colour"}, "objective 'colour' is unknown; choose one of gradient, pixel, sobolev"),
        ({"filter": "roberts"}, "filter 'roberts' is unknown; choose one of spline, forward"),
        ({"optimizer": "sgd"}, "optimizer 'sgd' is unknown; choose one of muon, adam"),
        ({"bits": 12}, "bits 12 is unknown; choose one of 32, 16, 8"),
        ({"bits": "8"}, "bits is '8', but must be of type int"),
        ({"width": 0}, "width is 0,"),
        ({"width": 2.5}, "width is 2.5, but must be of type int"),
        ({"width": True}, "width is True, but must be of type int"),
        ({"depth": -1}, "depth is -1,"),
        ({"omega_first": -30.0}, "omega_first is -30.0,"),
        ({"omega_hidden": INFINITE}, "omega_hidden is inf,"),
        ({"omega_hidden": 0}, "omega_hidden is 0.0,"),
        ({"rate": NAN}, "rate is nan,"),
        ({"rate": "fast"}, "rate is 'fast', but must be of type float"),
        ({"adam_rate": -1}, "adam_rate is -1.0,"),
        ({"decay": 0}, "decay is 0.0,"),
        ({"decay": 2}, "decay.* 2.0"),
        ({"batch": 0}, "batch is 0.0,"),
        ({"batch": 1.5}, "batch.* 1.5"),
        ({"batch": NAN}, "batch is nan,"),
        ({"tile": 0}, "tile is 0,"),
        ({"tile": 12.0}, "tile is 12.0, but must be of type int"),
        ({"tile": 16, "halo": 0}, "halo is 0.0,"),
        ({"tile": 16, "halo": 5.4}, "halo is 5.4,.*tile 16"),
        ({"tile": 16, "halo": NAN}, "halo is nan,"),
        ({"seconds": 0}, "seconds is 0.0,"),
        ({"seconds": INFINITE}, "seconds is inf,"),
        ({"seconds": "1 min"}, "seconds is '1 min', but must be of type float"),
        ({"steps": -1}, "steps is -1,"),
        ({"steps": 1.5}, "steps is 1.5, but must be of type int"),
        ({"until_psnr": -3}, "until_psnr is -3.0,"),
        ({"gradient_weight": -0.1}, "gradient_weight is -0.1,"),
        ({"gradient_weight": NAN}, "gradient_weight is nan,"),
        ({"gradient_weight": INFINITE}, "gradient_weight is inf,"),
        ({"standardize": 1}, "standardize is 1, but must be of type bool"),
        ({"alternate": "no"}, "alternate is 'no', but must be of type bool"),
        ({"filter": "forward", "objective": "sobolev"}, "filter 'forward'.*'gradient'"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_in_one_line_that_names_the_value(changes, message):
    with pytest.raises(EorenError, match=message) as caught:
        resolve(**changes)
    assert "\n" not in str(caught.value)


def test_settings_without_an_end_are_refused():
    with pytest.raises(EorenError, match="give seconds or steps"):
        Settings("mine")
