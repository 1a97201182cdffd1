import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from tests.source_images import png

import eoren
from eoren.dataset.fit_many import fit_many
from eoren.dataset.index import COLUMNS
from eoren.dataset.store import Manifest, Store, shard_name
from eoren.errors import EorenError, FitWarning, ImageError, SourceWarning
from eoren.training.presets import make_settings

IMAGES = np.random.default_rng(3).random((9, 12, 14, 1), np.float32)


def rows(folder):
    """The index as other programs read it."""
    return pyarrow.parquet.read_table(folder / "index").sort_by("number").to_pylist()


def files(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def test_every_image_has_a_correct_row(store):
    summary = fit_many([(image, k % 3) for k, image in enumerate(IMAGES)], store=store, steps=20, shard=4)
    assert (summary.pictures, summary.failed, summary.earlier) == (9, 0, 0)
    index_rows = rows(store)
    assert [*index_rows[0]] == [*COLUMNS]
    assert [row["number"] for row in index_rows] == [*range(9)]
    assert [row["shard"] for row in index_rows] == [0] * 4 + [1] * 4 + [2]
    collection = eoren.Collection(store)
    assert len(collection) == 9
    for row, field, image in zip(index_rows, collection, IMAGES, strict=True):
        measured = eoren.evaluate(field, image)
        assert row["parameters"] == measured.parameters
        # Training and evaluation run different code, so colours differ by some roundings of float32, at most 4e-6.
        # That is at most 20 / ln 10 * 4e-6 / 0.08 = 4e-4 dB here, where root mean square errors are 0.08 or more.
        for name in ("psnr", "gradient_psnr", "ssim"):
            assert row[name] == pytest.approx(getattr(measured, name), abs=5e-4)
        assert row["psnr_8bit"] == pytest.approx(measured.psnr_8bit, abs=5e-4 + decibels_of_ties(field, image))


def decibels_of_ties(field, image, error=4e-6):
    """Compute how much the 8-bit PSNR moves if all pixels within ``error`` of a rounding tie round the other way.

    A tie is half a step of 1/255 from both its neighbours, so where the error is e its square moves by 2e/255.
    """
    height, width, _ = image.shape
    color = field.sample(width, height, "color")[0].clip(0, 1)
    errors = np.abs(color - image)
    tied = np.abs(color * 255 % 1 - 0.5) < 255 * error
    return 10 / np.log(10) * (2 / 255 * errors[tied]).sum() / np.square(errors).sum()


@pytest.mark.parametrize("objective", ["gradient", "pixel", "sobolev"])
def test_an_image_among_many_is_fitted_as_if_alone(store, objective):
    fit_many(IMAGES, store=store, steps=15, objective=objective)
    collection = eoren.Collection(store)
    seed = collection[4].provenance.seed
    alone = eoren.fit(IMAGES[4], preset="small", steps=15, objective=objective, seed=seed).field
    points = np.random.default_rng(0).random((30, 2))
    np.testing.assert_allclose(collection[4].color(points), alone.color(points), atol=2e-3)


def test_weights_define_the_whole_function(store):
    fit_many(IMAGES, store=store, steps=5)
    collection = eoren.Collection(store)
    field, row = collection[2], collection.weights(2)
    sizes = [t[0].size for t in field.representation.siren.tensors()]
    parts = np.split(row, np.cumsum(sizes)[:-1])
    # The network by hand, in local coordinates: half the longer side is one.
    shaped = [part.reshape(t.shape[1:]) for part, t in zip(parts, field.representation.siren.tensors(), strict=True)]
    weights, biases = shaped[:4], shaped[4:]
    xy = np.random.default_rng(0).random((20, 2))
    z = (xy * [14, 12] - [7, 6]) / 7
    for weight, bias, omega in zip(weights[:3], biases[:3], field.representation.siren.omegas, strict=True):
        z = np.sin(omega * (z @ weight + bias))
    np.testing.assert_allclose(z @ weights[3] + biases[3], field.color(xy), atol=1e-4)
    np.testing.assert_array_equal(collection.matrix()[2], row)


def test_repr_describes_the_store(store):
    fit_many(np.zeros((1200, 8, 8), np.float32), store=store, steps=0, workers=1)
    assert repr(eoren.Collection(store)) == f"Collection('{store}', 1,200 images, 8x8, 1 channel)"
    sizes = [np.zeros((8, 9, 3), np.float32), np.zeros((9, 8, 3), np.float32)]
    fit_many(sizes, store=store.with_name("sizes"), steps=0)
    assert repr(eoren.Collection(store.with_name("sizes"))).endswith("sizes', 2 images, 2 sizes)")


def test_shards_are_logged(store, caplog):
    with caplog.at_level("INFO", logger="eoren.dataset"):
        fit_many(IMAGES[:4], store=store, steps=0, shard=4)
        fit_many(IMAGES[:6], store=store, steps=0)
    messages = [record.message.removeprefix(f"{store}: ") for record in caplog.records]
    assert messages == [
        "shard 0 of 4 images started",
        "shard 0 written, 4 images in total",
        "shard 0 resumed from an earlier run",
        "shard 1 of 2 images started",
        "shard 1 written, 6 images in total",
    ]


def test_engine_is_the_deprecated_name_of_executor(store):
    with pytest.warns(DeprecationWarning, match="use executor") as caught:
        assert fit_many(IMAGES[:1], store=store, steps=0, engine="local").pictures == 1
    assert caught[0].filename == __file__


def test_data_set_for_pytorch(store):
    fit_many([(image, label) for image, label in zip(IMAGES, "ba10ba2ab", strict=True)], store=store, steps=1)
    collection = eoren.Collection(store)
    assert collection.classes == ["0", "1", "2", "a", "b"]
    data = collection.dataset()
    assert [collection.classes[data[k][1]] for k in range(9)] == [*"ba10ba2ab"]
    np.testing.assert_array_equal(data[5][0].numpy(), collection.weights(5))


def test_data_set_without_labels_holds_weights(store):
    fit_many(IMAGES[:3], store=store, steps=1)
    collection = eoren.Collection(store)
    data = collection.dataset()
    assert (len(data), data.labels) == (3, None)
    np.testing.assert_array_equal(torch.stack([*torch.utils.data.DataLoader(data, batch_size=3)])[0], data.weights)
    np.testing.assert_array_equal(data.weights, collection.matrix())


def test_images_without_a_label_are_left_out_with_a_warning(store):
    fit_many([(IMAGES[0], "a"), IMAGES[1], (IMAGES[2], "b")], store=store, steps=1)
    with pytest.warns(SourceWarning, match="left out 1 of 3 images, which have no label") as caught:
        data = eoren.Collection(store).dataset()
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(data.weights, eoren.Collection(store).matrix()[[0, 2]])
    assert data.labels.tolist() == [0, 1]


def test_images_are_found_by_name_and_slice(store):
    names = ["a/0.png", "a/1.png", "b/0.png", "b/0.png"]
    images = [(name, image, name[0]) for name, image in zip(names, IMAGES, strict=False)]
    images.insert(1, ("damaged", np.full((3, 3), np.nan), "a"))
    fit_many(images, store=store, steps=1, shard=2)
    collection = eoren.Collection(store)
    xy = [[0.3, 0.6]]
    assert collection["a/1.png"].color(xy) == collection[1].color(xy)
    for name, count in (("b/0.png", 2), ("damaged", 0)):
        with pytest.raises(KeyError, match=f"'{name}' must name one image, got {count} images"):
            collection[name]
    part = collection[3:0:-2]
    assert (len(part), part.names, part.labels, part.index.num_rows) == (2, ["b/0.png", "a/1.png"], ["b", "a"], 2)
    np.testing.assert_array_equal(part.matrix(), collection.matrix()[3:0:-2])
    assert [field.color(xy) for field in part] == [collection[3].color(xy), collection[1].color(xy)]
    assert part[1:].classes == collection.classes == ["a", "b"]
    assert part[1:].dataset()[0][1] == part.dataset()[1][1] == 0
    assert (len(collection), collection.names) == (4, names)
    assert len(collection[2:2]) == 0


def test_rows_of_weights_are_right_whatever_other_threads_read(store):
    """Another thread reads all groups between any two instructions."""
    fit_many(IMAGES[:2], store=store, steps=1, shard=1)
    collection = eoren.Collection(store)
    expected = [collection.weights(number) for number in range(2)]
    others = 0

    def trace(frame, event, _):
        nonlocal others
        if not frame.f_code.co_filename.endswith("collection.py"):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            others += 1
            collection.matrix()  # which is not traced
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        rows_of_weights = collection.matrix()
        one = collection.weights(0)
    finally:
        sys.settrace(before)
    assert others > 20
    np.testing.assert_array_equal(rows_of_weights, expected)
    np.testing.assert_array_equal(one, expected[0])


def test_weights_become_fields_again(store):
    noise = np.random.default_rng(0).random
    images = [noise((12, 14, 1)), noise((12, 14, 1)), noise((50, 60, 3))]
    fit_many([image.astype(np.float32) for image in images], store=store, steps=5)
    collection, xy = eoren.Collection(store), noise((40, 2))
    assert collection[2].representation.tiling.count > 1
    for number in range(3):
        field = collection.field(collection.weights(number), like=number)
        np.testing.assert_allclose(field.color(xy), collection[number].color(xy), atol=1e-5)
        assert (field.size, field.channels) == (collection[number].size, collection[number].channels)
    with pytest.raises(EorenError, match=r"weights must have shape \(\d+,\), got \(3,\); check the image of like="):
        collection.field(np.zeros(3))


def test_weights_of_compact_fields_become_fields_again(store):
    fit_many(np.random.default_rng(0).random((2, 16, 24, 3)), store=store, preset="fast")
    collection, xy = eoren.Collection(store), [[0.2, 0.7], [0.9, 0.1]]
    field = collection.field(collection.weights(1), like=1)
    np.testing.assert_allclose(field.color(xy), collection[1].color(xy), atol=1e-6)
    doubled = collection.field(2 * collection.weights(1), like=1)
    assert np.abs(doubled.color(xy) - field.color(xy)).max() > 0.1


def test_fields_of_weights_are_differentiable(store):
    fit_many(IMAGES[:1], store=store, steps=5)
    collection = eoren.Collection(store)
    weights = torch.from_numpy(collection.weights(0)).double().requires_grad_()
    xy = np.array([[0.3, 0.6]])
    (by_weights,) = torch.autograd.grad(collection.field(weights).color(torch.from_numpy(xy)).sum(), weights)
    number, step = 100, 1e-2
    ends = []
    for sign in (1, -1):
        moved = weights.detach().clone()
        moved[number] += sign * step
        ends.append(collection.field(moved).color(xy).sum())
    assert by_weights[number] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.02, abs=1e-4)


def test_sizes_may_differ_and_large_images_are_tiled(store):
    noise = np.random.default_rng(0).random
    images = [noise((12, 14, 1)), noise((16, 12, 3)), noise((12, 14, 1)), noise((50, 60, 3))]
    fit_many([image.astype(np.float32) for image in images], store=store, steps=3)
    collection = eoren.Collection(store)
    assert [(field.size, field.channels) for field in collection] == [
        ((14, 12), 1),
        ((12, 16), 3),
        ((14, 12), 1),
        ((60, 50), 3),
    ]
    assert collection[3].representation.tiling.count > 1
    assert eoren.evaluate(collection[3], images[3].astype(np.float32)).psnr == pytest.approx(
        rows(store)[3]["psnr"], abs=1e-4
    )


def test_a_damaged_image_is_one_failed_row(store):
    summary = fit_many([IMAGES[0], np.full((3, 3), np.nan), "nonsense", IMAGES[1]], store=store, steps=2)
    assert (summary.pictures, summary.failed) == (4, 2)
    index_rows = rows(store)
    assert [row["status"] for row in index_rows] == ["done", "failed", "failed", "done"]
    assert "NaN" in index_rows[1]["error"]
    assert len(eoren.Collection(store)) == 2


def test_divergence_does_not_affect_other_images(store, monkeypatch):
    from eoren.dataset import shards

    fit_batch = shards._fit_batch

    def diverge(images, *rest):
        if (images == IMAGES[1]).all((1, 2, 3)).any():
            raise ImageError("the fit diverged")
        return fit_batch(images, *rest)

    monkeypatch.setattr(shards, "_fit_batch", diverge)
    fit_many(IMAGES[:3], store=store, steps=2)
    assert [row["status"] for row in rows(store)] == ["done", "failed", "done"]
    assert len(eoren.Collection(store)) == 2


def test_progress_of_a_shard_that_is_not_full_is_in_images(store):
    """A shard would hold 512 images; the source has nine, each of which takes a tenth of a second."""
    seen = []
    fit_many(IMAGES, store=store, seconds=0.1, shard=512, workers=1, watch=lambda at: seen.append(at.pictures))
    assert any(0 < pictures < 9 for pictures in seen)
    assert max(seen) <= 9


def test_missing_memory_fails_no_image(store, monkeypatch):
    """The same images can be fitted when there is memory again."""

    def exhaust(*_, **__):
        raise MemoryError

    images = [png(np.uint8(255 * image[..., 0])) for image in IMAGES[:2]]
    with monkeypatch.context() as patch:
        patch.setattr("PIL.ImageFile.ImageFile.load", exhaust)
        with pytest.raises(MemoryError):
            fit_many(images, store=store, steps=1, shard=2)
    assert Store(store).shards() == []
    assert fit_many(images, store=store, steps=1).failed == 0


@pytest.mark.parametrize("source", ["data set", "array"])
def test_missing_memory_in_a_data_set_fails_no_image(store, source):
    class Exhausted:
        def __array__(self, *_, **__):
            raise MemoryError

    class Images:
        def __len__(self):
            return 2

        def __getitem__(self, number):
            if source == "array":
                return Exhausted()
            raise MemoryError

    with pytest.raises(MemoryError):
        fit_many(Images(), store=store, steps=1, shard=2)
    assert Store(store).shards() == []


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_more_shards_than_workers_are_all_fitted(store, workers):
    assert fit_many(IMAGES, store=store, steps=1, shard=1, workers=workers).pictures == 9
    assert Store(store).shards() == [*range(9)]


def test_an_interrupted_run_continues_with_the_same_result(store, tmp_path):
    calls = []
    with pytest.raises(KeyboardInterrupt):
        fit_many(IMAGES, store=store, steps=30, shard=1, workers=1, watch=lambda at: at.pictures >= 2)
    there = Store(store).shards()
    assert 0 < len(there) < 9
    summary = fit_many(IMAGES, store=store, steps=30, shard=1, workers=1, watch=calls.append)
    assert (summary.pictures, summary.earlier) == (9, len(there))
    fit_many(IMAGES, store=tmp_path / "other", steps=30, shard=1, workers=1)
    assert files(store) == files(tmp_path / "other")
    assert rows(store) == rows(tmp_path / "other")


ENDLESS = """
import sys, numpy as np, eoren
images = np.random.default_rng(3).random((24, 12, 14, 1), np.float32)
eoren.fit_many(images, store=sys.argv[1], steps=80, shard=2, workers=2)
"""


def test_the_index_is_consistent_after_a_kill(store):
    path = os.pathsep.join(sys.path)
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", ENDLESS, store], env=os.environ | {"PYTHONPATH": path}) as child:
            before = len(Store(store).shards()) if (store / "store.json").exists() else 0
            deadline = time.monotonic() + 60
            while child.poll() is None and time.monotonic() < deadline:
                if (store / "store.json").exists() and len(Store(store).shards()) > before:
                    break
                time.sleep(0.005)
            child.send_signal(signal.SIGKILL)
        index_rows = rows(store)
        assert len({row["number"] for row in index_rows}) == len(index_rows) > 0
        collection = eoren.Collection(store)
        assert len(collection) == len(index_rows)
        assert all(np.isfinite(collection.weights(number)).all() for number in range(len(collection)))
    images = np.random.default_rng(3).random((24, 12, 14, 1), np.float32)
    fit_many(images, store=store, steps=80, shard=2, workers=2)
    assert [row["number"] for row in rows(store)] == [*range(24)]
    assert not list(store.rglob(".eoren-*"))


def test_a_source_may_grow_and_another_one_is_refused(store):
    fit_many([("a", IMAGES[0], 0)], store=store, steps=1, shard=2)
    grown = [("a", IMAGES[0], 0), ("b", IMAGES[1], 0), ("c", IMAGES[2], 0)]
    assert fit_many(grown, store=store, steps=1).pictures == 3
    assert [row["name"] for row in rows(store)] == ["a", "b", "c"]
    for other in (grown[:1], grown[:2], [("x", IMAGES[0], 0), *grown[1:]]):
        with pytest.raises(EorenError, match="is of another source"):
            fit_many(other, store=store, steps=1)
    with pytest.raises(EorenError, match="is a store with steps 1, got 2"):
        fit_many(grown, store=store, steps=2)


def test_missing_folders_are_created_again(store):
    fit_many(IMAGES, store=store, steps=1)
    (store / "shards" / "0000000.safetensors").unlink()
    (store / "index" / "0000000.parquet").unlink()
    for part in ("shards", "index"):
        (store / part).rmdir()
    with pytest.raises(EorenError, match="has no images yet"):
        eoren.Collection(store)
    assert fit_many(IMAGES, store=store, steps=1).pictures == 9


def test_two_runs_do_not_write_at_once(store):
    fit_many(IMAGES[:1], store=store, steps=1)
    with Store.open_locked(store, Store(store).manifest), pytest.raises(EorenError, match="another run is writing"):
        fit_many(IMAGES[:1], store=store, steps=1)


def test_the_second_of_two_first_runs_writes_no_manifest(store):
    """The lock comes before the manifest; otherwise one run would use the settings of the other."""
    settings = make_settings("small", steps=1)
    first, second = (Manifest(settings, seed, False, 4) for seed in (0, 1))
    with Store.open_locked(store, first) as opened:
        (store / "store.json").unlink()
        with pytest.raises(EorenError, match="another run is writing"), Store.open_locked(store, second):
            pass
        assert not (store / "store.json").exists()
        assert opened.manifest == first


def test_an_unusable_backend_does_not_fail_images(store, monkeypatch):
    """They would stay failed in later runs."""
    monkeypatch.setenv("EOREN_BACKEND", "steam")
    with pytest.raises(EorenError, match="EOREN_BACKEND must be one of native, torch, got 'steam'"):
        fit_many(IMAGES[:2], store=store, steps=1)
    assert Store(store).shards() == []
    monkeypatch.delenv("EOREN_BACKEND")
    assert fit_many(IMAGES[:2], store=store, steps=1).failed == 0


def test_deleted_files_are_fitted_again(store):
    fit_many(IMAGES, store=store, steps=1, shard=5)
    path = store / shard_name(1)
    kept = path.read_bytes()
    path.write_bytes(kept[:100])
    with pytest.raises(EorenError, match="damaged"):
        eoren.Collection(store)[7]
    path.unlink()
    assert fit_many(IMAGES, store=store, steps=1).earlier == 5
    assert path.read_bytes() == kept


def test_same_start_makes_weights_similar(store, tmp_path):
    fit_many(IMAGES, store=store, steps=1, same_start=True)
    fit_many(IMAGES, store=tmp_path / "own", steps=1)
    spread = [eoren.Collection(folder).matrix()[:, :32].std(0).mean() for folder in (store, tmp_path / "own")]
    assert spread[0] < 0.1 * spread[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until_psnr": 30.0}, "until_psnr ends the fit of one mosaic"),
        ({"seed": -1}, "seed must be an integer from 0 to 4294967295, got -1"),
        ({"shard": 0}, "shard must be an integer from 1 to 1048576, got 0"),
        ({"workers": 0}, "workers must be 1 or more, got 0"),
        ({"executor": "dask"}, "executor must be one of local, ray, got 'dask'"),
        ({"address": "here:1"}, "address 'here:1' is for a Ray cluster"),
        ({"width": "x"}, "width must be of type int, got 'x'"),
    ],
    ids=str,
)
def test_invalid_options_are_refused_before_anything_is_written(store, options, message):
    with pytest.raises(EorenError, match=message):
        fit_many(IMAGES, store=store, **options)
    assert not store.exists()


def test_other_folders_are_not_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(EorenError, match="exists and is not a store"):
        fit_many(IMAGES, store=tmp_path, steps=1)
    with pytest.raises(EorenError, match="is not a store"):
        eoren.Collection(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_seconds_are_per_image(store):
    start = time.monotonic()
    fit_many(IMAGES, store=store, seconds=0.05, workers=1)
    # Nine images of 0.05 s each; the upper limit leaves a busy machine time, and is no preset's.
    assert 0.45 <= time.monotonic() - start < 60


def test_a_store_adds_little_to_the_weights(store):
    fit_many(np.random.default_rng(0).random((1000, 8, 8), np.float32), store=store, steps=0, workers=1)
    size = sum(path.stat().st_size for path in Path(store).rglob("*") if path.is_file())
    assert size <= 1.1 * 1000 * 611 * 2


def test_stores_with_former_names_of_settings_stay_readable(store, recwarn):
    images = IMAGES[:2]
    fit_many(images, store=store, steps=1, pixel_model="cell_average", workers=1)
    path = Path(store) / "store.json"
    manifest = json.loads(path.read_text())
    settings = manifest["settings"]
    settings |= {"rate": settings.pop("learning_rate"), "adam_rate": settings.pop("adam_learning_rate")}
    assert settings.pop("pixel_model") == "cell_average"
    path.write_text(json.dumps(manifest | {"settings": {**settings, "pixels": "areas"}}))
    assert fit_many(images, store=store, steps=1, pixel_model="cell_average", workers=1).earlier == 2
    provenance = eoren.Collection(store)[0].provenance
    assert provenance.settings["pixel_model"] == "cell_average"
    assert not [warning for warning in recwarn.list if issubclass(warning.category, FitWarning)]
