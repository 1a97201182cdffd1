"""A server with a workbench, in an empty folder."""

import io

import numpy as np
import pytest
from PIL import Image

from eoren.viewer.catalog import FieldCatalog
from eoren.viewer.server import serve
from eoren.viewer.tile_cache import TileCache
from eoren.viewer.workbench.session import Workbench


@pytest.fixture
def catalog():
    return FieldCatalog()


@pytest.fixture
def workbench(catalog, tmp_path):
    return Workbench(catalog, TileCache(1 << 24), folder=tmp_path)


@pytest.fixture
def server(workbench, connect):
    with serve(workbench, TileCache(1 << 24)) as address:
        yield connect(address)


@pytest.fixture
def png():
    """Function that encodes pixels."""

    def encode(pixels):
        content = io.BytesIO()
        Image.fromarray(np.uint8(np.round(255 * pixels)).squeeze()).save(content, "PNG")
        return content.getvalue()

    return encode


@pytest.fixture
def two_images(catalog, field, image):
    """Two open images: the first is as it was fitted, the second is dark."""
    catalog.add("small", field, digest="a", image=image, image_file="small.png")
    catalog.add("dark", field, digest="b", image=np.full_like(image, 0.25), image_file="it's dark.png")
    return catalog
