"""Stores of compact fields."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.compact import picture

import eoren
from eoren.dataset.executors import LocalExecutor
from eoren.dataset.fit_many import fit_many
from eoren.dataset.groups import CompactGroup
from eoren.dataset.store import Store, shard_name
from eoren.errors import EorenError
from eoren.training.compact import finish
from eoren.training.compact.refinement import BlockRefinement

IMAGES = [(picture(20, 24, 3, seed), str(seed % 2)) for seed in range(3)] + [picture(17, 9, 1), picture(16, 16, 4)]


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def files(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("0*.*")}


@pytest.mark.parametrize("preset", ["fast", "balanced"])
def test_fields_are_those_of_fit(store, tmp_path, preset):
    assert fit_many(IMAGES, store=store, preset=preset, shard=3).pictures == 5
    collection = eoren.Collection(store)
    images = [image[0] if isinstance(image, tuple) else image for image in IMAGES]
    for field, image, row in zip(collection, images, collection.index.to_pylist(), strict=True):
        result = eoren.fit(image, preset=preset, seed=field.provenance.seed)
        np.testing.assert_array_equal(field.render(), result.field.render())
        assert field.provenance.settings == {"preset": preset}
        assert row["psnr"] == pytest.approx(result.metrics.psnr, abs=1e-4)
        assert (row["parameters"], row["steps"]) == (field.parameters, result.steps)
        assert row["networks"] == (field.representation.decoder.siren is not None)
        field.save(tmp_path / "a.eoren")
        # The files differ in the digits of the metrics, which the index holds in 32 bits.
        assert (tmp_path / "a.eoren").stat().st_size == pytest.approx(result.bytes, abs=60)


def test_a_store_adds_little_to_the_fields(store):
    fit_many([picture(16, 16, 1, seed) for seed in range(40)], store=store, preset="fast")
    shard = store / shard_name(0)
    codes = load_file(shard)["0.data"].numel()
    # 8 bytes for each end, and the header.
    assert shard.stat().st_size < codes + 40 * 8 + 350


def test_a_size_or_a_quality_is_that_of_every_file(store):
    images = [picture(64, 80, 3, seed) for seed in range(2)]
    fit_many(images, store=store, preset="fast", bytes=4000)
    for field in eoren.Collection(store):
        assert len(eoren.field.serialization.dumps(field)) == pytest.approx(4000, rel=0.03)
    fit_many(images, store=store.with_name("psnr"), preset="fast", until_psnr=36.0)
    assert all(abs(value - 36) < 0.1 for value in eoren.Collection(store.with_name("psnr")).index["psnr"].to_pylist())


def test_an_image_that_cannot_be_fitted_is_one_failed_row(store):
    # The description of more channels takes more bytes.
    images = [picture(9, 12, 1), np.full((3, 3), np.nan), picture(64, 80, 4)]
    summary = fit_many(images, store=store, preset="fast", bytes=400)
    rows = eoren.Collection(store).index.to_pylist()
    assert summary.failed == 2
    assert [row["status"] for row in rows] == ["done", "failed", "failed"]
    assert "NaN" in rows[1]["error"]
    assert "a file of 400 bytes is too small for this image" in rows[2]["error"]


def test_an_interrupted_run_continues_with_the_same_result(store, tmp_path):
    options = {"preset": "fast", "shard": 1, "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        fit_many(IMAGES, store=store, **options, watch=lambda at: at.pictures >= 2)
    there = Store(store).shards()
    assert 0 < len(there) < 5
    assert fit_many(IMAGES, store=store, **options).earlier == len(there)
    fit_many(IMAGES, store=tmp_path / "other", **options)
    assert files(store) == files(tmp_path / "other")


def test_latents_are_integers_times_steps_arranged_by_level(store):
    fit_many(IMAGES, store=store, preset="fast")
    collection = eoren.Collection(store)
    data = pickle.loads(pickle.dumps(collection.latents()))  # as the workers of a loader do
    assert len(data) == 5
    assert [label for _, label in data] == [0, 1, 0, -1, -1]
    for (latents, _), field in zip(data, collection, strict=True):
        assert latents.dtype == torch.float32
        assert latents.shape == (field.channels, *field.size[::-1])
        steps, bands = field.representation.steps(), field.representation.latents.bands()
        rest = latents.numpy()
        for level in range(field.representation.latents.levels):
            row, column = -(-rest.shape[1] // 2), -(-rest.shape[2] // 2)
            parts = rest[:, :row, column:], rest[:, row:, :column], rest[:, row:, column:]
            for kind, part in enumerate(parts, 3 * level + 1):
                np.testing.assert_allclose(part, bands[kind] * steps[kind][:, None, None], rtol=1e-6)
            rest = rest[:, :row, :column]
        np.testing.assert_allclose(rest, bands[0] * steps[0][:, None, None], rtol=1e-6)


def test_weights_are_those_of_the_color_decoder(monkeypatch, store):
    monkeypatch.setattr(finish, "_SIREN_STEPS", 200)
    fit_many(IMAGES[:3], store=store, preset="fast", siren_width=16, lagrangian=1e-7, same_start=True)
    collection = eoren.Collection(store)
    for number, field in enumerate(collection):
        tensors = field.representation.decoder.tensors()
        np.testing.assert_array_equal(collection.weights(number), np.concatenate([t.ravel() for t in tensors]))
    weights, label = collection.dataset()[1]
    np.testing.assert_array_equal(weights, collection.weights(1))
    assert collection.classes[label] == "1"


def test_networks_have_no_latents(store):
    fit_many(IMAGES[3:], store=store, steps=0)
    with pytest.raises(
        EorenError, match=r"its fields are networks, which have no latents; .* preset of compact fields"
    ):
        eoren.Collection(store).latents()


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: t | {"0.data": t["0.data"] ^ (torch.arange(len(t["0.data"])) == 40).byte()},
        lambda t: t | {"0.data": t["0.data"][:-1]},
        lambda t: t | {"0.data": t["0.data"].float()},
        lambda t: t | {"0.ends": t["0.ends"].flip(0)},
        lambda t: t | {"0.ends": t["0.ends"] - 2**40},
        lambda t: t | {"0.ends": t["0.ends"].int()},
        lambda t: t | {"0.ends": t["0.ends"][:1]},
        lambda t: {"0.data": t["0.data"]},
    ],
    ids=["a bit", "short", "float", "order", "range", "type", "count", "missing"],
)
def test_damage_is_named(store, damage):
    fit_many(IMAGES[:2], store=store, preset="fast")
    path = store / shard_name(0)
    header = {"format_version": 2, "groups": [CompactGroup([]).header()]}
    save_file({name: t.contiguous() for name, t in damage(load_file(path)).items()}, path, {
        "eoren-shard": json.dumps(header)
    })  # fmt: skip
    collection = eoren.Collection(store)
    with pytest.raises(EorenError, match=r"0000000.safetensors: damaged .*; delete it and run the same"):
        list(collection)


def test_groups_of_an_unknown_kind_are_refused(store):
    fit_many(IMAGES[:1], store=store, preset="fast")
    path = store / shard_name(0)
    header = {"format_version": 2, "groups": [{"representation": "waves"}]}
    save_file(load_file(path), path, {"eoren-shard": json.dumps(header)})
    with pytest.raises(EorenError, match=r"damaged .*a group holds 'waves'"):
        eoren.Collection(store)[0]


def test_a_store_holds_one_kind(store):
    fit_many(IMAGES[:1], store=store, preset="fast")
    with pytest.raises(EorenError, match="is a store with preset 'fast', got 'small'"):
        fit_many(IMAGES[:1], store=store)
    with pytest.raises(EorenError, match="is a store with bytes None, got 900"):
        fit_many(IMAGES[:1], store=store, preset="fast", bytes=900)


def test_stores_of_version_0_1_hold_mosaics_of_the_former_presets(store):
    fit_many(IMAGES[:1], store=store, preset="mosaic-best", steps=1)
    manifest = json.loads((store / "store.json").read_text())
    assert (manifest["format_version"], manifest["settings"]["preset"]) == (1, "mosaic-best")
    manifest["settings"]["preset"] = "best"
    (store / "store.json").write_text(json.dumps(manifest))
    assert Store(store).manifest.settings.preset == "mosaic-best"
    assert eoren.Collection(store)[0].size == (24, 20)


RAY = """
import sys, eoren
from tests.compact import picture
images = [picture(40, 30, 3, seed) for seed in range(4)]
print(eoren.fit_many(images, store=sys.argv[1], preset="balanced", shard=2, workers=2, executor=sys.argv[2]).pictures)
"""


def test_executors_give_the_same_files(tmp_path):
    pytest.importorskip("ray")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for executor in ("local", "ray"):
        command = [sys.executable, "-c", RAY, str(tmp_path / executor), executor]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
        assert done.stdout.split()[-1:] == ["4"], done.stderr
    assert files(tmp_path / "local") == files(tmp_path / "ray")


@pytest.fixture
def every_step(monkeypatch):
    monkeypatch.setattr("eoren.training.compact.loop.CHECKPOINT_EVERY", 0.0)


class Killed(BaseException):
    """The end of the process."""


def killed_at(step, monkeypatch):
    """Let the fit end at a step as a kill ends it: without a final checkpoint."""
    step_of = BlockRefinement.step

    def dying(block):
        if block.steps == step:
            raise Killed
        step_of(block)

    monkeypatch.setattr(BlockRefinement, "step", dying)


@pytest.mark.usefixtures("every_step")
def test_an_image_that_is_a_shard_continues_from_its_checkpoint(store, tmp_path, monkeypatch):
    options = {"preset": "balanced", "shard": 1, "workers": 1}
    fit_many(IMAGES[:2], store=tmp_path / "other", **options)
    with monkeypatch.context() as patch:
        killed_at(5, patch)
        with pytest.raises(Killed):
            fit_many(IMAGES[:2], store=store, **options)
    (checkpoint,) = (store / "pieces").glob("0000000-*.resume")
    steps = []
    step = BlockRefinement.step
    monkeypatch.setattr(BlockRefinement, "step", lambda block: (steps.append(block.steps), step(block)))
    assert fit_many(IMAGES[:2], store=store, **options).pictures == 2
    assert steps == [*range(5, 12), *range(12)]
    assert not checkpoint.exists()
    assert not [*(store / "pieces").iterdir()]
    assert files(store) == files(tmp_path / "other")


@pytest.mark.usefixtures("every_step")
def test_another_image_does_not_continue_from_a_checkpoint(store, monkeypatch):
    options = {"preset": "balanced", "shard": 1, "workers": 1}
    with monkeypatch.context() as patch:
        killed_at(5, patch)
        with pytest.raises(Killed):
            fit_many([("a", IMAGES[0][0], 0)], store=store, **options)
    fit_many([("a", IMAGES[1][0], 0)], store=store, **options)
    assert not [*(store / "pieces").iterdir()]
    np.testing.assert_array_equal(
        eoren.Collection(store)[0].render(),
        eoren.fit(IMAGES[1][0], preset="balanced", seed=eoren.Collection(store)[0].provenance.seed).field.render(),
    )


@pytest.mark.usefixtures("every_step")
def test_a_damaged_checkpoint_is_named(store, monkeypatch):
    options = {"preset": "balanced", "shard": 1, "workers": 1}
    with monkeypatch.context() as patch:
        killed_at(5, patch)
        with pytest.raises(Killed):
            fit_many(IMAGES[:1], store=store, **options)
    (checkpoint,) = (store / "pieces").glob("*.resume")
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(EorenError, match=r"\.resume: not a checkpoint of eoren, or damaged; delete it"):
        fit_many(IMAGES[:1], store=store, **options)


def test_images_of_larger_shards_and_of_clusters_have_no_checkpoint(store, monkeypatch):
    seen = []

    def recording(plan, row):
        seen.append(plan.checkpoints)

    monkeypatch.setattr("eoren.dataset.shards.FitPlan.checkpoint", recording)
    fit_many(IMAGES[:1], store=store, preset="fast", shard=2)
    monkeypatch.setattr("eoren.dataset.fit_many.make_executor", lambda *_, **__: LocalExecutor())
    fit_many(IMAGES[:1], store=store.with_name("cluster"), preset="fast", shard=1, executor="ray")
    assert seen == [None, None]
