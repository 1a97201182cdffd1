"""Files of every earlier format version stay readable, with the same values.

`golden/` holds, for each version, files in 32, 16 and 8 bits, written by the last release of that version, and
the values that it read from them. They are never written again. A new version adds files of its own.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from eoren.field.file_format import FORMAT_VERSION
from eoren.field.serialization import dumps, load, loads

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = {int(path.stem.removeprefix("v")): json.loads(path.read_text()) for path in GOLDEN.glob("v*.json")}
FILES = {name: (said, version["points"]) for version in VERSIONS.values() for name, said in version["files"].items()}


def version_of(data):
    length = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["eoren"])["format_version"]


def test_there_is_a_file_of_every_version_and_precision():
    assert sorted(VERSIONS) == list(range(1, FORMAT_VERSION + 1))
    for version, said in VERSIONS.items():
        assert sorted(each["bits"] for each in said["files"].values()) == [8, 16, 32]
        assert {version_of((GOLDEN / name).read_bytes()) for name in said["files"]} == {version}
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) < 60_000 * len(VERSIONS)


@pytest.mark.parametrize("name", FILES)
def test_it_says_what_it_said(name):
    said, points = FILES[name]
    field = load(GOLDEN / name)
    assert [*field.size] == said["size"]
    assert (field.representation.siren.batch, field.representation.bits, field.channels) == (
        said["networks"],
        said["bits"],
        said["channels"],
    )
    assert (field.provenance.seed, field.provenance.steps) == (said["seed"], said["steps"])
    assert len(field.provenance.source_sha256) == 64
    xy = np.array(points)
    np.testing.assert_allclose(field.color(xy), said["color"], atol=3e-5)
    np.testing.assert_allclose(field.gradient(xy), said["gradient"], atol=3e-3)
    np.testing.assert_allclose(field.laplacian(xy), said["laplacian"], atol=0.3)


@pytest.mark.parametrize("name", FILES)
def test_it_can_be_stored_as_todays_version(name):
    field = load(GOLDEN / name)
    data = dumps(field)
    assert version_of(data) == FORMAT_VERSION
    again = loads(data)
    assert again.provenance == field.provenance
    np.testing.assert_array_equal(again.color(np.array(FILES[name][1])), field.color(np.array(FILES[name][1])))
