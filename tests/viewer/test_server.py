import io
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from eoren.errors import EorenError
from eoren.evaluation.metrics import psnr
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.serialization import dumps, loads
from eoren.model.channel_tuning import Tuning
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling
from eoren.viewer import server as module
from eoren.viewer.catalog import FieldCatalog
from eoren.viewer.iiif import MAX_AREA
from eoren.viewer.server import is_own_host, serve
from eoren.viewer.session import Session
from eoren.viewer.tile_cache import TileCache


def opened(response):
    return Image.open(io.BytesIO(response.content))


# The protocol.


def test_images_show_the_field(server, field):
    response = server.request("/iiif/small/full/max/0/default.png")
    assert (response.status, response.headers["content-type"]) == (200, "image/png")
    expected = np.floor(field.render().clip(0, 1) * 255 + 0.5)
    assert np.abs(np.asarray(opened(response)).astype(float) - expected).max() <= 1


def test_all_parameters_together(server):
    response = server.request("/iiif/small~gradient~64x/pct:10,10,50,50/!64,64/90/gray.webp")
    assert (response.status, response.headers["content-type"]) == (200, "image/webp")
    assert opened(response).size == (43, 64)


def test_link_and_cors_headers(server):
    response = server.request("/iiif/small/0,0,30,20/30,20/0/default.jpg", Origin="https://viewer.example")
    assert response.headers["access-control-allow-origin"] == "*"
    base = f"http://{server.netloc}/iiif/small"
    assert f'<{base}/full/max/0/default.jpg>;rel="canonical"' in response.headers["link"]
    assert '<http://iiif.io/api/image/3/level2.json>;rel="profile"' in response.headers["link"]
    preflight = server.request("/iiif/small/info.json", "OPTIONS", Origin="https://viewer.example")
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (204, "*")


def test_unchanged_images_are_not_sent_again(server):
    path = "/iiif/small/full/10,/0/default.png"
    response = server.request(path)
    again = server.request(path, If_None_Match=response.headers["etag"])
    assert (again.status, again.content) == (304, b"")
    other = server.request("/iiif/small/full/11,/0/default.png", If_None_Match=response.headers["etag"])
    assert other.status == 200
    # The same region of another field.
    assert server.request("/iiif/a-b/full/10,/0/default.png").headers["etag"] != response.headers["etag"]


def test_information(server):
    response = server.request("/iiif/small~gradient~64x/info.json")
    info = json.loads(response.content)
    assert (info["width"], info["height"]) == (1920, 1280)
    assert info["id"] == f"http://{server.netloc}/iiif/small~gradient~64x"
    assert response.headers["content-type"] == "application/json"
    linked = server.request("/iiif/small/info.json", Accept="application/ld+json")
    assert linked.headers["content-type"].startswith("application/ld+json;profile=")
    base = server.request("/iiif/small")
    assert (base.status, base.headers["location"]) == (303, f"http://{server.netloc}/iiif/small/info.json")


@pytest.mark.parametrize("form", ["small~original", "small%7Eoriginal", "%73mall~original"])
def test_identifiers_may_be_escaped(server, form):
    assert server.request(f"/iiif/{form}/full/max/0/default.png").status == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/iiif/", "/iiif/none/info.json", "/iiif/small/full/max/0", "/iiif/small/x.json", "/iiif/small/"),
        *("/iiif/small/full/max/0/default.png/x", "/iiif/small%2Finfo.json", "/iiif/a-b~original/info.json"),
    ],
)
def test_missing_images(server, path):
    response = server.request(path)
    assert response.status == 404
    assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "size",
    ["^100000,100000", "^999999999,", "^pct:99999999", "31,", f"^{'9' * 5000},", "^4097,4097", "0,"],
    ids=lambda size: size[:20],
)
def test_absurd_sizes_are_refused_before_any_work(server, size, monkeypatch):
    def render(*_):
        raise AssertionError("the size was not checked first")

    monkeypatch.setattr("eoren.viewer.server.render", render)
    response = server.request(f"/iiif/small/full/{size}/0/default.png")
    assert response.status == 400
    assert response.content


def test_max_keeps_to_the_limits(server):
    # A magnified image exceeds the limits.
    from eoren.viewer.iiif import parse

    request = parse("full", "max", "0", "default.png", width=49_152, height=32_768)
    assert request.width * request.height <= MAX_AREA


# Access.


@pytest.mark.parametrize(
    ("header", "host", "accepted"),
    [
        ("127.0.0.1:8000", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("localhost:1", "127.0.0.1", True),
        ("LocalHost.:1", "127.0.0.1", True),
        ("[::1]:8000", "::1", True),
        ("[::1]", "127.0.0.1", True),
        ("evil.example:8000", "127.0.0.1", False),
        ("127.0.0.1.evil.example", "127.0.0.1", False),
        ("localhost.evil.example:80", "127.0.0.1", False),
        ("evil.example", "0.0.0.0", False),
        ("192.168.1.5:8000", "127.0.0.1", False),
        ("192.168.1.5:8000", "0.0.0.0", True),
        ("[fd00::5]:8000", "::", True),
        ("images.lan:80", "images.lan", True),
        ("127.0.0.1:80@evil.example", "127.0.0.1", False),
        ('127.0.0.1:"><x', "127.0.0.1", False),
        ("[::1]:80x", "127.0.0.1", False),
        ("", "127.0.0.1", False),
        (":80", "127.0.0.1", False),
    ],
)
def test_hosts_of_requests(header, host, accepted):
    assert is_own_host(header, host) == accepted


@pytest.fixture
def names_asked():
    """Forget the names of this machine, before and after."""
    module._machine_names.cache_clear()
    yield
    module._machine_names.cache_clear()


@pytest.mark.usefixtures("names_asked")
def test_the_name_of_this_machine_if_the_server_is_open_to_others(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "studio")
    monkeypatch.setattr("socket.getfqdn", lambda: "studio.lan")
    assert is_own_host("studio:8000", "0.0.0.0")
    assert is_own_host("studio.lan", "::")
    assert not is_own_host("studio:8000", "127.0.0.1")
    # It is asked for once: a name server may take seconds to answer.
    monkeypatch.setattr("socket.getfqdn", lambda: pytest.fail("asked again"))
    assert not is_own_host("other:8000", "0.0.0.0")


@pytest.mark.parametrize("path", ["/", "/api/catalog", "/iiif/small/info.json", "/static/main.js", "/none"])
def test_other_hosts_are_refused_for_every_path(server, path):
    assert server.request(path, Host="evil.example").status == 421
    assert server.request(path, Host=f"localhost:{server.netloc.rpartition(':')[2]}").status in (200, 404)


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e/server.py", "/static//etc/passwd"),
        *("/static/__init__.py", "/../../etc/passwd", "/iiif/..%2f..%2fetc%2fpasswd/info.json", "/static/"),
        *("/iiif/%2e%2e/info.json", "/iiif/small/../../../etc/passwd", "/api/probe/..%2fsmall?x=0&y=0", "/docs"),
        *("/openapi.json", "/static/main.js%00", "/static/..\\server.py"),
    ],
)
def test_no_path_leads_to_other_files(server, path):
    assert server.request(path).status == 404


def test_other_pages_can_read_only_images(server):
    for path in ("/", "/api/catalog", "/api/probe/small?x=0.5&y=0.5"):
        response = server.request(path, Origin="https://evil.example")
        assert response.status == 200
        assert "access-control-allow-origin" not in response.headers
    assert "frame-ancestors 'none'" in server.request("/").headers["content-security-policy"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("x=0.5&y=0.5", 200),
        ("x=1.01&y=0", 400),
        ("x=nan&y=0", 400),
        ("x=a&y=0", 422),
        ("x=0", 422),
        ("x=inf&y=1", 400),
    ],
)
def test_points(server, entry, query, status):
    response = server.request(f"/api/probe/small?{query}")
    assert response.status == status
    if status == 200:
        assert json.loads(response.content) == entry.probe(0.5, 0.5)


def test_only_reading_is_allowed(server):
    for method in ("POST", "PUT", "DELETE"):
        for path in ("/", "/api/catalog", "/iiif/small/info.json"):
            assert server.request(path, method).status == 405


def test_the_server_listens_only_at_its_address_while_it_runs(catalog):
    with serve(Session(catalog), TileCache(1000)) as address:
        port = int(address.rstrip("/").rpartition(":")[2])
        assert address == f"http://127.0.0.1:{port}/"
        with (
            pytest.raises(EorenError, match=f"port {port} .*--host or --port"),
            serve(Session(catalog), TileCache(1), port=port),
        ):
            pass
    # After the end of the block.
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    with (
        pytest.raises(EorenError, match=r"listen at 192\.0\.2\.1"),
        serve(Session(catalog), TileCache(1), host="192.0.2.1"),
    ):
        pass


# Concurrency.


def test_ten_clients_at_once(server):
    def pan(client):
        random = np.random.default_rng(client)
        for _ in range(12):
            x, y = random.integers(0, 1920 - 256), random.integers(0, 1280 - 256)
            layer = random.choice(["color", "gradient", "spline", "original"])
            response = server.request(f"/iiif/small~{layer}~64x/{x},{y},256,256/256,256/0/default.png")
            assert response.status == 200
            assert opened(response).size == (256, 256)
        return True

    with ThreadPoolExecutor(10) as clients:
        assert all(clients.map(pan, range(10)))


def test_a_slow_drawing_does_not_delay_others(server, monkeypatch):
    started, go, usual = threading.Event(), threading.Event(), module.render

    def slow(view, request, token):
        if request.width == 29:
            started.set()
            assert go.wait(60)
        return usual(view, request, token)

    monkeypatch.setattr(module, "render", slow)
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(server.request, "/iiif/small/full/29,/0/default.png")
        assert started.wait(60)
        assert server.request("/iiif/small/full/28,/0/default.png").status == 200
        assert server.request("/api/catalog").status == 200
        assert not waiting.done()
        go.set()
        assert waiting.result(20).status == 200


def test_queued_tiles_of_disconnected_clients_are_not_drawn(server, monkeypatch):
    go, drawn, usual = threading.Event(), [], module.render

    def slow(view, request, token):
        drawn.append(request.width)
        assert go.wait(60)
        return usual(view, request, token)

    monkeypatch.setattr(module, "render", slow)
    host, port = server.netloc.split(":")
    connections = []
    for width in (21, 22, 23):  # two are drawn at a time, the third has to wait
        connection = socket.create_connection((host, int(port)), timeout=60)
        path = f"/iiif/small/full/{width},/0/default.png"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {server.netloc}\r\n\r\n".encode())
        connections.append(connection)
        deadline = time.monotonic() + 60
        while len(drawn) < min(2, len(connections)) and time.monotonic() < deadline:
            time.sleep(0.01)
    # An answer to a later request shows that the server has read the events before it.
    assert server.request("/").status == 200
    connections[2].close()
    assert server.request("/").status == 200
    go.set()
    assert server.request("/iiif/small/full/24,/0/default.png").status == 200
    assert drawn == [21, 22, 24]
    for connection in connections[:2]:
        connection.close()


def test_drawing_ends_once_all_clients_have_disconnected(server, monkeypatch):
    started, ended, usual = threading.Event(), threading.Event(), module.render

    def endless(view, request, token):
        if request.width != 21:
            return usual(view, request, token)
        started.set()
        try:
            while True:
                token.raise_if_cancelled()
                time.sleep(0.01)
        finally:
            ended.set()

    monkeypatch.setattr(module, "render", endless)
    host, port = server.netloc.split(":")
    connections = [socket.create_connection((host, int(port)), timeout=60) for _ in range(2)]
    request = f"GET /iiif/small/full/21,/0/default.png HTTP/1.1\r\nHost: {server.netloc}\r\n\r\n"
    for connection in connections:
        connection.sendall(request.encode())
    assert started.wait(60)
    connections[0].close()
    assert not ended.wait(1)  # the other client still waits
    connections[1].close()
    assert ended.wait(60)
    assert server.request("/iiif/small/full/22,/0/default.png").status == 200


def test_the_server_can_stop_during_a_drawing(catalog, connect, monkeypatch, capfd):
    started = threading.Event()

    def endless(view, request, token):
        started.set()
        while True:
            token.raise_if_cancelled()
            time.sleep(0.01)

    monkeypatch.setattr(module, "render", endless)
    with ThreadPoolExecutor(3) as others:
        cache = TileCache(1 << 20)
        with serve(Session(catalog), cache) as address:
            paths = [f"/iiif/small/full/{width},/0/default.png" for width in (21, 22, 23)]
            waiting = [others.submit(connect(address).request, path) for path in paths]
            assert started.wait(60)
            deadline = time.monotonic() + 60
            while len(cache._jobs) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
        assert [response.result(60).status for response in waiting] == [503] * 3
    assert capfd.readouterr().err == ""


def test_internal_errors_are_logged(server, monkeypatch, caplog):
    def fault(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("eoren.viewer.server.render", fault)
    assert server.request("/iiif/small/full/21,/0/default.png").status == 500
    deadline = time.monotonic() + 60  # the response is sent first
    while "a bug" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "cannot answer /iiif/small/full/21,/0/default.png" in caplog.text
    assert "ZeroDivisionError: a bug" in caplog.text


# The official validator.


@pytest.fixture(scope="module")
def squares(connect):
    """A server for the validator's test image as a field: a hundred squares of one colour each."""
    validator = pytest.importorskip("iiif_validator.validator", reason="needs iiif-validator and libmagic")
    colours = np.array(validator.ValidationInfo().colorInfo, np.float32) / 255  # by column, then row
    image = colours.swapaxes(0, 1).repeat(100, 0).repeat(100, 1)
    nodes = []

    def divide(columns, rows):
        """Halve the longer side, between squares."""
        axis = 0 if len(columns) >= len(rows) else 1
        side = (columns, rows)[axis]
        if len(side) == 1:
            nodes.append((-1, 0))
            return
        middle = len(side) // 2
        nodes.append((axis, 100 * side[middle]))
        for part in (side[:middle], side[middle:]):
            divide(*((part, rows) if axis == 0 else (columns, part)))

    divide(range(10), range(10))
    tiling = Tiling(1000, 1000, 2.0, np.array(nodes, np.int32))
    siren = Siren.init(
        100, width=16, depth=2, channels=3, omega_first=10.0, omega_hidden=10.0, generator=torch.Generator()
    )
    # Networks that return zero, each tuned to the colour in the middle of its tile.
    zero = siren.with_tensors([torch.zeros_like(t) for t in siren.tensors()])
    x, y = (tiling.boxes[:, :2] // 100).T
    beta = torch.from_numpy(colours[x, y])[:, None]
    field = loads(dumps(Field(SirenMosaic(zero, Tuning(torch.ones_like(beta), beta), tiling, bits=16))))
    assert psnr(field.render(), image) > 25  # tiles blend at the seams between squares
    catalog = FieldCatalog()
    catalog.add("squares", field, digest="squares")
    with serve(Session(catalog), TileCache(1 << 26)) as address:
        yield connect(address)


# All tests for version 3 up to level 2, and those of level 3 for the optional features that info.json lists, except
# two: that of WebP is written for Python 2; that of enlarging expects ^max to return the image's own size, where the
# specification says the largest size that maxArea permits.
OPTIONAL = ["linkheader_canonical", "linkheader_profile"]


def validations():
    try:
        from iiif_validator import validator
    except ImportError:  # or libmagic, which it needs, is missing
        return [pytest.param(None, marks=pytest.mark.skip("needs iiif-validator and libmagic"))]
    tests = validator.TestSuite(validator.ValidationInfo()).list_tests("3.0")
    return sorted(name for name, test in tests.items() if test["level"] <= 2 or name in OPTIONAL)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", validations())
def test_the_validator_passes(squares, name):
    from iiif_validator import validator

    for _ in range(3):  # it requests random regions and sizes
        suite = validator.TestSuite(validator.ValidationInfo())
        api = validator.ImageAPI("squares", squares.netloc, "iiif", "http", "", "3.0", debug=False)
        suite.run_test(name, api)
        assert api.exception is None, f"{api.exception} {api.urls}"


def test_the_validator_runs_enough_tests():
    if validations()[0].__class__ is str:
        assert len(validations()) >= 33 + len(OPTIONAL)
