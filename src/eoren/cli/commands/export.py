"""``eoren export``."""

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from typer import Argument, Option

import eoren
from eoren.cli import console, files, options, signals
from eoren.errors import EorenError


def export(
    source: Annotated[str, Argument(metavar="SOURCE", help="An .eoren file, or a store of fit-many.")],
    output: Annotated[Path, options.output_option("File to write; a new or empty folder for a store.")],
    to: Annotated[
        Literal["onnx", "glsl", "html", "images", "fields"] | None,
        Option(
            metavar="FORMAT",
            help="Format of a field: onnx (a graph), glsl (a shader) or html (a page to zoom in); by default that of "
            "the output's suffix. Format of a store: images (PNG), the default, or fields (.eoren).",
        ),
    ] = None,
    no_gradient: Annotated[
        bool, Option("--no-gradient", help="Leave the gradient out of an ONNX graph: colours take less time.")
    ] = False,
    no_loops: Annotated[
        bool,
        Option(
            "--no-loops", help="Write an ONNX graph of a mosaic without loops, for programs that have none: slower."
        ),
    ] = False,
    function_only: Annotated[
        bool, Option("--function-only", help="Leave #version and main out of a shader, to include it in another one.")
    ] = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Convert a field, or the images of a store, for use elsewhere.

    The weights of a shader go into a second file, whose name ends in .bin. For a store, --overwrite writes into a
    folder that already has files, such as those of an interrupted export.
    """
    is_store = files.is_store(source)
    formats = ("images", "fields") if is_store else ("onnx", "glsl", "html")
    form = to or ("images" if is_store else output.suffix.lower().removeprefix("."))
    if form not in formats:
        raise EorenError(f"{source}: --to must be one of {', '.join(formats)}, got {form or 'nothing'}")
    if form != "onnx" and (no_gradient or no_loops):
        raise EorenError(f"--no-gradient and --no-loops are options of ONNX graphs, got --to {form}; leave them out")
    if form != "glsl" and function_only:
        raise EorenError(f"--function-only is an option of shaders, got --to {form}; leave it out")
    if is_store:
        count = _export_store(source, output, form, overwrite, quiet)
        values, rows = {"folder": str(output), "count": count}, {"written": f"{count:,} files in {output}"}
    else:
        choices = {"gradient": not no_gradient, "loops": not no_loops, "function_only": function_only}
        written = [files.describe(path) for path in _export_field(Path(source), output, form, overwrite, choices)]
        values, rows = {"files": written}, {file["file"]: console.byte_size(file["bytes"]) for file in written}
    console.print_result(values, rows, as_json=as_json, quiet=quiet)


def _export_field(file: Path, output: Path, to: str, overwrite: bool, choices: dict[str, bool]) -> list[Path]:
    from eoren.export import export
    from eoren.export.glsl import data_path

    for path in (output, data_path(output)) if to == "glsl" else (output,):
        files.check_output(path, file, overwrite)
    return export(eoren.load(file), output, to=to, title=file.stem, overwrite=True, **choices)


def _export_store(store: str, output: Path, to: str, overwrite: bool, quiet: bool) -> int:
    from eoren.fs.files import make_folder

    collection = eoren.Collection(store)
    make_folder(output)
    if any(output.iterdir()):
        if not overwrite:
            raise EorenError(f"{output}: has files; give --overwrite to write into it, or choose another --output")
        if Path(store).exists() and output.samefile(store):
            raise EorenError(f"{output}: is the store itself; choose another --output")
    count = len(collection)
    digits = len(str(count - 1))
    with (
        signals.explain_interruption(f"{output} keeps the written files, and --overwrite writes all of them"),
        console.progress(quiet) as show,
    ):
        for number, (name, field) in enumerate(zip(collection.names, collection, strict=True)):
            # Names may come from untrusted archives: no part of them may lead to another folder.
            stem = re.sub(r"[^\w-]+", "_", PurePosixPath(name).stem)[:80]
            path = output / f"{number:0{digits}}-{stem}"
            if to == "images":
                eoren.write_image(path.with_suffix(".png"), field.render(), profile=field.provenance.profile)
            else:
                eoren.save(field, path.with_suffix(".eoren"))
            show(f"{number + 1:,} of {count:,} images", (number + 1) / count)
    return count
