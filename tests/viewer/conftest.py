"""Small fields with their images, and a server that displays them."""

import contextlib
import http.client
import subprocess
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
import pytest

import eoren

pytest.importorskip("fastapi", reason="pip install '.[view]'")
pytest.importorskip("uvicorn", reason="pip install '.[view]'")

from tests.viewer.pages import Page

from eoren.viewer.catalog import FieldCatalog
from eoren.viewer.server import serve
from eoren.viewer.session import Session
from eoren.viewer.tile_cache import TileCache


@pytest.fixture(scope="session")
def make_image():
    """Function that draws waves with noise, quantized to 8 bits, in [0, 1]."""

    def draw(width, height, channels):
        y, x = np.mgrid[:height, :width]
        phases = np.arange(channels)
        waves = 0.5 + 0.3 * np.sin(x[..., None] / (3 + phases) + y[..., None] / (6 - phases))
        noisy = waves + np.random.default_rng(0).normal(0, 0.03, waves.shape)
        return np.float32(np.floor(noisy.clip(0, 1) * 255 + 0.5) / 255)

    return draw


@pytest.fixture(scope="session")
def image(make_image):
    """30 x 20, RGB."""
    return make_image(30, 20, 3)


@pytest.fixture(scope="session")
def field(image):
    """A field of several tiles."""
    return eoren.fit(image, preset="mosaic", steps=60, width=16, depth=2, tile=12, seed=1).field


@pytest.fixture
def catalog_of_one(field, image):
    """A field with its image."""
    catalog = FieldCatalog()
    catalog.add("small", field, digest="digest", image=image)
    return catalog


@pytest.fixture
def catalog(catalog_of_one, field):
    """The same, and a field without an image."""
    catalog_of_one.add("a/b?", field, digest="other")
    return catalog_of_one


@pytest.fixture
def entry(catalog):
    return catalog.find("small")


@dataclass
class Answer:
    status: int
    headers: dict
    content: bytes


class Server:
    """Client of the server at an address."""

    def __init__(self, address):
        self.address = address
        self.netloc = urlsplit(address).netloc

    def request(self, path, method="GET", **headers):
        """Send a request with this exact path; redirects are not followed."""
        with contextlib.closing(http.client.HTTPConnection(self.netloc, timeout=60)) as connection:
            connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())


@pytest.fixture(scope="session")
def connect():
    """Function that makes a client for an address."""
    return Server


@pytest.fixture
def server(catalog):
    with serve(Session(catalog), TileCache(1 << 24)) as address:
        yield Server(address)


@pytest.fixture
def visit(browser, server):
    """Function that opens an address; errors in the console fail the test. The server must outlive the pages."""
    pages = []

    def open_page(address, **context):
        within = browser.new_context(**{"viewport": {"width": 900, "height": 700}, **context})
        pages.append((within, Page(within.new_page(), address)))
        return pages[-1][1]

    yield open_page
    for within, page in pages:
        within.close()
        assert page.errors == []


@pytest.fixture
def page(server, visit):
    page = visit(server.address)
    page.settled()
    return page


@pytest.fixture
def started(tmp_path):
    """Function that starts a command of eoren."""
    processes = []

    def start(*arguments):
        code = f"import sys; sys.path[:] = {sys.path!r}; from eoren.cli import main; main(sys.argv[1:])"
        command = [sys.executable, "-c", code, *map(str, arguments)]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
