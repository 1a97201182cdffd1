"""The viewer's page, for ``eoren view`` and ``eoren fit --watch``."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from eoren.cli import console
from eoren.errors import EorenError

if TYPE_CHECKING:
    from eoren.image.io import SourceImage
    from eoren.viewer.live import Live


def check_viewer() -> None:
    """Check, before any work, that the packages of the viewer are installed."""
    if any(find_spec(name) is None for name in ("fastapi", "uvicorn")):
        raise EorenError("the page needs FastAPI and uvicorn; pip install 'eoren[view]'")


def show_page(address: str, no_browser: bool) -> None:
    """Print the address of a page, and open it in a browser if there is a screen."""
    console.notice(f"the page is at {address}")
    # Without a screen, some systems would start a text browser in this terminal.
    screen = sys.platform in ("darwin", "win32") or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))
    if screen and not no_browser:
        import webbrowser

        webbrowser.open(address)


@contextmanager
def live_page(image: str, source: "SourceImage", no_browser: bool) -> Iterator["Live"]:
    """Serve a page that shows a fit while it runs."""
    from eoren.viewer.catalog import FieldCatalog
    from eoren.viewer.live import Live
    from eoren.viewer.server import CACHE, serving
    from eoren.viewer.tile_cache import Tiles

    catalog, tiles = FieldCatalog(), Tiles(CACHE, alone=True)
    live = Live(catalog, Path(image.removeprefix("sample:")).stem, source.pixels, lambda: tiles.seconds)
    with serving(catalog, tiles, live=live) as address:
        show_page(address, no_browser)
        yield live
