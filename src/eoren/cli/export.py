"""``eoren export``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from eoren.cli import terminal


def export(
    file: terminal.FieldFile,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="File to write.")],
    to: Annotated[
        Literal["onnx", "glsl", "html"],
        typer.Option("--to", metavar="WHAT", help="onnx (a graph), glsl (a shader), or html (a page to zoom in)."),
    ],
    overwrite: terminal.Overwrite = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Write a field as something that works without eoren.

    A shader's weights go into a second file, named like it with .bin at the end.
    """
    terminal.check_output(output, file, overwrite)
    written = [output]
    if to == "glsl":
        from eoren.exports.glsl import data_path, write_glsl

        terminal.check_output(data_path(output), file, overwrite)

    from eoren.storage import load

    field = load(file)
    if to == "onnx":
        from eoren.exports.onnx import write_onnx

        write_onnx(output, field)
    elif to == "glsl":
        written.append(write_glsl(output, field))
    else:
        from eoren.exports.html import write_html

        write_html(output, field, title=file.stem)
    if not quiet:
        terminal.print_table({str(path): terminal.byte_size(path.stat().st_size) for path in written})
