"""``eoren view``."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from eoren.cli import files, options, page, signals
from eoren.errors import EorenError


def view(
    paths: Annotated[list[Path], Argument(metavar="FILE...", help=".eoren files.")],
    compare: Annotated[str | None, Option(metavar="IMAGE", help="The image that the fields were fitted to.")] = None,
    host: Annotated[str, Option(metavar="ADDRESS", help="0.0.0.0 admits other machines.")] = "127.0.0.1",
    port: Annotated[int, Option(metavar="N", help="Port to listen on; 0 selects a free one.")] = 0,
    no_browser: options.NoBrowser = False,
    device: options.Device = "auto",
) -> None:
    """Look at fields in a browser.

    Zoom far past the pixels, see edges, wipe between field and image. Any IIIF client can read them too: the page
    shows the address. Ctrl-C ends the command.
    """
    if not 0 <= port <= 65535:
        raise EorenError(f"--port must be from 0 to 65535, got {port}; 0 selects a free one")
    page.check_viewer()

    from eoren.fs.files import sha256
    from eoren.viewer.catalog import FieldCatalog
    from eoren.viewer.server import serve
    from eoren.viewer.tile_cache import TileCache

    fields = [(path, files.read_field(path, device)) for path in paths]
    source = None if compare is None else files.read_source_image(compare)
    pixels, image_digest = (None, "") if source is None else (source.pixels, source.sha256)
    catalog = FieldCatalog()
    for path, field in fields:
        digest = f"{sha256(path)} {image_digest}"
        try:
            catalog.add(path.stem, field, digest=digest, image=pixels)
        except EorenError as error:
            raise EorenError(f"{path}: {error}") from None
    with serve(catalog, TileCache(), host=host, port=port) as address:
        page.show_page(address, no_browser)
        signals.wait_for_interruption("Ctrl-C ends it")
