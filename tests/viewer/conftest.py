"""Small fields with their images, and a server to ask."""

import contextlib
import http.client
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
import pytest

import eoren

pytest.importorskip("fastapi", reason="pip install '.[view]'")
pytest.importorskip("uvicorn", reason="pip install '.[view]'")

from eoren.viewer.catalog import FieldCatalog, FieldEntry
from eoren.viewer.server import serving
from eoren.viewer.tile_cache import Tiles


@pytest.fixture(scope="session")
def drawn():
    """Waves and noise in 8 bits, as [0, 1]."""

    def draw(width, height, channels):
        y, x = np.mgrid[:height, :width]
        phases = np.arange(channels)
        waves = 0.5 + 0.3 * np.sin(x[..., None] / (3 + phases) + y[..., None] / (6 - phases))
        noisy = waves + np.random.default_rng(0).normal(0, 0.03, waves.shape)
        return np.float32(np.floor(noisy.clip(0, 1) * 255 + 0.5) / 255)

    return draw


@pytest.fixture(scope="session")
def picture(drawn):
    """30 x 20, RGB."""
    return drawn(30, 20, 3)


@pytest.fixture(scope="session")
def field(picture):
    """Of four tiles."""
    return eoren.fit(picture, steps=60, width=16, depth=2, tile=12, seed=1).field


@pytest.fixture
def exhibit(field, picture):
    return FieldEntry("small", "small", field, "digest", picture)


@pytest.fixture
def gallery(exhibit, field):
    gallery = FieldCatalog()
    gallery.show("small", lambda name: exhibit)
    gallery.show("a/b?", lambda name: FieldEntry(name, "a/b?", field, "other"))
    return gallery


@dataclass
class Answer:
    status: int
    headers: dict
    content: bytes


class Server:
    """What answers at an address."""

    def __init__(self, address):
        self.address = address
        self.netloc = urlsplit(address).netloc

    def ask(self, path, method="GET", **headers):
        """The path goes out as it is; nothing is followed."""
        with contextlib.closing(http.client.HTTPConnection(self.netloc, timeout=60)) as connection:
            connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            got = connection.getresponse()
            return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())


@pytest.fixture(scope="session")
def asking():
    """What asks at an address."""
    return Server


@pytest.fixture
def server(gallery):
    with serving(gallery, Tiles(1 << 24)) as address:
        yield Server(address)
