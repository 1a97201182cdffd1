"""``eoren export``."""

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import typer

from eoren.cli import console
from eoren.errors import EorenError
from eoren.fs.files import is_folder

_OF_A_FIELD, _OF_A_STORE = ("onnx", "glsl", "html"), ("images", "fields")


def export(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="An .eoren file, or a store of fit-many.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="File to write; of a store, a new or empty folder.")
    ],
    to: Annotated[
        Literal["onnx", "glsl", "html", "images", "fields"] | None,
        typer.Option(
            "--to",
            metavar="WHAT",
            help="Of a file: onnx (a graph), glsl (a shader) or html (a page to zoom in). Of a store: images (PNG), "
            "the default, or fields (.eoren).",
        ),
    ] = None,
    overwrite: console.Overwrite = False,
    quiet: console.Quiet = False,
) -> int:
    """Write a field, or the images of a store, for use elsewhere.

    A shader's weights go into a second file, named like it with .bin at the end. Of a store, --overwrite writes into
    a folder that has files already, such as those of an export that was interrupted.
    """
    of_a_store = is_folder(source)
    wanted = _OF_A_STORE if of_a_store else _OF_A_FIELD
    to = "images" if to is None and of_a_store else to
    if to is None or to not in wanted:
        given = "is missing" if to is None else f"{to} is not for {'stores' if of_a_store else 'single fields'}"
        raise EorenError(f"{source}: --to {given}; give one of {', '.join(wanted)}")
    if of_a_store:
        return _store(source, output, to, overwrite, quiet)
    _field(source, output, to, overwrite, quiet)
    return 0


def _field(file: Path, output: Path, to: str, overwrite: bool, quiet: bool) -> None:
    console.check_output(output, file, overwrite)
    written = [output]
    if to == "glsl":
        from eoren.export.glsl import data_path, write_glsl

        console.check_output(data_path(output), file, overwrite)

    from eoren.field.serialization import load

    field = load(file)
    if to == "onnx":
        from eoren.export.onnx import write_onnx

        write_onnx(output, field)
    elif to == "glsl":
        written.append(write_glsl(output, field))
    else:
        from eoren.export.html import write_html

        write_html(output, field, title=file.stem)
    if not quiet:
        console.print_table({str(path): console.byte_size(path.stat().st_size) for path in written})


def _store(store: Path, output: Path, to: str, overwrite: bool, quiet: bool) -> int:
    from eoren.dataset.collection import Collection
    from eoren.field.serialization import save
    from eoren.fs.files import make_folder
    from eoren.image.io import write_image

    found = Collection(store)
    make_folder(output)
    if any(output.iterdir()):
        if not overwrite:
            raise EorenError(f"{output}: has files; give --overwrite to write into it, or choose another --output")
        if output.samefile(store):
            raise EorenError(f"{output}: is the store itself; choose another --output")
    digits = len(str(len(found) - 1))
    try:
        with console.progress(quiet) as show:
            for number, (name, field) in enumerate(zip(found.names, found, strict=True)):
                # Names come from archives of strangers: nothing in them may lead elsewhere.
                stem = re.sub(r"[^\w-]+", "_", PurePosixPath(name).stem)[:80]
                path = output / f"{number:0{digits}}-{stem}"
                if to == "images":
                    write_image(path.with_suffix(".png"), field.render())
                else:
                    save(field, path.with_suffix(".eoren"))
                show(f"{number + 1:,} of {len(found):,} pictures", (number + 1) / len(found))
    except KeyboardInterrupt:
        console.notice(f"interrupted; {output} keeps what was written, and --overwrite writes it all")
        return console.INTERRUPTED
    if not quiet:
        console.print_table({"written": f"{len(found):,} files in {output}"})
    return 0
