"""Sources and stores in object storage, against the server of moto, with faults between it and the library."""

import io
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import zipfile
from functools import partial

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from tests.source_images import assert_images, png, read

import eoren
from eoren.dataset.fit_many import fit_many
from eoren.dataset.index import encode_rows
from eoren.dataset.sources import decode_content, open_source
from eoren.dataset.store import Store, index_name, shard_name
from eoren.errors import EorenError, SourceWarning
from eoren.fs import leases, objects

s3fs = pytest.importorskip("s3fs")

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 9), dtype=np.uint8)
assert_pictures = partial(assert_images, pixels=PIXELS)
SETTINGS = {"steps": 1, "shard": 2, "workers": 1}


PICTURES = {f"{'ab'[number // 3]}/{number}.png": png(pixels) for number, pixels in enumerate(PIXELS)}


def put(s3, files, folder="pictures"):
    for name, content in files.items():
        s3.client.pipe_file(f"{s3.bucket}/{folder}/{name}", content)
    return f"{s3.bucket}/{folder}"


def files(s3, folder="store"):
    """All objects of a folder but the lease of a run that was killed."""
    found = s3.client.find(f"{s3.bucket}/{folder}")
    names = [path.partition(f"/{folder}/")[2] for path in found]
    return {name: s3.client.cat_file(path) for name, path in zip(names, found, strict=True) if name != ".lock"}


def local_files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def undisturbed(tmp_path):
    """The files of a store of the same images on this machine."""
    for name, content in PICTURES.items():
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / name).write_bytes(content)
    fit_many(tmp_path / "pictures", store=tmp_path / "undisturbed", **SETTINGS)
    return local_files(tmp_path / "undisturbed")


# Sources.


def test_a_folder_is_read_as_on_this_machine(s3):
    address = put(s3, PICTURES | {"a/.hidden.png": b"x", "README.txt": b"x"})
    s3.requests.clear()
    with pytest.warns(SourceWarning, match="pictures: left out 1 x file without the suffix of an image: README.txt"):
        source = open_source(address)
    assert source.count == 6
    items = [*source]
    assert_pictures([(i.name, i.load().label, decode_content(i.name, i.load()).pixels) for i in items],
                    [*PICTURES], [*"aaabbb"])  # fmt: skip
    assert s3.count("GET") == 6 + 4  # each object, the lists of three folders, and whether there is one


def test_patterns_and_single_files(s3):
    address = put(s3, PICTURES)
    expected = [f"{address}/{name}" for name in PICTURES]
    assert_pictures(read(f"{address}/*/*.png"), expected, [None] * 6)
    assert_pictures(read(*expected), expected, [None] * 6)
    with pytest.raises(EorenError, match="no file matches the pattern"):
        open_source(f"{address}/*.jpg")


def test_folders_that_a_pattern_matches_are_left_out_with_a_warning(s3):
    address = put(s3, PICTURES | {"z.png": PICTURES["a/0.png"]})
    with pytest.warns(SourceWarning, match="left out 2 x folder: a"):
        source = open_source(f"{address}/*")
    assert [item.name for item in source] == [f"{address}/z.png"]
    with pytest.warns(SourceWarning, match="left out 1 x folder: a"), pytest.raises(EorenError, match="no file"):
        open_source(f"{address}/a*")


def test_images_of_a_pattern_are_read_at_the_same_time(s3):
    """Each by one request, the first of which reads all of them; they come in order beside an archive."""
    more = {"b.zip": archive("zip"), "a.png": PICTURES["a/0.png"], "c.png": PICTURES["b/3.png"]}
    address = put(s3, PICTURES | more)
    assert_images(
        read(f"{address}/*.*"),
        [f"{address}/a.png", *PICTURES, f"{address}/c.png"],
        [None, *"aaabbb", None],
        PIXELS[[0, *range(6), 3]],
    )
    items = [*open_source(f"{address}/a/*.png")]
    s3.requests.clear()
    items[0].load()
    assert s3.count("GET") == 3
    assert [item.load().data for item in items] == [*PICTURES.values()][:3]
    assert s3.count("GET") == 3


@pytest.mark.parametrize("pattern", ["a/*", "*/*.png", "a/empty.png"])
def test_an_empty_object_is_one_failed_row(s3, tmp_path, pattern):
    """As an empty file on this machine; a service refuses to read a part of it."""
    files_there = {"a/empty.png": b"", "a/full.png": PICTURES["a/0.png"]}
    address = put(s3, files_there)
    for name, content in files_there.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    reasons = []
    for source, store in ((f"{address}/{pattern}", tmp_path / "remote"), (f"{tmp_path}/a/*", tmp_path / "local")):
        fit_many(source, store=store, **SETTINGS)
        rows = pyarrow.parquet.read_table(store / "index").to_pylist()
        assert [row["status"] for row in rows] == ["failed", "done"][: len(rows)]
        reasons.append(rows[0]["error"])
    assert reasons[0] == reasons[1]


def test_an_empty_object_that_is_no_image_is_refused(s3):
    address = put(s3, {"shards/0.tar": b""})
    for source in (f"{address}/shards/0.tar", f"{address}/shards/*.tar"):
        with pytest.raises(EorenError, match=r"0\.tar: is not an image, folder, zip"):
            open_source(source)


def archive(kind, **more):
    data = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(data, "w") as opened:
            for name, content in (PICTURES | more).items():
                opened.writestr(name, content)
    else:
        with tarfile.open(fileobj=data, mode="w:gz" if kind == "tar.gz" else "w") as opened:
            for name, content in sorted((PICTURES | more).items()):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                opened.addfile(member, io.BytesIO(content))
    return data.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_archives(s3, kind):
    address = put(s3, {f"some.{kind}": archive(kind)})
    assert_pictures(read(f"{address}/some.{kind}"), [*PICTURES], [*"aaabbb"])


def test_members_of_an_archive_are_read_alone(s3):
    """Nothing is copied as a whole: one image of a large archive takes a part of its bytes."""
    large = np.random.default_rng(0).bytes(20 << 20)
    address = put(s3, {"some.zip": archive("zip", **{"z.png": large})})
    s3.requests.clear()
    first = next(iter(open_source(f"{address}/some.zip")))
    assert first.load().data == PICTURES["a/0.png"]
    transferred = 0
    for method, _, span, _ in s3.requests:
        if method == "GET":
            start, end = map(int, span.removeprefix("bytes=").split("-"))
            transferred += min(end, len(large)) - start
    assert 0 < transferred < 13 << 20


def test_shards_of_webdataset_have_labels(s3):
    """As webdataset writes them: the files of an element follow each other, in the order of their suffixes."""
    shards = {}
    for number in range(2):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as opened:
            for image in range(3 * number, 3 * number + 3):
                for suffix, content in (("cls", str(image % 2).encode()), ("png", png(PIXELS[image])), ("txt", b"x")):
                    member = tarfile.TarInfo(f"{image:06}.{suffix}")
                    member.size = len(content)
                    opened.addfile(member, io.BytesIO(content))
        shards[f"{number:03}.tar"] = data.getvalue()
    address = put(s3, shards)
    with pytest.warns(SourceWarning, match="left out 3 x file without"):
        images = read(f"{address}/*.tar")
    assert_pictures(images, [f"{image:06}.png" for image in range(6)], [*"010101"])


def table(images, **options):
    data = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(images), data, **options)
    return data.getvalue()


@pytest.mark.parametrize("layout", ["struct", "binary"])
def test_tables_of_images(s3, layout):
    """Hugging Face writes structs of bytes and a path; others write bytes."""
    contents = [png(pixels) for pixels in PIXELS]
    column = contents if layout == "binary" else [{"bytes": content, "path": "x.png"} for content in contents]
    address = put(
        s3, {"train.parquet": table({"other": [0] * 6, "image": column, "label": [*range(6)]}, row_group_size=4)}
    )
    source = f"{address}/train.parquet"
    assert open_source(source).count == 6
    assert_pictures(read(source), [f"train/{number}" for number in range(6)], [*"012345"])
    last = [*open_source(source)][5]
    assert last.load().label == "5"


def test_images_that_are_missing_fail_alone(s3):
    address = put(s3, PICTURES)
    items = [*open_source(address)]
    s3.client.rm_file(f"{address}/a/1.png")
    assert str(items[1].load().data) == "there is no such object; check the address"
    assert items[2].load().data == PICTURES["a/2.png"]


# Stores.


def test_a_store_is_the_same_there_and_here(s3, undisturbed, tmp_path):
    address = put(s3, PICTURES)
    store = f"{s3.bucket}/store"
    summary = fit_many(address, store=store, **SETTINGS)
    assert (summary.pictures, summary.failed, summary.earlier) == (6, 0, 0)
    assert files(s3) == undisturbed
    collection, expected = eoren.Collection(store), eoren.Collection(tmp_path / "undisturbed")
    assert collection[4].color([[0.3, 0.6]]) == expected[4].color([[0.3, 0.6]])
    assert collection["b/4.png"].size == (9, 8)
    assert collection.index.equals(expected.index)
    np.testing.assert_array_equal(collection.matrix(), expected.matrix())
    assert repr(collection) == repr(expected).replace(str(tmp_path / "undisturbed"), store)
    assert collection.summary() == expected.summary()
    assert (pickle.loads(pickle.dumps(collection))[5].render() == expected[5].render()).all()


def test_a_store_in_memory_and_one_with_the_scheme_of_files(tmp_path, undisturbed):
    fit_many(f"file://{tmp_path}/pictures", store=f"file://{tmp_path}/store", **SETTINGS)
    assert local_files(tmp_path / "store") == undisturbed
    store = f"memory://{tmp_path.name}"
    fit_many(tmp_path / "pictures", store=store, **SETTINGS)
    assert {name: Store(store).folder.read(name, 1 << 30) for name in undisturbed} == undisturbed


def test_compact_fields(s3, tmp_path):
    images = [np.random.default_rng(k).random((16, 24, 3)) for k in range(3)]
    for store in (f"{s3.bucket}/store", tmp_path / "store"):
        fit_many(images, store=store, preset="fast", shard=2)
    assert files(s3) == local_files(tmp_path / "store")
    remote, local = (eoren.Collection(store) for store in (f"{s3.bucket}/store", tmp_path / "store"))
    for number in range(3):
        np.testing.assert_array_equal(remote[number].render(), local[number].render())
    np.testing.assert_array_equal(remote.latents()[1][0], local.latents()[1][0])


@pytest.mark.parametrize("shards", [2, 30])
def test_one_field_takes_few_requests_however_large_the_store_is(s3, tmp_path, shards):
    fit_many(
        [image[..., None] / np.float32(255) for image in PIXELS[:2]], store=tmp_path / "store", preset="fast", shard=2
    )
    stored = local_files(tmp_path / "store")
    rows = pyarrow.parquet.read_table(tmp_path / "store" / index_name(0)).to_pylist()
    for shard in range(1, shards):
        more = [row | {"number": row["number"] + 2 * shard, "shard": shard} for row in rows]
        stored |= {index_name(shard): encode_rows(more), shard_name(shard): stored[shard_name(0)]}
    put(s3, stored, "store")
    s3.requests.clear()
    collection = eoren.Collection(f"{s3.bucket}/store")
    assert [(method, path.partition("store")[2]) for method, path, *_ in s3.requests] == [("GET", "/store.json")] * 2
    field = collection[1]
    # Of the index its first part; of the shard its header, the ends of the field, and its bytes.
    assert len(s3.requests) == 2 + 1 + 3
    assert s3.count("GET") == len(s3.requests)
    np.testing.assert_array_equal(field.render(), eoren.Collection(tmp_path / "store")[1].render())
    s3.requests.clear()
    np.testing.assert_array_equal(collection[2 * shards - 1].render(), field.render())


def test_numbers_leave_out_failed_images(s3):
    images = [PIXELS[0], np.full((3, 3), np.nan), PIXELS[1], PIXELS[2]]
    store = f"{s3.bucket}/store"
    fit_many(images, store=store, **SETTINGS)
    new = eoren.Collection(store)
    assert (new[1].color([[0.5, 0.5]]), new[2].color([[0.5, 0.5]])) == tuple(
        eoren.Collection(store)[name].color([[0.5, 0.5]]) for name in "23"
    )
    with pytest.raises(IndexError, match="image 3 is out of range, the collection has 3"):
        eoren.Collection(store)[3]
    assert len(eoren.Collection(store)[-2:]) == 2


# Faults.


def every(number, fault, *methods):
    """Let every ``number``-th request of some methods fail."""
    count = 0

    def decide(method, path):
        nonlocal count
        count += method in methods
        return fault if method in methods and count % number == 0 else None

    return decide


@pytest.mark.parametrize("fault", ["slow down", "internal", "cut", "half", "answer lost"])
def test_faults_that_pass_lose_nothing(s3, undisturbed, fault):
    address = put(s3, PICTURES)
    s3.fault = every(3, fault, "GET", "PUT", *(["HEAD", "DELETE"] if fault != "half" else []))
    summary = fit_many(address, store=f"{s3.bucket}/store", **SETTINGS)
    assert (summary.pictures, summary.failed) == (6, 0)
    collection = eoren.Collection(f"{s3.bucket}/store")
    assert collection.names == [*PICTURES]
    assert sum(fault is not None for *_, fault in s3.requests) > 5
    s3.fault = None
    assert files(s3) == undisturbed
    assert ".lock" not in str(s3.client.find(s3.bucket))


def test_latency_does_not_matter_to_the_result(s3, undisturbed):
    s3.latency = 0.02
    fit_many(put(s3, PICTURES), store=f"{s3.bucket}/store", **SETTINGS)
    assert files(s3) == undisturbed


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("slow down", "the service does not answer .*reduce your request rate"),
        ("cut", "the service does not answer"),
        ("expired", "the credentials have expired .*; renew them and run the same again"),
        ("denied", "no permission .*Access Denied"),
    ],
)
def test_faults_that_last_are_one_line_and_the_same_command_goes_on(s3, undisturbed, fault, message):
    address, store, puts = put(s3, PICTURES), f"{s3.bucket}/store", 0

    def decide(method, path):
        nonlocal puts
        puts += method == "PUT" and "/index/" in path
        return fault if puts >= 2 else None

    s3.fault = decide
    with pytest.raises(EorenError, match=f"^s3://bucket-[^\n]*{message}[^\n]*$"):
        fit_many(address, store=store, **SETTINGS)
    s3.fault = None
    assert files(s3).items() < undisturbed.items() | files(s3).items()
    assert len(eoren.Collection(store)) == 2
    s3.client.rm_file(f"{store}/.lock")  # the lease of this run; a later one would wait until it is not renewed
    assert fit_many(address, store=store, **SETTINGS).earlier == 2
    assert files(s3) == undisturbed


@pytest.mark.parametrize(
    ("bucket", "environment", "message"),
    [
        ("s3://no-such-bucket", {}, "s3://no-such-bucket[^:]*: there is no such bucket"),
        (None, {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "there are no credentials"),
    ],
)
def test_wrong_addresses_and_missing_credentials_are_one_line(
    s3, monkeypatch, tmp_path, bucket, environment, message
):
    address = bucket or s3.bucket
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    objects.client.cache_clear()
    for name in environment:
        monkeypatch.delenv(name)
    for action in (
        lambda: fit_many(PIXELS, store=f"{address}/store", **SETTINGS),
        lambda: open_source(f"{address}/pictures"),
        lambda: eoren.Collection(f"{address}/store"),
    ):
        with pytest.raises(EorenError, match=message) as raised:
            action()
        assert "\n" not in str(raised.value)
    s3fs.S3FileSystem.clear_instance_cache()
    objects.client.cache_clear()


def test_a_folder_that_is_no_store_is_refused_and_not_touched(s3):
    address = put(s3, PICTURES)
    before = files(s3, "pictures")
    with pytest.raises(EorenError, match="exists and is not a store"):
        fit_many(PIXELS, store=address, **SETTINGS)
    with pytest.raises(EorenError, match="is not a store"):
        eoren.Collection(address)
    assert files(s3, "pictures") == before
    with pytest.raises(EorenError, match="there is no such object"):
        open_source(f"{s3.bucket}/store")


# Two writers, and writers that die.


def test_a_second_run_is_refused_while_the_first_works(s3, monkeypatch):
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.05)
    store, refused = f"{s3.bucket}/store", []

    def watch(progress):
        if not refused:
            with pytest.raises(EorenError, match="another run is writing to it"):
                fit_many(PIXELS, store=store, **SETTINGS)
            refused.append(True)

    assert fit_many(PIXELS, store=store, watch=watch, **SETTINGS).pictures == 6
    assert refused


def test_a_run_that_was_held_up_does_not_overwrite_its_successor(s3):
    store = f"{s3.bucket}/store"

    def watch(progress):
        """Another run, which took the lease over, has written the shard in the meantime."""
        s3.client.pipe_file(f"{store}/{index_name(2)}", b"of another run")

    with pytest.raises(EorenError, match=r"index/0000002.parquet: another run has written it meanwhile"):
        fit_many(PIXELS, store=store, watch=watch, **SETTINGS)
    assert files(s3)[index_name(2)] == b"of another run"


def test_a_fenced_run_ends_at_its_next_shard(s3, monkeypatch):
    monkeypatch.setattr(leases.Lease, "check", lambda self: (_ for _ in ()).throw(EorenError(self._busy)))
    with pytest.raises(EorenError, match="another run is writing to it"):
        fit_many(PIXELS, store=f"{s3.bucket}/store", **SETTINGS)
    assert s3.client.find(f"{s3.bucket}/store") == []


KILLED = """
import sys, eoren
eoren.fs.leases.RENEWAL_SECONDS = 0.05
def watch(at):
    print(at.pictures, flush=True)
eoren.fit_many(sys.argv[1], store=sys.argv[2], steps=1, shard=2, workers=1, watch=watch)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed")
def test_the_same_command_goes_on_after_a_kill(s3, undisturbed, monkeypatch):
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.05)
    address, store = put(s3, PICTURES), f"{s3.bucket}/store"
    s3.latency = 0.05
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    code = f"import eoren.fs.leases\n{KILLED}"
    with subprocess.Popen(
        [sys.executable, "-c", code, address, store], env=environment, stdout=subprocess.PIPE, text=True
    ) as run:
        for line in run.stdout:
            if float(line) >= 2:
                run.kill()
                break
    s3.latency = 0.0
    assert s3.client.exists(f"{store}/.lock")
    there = Store(store).shards()
    assert 0 < len(there) < 3
    assert fit_many(address, store=store, **SETTINGS).earlier == 2 * len(there)
    assert files(s3) == undisturbed


def test_deleted_fields_are_fitted_again(s3, undisturbed):
    address, store = put(s3, PICTURES), f"{s3.bucket}/store"
    fit_many(address, store=store, **SETTINGS)
    s3.client.rm_file(f"{store}/{shard_name(1)}")
    assert fit_many(address, store=store, **SETTINGS).earlier == 4
    assert files(s3) == undisturbed


def test_the_command_line(s3, capsys):
    from eoren.cli import main

    address = put(s3, PICTURES)
    commands = [
        ["fit-many", address, "-o", f"{s3.bucket}/store", "--steps", "1", "-q"],
        ["info", f"{s3.bucket}/store"],
        ["render", f"{s3.bucket}/store", "--name", "b/4.png", "-o", os.devnull, "--to", "png"],
    ]
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 0, capsys.readouterr().err
    assert "pictures       6" in " ".join(capsys.readouterr().out.splitlines())
    with pytest.raises(SystemExit) as ended:
        main(["info", "s3://no-such-bucket/store"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("eoren: s3://no-such-bucket/store/store.json: there is no such bucket")
