"""Fields for use without eoren: an ONNX graph, a fragment shader, an HTML page."""

from os import PathLike
from pathlib import Path

from eoren.errors import EorenError
from eoren.field.field import Field


def export(
    field: Field, path: str | PathLike[str], *, title: str | None = None, overwrite: bool = False
) -> list[Path]:
    """Write a field for use elsewhere, in the format of the suffix: ``.onnx``, ``.glsl`` or ``.html``."""
    path = Path(path)
    if path.exists() and not overwrite:
        raise EorenError(f"{path}: exists; use overwrite=True to replace it, or choose another path")
    if path.suffix == ".onnx":
        from eoren.export.onnx import write_onnx

        write_onnx(path, field)
        return [path]
    if path.suffix == ".glsl":
        from eoren.export.glsl import write_glsl

        return [path, write_glsl(path, field)]
    if path.suffix == ".html":
        from eoren.export.html import write_html

        write_html(path, field, title=title or path.stem)
        return [path]
    raise EorenError(f"{path}: suffix must be one of .onnx, .glsl, .html, got {path.suffix!r}")
