import re
from typing import get_args

import pytest

from eoren.cli import options
from eoren.errors import EorenError
from eoren.model.loss import OBJECTIVES
from eoren.training.compact.settings import PRESETS as COMPACT_PRESETS
from eoren.training.presets import PRESETS


def test_names_are_those_of_the_library():
    assert {*get_args(options.PresetName)} == {*COMPACT_PRESETS, *PRESETS}
    assert {*get_args(options.ObjectiveName)} == {*OBJECTIVES}


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_seed(seed):
    assert options.check_seed(seed) == seed


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_wrong_seed(seed):
    with pytest.raises(EorenError, match=f"--seed must be an integer from 0 to 4294967295, got {seed}"):
        options.check_seed(seed)


def test_settings():
    assert options.parse_settings(["adam-rate=1e-3", "tile=none"]) == {"adam_rate": 0.001, "tile": None}


def test_given():
    assert options.given(steps=0, seconds=None, bits=8) == {"steps": 0, "bits": 8}


@pytest.mark.parametrize(
    ("word", "value"),
    [("12", 12), ("1e-3", 0.001), ("true", True), ("False", False), ("none", None), ("muon", "muon"), ("1+1", "1+1")],
)
def test_words_of_set(word, value):
    assert options.parse_value(word) == value
    assert type(options.parse_value(word)) is type(value)


def test_the_help_of_presets_names_every_preset():
    help = options.preset_option("balanced by default").help
    assert all(re.search(rf"\b{name}\b", help) for name in get_args(options.PresetName))
    assert "many small images" in help
