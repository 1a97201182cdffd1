"""A field as one HTML file that needs nothing else: no network, no server, no installation.

The page (``page.html``, ``page.js``) draws the field by the shader of :mod:`eoren.export.glsl`, in the browser, as
far as anybody zooms. Numbers travel in the bits they have in the .eoren file, as base64: a third larger than that.
"""

import json
from base64 import b64encode
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment
from torch import Tensor
from torch.nn.functional import pad

from eoren._version import __version__
from eoren.export.glsl import TEXTURE_WIDTH, field_shader, network_texels, tile_texels
from eoren.export.mosaic import mosaic_of
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.fs.files import write_text
from eoren.model.quantization import pack
from eoren.model.siren import Siren


def write_html(path: str | Path, field: Field, *, title: str) -> None:
    """Write a field as one self-contained page that shows colour, gradient magnitude and gradient direction.

    Args:
        path: the file; whole or not there at all.
        field: what to show.
        title: of the page.

    Raises:
        EorenError: the field is too large for the textures of a GPU, or the place cannot be written to.
    """
    write_text(path, field_page(field, title=title))


def field_page(field: Field, *, title: str) -> str:
    """The page of :func:`write_html` as text.

    Example:
        >>> import eoren
        >>> found = eoren.fit(np.full((6, 5, 1), 0.5, np.float32), steps=1, width=8, depth=2).field
        >>> field_page(found, title="5 < 6").splitlines()[8]
        '<title>5 &lt; 6</title>'
    """
    mosaic = mosaic_of(field, "HTML")
    here = files(__package__)
    width, height = field.size
    numbers = {
        "width": width,
        "height": height,
        "bits": mosaic.bits,
        "textureWidth": TEXTURE_WIDTH,
        "tiles": _base64(tile_texels(mosaic), "<f4"),
        **_networks(mosaic),
    }
    page = Environment(autoescape=True).from_string(here.joinpath("page.html").read_text("utf-8"))
    return page.render(
        version=__version__,
        title=title,
        about=f"{width} × {height} pixels from {field.parameters:,} numbers",
        shader=_Raw(field_shader(field).source),
        field=_Raw(json.dumps(numbers)),
        script=_Raw(here.joinpath("page.js").read_text("utf-8")),
    )


class _Raw(str):
    """Our own text, in which nothing has to be escaped: it holds neither strings of users nor ``</script``."""

    def __html__(self) -> str:
        return str(self)


def _networks(mosaic: SirenMosaic) -> dict[str, Any]:
    """The networks as the page unpacks them: floats of 32 or 16 bits as they are; whole numbers with their scales."""
    siren = mosaic.siren.to("cpu")
    packed = pack(siren, mosaic.bits)
    if mosaic.bits != 8:
        return {"networks": _base64(network_texels(siren), "<f4" if mosaic.bits == 32 else "<f2")}
    layers = range(len(siren.weights))
    whole = Siren(
        tuple(packed[f"weight.{k}"].float() for k in layers),
        tuple(torch.zeros_like(bias) for bias in siren.biases),
        siren.omegas,
    )
    # Per four units of a layer: their biases, their scales.
    units = [
        torch.stack([_by_four(packed[f"bias.{k}"].float()), _by_four(packed[f"scale.{k}"])], 2).flatten(1)
        for k in layers
    ]
    rows = [
        (-(-weight.shape[2] // 4), weight.shape[1] if k == 0 else -(-weight.shape[1] // 4) * 4)
        for k, weight in enumerate(siren.weights)
    ]
    return {
        "networks": _base64(network_texels(whole), "i1"),
        "units": _base64(torch.cat(units, 1), "<f4"),
        "rows": rows,
    }


def _by_four(row: Tensor) -> Tensor:
    """``(B, 1, outputs)`` as ``(B, groups, 4)``."""
    groups: Tensor = pad(row[:, 0], (0, -row.shape[2] % 4)).unflatten(1, (-1, 4))
    return groups


def _base64(values: Tensor, kind: str) -> str:
    return b64encode(np.ascontiguousarray(values.numpy().astype(kind)).tobytes()).decode()
