"""Estimates of a run, against runs."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

import eoren
from eoren.dataset import planning
from eoren.dataset.planning import _wall_seconds, estimate
from eoren.dataset.sources import open_source
from eoren.errors import EorenError
from eoren.fs.objects import ObjectPath, read_objects

NOISE = np.random.default_rng(0)
IMAGES = [NOISE.random((48, 60, 1), np.float32) for _ in range(6)]
MOSAICS = {"steps": 1}  # of which each is fitted alone, in little time


def test_counts_and_bytes_are_those_of_the_run(tmp_path, monkeypatch):
    """More images than the sample has; the store itself is the reference."""
    monkeypatch.setattr(planning, "_SAMPLE", 8)
    images = [*NOISE.random((18, 16, 24, 3), np.float32)]
    found = estimate(images, preset="fast", shard=5, workers=2)
    assert not (tmp_path / "store").exists()
    summary = eoren.fit_many(images, store=tmp_path / "store", preset="fast", shard=5, workers=2)
    stored = eoren.Collection(tmp_path / "store").store.bytes()
    assert (found.pictures, found.counted, found.shard, found.workers) == (summary.pictures, True, 5, 2)
    assert found.bytes == pytest.approx(stored, rel=0.1)
    assert found.sampled == 8
    assert found.core_hours == pytest.approx(18 * found.seconds / 3600)


def test_small_images_are_fitted_in_shards(tmp_path):
    images = NOISE.random((300, 8, 8), np.float32)
    found = estimate(images, steps=1, shard=50, workers=2)
    eoren.fit_many(images, store=tmp_path / "store", steps=1, shard=50, workers=2)
    stored = eoren.Collection(tmp_path / "store").store.bytes()
    assert found.sampled == 50 * min(2, torch.get_num_threads())
    assert found.bytes == pytest.approx(stored, rel=0.1)


def test_the_sample_is_spread_over_the_source(monkeypatch):
    monkeypatch.setattr(planning, "_SAMPLE", 4)
    loaded = []

    class Source:
        def __len__(self):
            return 40

        def __getitem__(self, number):
            loaded.append(number)
            return IMAGES[0]

    assert estimate(Source(), **MOSAICS, workers=1).pictures == 40
    assert loaded[:5] == [0, *range(4, 8)]  # the shape, and neighbours, which take the time of a run
    assert [number // 10 for number in loaded[5:]] == [0, 1, 2, 3]


def test_the_time_to_read_is_that_of_a_run_where_objects_are_read_in_batches(monkeypatch):
    """Every object takes a millisecond of the clock, whether it is needed now or later, and nothing else does."""
    pixels, clock = io.BytesIO(), [0.0]
    np.save(pixels, NOISE.random((8, 8), np.float32))
    folder = ObjectPath("memory://planning")
    for number in range(400):
        (folder / f"{number:03}.npy").write(pixels.getvalue())

    def read_slowly(paths, limit=None):
        clock[0] += 1e-3 * len(paths)
        return read_objects(paths, limit)

    monkeypatch.setattr("eoren.dataset.sources.folders.read_objects", read_slowly)
    monkeypatch.setattr(planning, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(planning, "_SAMPLE_SECONDS_AT_MOST", 0.0)
    assert estimate("memory://planning", preset="fast", shard=1, workers=1).wall_seconds == pytest.approx(0.4)


def test_the_time_of_a_sample_is_limited(monkeypatch):
    monkeypatch.setattr(planning, "_SAMPLE_SECONDS_AT_MOST", 0.0)
    assert estimate(IMAGES, **MOSAICS, workers=1).sampled == 1


def test_images_that_were_not_fitted_count_by_their_size(monkeypatch):
    """If a fit takes a second a pixel, the estimate is exact whichever images are fitted."""
    png = io.BytesIO()
    Image.fromarray(np.uint8(255 * NOISE.random((20, 30)))).save(png, "PNG")
    images = [png.getvalue(), *(np.full((side, 50), 0.5) for side in (10, 20, 30, 40))]

    def run(timed, plan, watch):
        result = timed.job.run(plan, watch)
        return result, sum(float(row["width"] * row["height"]) for row in result.rows)

    monkeypatch.setattr(planning._TimedJob, "run", run)
    for limit, sampled in ((30.0, 5), (0.0, 1)):
        monkeypatch.setattr(planning, "_SAMPLE_SECONDS_AT_MOST", limit)
        found = estimate(images, preset="fast", workers=1)
        assert found.sampled == sampled
        assert found.seconds == pytest.approx((600 + 500 + 1000 + 1500 + 2000) / 5)


def test_failures_are_counted_and_a_source_without_good_images_is_refused():
    images = [np.full((3, 3), np.nan) if number % 2 else image for number, image in enumerate(IMAGES)]
    found = estimate(images, **MOSAICS, workers=1)
    assert (found.sampled, found.failed) == (6, 3)
    assert "NaN" in found.errors[0][1]
    with pytest.raises(EorenError, match=r"none of 3 images can be fitted; the first: .*NaN"):
        estimate(images[1::2], **MOSAICS, workers=1)


def test_the_length_of_an_archive_is_extrapolated(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "_SAMPLE", 8)
    for name in ("a.tar", "b.tar"):
        with tarfile.open(tmp_path / name, "w") as archive:
            for number in range(20):
                data = io.BytesIO()
                Image.fromarray(NOISE.integers(0, 256, (48, 60), np.uint8)).save(data, "PNG")
                member = tarfile.TarInfo(f"{number:03}.png")
                member.size = data.tell()
                archive.addfile(member, io.BytesIO(data.getvalue()))
    source = open_source(tmp_path / "a.tar")
    assert source.count is None
    assert source.share() == 0
    found = estimate(str(tmp_path / "*.tar"), **MOSAICS, workers=1)
    assert not found.counted
    assert found.pictures == pytest.approx(40, rel=0.25)
    monkeypatch.setattr(planning, "_SAMPLE", 100)
    found = estimate(str(tmp_path / "*.tar"), **MOSAICS, workers=1)
    assert (found.pictures, found.counted) == (40, True)


@pytest.mark.parametrize("workers", [1, 2, 3, 16])
@pytest.mark.parametrize("count", [1, 9, 10, 11, 100, 105])
def test_the_wall_time_is_that_of_a_simulation(count, workers):
    """Every worker takes the next shard when it is free."""
    free = [0.0] * workers
    for first in range(0, count, 10):
        worker = free.index(min(free))
        free[worker] += 0.5 * min(10, count - first)
    assert _wall_seconds(count, 10, 0.5, workers) == pytest.approx(max(free))


def test_the_command_line(tmp_path, monkeypatch, capsys):
    from eoren.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(IMAGES[:3]):
        np.save(tmp_path / "pictures" / f"{number}.npy", image)
    command = ["fit-many", "pictures", "-o", "store", "--steps", "1", "--workers", "4", "--dry-run"]
    for more in ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            main([*command, *more])
        assert ended.value.code == 0
    text, _, line = capsys.readouterr().out.rstrip().rpartition("\n")
    values = json.loads(line)
    assert (values["pictures"], values["failed"], values["workers"]) == (3, 0, 4)
    assert [row.split("  ")[0] for row in text.splitlines()] == [
        "pictures", "sample", "per image", "core hours", "store", "time"
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
