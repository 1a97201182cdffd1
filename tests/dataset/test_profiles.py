"""Notes and colour profiles of the images of a store."""

import hashlib

import imagecodecs
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from tests.compact import picture

import eoren
from eoren.dataset.fit_many import fit_many
from eoren.dataset.index import COLUMNS
from eoren.dataset.store import index_name
from eoren.errors import EorenError
from eoren.field.serialization import dumps
from eoren.image.io import hash_pixels, read_image, read_source_image

PROFILE = imagecodecs.cms_profile("adobergb")
OTHER = PROFILE[:48] + b"ours" + PROFILE[52:]  # the manufacturer
NOTE = "colours are in the profile 'Adobe RGB (compatible)', which is kept"
PRESETS = {
    "fast": {"preset": "fast", "steps": 0},
    "networks": {"steps": 2},
    "tiles": {"steps": 2, "tile": 8, "shard": 1},
}


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def photographs(tmp_path):
    """Five images: two in one profile, one in another, one without, and one that is turned."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    turned = Image.Exif()
    turned[274] = 6
    options = [{"icc_profile": PROFILE}, {}, {"icc_profile": PROFILE}, {"icc_profile": OTHER}, {"exif": turned}]
    for number, more in enumerate(options):
        pixels = np.uint8(255 * picture(20, 24, 3, number))
        Image.fromarray(pixels).save(folder / f"{number}.png", **more)
    return folder


def profiles(store):
    return [field.provenance.profile for field in eoren.Collection(store)]


@pytest.mark.parametrize("preset", PRESETS)
def test_fields_have_the_profiles_of_their_images(store, photographs, preset):
    fit_many(photographs, store=store, **PRESETS[preset])
    assert profiles(store) == [PROFILE, b"", PROFILE, OTHER, b""]
    index = pyarrow.parquet.read_table(store / "index").to_pydict()
    digests = [hashlib.sha256(profile).hexdigest() for profile in (PROFILE, OTHER)]
    assert index["profile"] == [digests[0], None, digests[0], digests[1], None]
    assert {path.name for path in (store / "profiles").iterdir()} == {f"{digest}.icc" for digest in digests}
    assert index["notes"][:3] == [NOTE, None, NOTE]
    assert index["notes"][4] == read_source_image(photographs / "4.png").notes[0]


def test_fields_are_those_of_fit(store, photographs):
    """The size of a file counts its profile."""
    photographs = sorted(photographs.iterdir())[:2]
    fit_many(*photographs, store=store, preset="fast", bytes=2500)
    for photograph, field in zip(photographs, eoren.Collection(store), strict=True):
        alone = eoren.fit(photograph, preset="fast", bytes=2500, seed=field.provenance.seed)
        np.testing.assert_array_equal(field.render(), alone.field.render())
        assert field.provenance.profile == alone.field.provenance.profile
        # The index holds the metrics with more digits; the profile has 560 bytes.
        assert len(dumps(field)) == pytest.approx(2500, abs=120)


@pytest.mark.parametrize("preset", PRESETS)
def test_colours_are_converted_on_request(store, photographs, preset):
    fit_many(photographs, store=store, to_srgb=True, **PRESETS[preset])
    assert profiles(store) == [b""] * 5
    rows = eoren.Collection(store).index.to_pylist()
    assert rows[0]["notes"] == "converted from 'Adobe RGB (compatible)' to sRGB"
    converted = read_image(photographs / "0.png", to_srgb=True)
    assert eoren.evaluate(eoren.Collection(store)[0], converted).psnr == pytest.approx(rows[0]["psnr"], abs=1e-3)
    with pytest.raises(EorenError, match="is a store with to_srgb True, got False"):
        fit_many(photographs, store=store, **PRESETS[preset])


def test_images_in_memory_have_profiles(store, photographs):
    images = [Image.open(path) for path in sorted(photographs.iterdir())]
    fit_many(images, store=store, steps=1)
    assert profiles(store) == [PROFILE, b"", PROFILE, OTHER, b""]
    converted = store.with_name("converted")
    fit_many(images[:1], store=converted, preset="fast", steps=0, to_srgb=True)
    assert profiles(converted) == [b""]
    expected = read_image(photographs / "0.png", to_srgb=True)
    assert eoren.evaluate(eoren.Collection(converted)[0], expected).psnr > 38
    assert eoren.Collection(converted).index["sha256"].to_pylist() == [hash_pixels(expected)]


def test_fields_of_weights_have_the_profile_of_their_model(store, photographs):
    fit_many(photographs, store=store, steps=1)
    collection = eoren.Collection(store)
    assert [collection.field(collection.weights(0), like=k).provenance.profile for k in (0, 1)] == [PROFILE, b""]


def test_a_missing_or_damaged_profile_is_named_and_written_again(store, photographs):
    fit_many(photographs, store=store, steps=1, shard=2)
    path = store / "profiles" / f"{hashlib.sha256(PROFILE).hexdigest()}.icc"
    for damage in (lambda: path.write_bytes(PROFILE[:-1]), path.unlink):
        damage()
        with pytest.raises(EorenError, match=rf"{path.name}: .*; restore it, or delete .*index and run the same"):
            eoren.Collection(store)[0]
        assert eoren.Collection(store)[1].provenance.profile == b""
        for part in (store / "index").iterdir():
            part.unlink()
        assert fit_many(photographs, store=store, steps=1, shard=2).earlier == 0
        assert profiles(store)[0] == PROFILE


def test_an_index_without_notes_and_profiles_is_read(store, photographs):
    fit_many(photographs, store=store, steps=1)
    path = store / index_name(0)
    older = pyarrow.parquet.read_table(path).select([*COLUMNS][:-2])
    assert [*COLUMNS][-2:] == ["notes", "profile"]
    pyarrow.parquet.write_table(older, path, compression="zstd", store_schema=False, use_dictionary=False)
    collection = eoren.Collection(store)
    assert collection.index.column_names == [*COLUMNS]
    assert collection.index["notes"].null_count == collection.index["profile"].null_count == 5
    assert profiles(store) == [b""] * 5
    pyarrow.parquet.write_table(older.select([*COLUMNS][:-3]), path, compression="zstd", store_schema=False)
    with pytest.raises(EorenError, match="its row groups do not have 22 columns"):
        eoren.Collection(store)
