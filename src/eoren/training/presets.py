"""Presets: named sets of settings."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, get_type_hints

from eoren.checks import check_choice
from eoren.errors import DeprecatedSettingWarning, EorenError
from eoren.training.compact.settings import CONVERGED_STEPS, CompactSettings
from eoren.training.compact.settings import NAMES as COMPACT_NAMES
from eoren.training.compact.settings import PRESETS as COMPACT_PRESETS
from eoren.training.settings import Settings, current_names

_PRESETS = (
    Settings("mosaic-fast", seconds=10.0, seconds_per_megapixel=25.0),
    Settings("mosaic", seconds=60.0, seconds_per_megapixel=150.0),
    Settings("mosaic-best", tile=40, batch=512, seconds=107.0, seconds_per_megapixel=270.0),
    # For many images: docs/scaling.md. A budget in steps treats all images alike. A batch is a third of the
    # pixels of a digit of MNIST: more steps of fewer pixels are better until the noise dominates.
    Settings(
        "small",
        objective="pixel",
        width=16,
        tile=32,
        omega_hidden=15.0,
        learning_rate=0.008,
        adam_learning_rate=0.008,
        batch=264,
        steps=130,
    ),
    # The best settings found for one network in a minute.
    Settings(
        "single",
        gradient_weight=0.3,
        width=256,
        depth=4,
        omega_hidden=30.0,
        tile=None,
        batch=2048,
        learning_rate=0.002,
        adam_learning_rate=0.0005,
        seconds=60.0,
    ),
    # arXiv 2209.11697, section 4: 950 of 1000 epochs train the Edge-Oriented Module. The 50 of the Channel
    # Tuning Module are replaced by the closed form of channel_tuning.py.
    Settings(
        "paper",
        objective="gradient",
        filter="central",
        width=256,
        depth=5,
        tile=None,
        optimizer="adam",
        learning_rate=1e-4,
        decay=1.0,
        batch=None,
        omega_first=30.0,
        omega_hidden=30.0,
        standardize=False,
        alternate=False,
        bits=32,
        steps=950,
    ),
)
PRESETS: Mapping[str, Settings] = MappingProxyType({settings.preset: settings for settings in _PRESETS})
"""Presets of SIRENs by name; those of compact fits are :data:`eoren.training.compact.settings.PRESETS`."""

_NAMES = tuple(field.name for field in fields(Settings))[1:]

FORMER_NAMES: Mapping[str, str] = MappingProxyType(
    {"fast": "mosaic-fast", "balanced": "mosaic", "best": "mosaic-best"}
)
"""Names that presets of mosaics had before compact fits took them, in files of version 0.1."""


def choose_settings(preset: str, **changes: Any) -> Settings | CompactSettings:
    """Create the settings of any preset with some changed, as :func:`eoren.fit` does.

    Settings that only mosaics have select the mosaic in place of a compact preset, with a warning; names of earlier
    versions give a warning, too.

    Raises:
        EorenError: preset or setting are unknown, or the preset does not have the setting.

    Example:
        >>> choose_settings("fast", bytes=20_000).target_bytes(768, 512)
        20000.0
        >>> choose_settings("mosaic", width=16).width
        16
    """
    check_choice("preset", preset, [*COMPACT_PRESETS, *PRESETS])
    if preset in COMPACT_PRESETS:
        names = current_names(changes)
        for name in names:
            check_choice("setting", name, dict.fromkeys([*COMPACT_NAMES, *_NAMES]))
        of_mosaics = [name for name in names if name not in COMPACT_NAMES and name in _NAMES]
        if not of_mosaics:
            return make_compact_settings(preset, **changes)
        mosaic = FORMER_NAMES[preset]
        _refuse_compact_names(mosaic, names, because_of=of_mosaics)
        settings = make_settings(mosaic, **changes)
        warnings.warn(
            f"{', '.join(of_mosaics)}: only mosaics have such settings, so the preset is {mosaic}; "
            f"give preset {mosaic}",
            DeprecatedSettingWarning,
            stacklevel=3,
        )
        return settings
    _refuse_compact_names(preset, changes)
    return make_settings(preset, **changes)


def make_compact_settings(preset: str, **changes: Any) -> CompactSettings:
    """Create the settings of a compact preset with some changed; names of earlier versions give a warning.

    With a time budget, the steps are limited by it, and by convergence.
    """
    check_choice("preset", preset, COMPACT_PRESETS)
    types = get_type_hints(CompactSettings)
    given = current_names(changes, warn=True)
    for name, value in given.items():
        check_choice("setting", name, COMPACT_NAMES)
        given[name] = _convert(name, value, types[name])
    if given.get("seconds") is not None or given.get("seconds_per_megapixel") is not None:
        given = {"steps": CONVERGED_STEPS, **given}
    return replace(COMPACT_PRESETS[preset], **given)


def _refuse_compact_names(preset: str, names: Iterable[str], because_of: Sequence[str] = ()) -> None:
    """Refuse settings that only compact fields have, for a preset of mosaics."""
    of_compact = [name for name in names if name in COMPACT_NAMES and name not in _NAMES]
    if of_compact:
        origin = f"{', '.join(because_of)} of mosaics" if because_of else f"preset {preset}"
        remedy = "; parameters or bits_per_pixel set the size of a mosaic" if "bytes" in of_compact else ""
        raise EorenError(
            f"{', '.join(of_compact)}: only the compact presets {', '.join(COMPACT_PRESETS)} have such settings, "
            f"got {origin}{remedy}"
        )


def make_settings(preset: str = "mosaic", **changes: Any) -> Settings:
    """Create the settings of a preset of SIRENs with some changed; names of earlier versions give a warning.

    ``steps`` or ``seconds`` replace the preset's budget, its seconds per megapixel included.
    """
    check_choice("preset", preset, PRESETS)
    types = get_type_hints(Settings)
    given = current_names(changes, warn=True)
    for name, value in given.items():
        check_choice("setting", name, _NAMES)
        given[name] = _convert(name, value, types[name])
    if "steps" in given or "seconds" in given:
        given = {"steps": None, "seconds": None, "seconds_per_megapixel": None, **given}
    return replace(PRESETS[preset], **given)


def _convert(name: str, value: Any, kind: Any) -> Any:
    """Check the type of a value, and convert an integer where a float is expected."""
    kinds = getattr(kind, "__args__", (kind,))
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(k.__name__ for k in kinds if k is not type(None))
        raise EorenError(f"{name} must be of type {names}, got {value!r}")
    return value
