"""``eoren view``."""

from pathlib import Path
from typing import Annotated

import typer

from eoren.cli import console
from eoren.errors import EorenError


def view(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help=".eoren files.")],
    compare: Annotated[
        str | None,
        typer.Option("--compare", metavar="IMAGE", help="The image that the fields were fitted to."),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; 0.0.0.0 lets other machines look.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="Where to listen; a free port by default.")] = 0,
    no_browser: console.NoBrowser = False,
    device: console.Device = "auto",
) -> None:
    """Look at fields in a browser.

    Zoom far past the pixels, see edges, wipe between field and image. Any IIIF client can read them too: the page
    says at what address. Ctrl-C ends it.
    """
    if not 0 <= port < 1 << 16:
        raise EorenError(f"--port is {port}, but must lie between 0 and 65535; 0 chooses a free one")
    console.check_viewer()

    from eoren.field.serialization import load
    from eoren.fs.files import sha256
    from eoren.model.devices import choose_device
    from eoren.viewer.catalog import FieldCatalog
    from eoren.viewer.server import serve
    from eoren.viewer.tile_cache import TileCache

    place = choose_device(device)
    fields = [(file, load(file, device=place)) for file in files]
    picture = None if compare is None else console.read_source_image(compare)
    pixels, known = (None, "") if picture is None else (picture.pixels, picture.sha256)
    catalog = FieldCatalog()
    for file, field in fields:
        digest = f"{sha256(file)} {known}"
        try:
            catalog.add(file.stem, field, digest=digest, image=pixels)
        except EorenError as error:
            raise EorenError(f"{file}: {error}") from None
    with serve(catalog, TileCache(), host=host, port=port) as address:
        console.show_page(address, no_browser)
        console.wait_for_interruption("Ctrl-C ends it")
