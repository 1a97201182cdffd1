"""Data sets of Hugging Face."""

import io

import numpy as np
import pytest
from PIL import Image

import eoren

datasets = pytest.importorskip("datasets", reason="datasets (Hugging Face) is not installed")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 12, 14), np.uint8)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("decode", [True, False])
def test_a_data_set_is_a_source(tmp_path, images, decode):
    labels = [0, 1, 0, 1]
    features = {"image": datasets.Image(decode=decode), "label": datasets.ClassLabel(names=["a", "b"])}
    rows = {"image": [{"bytes": png(image), "path": None} for image in images], "label": labels}
    data = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    eoren.fit_many(data, store=tmp_path / "ours", steps=2)
    eoren.fit_many([*zip(images, labels, strict=True)], store=tmp_path / "b", steps=2)
    ours, expected = (eoren.Collection(tmp_path / name) for name in ("ours", "b"))
    assert ours.labels == expected.labels == ["0", "1", "0", "1"]
    np.testing.assert_array_equal(ours.matrix(), expected.matrix())


def test_a_stream_is_a_source(tmp_path, images):
    data = datasets.IterableDataset.from_generator(lambda: ({"image": Image.fromarray(image)} for image in images))
    assert eoren.fit_many(data, store=tmp_path / "store", steps=2).pictures == 4


def test_an_index_is_a_data_set(store):
    data = datasets.Dataset(eoren.Collection(store).index)
    assert data["name"][:2] == ["0/0.png", "1/1.png"]
