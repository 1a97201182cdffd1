import warnings
from dataclasses import FrozenInstanceError, fields

import pytest

from eoren.errors import DeprecatedSettingWarning, EorenError
from eoren.training.compact.settings import CONVERGED_STEPS, NAMES, PRESETS, CompactSettings
from eoren.training.presets import FORMER_NAMES, choose_settings, make_compact_settings, make_settings
from eoren.training.settings import Settings


def test_presets_are_named_after_themselves_and_cannot_be_changed():
    assert [*PRESETS] == ["fast", "balanced", "best"]
    for name, settings in PRESETS.items():
        assert settings.preset == name
        assert make_compact_settings(name) == choose_settings(name) == settings
    with pytest.raises(TypeError):
        PRESETS["mine"] = PRESETS["fast"]
    with pytest.raises(FrozenInstanceError):
        PRESETS["fast"].steps = 3


def test_every_setting_is_explained():
    for field in fields(CompactSettings):
        assert f"\n        {field.name}: " in CompactSettings.__doc__
    assert {field.name for field in fields(CompactSettings)} == {"preset", *NAMES}


@pytest.mark.parametrize(
    "changes",
    [{}, {"bytes": 5000}, {"steps": 7}, {"seconds": 2.5, "until_psnr": 40.0}, {"seconds": 5.0, "steps": 2}],
    ids=str,
)
@pytest.mark.parametrize("preset", PRESETS)
def test_stored_settings_make_the_same_again(preset, changes):
    settings = make_compact_settings(preset, **changes)
    stored = settings.as_dict()
    assert choose_settings(**stored) == settings
    assert stored.keys() <= {"preset", *changes, "steps", "seconds", "seconds_per_megapixel"}


@pytest.mark.parametrize(
    ("preset", "changes", "steps", "limit"),
    [
        ("fast", {}, 2, None),
        ("fast", {"seconds": 3}, CONVERGED_STEPS, 3.0),
        ("balanced", {"steps": 9}, 9, None),
        ("balanced", {"seconds": 3}, CONVERGED_STEPS, 3.0),
        ("balanced", {}, 12, None),
        ("balanced", {"seconds_per_megapixel": 2.0}, CONVERGED_STEPS, 4.0),
        ("best", {"steps": 9, "seconds": 1.0}, 9, 1.0),
    ],
)
def test_time_and_convergence_limit_the_steps(preset, changes, steps, limit):
    settings = make_compact_settings(preset, **changes)
    assert (settings.steps, settings.time_limit(2000, 1000)) == (steps, limit)


@pytest.mark.parametrize(("changes", "size"), [({"bytes": 5000}, 5000), ({"bits_per_pixel": 2}, 750.0), ({}, None)])
def test_sizes_in_bytes(changes, size):
    assert make_compact_settings("fast", **changes).target_bytes(60, 50) == size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bytes": 0}, "bytes must be a positive number, got 0"),
        ({"bytes": 1.5}, "bytes must be of type int, got 1.5"),
        ({"bytes": True}, "bytes must be of type int, got True"),
        ({"bits_per_pixel": float("nan")}, "bits_per_pixel must be a positive number, got nan"),
        ({"bits_per_pixel": float("inf")}, "bits_per_pixel must be a positive number, got inf"),
        ({"until_psnr": -3}, "until_psnr must be a positive number, got -3.0"),
        ({"lagrangian": 0}, "lagrangian must be a positive number, got 0.0"),
        ({"steps": -1}, "steps must be zero or a positive number, got -1"),
        ({"gradient_weight": -0.1}, "gradient_weight must be zero or a positive number, got -0.1"),
        ({"lagrangian": 1e40}, r"lagrangian must be at most 1e\+06, got 1e\+40"),
        ({"gradient_weight": 1e38}, r"gradient_weight must be at most 1e\+06, got 1e\+38"),
        ({"siren_width": 8}, "siren_width must be a multiple of 16 up to 256, or 0, got 8"),
        ({"siren_width": 272}, "siren_width must be a multiple of 16 up to 256, or 0, got 272"),
        ({"pixel_model": "round"}, "pixel_model must be one of point_sample, cell_average, got 'round'"),
        ({"bytes": 9, "bits_per_pixel": 1}, "bits_per_pixel and bytes both set the size; give one of them"),
        ({"bytes": 9, "until_psnr": 30}, "bytes and until_psnr both set the size; give one of them"),
        ({"nonsense": 1}, "setting must be one of bits_per_pixel, .*, got 'nonsense'"),
        ({"steps": None, "seconds": None}, "a fit needs a budget; give seconds or steps"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(EorenError, match=f"^{message}$"):
        choose_settings("fast", **changes)


def test_unknown_presets_are_refused():
    names = "fast, balanced, best, mosaic-fast, mosaic, mosaic-best, small, single, paper"
    with pytest.raises(EorenError, match=f"^preset must be one of {names}, got 'tiny'$"):
        choose_settings("tiny")


@pytest.mark.parametrize(
    ("preset", "mosaic"), [("fast", "mosaic-fast"), ("balanced", "mosaic"), ("best", "mosaic-best")]
)
@pytest.mark.parametrize(
    "changes", [{"width": 16}, {"tile": None}, {"bits": 8, "steps": 3}, {"parameters": 9999}], ids=str
)
def test_settings_of_mosaics_select_the_mosaic(preset, mosaic, changes):
    names = ", ".join(name for name in changes if name != "steps")
    message = f"{names}: only mosaics have such settings, so the preset is {mosaic}; give preset {mosaic}"
    with pytest.warns(DeprecatedSettingWarning, match=f"^{message}$"):
        settings = choose_settings(preset, **changes)
    assert settings == make_settings(mosaic, **changes)
    assert isinstance(settings, Settings)


def test_wrong_settings_of_mosaics_are_refused_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(EorenError, match="width must be a positive number, got 0"):
            choose_settings("balanced", width=0)


@pytest.mark.parametrize(
    ("preset", "changes", "origin"),
    [
        ("mosaic", {"bytes": 9}, "preset mosaic"),
        ("single", {"bytes": 9}, "preset single"),
        ("balanced", {"bytes": 9, "width": 16, "bits": 8}, "width, bits of mosaics"),
    ],
)
def test_mosaics_have_no_size_in_bytes(preset, changes, origin):
    message = (
        f"^bytes: only the compact presets fast, balanced, best have such settings, got {origin}; parameters or "
    )
    with pytest.raises(EorenError, match=message):
        choose_settings(preset, **changes)


def test_former_names_of_settings_are_replaced():
    with pytest.warns(DeprecatedSettingWarning, match="pixels=areas is now pixel_model=cell_average"):
        assert choose_settings("fast", pixels="areas").pixel_model == "cell_average"
    with pytest.raises(EorenError, match="pixels is the former name of pixel_model; give only pixel_model"):
        choose_settings("fast", pixels="areas", pixel_model="cell_average")


def test_settings_of_networks_have_no_compact_presets():
    """Files of version 0.1 have these names for mosaics, and :data:`FORMER_NAMES` translates them."""
    for former in FORMER_NAMES:
        with pytest.raises(EorenError, match=f"preset must be one of mosaic-fast, mosaic, .*, got '{former}'"):
            make_settings(former, steps=5)
        assert make_settings(FORMER_NAMES[former], steps=5).steps == 5
