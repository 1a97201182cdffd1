"""A field as one self-contained HTML file, which needs no network, server or installation.

The page (``page.html``, ``page.js``) draws the field in the browser with the shader of :mod:`eoren.export.glsl`, at
any zoom. Parameters of mosaics keep the bits of the .eoren file, in base64, a third larger; for compact fields see
:mod:`eoren.export.compact.html`.
"""

import json
import zlib
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from eoren.export.common import TEXTURE_WIDTH, groups_of_four, mosaic_of, render_template
from eoren.export.compact.glsl import shader_source
from eoren.export.compact.html import page_data, page_script
from eoren.export.compact.parts import parts_of
from eoren.export.glsl import field_shader, network_texels, tile_texels
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.wavelet_siren import WaveletSiren
from eoren.fs.files import write_file
from eoren.fs.names import as_utf8
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
    width, height = field.size
    texts: dict[str, str] = {}
    if isinstance(field.representation, WaveletSiren):
        source = shader_source(parts_of(field.representation))
        data, texts["decisions"], texts["bits"] = page_data(field.representation)
        about, script = f"{width} × {height} pixels", page_script(field.representation)
    else:
        mosaic = mosaic_of(field, "HTML")
        source, data, script = field_shader(field).source, _mosaic_data(mosaic), render_template("mosaic.js")
        about = f"{width} × {height} pixels from {field.parameters:,} parameters"
    drawing = [render_template(name) for name in ("gestures.js", "page.js")]
    page = render_template(
        "page.html",
        title=as_utf8(title),
        about=about,
        # Markup is not escaped: it contains neither text from users nor "</script".
        field=Markup(json.dumps(data)),
        texts={name: Markup(text) for name, text in texts.items()},
        script=_deflated("\n".join([f"const shader = {json.dumps(source)};", script, *drawing])),
    )
    write_file(path, page)


def _deflated(script: str) -> str:
    """Compress a script for the page, whose first lines inflate it: to half of its size in base64."""
    return b64encode(zlib.compress(script.encode(), 9)).decode()


def _mosaic_data(mosaic: SirenMosaic) -> dict[str, Any]:
    """Describe a mosaic for its page as JSON values."""
    width, height = mosaic.size
    return {
        "width": width,
        "height": height,
        "bits": mosaic.bits,
        "textureWidth": TEXTURE_WIDTH,
        "tiles": _base64(tile_texels(mosaic.tuning, mosaic.tiling), "<f4"),
        **_networks(mosaic.siren, mosaic.bits),
    }


def _networks(siren: Siren, bits: int) -> dict[str, Any]:
    """Networks as the page unpacks them: floats of 32 or 16 bits, or 8-bit integers with their scales."""
    packed, layers = pack(siren, bits), range(siren.depth + 1)
    if bits != 8:
        return {"networks": _base64(network_texels(siren), "<f4" if bits == 32 else "<f2")}
    weights = [packed[f"weight.{k}"].float() for k in layers]
    integers = replace(siren, weights=tuple(weights), biases=tuple(map(torch.zeros_like, siren.biases)))
    # For each layer and group of four units: biases, scales.
    units = [groups_of_four(torch.cat([packed[f"bias.{k}"].float(), packed[f"scale.{k}"]], 1)) for k in layers]
    rows = [(-(-weight.shape[2] // 4), -(-weight.shape[1] // 4) * 4 if k else 2) for k, weight in enumerate(weights)]
    return {
        "networks": _base64(network_texels(integers), "i1"),
        "units": _base64(torch.cat(units, 1), "<f4"),
        "rows": rows,
    }


def _base64(values: Tensor, dtype: str) -> str:
    return b64encode(np.ascontiguousarray(values.numpy().astype(dtype)).tobytes()).decode()
