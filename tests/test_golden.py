"""Files of every earlier format version stay readable, with the same values.

`golden/` holds, for each version, files written by the last release of that version, and the values that it read from
them: of mosaics (versions 1 and 2) in 32, 16 and 8 bits, of compact fields (version 3) those that
tests/golden_files.py writes. They are never written again. A new version adds files of its own.
"""

import json

import numpy as np
import pytest
from tests.golden_files import GOLDEN, latents_digest

from eoren.field.file_format import FORMAT_VERSION
from eoren.field.serialization import dumps, load, loads

VERSIONS = {int(path.stem.removeprefix("v")): json.loads(path.read_text()) for path in GOLDEN.glob("v*.json")}
FILES = {name: (said, version["points"]) for version in VERSIONS.values() for name, said in version["files"].items()}
# Version in which a file is stored again.
TODAY = {1: 2, 2: 2, 3: 3}


def version_of(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["eoren"])["format_version"]


def test_there_is_a_file_of_every_version_and_precision():
    assert sorted(VERSIONS) == list(range(1, FORMAT_VERSION + 1)), "run python -m tests.golden_files"
    for version, said in VERSIONS.items():
        if version < 3:
            assert sorted(each["bits"] for each in said["files"].values()) == [8, 16, 32]
        else:
            assert {each["siren"] for each in said["files"].values()} >= {0, 16}
        assert {version_of((GOLDEN / name).read_bytes()) for name in said["files"]} == {version}
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) < 60_000 * len(VERSIONS)


@pytest.mark.parametrize("name", FILES)
def test_it_says_what_it_said(name):
    said, points = FILES[name]
    field = load(GOLDEN / name)
    assert ([*field.size], field.channels) == (said["size"], said["channels"])
    if "bits" in said:
        own = field.representation
        assert (own.siren.batch, own.bits) == (said["networks"], said["bits"])
    else:
        assert latents_digest(field) == said["latents_sha256"]
        assert field.representation.summary()["hidden_width"] == said["siren"]
    assert (field.provenance.seed, field.provenance.steps) == (said["seed"], said["steps"])
    assert len(field.provenance.source_sha256) == 64
    xy = np.array(points)
    # Half a digit of the description, and float32.
    np.testing.assert_allclose(field.color(xy), said["color"], atol=3e-5)
    np.testing.assert_allclose(field.gradient(xy), said["gradient"], rtol=1e-5, atol=3e-3)
    np.testing.assert_allclose(field.laplacian(xy), said["laplacian"], rtol=1e-5, atol=0.3)


@pytest.mark.parametrize("name", FILES)
def test_it_can_be_stored_as_todays_version(name):
    field = load(GOLDEN / name)
    data = dumps(field)
    stored = (GOLDEN / name).read_bytes()
    assert version_of(data) == TODAY[version_of(stored)]
    if version_of(stored) == FORMAT_VERSION:
        assert data == stored
    again = loads(data)
    assert again.provenance == field.provenance
    np.testing.assert_array_equal(again.color(np.array(FILES[name][1])), field.color(np.array(FILES[name][1])))
