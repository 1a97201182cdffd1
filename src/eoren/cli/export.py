"""``eoren export``."""

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import typer

from eoren.cli import terminal
from eoren.errors import EorenError


def export(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A folder that fit-many wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="New or empty folder to write to.")],
    to: Annotated[
        Literal["images", "fields"], typer.Option("--to", metavar="WHAT", help="images (PNG) or fields (.eoren).")
    ] = "images",
    quiet: terminal.Quiet = False,
) -> None:
    """Write the pictures of a store as files, one each."""
    from eoren.collection import Collection
    from eoren.images import write_image
    from eoren.storage import save

    found = Collection(store)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise EorenError(f"{output}: is there and not an empty folder; choose another --output")
    try:
        output.mkdir(exist_ok=True)
    except OSError as error:
        raise EorenError(f"{output}: cannot be made ({error.strerror}); choose another --output") from None
    digits = len(str(len(found) - 1))
    with terminal.progress(quiet) as show:
        for number, (name, field) in enumerate(zip(found.names, found, strict=True)):
            # Names come from archives of strangers: nothing in them may lead elsewhere.
            stem = re.sub(r"[^\w-]+", "_", PurePosixPath(name).stem)[:80]
            path = output / f"{number:0{digits}}-{stem}"
            if to == "images":
                write_image(path.with_suffix(".png"), field.render())
            else:
                save(field, path.with_suffix(".eoren"))
            show(f"{number + 1:,} of {len(found):,} pictures", (number + 1) / len(found))
    if not quiet:
        terminal.print_table({"written": f"{len(found):,} files in {output}"})
