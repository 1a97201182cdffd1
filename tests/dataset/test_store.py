import secrets

import numpy as np
import pytest

import eoren
from eoren.errors import EorenError
from eoren.fs.folders import open_folder

IMAGES = np.random.default_rng(0).random((3, 8, 8), np.float32)


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_a_store_whose_description_is_damaged_or_deleted_is_not_touched(tmp_path, kind):
    """Its shards may have other settings."""
    store = str(tmp_path / "store") if kind == "local" else f"memory://{secrets.token_hex(8)}/store"
    eoren.fit_many(IMAGES, store=store, steps=1)
    folder = open_folder(store)
    content = folder.read("store.json", 1 << 20)
    folder.write("store.json", content[:-9])
    remedy = "restore it from a copy, or choose another --output"
    for command in (lambda: eoren.fit_many(IMAGES, store=store, steps=1), lambda: eoren.Collection(store)):
        with pytest.raises(EorenError, match=rf"store.json: damaged \(.*\); {remedy}$"):
            command()
    folder.remove("store.json")
    with pytest.raises(EorenError, match="exists and is not a store; choose another --output"):
        eoren.fit_many(IMAGES, store=store, steps=2)
    folder.write("store.json", content)
    assert eoren.fit_many(IMAGES, store=store, steps=1).earlier == 3
