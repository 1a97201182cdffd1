"""One very large image as many jobs gives the field of a single fit, also after interruptions."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import eoren
from eoren.dataset import fit_many as fit_many_module
from eoren.dataset import shards
from eoren.dataset.executors import LocalExecutor
from eoren.dataset.fit_many import fit_many
from eoren.dataset.store import Store, shard_name
from eoren.dataset.tile_jobs import TileGroupJob, TileGroupResult
from eoren.errors import ImageError
from eoren.model.siren import Siren

# 289 tiles, so two groups of at most 256.
IMAGE = np.random.default_rng(5).random((102, 100, 2)).astype(np.float32)
SETTINGS = {"tile": 6, "steps": 4, "shard": 1}


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


class RecordingExecutor(LocalExecutor):
    """An executor that records its jobs."""

    def __init__(self, workers=None):
        super().__init__(workers)
        self.jobs = []

    def run(self, plan, jobs, on_progress):
        def recorded():
            for job in jobs:
                self.jobs.append(job)
                yield job

        return super().run(plan, recorded(), on_progress)


@pytest.fixture
def executor(monkeypatch):
    recorder = RecordingExecutor(1)
    monkeypatch.setattr(fit_many_module, "make_executor", lambda *_, **__: recorder)
    return recorder


@pytest.mark.parametrize("objective", ["pixel", "sobolev"])
def test_the_field_is_that_of_one_fit(store, executor, objective):
    fit_many([IMAGE], store=store, objective=objective, **SETTINGS)
    assert [type(job) for job in executor.jobs] == [TileGroupJob, TileGroupJob]
    assert sum(job.images for job in executor.jobs) == pytest.approx(1)
    field = eoren.Collection(store)[0]
    alone = eoren.fit(IMAGE, preset="small", tile=6, steps=4, objective=objective, seed=field.provenance.seed)
    assert field.representation.tiling.count == alone.field.representation.tiling.count > 256
    for mine, theirs in zip(
        field.representation.siren.tensors(), alone.field.representation.siren.tensors(), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    row = eoren.Collection(store).index.to_pylist()[0]
    for name in ("psnr", "psnr_8bit", "gradient_psnr", "ssim", "parameters"):
        assert row[name] == pytest.approx(getattr(alone.metrics, name), abs=1e-4)
    assert not [*(store / "pieces").iterdir()]


def test_progress_is_in_images(store):
    """The image is the only one of a shard that would hold four."""
    seen = []
    fit_many([IMAGE], store=store, tile=6, seconds=1.0, shard=4, watch=lambda at: seen.append(at.pictures))
    assert any(0 < pictures < 1 for pictures in seen)
    assert max(seen) <= 1


def test_a_job_carries_only_the_pixels_around_its_tiles(store, executor):
    wide = np.random.default_rng(0).random((60, 400, 1)).astype(np.float32)
    fit_many([wide], store=store, tile=9, steps=1, shard=1)
    assert len(executor.jobs) == 2
    assert all(job.pixels.shape[1] < 300 for job in executor.jobs)


def test_saved_groups_are_not_fitted_again(store, executor):
    def stop(progress):
        return progress.pictures >= 0.4

    with pytest.raises(KeyboardInterrupt):
        fit_many([IMAGE], store=store, watch=stop, **SETTINGS)
    kept = [path.name for path in (store / "pieces").iterdir()]
    assert kept == ["0000000-00000.safetensors"]
    executor.jobs.clear()
    assert fit_many([IMAGE], store=store, **SETTINGS).pictures == 1
    assert [job.group for job in executor.jobs] == [1]
    whole = store.with_name("whole")
    fit_many([IMAGE], store=whole, **SETTINGS)
    assert (store / shard_name(0)).read_bytes() == (whole / shard_name(0)).read_bytes()


def test_groups_of_another_image_and_damaged_ones_are_fitted_again(store, executor):
    with pytest.raises(KeyboardInterrupt):
        fit_many([IMAGE], store=store, watch=lambda at: at.pictures >= 0.4, **SETTINGS)
    piece = store / "pieces" / "0000000-00000.safetensors"
    data = piece.read_bytes()
    other = TileGroupResult.loads(data)
    for content in (
        TileGroupResult(other.shard, other.group, "another", other.steps, other.siren).dumps(),
        data[: len(data) // 2],
        b"nothing",
    ):
        piece.write_bytes(content)
        folder = Path(shutil.copytree(store, store.with_name(f"{len(content)}")))
        executor.jobs.clear()
        fit_many([IMAGE], store=folder, **SETTINGS)
        assert [job.group for job in executor.jobs] == [0, 1]


def test_a_kill_before_the_whole_is_written_costs_nothing(store, executor, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Store, "write", die)
        with pytest.raises(KeyboardInterrupt):
            fit_many([IMAGE], store=store, **SETTINGS)
    assert len([*(store / "pieces").iterdir()]) == 2
    executor.jobs.clear()
    assert fit_many([IMAGE, IMAGE[:20, :20]], store=store, **SETTINGS).pictures == 2
    assert [type(job).__name__ for job in executor.jobs] == ["ShardJob"]
    assert len(eoren.Collection(store)) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_files_that_are_not_groups_are_ignored(store, executor):
    with pytest.raises(KeyboardInterrupt):
        fit_many([IMAGE], store=store, watch=lambda at: at.pictures >= 0.4, **SETTINGS)
    (store / "pieces" / "0000000-00000.safetensors").unlink()
    os.mkfifo(store / "pieces" / "0000000-00000.safetensors")
    folder = store / "pieces" / "0000000-00001.safetensors"
    folder.mkdir()
    assert [*Store(store).pieces_of(0)] == []
    Store(store)._remove_pieces({0})
    assert [*(store / "pieces").iterdir()] == [folder]


def test_divergence_becomes_a_failed_row(store, executor, monkeypatch):
    def diverge(*_):
        raise ImageError("the fit\ndiverged")

    monkeypatch.setattr("eoren.dataset.tile_jobs.train", diverge)
    assert fit_many([IMAGE], store=store, **SETTINGS).failed == 1
    row = next(Store(store).rows([0])).to_pylist()[0]
    assert (row["status"], row["error"], row["width"]) == ("failed", "the fit diverged", 100)


def test_results_survive_serialization():
    tensor = np.random.default_rng(0).normal(size=(3, 2, 16)).astype(np.float32)
    weight, bias = torch.from_numpy(tensor), torch.from_numpy(tensor[:, :1].copy())
    siren = Siren((weight, torch.ones(3, 16, 1)), (bias, torch.zeros(3, 1, 1)), (30.0,))
    result = TileGroupResult.loads(TileGroupResult(3, 4, "abc", 5, siren).dumps())
    assert (result.shard, result.group, result.digest, result.steps, result.error) == (3, 4, "abc", 5, "")
    assert result.siren.omegas == (30.0,)
    for mine, theirs in zip(siren.tensors(), result.siren.tensors(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert TileGroupResult.loads(TileGroupResult(3, 4, "abc", 5, None, "why").dumps()).error == "why"


def test_seconds_are_split_among_groups(store, executor, monkeypatch):
    limits = []
    train = shards.train
    monkeypatch.setattr(
        "eoren.dataset.tile_jobs.train",
        lambda trainer, budget, stop: (limits.append(budget.seconds), train(trainer, budget, stop)),
    )
    fit_many([IMAGE], store=store, tile=6, shard=1, seconds=0.2)
    assert sum(limits) == pytest.approx(0.2)
