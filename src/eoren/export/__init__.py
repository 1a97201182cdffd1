"""Export of fields to formats that run without eoren.

onnx    ONNX graph from points to colours and gradients
glsl    WebGL 2 fragment shader with two textures
html    self-contained page that draws the field with that shader
common  the mosaic of a field, textures of numbers, and templates
compact package of what these need of compact fields
"""

from os import PathLike
from pathlib import Path

from eoren.checks import check_choice
from eoren.errors import EorenError
from eoren.export.glsl import data_path, write_glsl
from eoren.export.html import write_html
from eoren.export.onnx import write_onnx
from eoren.field.field import Field
from eoren.fs.files import check_writable
from eoren.model.isolation import isolated

FORMATS = ("onnx", "glsl", "html")


@isolated()
def export(
    field: Field,
    path: str | PathLike[str],
    *,
    to: str | None = None,
    title: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a field in a format that runs without eoren.

    Args:
        field: field to write.
        path: output file. GLSL also writes a file of textures, with ``.bin`` appended to the name.
        to: ``onnx``, ``glsl`` or ``html``; by default the suffix of the path.
        title: title of an HTML page; by default the name of the file without its suffix.
        overwrite: whether existing files may be replaced.

    Returns:
        Paths of the files written.

    Raises:
        EorenError: the format is unknown, cannot hold the field or needs a package that is not installed, or a
            file exists already or cannot be written.
    """
    path = Path(path)
    if to is not None:
        check_choice("to", to, FORMATS)
    form = to or path.suffix.lower().removeprefix(".")
    if form not in FORMATS:
        raise EorenError(f"{path}: suffix must be one of .{', .'.join(FORMATS)}, got {path.suffix!r}; or give to=")
    paths = [path, data_path(path)] if form == "glsl" else [path]
    for output in paths:
        check_writable(output)
        if output.exists() and not overwrite:
            raise EorenError(f"{output}: exists; give overwrite=True to replace it, or another path")
    if form == "onnx":
        write_onnx(path, field)
    elif form == "glsl":
        write_glsl(path, field)
    else:
        write_html(path, field, title=path.stem if title is None else title)
    return paths
