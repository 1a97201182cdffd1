"""Shards: the memory of decoded images, and how many images make one."""

import json
import tracemalloc

import numpy as np
import pytest
from tests.source_images import png

from eoren.dataset import shards
from eoren.dataset.fit_many import fit_many
from eoren.errors import ImageError

NOISE = np.random.default_rng(0)


@pytest.mark.parametrize("settings", [{"preset": "fast"}, {"tile": 128}], ids=["compact", "tiles"])
def test_large_images_of_a_shard_are_decoded_one_at_a_time(tmp_path, monkeypatch, settings):
    """The memory of a shard of photographs is that of one of them."""

    def fail(*_):
        raise ImageError("not fitted")

    monkeypatch.setattr(shards, "_fit_alone", fail)

    def peak(count):
        images = [png(np.full((512, 512, 3), number, np.uint8)) for number in range(count)]
        tracemalloc.start()
        try:
            options = settings | {"store": tmp_path / str(count), "shard": 64, "workers": 1}
            assert fit_many(images, **options).failed == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # which imports modules
    assert peak(10) < peak(2) + 4 * 512 * 512 * 3


def test_small_images_of_a_shard_are_decoded_once(tmp_path, monkeypatch):
    decoded, decode = [], shards.decode_content

    def record(name, *rest, **options):
        decoded.append(name)
        return decode(name, *rest, **options)

    monkeypatch.setattr(shards, "decode_content", record)
    assert fit_many(NOISE.random((5, 12, 14), np.float32), store=tmp_path / "store", steps=1).failed == 0
    assert decoded == [*"01234"]


@pytest.mark.parametrize("options", [{"preset": "fast"}, {"steps": 1}], ids=["compact", "networks"])
def test_the_first_image_that_can_be_read_gives_the_size_of_a_shard(tmp_path, options):
    images = [*NOISE.random((2, 48, 60), np.float32)]
    sizes = []
    for name, source in (("intact", images), ("damaged", [b"nothing", np.full((3, 3), np.nan), *images])):
        fit_many(source, store=tmp_path / name, **options)
        sizes.append(json.loads((tmp_path / name / "store.json").read_text())["shard"])
    assert sizes[0] == sizes[1] != 64


def test_a_source_whose_first_images_are_damaged_has_shards(tmp_path):
    summary = fit_many([b"nothing"] * 70, store=tmp_path / "store", steps=1)
    assert (summary.pictures, summary.failed) == (70, 70)
