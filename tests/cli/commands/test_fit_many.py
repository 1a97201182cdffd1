import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eoren as library
from eoren.errors import EorenError


@pytest.fixture
def pictures(folder):
    """A folder of three images, one of them broken."""
    (folder / "pictures" / "cat").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (2, 12, 14), dtype=np.uint8)
    Image.fromarray(noise[0]).save(folder / "pictures" / "cat" / "a.png")
    Image.fromarray(noise[1]).save(folder / "pictures" / "b.png")
    (folder / "pictures" / "c.png").write_bytes(b"nothing")
    return folder / "pictures"


def test_failures_are_listed(eoren, pictures):
    status, out, err = eoren("fit-many", pictures, "-o", "store", "--steps", 2)
    assert status == 3
    assert out.splitlines()[1] == "pictures  3, 3 of them in this run"
    assert err.splitlines()[0].startswith("eoren: c.png: no image in a known format")
    assert err.splitlines()[1] == "eoren: 1 failed; column 'error' of store/index gives the reasons"
    status, out, _ = eoren("fit-many", pictures, "-o", "store", "--steps", 2, "--json", "--quiet")
    assert (status, json.loads(out)) == (3, {"store": "store", "pictures": 3, "failed": 1, "earlier": 3})


def test_export_of_a_store_as_json(eoren, pictures):
    eoren("fit-many", pictures, "-o", "store", "--steps", 1, "-q")
    status, out, err = eoren("export", "store", "-o", "out", "--json", "-q")
    assert (status, err, json.loads(out)) == (0, "", {"folder": "out", "count": 2})


@pytest.mark.parametrize("option", ["--executor", "--engine"])
def test_executor(eoren, pictures, monkeypatch, option):
    """--engine is the old name of --executor."""
    executors = []

    def fit_many(*_, executor, **__):
        executors.append(executor)
        raise EorenError("stopped")

    monkeypatch.setattr("eoren.dataset.fit_many.fit_many", fit_many)
    notice = "" if option == "--executor" else "eoren: --engine is deprecated; use --executor\n"
    assert eoren("fit-many", pictures, "-o", "store", option, "ray") == (2, "", f"{notice}eoren: stopped\n")
    assert executors == ["ray"]


def test_compact_fields(eoren, pictures):
    given = ("--preset", "fast", "--bits-per-pixel", 40)
    assert eoren("fit-many", pictures, "-o", "store", *given, "-q")[0] == 3
    rows = dict(line.split(maxsplit=1) for line in eoren("info", "store")[1].splitlines())
    assert rows["compact"] == "fields  2, 350 parameters"  # a latent a pixel, four steps and their base, two weights
    assert rows["fit"] == "preset fast, seed 0"
    field = library.Collection("store")[0]
    assert field.provenance.settings == {"preset": "fast", "bits_per_pixel": 40.0}
    assert eoren("export", "store", "-o", "fields", "--to", "fields", "-q")[0] == 0
    np.testing.assert_array_equal(library.load("fields/0-b.eoren").render(), field.render())
    assert eoren("fit-many", pictures, "-o", "psnr", "--preset", "fast", "--until-psnr", 30, "-q")[0] == 3


def test_info_of_a_store(eoren, pictures):
    eoren("fit-many", pictures, "-o", "store", "--steps", 2, "--same-start", "-q")
    status, out, err = eoren("info", "store")
    assert (status, err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (rows["pictures"], rows["size"], rows["labels"]) == ("3, 1 of them failed", "14 x 12, gray", "1")
    values = json.loads(eoren("info", "store", "--json")[1])
    assert (values["pictures"], values["failed"], values["sizes"], values["same_start"]) == (
        3,
        1,
        [[14, 12, 1, 2]],
        True,
    )
    psnr = library.Collection("store").index["psnr"].drop_null().to_numpy()
    assert values["psnr"] == pytest.approx(psnr.mean())


def test_export(eoren, pictures, refused):
    eoren("fit-many", pictures, "-o", "store", "--steps", 50, "-q")
    assert eoren("export", "store", "-o", "out")[0] == 0
    field = library.Collection("store")[1]
    shown = np.asarray(Image.open("out/1-a.png")) / 255
    np.testing.assert_allclose(shown, field.render()[..., 0].clip(0, 1), atol=0.51 / 255)
    assert eoren("export", "store", "-o", "fields", "--to", "fields", "-q")[0] == 0
    np.testing.assert_array_equal(library.load("fields/1-a.eoren").render(), field.render())
    assert "out: has files; give --overwrite" in refused("export", "store", "-o", "out")


def test_interrupted_export_can_be_repeated(eoren, pictures, refused, monkeypatch):
    eoren("fit-many", pictures, "-o", "store", "--steps", 1, "-q")
    save, calls = library.save, []

    def interrupt(field, path):
        calls.append(path)
        if len(calls) > 1:
            raise KeyboardInterrupt
        save(field, path)

    with monkeypatch.context() as patched:
        patched.setattr("eoren.field.serialization.save", interrupt)
        status, _, err = eoren("export", "store", "-o", "out", "--to", "fields", "-q")
    assert (status, err) == (
        130,
        "eoren: interrupted; out keeps the written files, and --overwrite writes all of them\n",
    )
    assert "give --overwrite" in refused("export", "store", "-o", "out", "--to", "fields")
    assert eoren("export", "store", "-o", "out", "--to", "fields", "-q", "--overwrite")[0] == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["0-b.eoren", "1-a.eoren"]
    assert "is the store itself" in refused("export", "store", "-o", "store", "--overwrite")


def test_untrusted_names_stay_in_the_output_folder(eoren, pictures, folder):
    with zipfile.ZipFile("bad.zip", "w") as archive:
        archive.write(pictures / "b.png", "/evil.png")
    assert eoren("fit-many", "bad.zip", "-o", "store", "--steps", 1, "-q")[0] == 0
    before = sorted(folder.parent.rglob("*evil*"))
    eoren("export", "store", "-o", "out", "-q")
    assert before == []
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*evil*")] == ["out/0-evil.png"]


def test_interruption(eoren, pictures, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("eoren.dataset.fit_many.fit_many", interrupt)
    status, out, err = eoren("fit-many", pictures, "-o", "store")
    assert (status, out) == (130, "")
    assert err == "eoren: interrupted; store keeps the fitted images, and the same command continues\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "until-psnr=30"], "--set cannot change until_psnr, got 'until-psnr=30'"),
        (["--preset", "tiny"], "'tiny' is not one of"),
        (["--address", "a:1"], "address 'a:1' is for a Ray cluster"),
        (["--workers", "0"], "workers must be 1 or more, got 0"),
        (["--seed", "-1"], "--seed must be an integer from 0 to 4294967295, got -1"),
    ],
    ids=str,
)
def test_wrong_arguments(refused, pictures, options, message):
    assert message in refused("fit-many", pictures, "-o", "store", *options)


def test_invalid_sources_and_stores(refused, pictures):
    assert "cannot be read" in refused("fit-many", "nowhere", "-o", "store")
    assert "is not a store" in refused("info", pictures)
    assert "is not a store" in refused("export", pictures, "-o", "out")
    assert "exists and is not a store" in refused("fit-many", pictures, "-o", pictures)


def test_names_that_are_too_long(refused, pictures):
    long = "x" * 300
    assert "too long" in refused("fit-many", long, "-o", "store")
    assert "too long" in refused("fit-many", pictures, "-o", long, "--steps", 1)
    assert "too long" in refused("info", long)
    assert "too long" in refused("export", long, "-o", "a.onnx", "--to", "onnx")


def test_names_that_are_not_utf8_are_escaped(eoren, pictures):
    strange = pictures / os.fsdecode(b"\xe9")
    try:
        strange.mkdir()
    except OSError:
        pytest.skip("this system has no such names")
    (pictures / "b.png").rename(strange / os.fsdecode(b"\xff.png"))
    for _ in range(2):
        assert eoren("fit-many", pictures, "-o", "store", "--steps", 1, "-q")[0] == 3
    assert library.Collection("store").names == ["cat/a.png", "\\udce9/\\udcff.png"]
    assert library.Collection("store").labels == ["cat", "\\udce9"]


def test_damaged_archive(eoren, pictures):
    with tarfile.open("some.tar", "w") as archive:
        archive.add(pictures / "b.png", "b.png")
        second = archive.fileobj.tell()
        archive.add(pictures / "cat" / "a.png", "a.png")
    data = bytearray(Path("some.tar").read_bytes())
    data[second] ^= 1
    Path("some.tar").write_bytes(data)
    status, _, err = eoren("fit-many", "some.tar", "-o", "store", "--steps", 1)
    assert (status, err) == (2, "eoren: some.tar: damaged archive (bad checksum); replace it\n")
