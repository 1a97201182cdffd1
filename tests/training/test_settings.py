import json
from dataclasses import FrozenInstanceError, fields

import pytest
import torch

from eoren.errors import EorenError, FitWarning, ImageError
from eoren.image.gradients import STENCILS
from eoren.model.loss import OBJECTIVES
from eoren.model.quantization import pack
from eoren.model.siren import Siren, parameter_count
from eoren.training.presets import PRESETS, make_settings
from eoren.training.settings import Settings, current_names

NAN, INFINITE = float("nan"), float("inf")


def test_the_paper_preset_is_the_paper_to_the_letter():
    paper = make_settings("paper")
    assert (paper.depth, paper.width, paper.omega_first, paper.omega_hidden) == (5, 256, 30.0, 30.0)
    assert paper.tile is None
    assert (paper.optimizer, paper.learning_rate, paper.decay, paper.batch) == ("adam", 1e-4, 1.0, None)
    assert (paper.objective, paper.filter, paper.steps, paper.seconds) == ("gradient", "central", 950, None)
    assert (paper.standardize, paper.alternate, paper.bits, paper.until_psnr) == (False, False, 32, None)
    assert (paper.loss.color, paper.loss.gradient) == (0.0, 1.0)
    siren = Siren.init(
        1, width=paper.width, depth=paper.depth, channels=3, generator=torch.Generator().manual_seed(0)
    )
    assert sum(t.numel() for t in siren.tensors()) == 264_707


def test_presets_are_named_after_themselves_and_cannot_be_changed():
    assert "paper" in PRESETS
    assert "mosaic" in PRESETS
    for name, settings in PRESETS.items():
        assert settings.preset == name
        assert make_settings(name) == settings
        assert settings.seconds is not None or settings.steps is not None
    with pytest.raises(TypeError):
        PRESETS["mine"] = PRESETS["paper"]
    with pytest.raises(FrozenInstanceError):
        PRESETS["paper"].width = 3


def test_every_setting_is_explained():
    for field in fields(Settings):
        assert f"\n        {field.name}: " in Settings.__doc__


def test_changes_change_what_they_name_and_nothing_else():
    changed = make_settings("paper", width=32, objective="sobolev", gradient_weight=0.5, bits=8, until_psnr=40)
    expected = PRESETS["paper"].as_dict() | {
        "width": 32,
        "objective": "sobolev",
        "gradient_weight": 0.5,
        "bits": 8,
        "until_psnr": 40.0,
    }
    assert changed.as_dict() == expected
    assert make_settings("paper") == make_settings("paper", tile=None) == PRESETS["paper"]


def test_none_is_a_value_like_any_other():
    """Where a setting may be none it says what none means; it does not bring back the preset's."""
    found = make_settings("mosaic", tile=None, batch=None, omega_first=None, until_psnr=None)
    assert (found.tile, found.batch, found.omega_first, found.until_psnr) == (None,) * 4
    assert PRESETS["mosaic"].batch is not None
    with pytest.raises(EorenError, match="give seconds or steps"):
        make_settings("mosaic", seconds=None)


def test_settings_go_through_json():
    settings = make_settings("mosaic", tile=64, until_psnr=40)
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
    found = make_settings("paper", **given)
    assert (found.steps, found.seconds) == (steps, seconds)
    assert type(found.seconds) in (float, type(None))


def test_whole_numbers_are_welcome_where_fractions_are_meant():
    found = make_settings("paper", learning_rate=1, seconds=3, omega_first=20)
    assert [type(v) for v in (found.learning_rate, found.seconds, found.omega_first)] == [float] * 3


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradient_weight_belongs_to_sobolev_alone(objective):
    weights = make_settings("mosaic", objective=objective, gradient_weight=0.25).loss
    standard = OBJECTIVES[objective]
    assert weights.name == objective
    assert weights.color == standard.color
    assert weights.gradient == (0.25 if objective == "sobolev" else standard.gradient)


@pytest.mark.parametrize("name", ["spline", *STENCILS])
def test_every_filter_can_be_chosen(name):
    assert make_settings("paper", filter=name).filter == name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "nonsense"}, f"preset must be one of {', '.join(PRESETS)}, got 'nonsense'$"),
        ({"nonsense": 3}, "setting must be one of objective, .*width, .*, got 'nonsense'"),
        ({"objective": "colour"}, "objective must be one of gradient, pixel, sobolev, got 'colour'"),
        ({"filter": "roberts"}, "filter must be one of spline, forward, .*, got 'roberts'"),
        ({"optimizer": "sgd"}, "optimizer must be one of muon, adam, got 'sgd'"),
        ({"bits": 12}, "bits must be one of 32, 16, 8, got 12"),
        ({"bits": "8"}, "bits must be of type int, got '8'"),
        ({"width": 0}, "width must be a positive number, got 0"),
        ({"width": 2.5}, "width must be of type int, got 2.5"),
        ({"width": None}, "width must be of type int, got None"),
        ({"objective": None}, "objective must be of type str, got None"),
        ({"learning_rate": None}, "learning_rate must be of type float, got None"),
        ({"width": True}, "width must be of type int, got True"),
        ({"depth": -1}, "depth must be a positive number, got -1"),
        ({"depth": 65}, "depth must be at most 64 sine layers, got 65"),
        ({"omega_first": -30.0}, "omega_first must be a positive number, got -30.0"),
        ({"omega_hidden": INFINITE}, "omega_hidden must be a positive number, got inf"),
        ({"omega_hidden": 0}, "omega_hidden must be a positive number, got 0.0"),
        ({"learning_rate": NAN}, "learning_rate must be a positive number, got nan"),
        ({"learning_rate": "fast"}, "learning_rate must be of type float, got 'fast'"),
        ({"adam_learning_rate": -1}, "adam_learning_rate must be a positive number, got -1.0"),
        ({"decay": 0}, "decay must be a positive number, got 0.0"),
        ({"decay": 2}, "decay must be a factor of the learning rate, at most 1, got 2.0"),
        ({"batch": 0}, "batch must be a positive number, got 0"),
        ({"batch": -5}, "batch must be a positive number, got -5"),
        ({"batch": 0.25}, "batch must be of type int, got 0.25"),
        ({"tile": 0}, "tile must be a positive number, got 0"),
        ({"tile": 12.0}, "tile must be of type int, got 12.0"),
        ({"tile": 16, "halo": 0}, "halo must be a positive number, got 0.0"),
        ({"tile": 16, "halo": NAN}, "halo must be a positive number, got nan"),
        ({"tile": 16, "halo": 1e-300}, "halo must be at least .* got 1e-300"),
        ({"parameters": 0}, "parameters must be a positive number, got 0"),
        ({"parameters": 1e6}, "parameters must be of type int, got 1000000.0"),
        ({"bits_per_pixel": 0}, "bits_per_pixel must be a positive number, got 0.0"),
        ({"bits_per_pixel": NAN}, "bits_per_pixel must be a positive number, got nan"),
        ({"parameters": 10_000, "bits_per_pixel": 1}, "parameters and bits_per_pixel both"),
        ({"seconds": 0}, "seconds must be a positive number, got 0.0"),
        ({"seconds": INFINITE}, "seconds must be a positive number, got inf"),
        ({"seconds": "1 min"}, "seconds must be of type float, got '1 min'"),
        ({"steps": -1}, "steps must be zero or a positive number, got -1"),
        ({"steps": 1.5}, "steps must be of type int, got 1.5"),
        ({"until_psnr": -3}, "until_psnr must be a positive number, got -3.0"),
        ({"gradient_weight": -0.1}, "gradient_weight must be zero or a positive number, got -0.1"),
        ({"gradient_weight": NAN}, "gradient_weight must be zero or a positive number, got nan"),
        ({"gradient_weight": INFINITE}, "gradient_weight must be zero or a positive number, got inf"),
        ({"standardize": 1}, "standardize must be of type bool, got 1"),
        ({"alternate": "no"}, "alternate must be of type bool, got 'no'"),
        ({"filter": "forward", "objective": "sobolev"}, "filter 'forward'.*'gradient'"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_in_one_line_that_names_the_value(changes, message):
    with pytest.raises(EorenError, match=message) as caught:
        make_settings(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("half", [1.0, 75.0, 80.0, 2000.0])
def test_the_first_frequency_follows_the_size_unless_it_is_given(half):
    # Weights lie within 1/2, local coordinates count `half` pixels: omega / 2 / half radians a pixel.
    found = make_settings("mosaic").starting_omega(half)
    assert found == pytest.approx(max(30.0, 0.2 * 2 * half))
    assert make_settings("mosaic", omega_first=12).starting_omega(half) == 12
    assert make_settings("paper").starting_omega(half) == 30
    assert make_settings("paper", omega_first=None).starting_omega(half) == found


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(("width", "height"), [(768, 512), (1, 1), (30, 40), (3000, 20)])
def test_without_a_size_there_are_tiles_of_the_side_asked_for(name, width, height):
    settings = PRESETS[name]
    count = 1 if settings.tile is None else max(1, round(width * height / settings.tile**2))
    assert settings.architecture(width, height, 3) == (count, settings.width)


def stored(settings, hidden, channels):
    """Numbers of one network and its tuning."""
    return parameter_count(hidden, settings.depth, channels) + 2 * channels


@pytest.mark.parametrize("budget", [100, 1000, 2345, 30_000, 300_000, 5_000_000])
@pytest.mark.parametrize(("width", "height"), [(768, 512), (100, 50), (20, 20)])
@pytest.mark.parametrize("preset", ["mosaic", "mosaic-best", "single"])
@pytest.mark.parametrize("channels", [1, 4])
def test_a_size_is_met_from_below_and_as_nearly_as_can_be(budget, width, height, preset, channels):
    settings = make_settings(preset, parameters=budget)
    count, hidden = settings.architecture(width, height, channels)
    each = stored(settings, hidden, channels)
    assert count * each <= budget
    assert count >= 1
    assert hidden >= 1
    if preset == "single":
        assert count == 1
    # Either no tile can be added, and no unit where their number is at its limit.
    if hidden == settings.width and count > 1:
        assert (count + 1) * each > budget or count * stored(settings, hidden + 1, channels) > budget
    else:
        assert count * stored(settings, hidden + 1, channels) > budget
    if hidden < settings.width:
        assert count == 1
    assert count == 1 or width * height / count >= 24**2


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_bits_per_pixel_are_those_of_the_tensors_in_the_file(bits):
    count, hidden = make_settings("mosaic", bits_per_pixel=4, bits=bits).architecture(768, 512, 3)
    siren = Siren.init(1, width=hidden, depth=3, channels=3, generator=torch.Generator())
    stored = sum(8 * t.numel() * t.element_size() for t in pack(siren, bits).values())
    stored += 32 * 6 + 32 * 4 + 32  # channel tuning; two nodes of the tree of tiles; checksum
    assert 0.95 * 4 * 768 * 512 < count * stored <= 4 * 768 * 512


@pytest.mark.parametrize("size", [{"parameters": 5}, {"bits_per_pixel": 1e-6}], ids=str)
def test_a_size_too_small_for_any_network_is_refused(size):
    with pytest.raises(EorenError, match=r"size of \d (parameters|bits) is too small; one network needs \d+ or more"):
        make_settings("mosaic", **size).architecture(100, 100, 3)


@pytest.mark.parametrize("preset", ["mosaic", "single", "paper"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_width_is_what_counting_up_finds(preset, channels):
    """Unit by unit, as long as another one fits; for every width that a budget just reaches, and just misses."""
    settings = make_settings(preset)
    costs = {hidden: stored(settings, hidden, channels) for hidden in range(1, 300)}
    budgets = [cost + more for cost in costs.values() for more in (-1, 0, 1)]
    for budget in [budget for budget in budgets if budget >= costs[1]]:
        hidden = 0
        while stored(settings, hidden + 1, channels) <= budget:
            hidden += 1
        # Fewer pixels than two tiles have, so that there is one network.
        assert make_settings(preset, parameters=budget).architecture(24, 24, channels) == (1, hidden)


HUGE = "more than 4,294,967,296 numbers"


@pytest.mark.parametrize(
    "size",
    [
        {"parameters": 2**33},
        {"parameters": 99999999999999999999},
        {"parameters": 10**4000},
        {"bits_per_pixel": 1e15},
        {"bits_per_pixel": 1e308},
        {"width": 10**9},
        {"width": 10**4000},
        {"tile": 1, "width": 1000},
    ],
    ids=lambda size: f"{size!s:.40}",
)
@pytest.mark.parametrize("preset", ["mosaic", "single"])
def test_a_function_beyond_all_memory_is_refused(preset, size):
    with pytest.raises(ImageError, match=HUGE) as caught:
        make_settings(preset, **size).architecture(10_000, 1000, 3)
    assert len(str(caught.value)) < 200


def test_the_largest_function_has_as_many_numbers_as_the_largest_image():
    count, hidden = make_settings("single", parameters=2**32).architecture(1000, 1000, 3)
    assert count == 1
    assert 0.999 * 2**32 < parameter_count(hidden, 4, 3) <= 2**32


def test_settings_without_an_end_are_refused():
    with pytest.raises(EorenError, match="give seconds or steps"):
        Settings("mine")


@pytest.mark.parametrize(
    ("given", "small", "large"),
    [
        ({}, 60.0, 3600.0),
        ({"preset": "mosaic-fast"}, 10.0, 600.0),
        ({"preset": "mosaic-best"}, 107.0, 6480.0),
        ({"preset": "single"}, 60.0, 60.0),
        ({"preset": "paper"}, None, None),
        ({"seconds": 7}, 7.0, 7.0),
        ({"steps": 7}, None, None),
        ({"seconds_per_megapixel": 100.0}, 60.0, 2400.0),
        ({"seconds": 5.0, "seconds_per_megapixel": 10.0}, 5.0, 240.0),
    ],
    ids=str,
)
def test_large_images_get_time_in_proportion_unless_it_is_given(given, small, large):
    found = make_settings(**given)
    assert found.time_limit(768, 512) == small
    assert found.time_limit(6000, 4000) == large


def test_former_names_are_accepted_with_one_warning():
    with pytest.warns(FitWarning) as caught:
        settings = make_settings("mosaic", rate=0.01, adam_rate=0.02, pixels="areas", width=20)
    assert [str(warning.message) for warning in caught] == [
        "settings were renamed: rate is now learning_rate, adam_rate is now adam_learning_rate, "
        "pixels=areas is now pixel_model=cell_average"
    ]
    new = {"learning_rate": 0.01, "adam_learning_rate": 0.02, "pixel_model": "cell_average", "width": 20}
    assert settings == make_settings("mosaic", **new)
    with pytest.raises(EorenError, match="rate is the former name of learning_rate; give only learning_rate"):
        make_settings("mosaic", rate=0.01, learning_rate=0.01)


def test_stored_settings_are_renamed_silently(recwarn):
    stored = {"preset": "best", "rate": 0.01, "adam_rate": None, "pixels": "points", "bits": 8}
    renamed = current_names(stored)
    assert renamed == {
        "preset": "best", "learning_rate": 0.01, "adam_learning_rate": None, "pixel_model": "point_sample", "bits": 8,
    }  # fmt: skip
    assert current_names(renamed) == renamed
    assert make_settings(**{**renamed, "preset": "mosaic-best"}).learning_rate == 0.01
    assert not recwarn.list
