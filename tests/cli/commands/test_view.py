import sys
from urllib.parse import urljoin

import numpy as np
import pytest

from eoren.cli import page, signals
from eoren.cli.commands.view import view
from eoren.dataset.fit_many import fit_many

pytest.importorskip("fastapi", reason="pip install '.[view]'")


@pytest.fixture
def shown(monkeypatch):
    """Record the content of the page; the command ends at once."""
    seen = {}

    def wait(message):
        from urllib.request import urlopen

        seen["catalog"] = urlopen(urljoin(seen["address"], "api/catalog"), timeout=60).read().decode()

    monkeypatch.setattr(page, "show_page", lambda address, no_browser: seen.update(address=address))
    monkeypatch.setattr(signals, "wait_for_interruption", wait)
    return seen


def test_field_and_its_image(eoren, field_file, picture, shown):
    status, out, _ = eoren("view", field_file, "--compare", picture)
    assert (status, out) == (0, "")
    assert '"original"' in shown["catalog"]


def test_digest_depends_on_the_image(eoren, field_file, picture, folder, shown, monkeypatch):
    """Browsers cache by digest, and the same address may show another image the next time."""
    from PIL import Image

    from eoren.viewer.catalog import FieldCatalog

    digests, add = [], FieldCatalog.add

    def record(self, title, field, **options):
        entry = add(self, title, field, **options)
        digests.append(entry.digest)
        return entry

    monkeypatch.setattr(FieldCatalog, "add", record)
    with Image.open(picture) as image:
        Image.new(image.mode, image.size).save(folder / "black.png")
    for more in ((), ("--compare", picture), ("--compare", "black.png"), ("--compare", picture)):
        assert eoren("view", field_file, *more)[0] == 0
    assert len({*digests}) == 3
    assert digests[1] == digests[3]


def test_an_image_that_is_not_the_source_is_named(eoren, field_file, picture, folder, shown):
    """The file stores the SHA-256 digest of its source."""
    from PIL import Image

    _, _, err = eoren("view", field_file, "--compare", picture)
    assert err == ""
    with Image.open(picture) as image:
        image.convert("RGB").save(folder / "again.png", compress_level=0)  # the same pixels in another file
        Image.new("RGB", image.size).save(folder / "black.png")
    for name in ("again.png", "black.png"):
        _, _, err = eoren("view", field_file, "--compare", name)
        assert err == (
            f"eoren: {name}: tiny was fitted to another file than this image: its source has another SHA-256 digest\n"
        )


def test_several_files(eoren, field_file, shown):
    status, _, _ = eoren("view", field_file, field_file)
    assert status == 0
    assert '"tiny"' in shown["catalog"]
    assert '"tiny-2"' in shown["catalog"]
    assert '"original"' not in shown["catalog"]


def test_wrong_arguments(refused, field_file, picture, folder):
    from PIL import Image

    assert "no.eoren" in refused("view", "no.eoren")
    assert "--port must be from 0 to 65535, got 65536" in refused("view", field_file, "--port", "65536")
    assert "--port must be from 0 to 65535, got -1" in refused("view", field_file, "--port", "-1")
    assert "no.png" in refused("view", field_file, "--compare", "no.png")
    assert "--host must be an address of this machine alone" in refused("view", "--host", "0.0.0.0")
    assert "--compare needs the FILE of a field" in refused("view", "--compare", picture)
    Image.new("RGB", (5, 4)).save(folder / "other.png")
    message = refused("view", field_file, "--compare", "other.png")
    assert "tiny.eoren" in message
    assert "5x4 with 3 channels" in message
    assert "24x20" in message
    assert "not.a.host.invalid" in refused("view", field_file, "--host", "not.a.host.invalid", "--no-browser")


def test_missing_packages_are_reported_before_any_work(refused, field_file, picture, monkeypatch):
    monkeypatch.setattr(page, "find_spec", lambda name: None)
    for command in (("view", field_file), ("fit", picture, "-o", "new.eoren", "--watch")):
        assert refused(*command) == "the page needs FastAPI and uvicorn; pip install 'eoren[view]'"


@pytest.mark.parametrize(
    ("platform", "variables", "no_browser", "opened"),
    [
        ("linux", {}, False, False),
        ("linux", {"DISPLAY": ":0"}, False, True),
        ("linux", {"WAYLAND_DISPLAY": "w"}, False, True),
        ("linux", {"DISPLAY": ":0"}, True, False),
        ("darwin", {}, False, True),
        ("win32", {}, True, False),
    ],
)
def test_browser_opens_only_with_a_screen(monkeypatch, capsys, platform, variables, no_browser, opened):
    calls = []
    monkeypatch.setattr("webbrowser.open", calls.append)
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    page.show_page("http://127.0.0.1:1/", no_browser)
    assert calls == (["http://127.0.0.1:1/"] if opened else [])
    assert "http://127.0.0.1:1/" in capsys.readouterr().err


def test_default_host_is_loopback():
    from inspect import signature

    assert signature(view).parameters["host"].default == "127.0.0.1"


@pytest.fixture
def store(picture, folder):
    """Three images, of which two have the same name."""
    pixels = np.random.default_rng(0).random((3, 8, 9, 3))
    fit_many([("a", pixels[0], 0), ("b", pixels[1], 0), ("b", pixels[2], 0)], store=folder / "store", steps=1)
    return folder / "store"


def test_images_of_a_store(eoren, refused, store, field_file, shown, monkeypatch):
    assert eoren("view", store)[0] == 0
    assert [name for name in ("a", "b", "b-2", "b-3") if f'"{name}"' in shown["catalog"]] == ["a", "b", "b-2"]
    assert eoren("view", store, "--name", 2)[0] == 0
    assert '"a"' not in shown["catalog"]
    assert "--name: 'b' must name one image, got 2 images; give a number" in refused("view", store, "--name", "b")
    assert "--name: image 3 is out of range" in refused("view", store, "--name", "3")
    assert "--name a is for images of a store" in refused("view", field_file, "--name", "a")
    monkeypatch.setattr("eoren.cli.files._MOST_PIXELS", 100)
    assert "its 3 images are too many to show at once; select some with --name" in refused("view", store)
    assert eoren("view", store, "--name", "a")[0] == 0
