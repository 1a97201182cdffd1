"""A field as one self-contained HTML file, which needs no network, server or installation.

The page (``page.html``, ``page.js``) draws the field in the browser with the shader of :mod:`eoren.export.glsl`, at
any zoom. Parameters keep the bits of the .eoren file, in base64, a third larger.
"""

import json
from base64 import b64encode
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment
from markupsafe import Markup
from torch import Tensor
from torch.nn.functional import pad

from eoren._version import __version__
from eoren.export.glsl import TEXTURE_WIDTH, field_shader, network_texels, tile_texels
from eoren.export.mosaic import mosaic_of
from eoren.field.field import Field
from eoren.fs.files import write_text
from eoren.model.quantization import pack
from eoren.model.siren import Siren


def write_html(path: str | Path, field: Field, *, title: str) -> None:
    """Write a field as one self-contained page that shows colour, gradient magnitude and gradient direction.

    Args:
        path: output file, written atomically.
        field: field to show.
        title: title of the page.

    Raises:
        EorenError: the field does not fit into the textures of a GPU, or the file cannot be written.
    """
    write_text(path, field_page(field, title=title))


def field_page(field: Field, *, title: str) -> str:
    """Return the page of :func:`write_html` as text.

    Example:
        >>> import eoren
        >>> field = eoren.fit(np.full((6, 5, 1), 0.5, np.float32), steps=1, width=8, depth=2).field
        >>> field_page(field, title="5 < 6").splitlines()[8]
        '<title>5 &lt; 6</title>'
    """
    mosaic = mosaic_of(field, "HTML").to("cpu")
    siren, tuning, tiling = mosaic.siren, mosaic.tuning, mosaic.tiling
    width, height = field.size
    data = {
        "width": width,
        "height": height,
        "bits": mosaic.bits,
        "textureWidth": TEXTURE_WIDTH,
        "tiles": _base64(tile_texels(tuning, tiling), "<f4"),
        **_networks(siren, mosaic.bits),
    }
    template, script = (files(__package__).joinpath(name).read_text("utf-8") for name in ("page.html", "page.js"))
    # Markup is not escaped: it contains neither text from users nor "</script".
    return (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            version=__version__,
            title=title,
            about=f"{width} × {height} pixels from {field.parameters:,} parameters",
            shader=Markup(field_shader(field).source),
            field=Markup(json.dumps(data)),
            script=Markup(script),
        )
    )


def _networks(siren: Siren, bits: int) -> dict[str, Any]:
    """Networks as the page unpacks them: floats of 32 or 16 bits, or 8-bit integers with their scales."""
    packed = pack(siren, bits)
    if bits != 8:
        return {"networks": _base64(network_texels(siren), "<f4" if bits == 32 else "<f2")}
    layers = range(len(siren.weights))
    integers = Siren(
        tuple(packed[f"weight.{k}"].float() for k in layers),
        tuple(torch.zeros_like(bias) for bias in siren.biases),
        siren.omegas,
    )
    # For each layer and group of four units: biases, scales.
    units = [
        torch.stack([_groups_of_four(packed[f"bias.{k}"].float()), _groups_of_four(packed[f"scale.{k}"])], 2).flatten(
            1
        )
        for k in layers
    ]
    rows = [
        (-(-weight.shape[2] // 4), weight.shape[1] if k == 0 else -(-weight.shape[1] // 4) * 4)
        for k, weight in enumerate(siren.weights)
    ]
    return {
        "networks": _base64(network_texels(integers), "i1"),
        "units": _base64(torch.cat(units, 1), "<f4"),
        "rows": rows,
    }


def _groups_of_four(row: Tensor) -> Tensor:
    """``(B, 1, outputs)`` as ``(B, groups, 4)``, padded with zeros."""
    groups: Tensor = pad(row[:, 0], (0, -row.shape[2] % 4)).unflatten(1, (-1, 4))
    return groups


def _base64(values: Tensor, dtype: str) -> str:
    return b64encode(np.ascontiguousarray(values.numpy().astype(dtype)).tobytes()).decode()
