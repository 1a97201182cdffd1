"""What all exporters share: access to the mosaic of a field, and templates."""

from importlib.resources import files
from typing import Any

from jinja2 import Environment

from eoren._version import __version__
from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic


def mosaic_of(field: Field, format_name: str) -> SirenMosaic:
    """Return the mosaic of SIRENs that a field consists of, on the CPU: the formats hold nothing else."""
    if not isinstance(field.representation, SirenMosaic):
        kind = field.representation.kind
        raise EorenError(
            f"{format_name} holds mosaics of SIRENs, got a field of kind {kind!r}; fit with preset mosaic"
        )
    return field.representation.to("cpu")


def render_template(name: str, **values: Any) -> str:
    """Fill in a template of this package. Values are escaped in HTML."""
    environment = Environment(autoescape=name.endswith(".html"), keep_trailing_newline=True)
    text = files(__package__).joinpath(name).read_text("utf-8")
    return environment.from_string(text).render(version=__version__, **values)
