"""Export of fields to formats that run without eoren.

onnx    ONNX graph from points to colours and gradients
glsl    WebGL 2 fragment shader with two textures
html    self-contained page that draws the field with that shader
common  the mosaic of a field, textures of numbers, and templates
compact package of what these need of compact fields
"""

import warnings
from os import PathLike
from pathlib import Path

from eoren.checks import check_choice
from eoren.errors import EorenError, ExportWarning
from eoren.export.glsl import data_path, write_glsl
from eoren.export.html import write_html
from eoren.export.onnx import write_onnx
from eoren.field.field import Field
from eoren.fs.files import check_writable
from eoren.image.profiles import describe_profile
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
    gradient: bool = True,
    loops: bool = True,
    function_only: bool = False,
) -> list[Path]:
    """Write a field in a format that runs without eoren.

    Args:
        field: field to write.
        path: output file. GLSL also writes a file of textures, with ``.bin`` appended to the name.
        to: ``onnx``, ``glsl`` or ``html``; by default the suffix of the path.
        title: title of an HTML page; by default the name of the file without its suffix.
        overwrite: whether existing files may be replaced.
        gradient: whether an ONNX graph has the gradient; without, colours take less time.
        loops: whether an ONNX graph may have loops; see :func:`eoren.export.onnx.onnx_model`.
        function_only: whether a shader is without ``#version`` and ``main``, to include it in another one.

    Returns:
        Paths of the files written.

    Raises:
        EorenError: the format is unknown, cannot hold the field or needs a package that is not installed, or a
            file exists already or cannot be written.

    Warns:
        ExportWarning: the colours are in an ICC profile, which none of these formats holds.
    """
    path = Path(path)
    if to is not None:
        check_choice("to", to, FORMATS)
    form = to or path.suffix.lower().removeprefix(".")
    if form not in FORMATS:
        raise EorenError(f"{path}: suffix must be one of .{', .'.join(FORMATS)}, got {path.suffix!r}; or give to=")
    if form != "onnx" and not (gradient and loops):
        raise EorenError(
            f"{path}: only ONNX files can be without gradient or loops, got {form}; leave these options out"
        )
    if form != "glsl" and function_only:
        raise EorenError(f"{path}: only GLSL can be a function alone, got {form}; leave function_only out")
    paths = [path, data_path(path)] if form == "glsl" else [path]
    for output in paths:
        check_writable(output)
        if output.exists() and not overwrite:
            raise EorenError(f"{output}: exists; give overwrite=True to replace it, or another path")
    if field.provenance.profile:
        name = describe_profile(field.provenance.profile)
        warnings.warn(
            f"colours stay in the profile {name!r}, which {form} files do not hold: programs will show them as sRGB; "
            "for sRGB, fit with --to-srgb (read_image(to_srgb=True))",
            ExportWarning,
            stacklevel=3,  # of the caller, beyond the isolation
        )
    if form == "onnx":
        write_onnx(path, field, gradient=gradient, loops=loops)
    elif form == "glsl":
        write_glsl(path, field, function_only=function_only)
    else:
        write_html(path, field, title=path.stem if title is None else title)
    return paths
