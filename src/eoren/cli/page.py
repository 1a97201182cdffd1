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
    from eoren.viewer.live import LiveFit


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
def live_page(image: str, source: "SourceImage", no_browser: bool) -> Iterator["LiveFit"]:
    """Serve a page that shows a fit while it runs."""
    from eoren.viewer.catalog import FieldCatalog
    from eoren.viewer.live import LiveFit
    from eoren.viewer.server import serve
    from eoren.viewer.session import Session
    from eoren.viewer.tile_cache import TileCache

    catalog, cache = FieldCatalog(), TileCache(single_threaded=True)
    live = LiveFit(catalog, Path(image.removeprefix("sample:")).stem, source.pixels, lambda: cache.render_seconds)
    with serve(Session(catalog, live), cache) as address:
        show_page(address, no_browser)
        yield live
