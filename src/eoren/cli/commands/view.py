"""``eoren view``."""

import hashlib
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from eoren.cli import console, files, options, page, signals
from eoren.errors import EorenError


def view(
    paths: Annotated[list[str] | None, Argument(metavar="[FILE]...", help=".eoren files, or stores.")] = None,
    compare: Annotated[str | None, Option(metavar="IMAGE", help="The image that the fields were fitted to.")] = None,
    name: Annotated[
        list[str] | None, Option(metavar="NAME", help="Image of a store, by name or number. May be repeated.")
    ] = None,
    host: Annotated[str, Option(metavar="ADDRESS", help="0.0.0.0 admits other machines.")] = "127.0.0.1",
    port: Annotated[int, Option(metavar="N", help="Port to listen on; 0 selects a free one.")] = 0,
    overwrite: Annotated[bool, Option("--overwrite", help="Let the page replace files.")] = False,
    no_browser: options.NoBrowser = False,
    device: options.Device = "auto",
) -> None:
    """Look at fields in a browser.

    Zoom far past the pixels, see edges, wipe between field and image. Any IIIF client can read them too: the page
    shows the address. Ctrl-C ends the command.

    Drop an image on the page to fit it, and clone, fill or retouch it there: without FILE that is where the page
    starts. Only the page at the printed address can, with its token, and only on this machine.
    """
    if not 0 <= port <= 65535:
        raise EorenError(f"--port must be from 0 to 65535, got {port}; 0 selects a free one")
    page.check_viewer()

    from eoren.viewer.server import is_loopback

    paths, is_local = paths or [], is_loopback(host)
    if not (paths or is_local):
        raise EorenError(f"--host must be an address of this machine alone without a FILE, got {host}; give a FILE")
    if compare is not None and not paths:
        raise EorenError("--compare needs the FILE of a field, got none; give one, or drop the image on the page")

    from eoren.field.serialization import dumps
    from eoren.fs.files import sha256
    from eoren.viewer.catalog import FieldCatalog
    from eoren.viewer.server import serve
    from eoren.viewer.session import Session
    from eoren.viewer.tile_cache import TileCache
    from eoren.viewer.workbench.session import Workbench

    fields = [(path, *shown) for path in paths for shown in files.read_fields(path, device, name or [])]
    source = None if compare is None else files.read_source_image(compare)
    pixels, image_digest = (None, "") if source is None else (source.pixels, source.sha256)
    catalog = FieldCatalog()
    for path, title, field in fields:
        digest = sha256(path) if Path(path).is_file() else hashlib.sha256(dumps(field)).hexdigest()
        try:
            entry = catalog.add(
                title,
                field,
                digest=f"{digest} {image_digest}",
                image=pixels,
                image_sha256=image_digest,
                file=path,
                image_file=compare or "",
            )
        except EorenError as error:
            raise EorenError(f"{path}: {error}") from None
        if entry.image_notice:
            console.notice(f"{compare}: {entry.image_notice}")
    cache = TileCache()
    session = Workbench(catalog, cache, folder=Path.cwd(), overwrite=overwrite) if is_local else Session(catalog)
    with serve(session, cache, host=host, port=port) as address:
        page.show_page(f"{address}?token={session.token}" if isinstance(session, Workbench) else address, no_browser)
        signals.wait_for_interruption("Ctrl-C ends it")
