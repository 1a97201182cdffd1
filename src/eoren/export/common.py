"""What all exporters share: access to the mosaic of a field, and templates."""

from importlib.resources import files
from typing import Any

import numpy as np
from jaxtyping import Float
from jinja2 import Environment, FunctionLoader
from torch import Tensor
from torch.nn.functional import pad

from eoren._version import __version__
from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic

TEXTURE_WIDTH = 2048
"""Texels per row of textures of numbers; every WebGL 2 device supports this width."""


def mosaic_of(field: Field, format_name: str) -> SirenMosaic:
    """Return the mosaic of SIRENs that a field consists of, on the CPU; compact fields are handled elsewhere."""
    if not isinstance(field.representation, SirenMosaic):
        kind = field.representation.kind
        raise EorenError(
            f"{format_name} holds mosaics and compact fields, got a field of kind {kind!r}; fit with a preset"
        )
    return field.representation.to("cpu")


def render_template(name: str, **values: Any) -> str:
    """Fill in a template of this package. Values are escaped in HTML."""
    folder = files(__package__)
    loader = FunctionLoader(lambda path: folder.joinpath(path).read_text("utf-8"))
    environment = Environment(autoescape=name.endswith(".html"), keep_trailing_newline=True, loader=loader)
    return environment.get_template(name).render(version=__version__, **values)


def groups_of_four(rows: Float[Tensor, "batch rows outputs"]) -> Float[Tensor, "batch texels 4"]:
    """Arrange all rows of the first four outputs, then those of the next four, padded with zeros."""
    groups: Tensor = pad(rows, (0, -rows.shape[2] % 4)).unflatten(2, (-1, 4))
    return groups.movedim(2, 1).flatten(1, 2)


def as_texture(texels: Float[Tensor, "texels 4"]) -> Float[np.ndarray, "rows 2048 4"]:
    """Arrange texels in rows, padded with zeros."""
    texture: np.ndarray = pad(texels, (0, 0, 0, -len(texels) % TEXTURE_WIDTH)).view(-1, TEXTURE_WIDTH, 4).numpy()
    return texture
