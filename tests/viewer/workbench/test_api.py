"""Requests to the workbench: the token, limits, fits, files and edits."""

import contextlib
import http.client
import importlib.util
import json
import socket
import threading
import time
from unittest.mock import patch

import numpy as np
import pytest
from fastapi.requests import Request

import eoren
from eoren.composition.operations import clone, fill
from eoren.composition.retouching import flatten_light
from eoren.errors import EorenError
from eoren.viewer.workbench import api


def post(server, path, body=b"", **headers):
    with contextlib.closing(http.client.HTTPConnection(server.netloc, timeout=60)) as connection:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()


@pytest.fixture
def send(server, workbench):
    """Function that sends a request with the token."""
    return lambda path, body=b"": post(server, path, body, Authorization=f"Bearer {workbench.token}")


def until_ended(workbench):
    deadline = time.monotonic() + 60
    while workbench.is_live:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def short(monkeypatch):
    """Fits of two steps."""
    fit = eoren.fit
    monkeypatch.setattr(
        "eoren.training.fit.fit",
        lambda image, watch: fit(image, preset="mosaic", steps=3, width=8, depth=1, watch=watch),
    )


@pytest.mark.parametrize("token", [None, "", "Bearer ", "Bearer wrong", "wrong", "Bearer \xe9"])
@pytest.mark.parametrize(
    "path", ["open?name=a.png", "write?entry=small&path=a.eoren", "edit?entry=small&operation=fill"]
)
def test_a_wrong_token_is_refused(server, two_images, workbench, path, token, tmp_path, png, image):
    headers = {} if token is None else {"Authorization": token}
    status, text = post(server, f"/api/workbench/{path}", png(image), **headers)
    assert status == 403
    assert text == "the token must be that of this server; open the address in the terminal"
    assert workbench.live is None
    assert not list(tmp_path.iterdir())
    assert not two_images.find("small").edits


def request(token):
    return Request({"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode())]})


def test_the_token_is_long_and_new(workbench, catalog, tmp_path):
    from eoren.viewer.tile_cache import TileCache
    from eoren.viewer.workbench.session import Workbench

    other = Workbench(catalog, TileCache(1), folder=tmp_path)
    assert len(workbench.token) >= 32
    assert workbench.token != other.token
    assert workbench.admits(request(workbench.token))
    assert not workbench.admits(request(other.token))


def test_a_foreign_host_is_refused_even_with_the_token(server, workbench):
    headers = {"Host": "evil.example", "Authorization": f"Bearer {workbench.token}"}
    assert post(server, "/api/workbench/open?name=a.png", b"", **headers)[0] == 421


def test_an_image_is_fitted_listed_and_written(send, server, workbench, image, png, tmp_path, short):
    assert json.loads(server.request("/api/catalog").content) == {"entries": [], "live": False, "workbench": True}
    assert send("/api/workbench/open?name=../some/photo.png", png(image)) == (200, '{"opened":"fit"}')
    until_ended(workbench)
    status = json.loads(server.request("/api/live").content)
    assert (status["ended"], status["entry"], status["message"]) == ("budget", "photo", "")
    listed = json.loads(server.request("/api/catalog").content)
    assert [(entry["name"], entry["file"], entry["operand"]) for entry in listed["entries"]] == [
        ("photo", "", "photo.png")
    ]
    assert not listed["live"]
    (tmp_path / "in").mkdir()
    assert send("/api/workbench/write?entry=photo&path=in/photo.eoren") == (200, '{"file":"in/photo.eoren"}')
    np.testing.assert_array_equal(
        eoren.load(tmp_path / "in/photo.eoren").render(), workbench.catalog.find("photo").field.render()
    )
    assert workbench.catalog.find("photo").file == "in/photo.eoren"


def test_other_pages_may_read_files_but_not_what_the_page_sent(catalog, field, image, png, tmp_path, connect, short):
    from eoren.viewer.server import serve
    from eoren.viewer.tile_cache import TileCache
    from eoren.viewer.workbench.session import Workbench

    catalog.add("file", field, digest="a", file="file.eoren")
    workbench = Workbench(catalog, TileCache(1 << 20), folder=tmp_path)
    with serve(workbench, TileCache(1 << 20)) as address:
        server = connect(address)
        post(server, "/api/workbench/open?name=sent.png", png(image), Authorization=f"Bearer {workbench.token}")
        until_ended(workbench)
        for path in ("info.json", "full/max/0/default.png"):
            shared, private = (
                server.request(f"/iiif/{name}/{path}", Origin="https://other.example").headers
                for name in ("file", "sent")
            )
            assert shared["access-control-allow-origin"] == "*"
            assert "cross-origin-resource-policy" not in shared
            assert "access-control-allow-origin" not in private
            assert private["cross-origin-resource-policy"] == "same-origin"


def test_a_page_that_closes_while_it_sends_is_no_error(server, workbench, caplog):
    host, port = server.netloc.split(":")
    head = f"POST /api/workbench/open?name=a.png HTTP/1.1\r\nHost: {server.netloc}\r\nContent-Length: 1000\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}Authorization: Bearer {workbench.token}\r\n\r\nabc".encode())
        time.sleep(0.3)
    time.sleep(0.3)
    assert server.request("/api/catalog").status == 200
    assert not caplog.records


def test_no_fit_starts_at_the_end(workbench, png, image):
    workbench.close()
    with pytest.raises(EorenError, match="is ending"):
        workbench.add("a.png", png(image))


def test_names_of_edits_do_not_come_again_after_a_restart():
    """Browsers keep the images of a server under the same address."""
    spec = importlib.util.find_spec("eoren.viewer.workbench.editing")
    numbers = set()
    for _ in range(2):
        module = importlib.util.module_from_spec(spec)
        with patch.dict("sys.modules", {spec.name: module}):
            spec.loader.exec_module(module)
        numbers.add(next(module._numbers))
    assert len(numbers) == 2


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../photo.eoren", "must lie in the folder"),
        ("/tmp/photo.eoren", "must lie in the folder"),
        ("link/photo.eoren", "must lie in the folder"),
        ("photo.png", "must end in .eoren"),
        ("", "must lie in the folder"),
        ("none/photo.eoren", "there is no folder"),
        ("there.eoren", "exists; choose another path, or start eoren view with --overwrite"),
        ("a%00b.eoren", "must be the path of a file"),
    ],
)
def test_paths_that_are_refused(send, two_images, tmp_path, tmp_path_factory, path, message):
    (tmp_path / "there.eoren").write_text("kept")
    outside = tmp_path_factory.mktemp("outside")
    (tmp_path / "link").symlink_to(outside)
    status, text = send(f"/api/workbench/write?entry=small&path={path}")
    assert status == 400
    assert message in text
    assert "\n" not in text
    assert (tmp_path / "there.eoren").read_text() == "kept"
    assert not list(outside.iterdir())
    assert two_images.find("small").file == ""


def test_files_are_replaced_only_with_overwrite(two_images, tmp_path):
    from eoren.viewer.tile_cache import TileCache
    from eoren.viewer.workbench.session import Workbench

    (tmp_path / "there.eoren").write_text("old")
    entry = two_images.find("small")
    with pytest.raises(EorenError, match="exists"):
        Workbench(two_images, TileCache(1), folder=tmp_path).write(entry, "there.eoren")
    Workbench(two_images, TileCache(1), folder=tmp_path, overwrite=True).write(entry, "there.eoren")
    assert eoren.load(tmp_path / "there.eoren").size == (30, 20)


def test_a_field_is_listed_as_it_is(send, workbench, field, tmp_path):
    eoren.save(field, tmp_path / "a.eoren")
    assert send("/api/workbench/open?name=a.eoren", (tmp_path / "a.eoren").read_bytes()) == (
        200,
        '{"opened":"field"}',
    )
    entry = workbench.catalog.find("a")
    assert (entry.file, entry.operand) == ("a.eoren", "a.eoren")


def test_files_that_cannot_be_read_are_refused_in_one_line(send, workbench):
    bomb = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR\0\1\0\0\0\1\0\0\x08\2\0\0\0"
    for name, content in (("a.png", b""), ("a.png", b"text"), ("a.eoren", b"text"), ("a.png", bomb)):
        status, text = send(f"/api/workbench/open?name={name}", content)
        assert status == 400
        assert text.startswith(name)
        assert "\n" not in text
    assert workbench.live is None


def test_a_body_has_the_limit_of_a_stream(send, monkeypatch, workbench):
    monkeypatch.setattr(api, "MAX_STREAM", 1000)
    assert send("/api/workbench/open?name=a.png", bytes(1001)) == (413, "a file must have at most 1,000 bytes")


def test_one_fit_at_a_time_and_stop(send, server, workbench, image, png, monkeypatch):
    go = threading.Event()
    fit = eoren.fit

    def held(image, watch):
        def watched(progress):
            go.wait(60)
            return watch(progress)

        return fit(image, preset="mosaic", seconds=60.0, width=8, depth=1, watch=watched)

    monkeypatch.setattr("eoren.training.fit.fit", held)
    assert send("/api/workbench/open?name=a.png", png(image))[0] == 200
    assert send("/api/workbench/open?name=b.png", png(image)) == (
        400,
        "a fit is running; stop it, or wait for its end",
    )
    assert json.loads(server.request("/api/catalog").content)["live"]
    origin = {"Origin": server.address.rstrip("/")}
    assert server.request("/api/live/stop", "POST", **origin).status == 403
    go.set()
    time.sleep(0.2)  # some steps
    headers = origin | {"Authorization": f"Bearer {workbench.token}"}
    assert server.request("/api/live/stop", "POST", **headers).status == 204
    until_ended(workbench)
    assert workbench.live.status()["ended"] == "stopped"
    assert [entry.name for entry in workbench.entries()] == ["a"]


def test_a_fit_that_fails_is_reported(send, workbench, image, png, monkeypatch):
    def fail(image, watch):
        raise EorenError("no")

    monkeypatch.setattr("eoren.training.fit.fit", fail)
    send("/api/workbench/open?name=a.png", png(image))
    until_ended(workbench)
    assert workbench.live.status()["message"] == "a.png: no"
    assert workbench.entries() == []


def shown(server, name, layer):
    import io

    from PIL import Image

    content = server.request(f"/iiif/{name}~{layer}/full/max/0/default.png").content
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def eight_bits(colors):
    return np.floor(np.clip(colors, 0, 1) * 255 + 0.5)


def test_edits_are_the_exact_solutions(send, server, two_images, image, png):
    mask = np.zeros((20, 30))
    mask[4:9, 3:12] = 1
    dark = np.full_like(image, 0.25)
    expected = {
        "operation=clone&source=small&x=5&y=-2&mode=mixed": (
            "dark",
            clone(image, dark, mask, offset=(5, -2), mode="mixed"),
        ),
        "operation=fill&method=biharmonic": ("small", fill(image, mask, method="biharmonic")),
        "operation=flatten-light": ("small", flatten_light(image)),
    }
    for query, (name, composition) in expected.items():
        status, text = send(f"/api/workbench/edit?entry={name}&{query}", png(mask))
        assert status == 200, text
        layer = json.loads(text)["layer"]
        assert np.abs(shown(server, name, layer) - eight_bits(composition.colors)).max() <= 1
        listed = json.loads(server.request("/api/catalog").content)["entries"]
        layers = next(entry for entry in listed if entry["name"] == name)["layers"]
        assert (layers[-1]["name"], layers[-1]["label"]) == (layer, "Edited")
    # The one before the newest stays a while for pages that still request it.
    assert len(two_images.find("small").edits) == 2
    send("/api/workbench/edit?entry=small&operation=denoise-edges")
    assert len(two_images.find("small").edits) == 2


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("entry=none&operation=fill", 404, "none: is not open"),
        ("entry=small&operation=clone&source=none", 400, "none: is not open"),
        ("entry=small&operation=clone&source=dark&x=900", 400, "offset 900,0 puts the mask"),
        ("entry=small&operation=boost-detail&factor=-1", 400, "above 0"),
        ("entry=small&operation=none", 422, ""),
        ("entry=small&operation=fill&empty=1", 400, "the mask is empty"),
    ],
)
def test_edits_that_are_refused(send, two_images, png, query, status, message):
    mask = np.ones((20, 30))
    mask[:, :20] = 0
    got, text = send(f"/api/workbench/edit?{query}", png(0 * mask if "empty" in query else mask))
    assert got == status
    assert message in text
    assert not two_images.find("small").edits
