"""A compact field as data and scripts of a page, which decodes it and draws it with the shader of its GLSL export.

The latents are coded anew (:mod:`eoren.export.compact.recoding`), because the context model of .eoren files is larger
than the page. Everything else is exact as in the file: steps, and the rounded numbers of the color decoder. The page
has the network of the edge prior, too, which it runs once (``details.js``).
"""

from typing import Any

import numpy as np

from eoren.export.common import TEXTURE_WIDTH, render_template
from eoren.export.compact.recoding import Recorder, record_latents
from eoren.field.wavelet_siren import WaveletSiren
from eoren.model.arrays import as_numpy
from eoren.model.latents.color_decoder import COARSE_GAIN, DETAIL_GAIN
from eoren.model.latents.edge_prior import LEAK, stored_layers
from eoren.model.latents.spline_basis import PADDING, REACH, prefilter


def page_data(field: WaveletSiren) -> tuple[dict[str, Any], str, str]:
    """Return the description of a field for its page as JSON values, and two texts of digits: decisions and bits."""
    recorder = Recorder()
    recorder.integers(field.offsets.ravel().tolist())
    tensors = [as_numpy(t).astype(np.float64).reshape(-1, t.shape[-1]) for t in field.decoder.tensors()]
    for tensor, exponent in zip(tensors, field.exponents, strict=True):
        recorder.integers(np.rint(tensor * 2.0**exponent).astype(int).ravel().tolist())
    prior = _record_prior(field.prior, recorder) if field.prior else None
    record_latents(field.latents, recorder)
    decisions, bits = recorder.text()
    description = {
        "width": field.width,
        "height": field.height,
        "channels": field.channels,
        "levels": field.latents.levels,
        "step": field.step,
        "exponents": list(field.exponents),
        "shapes": [tensor.shape for tensor in tensors],
        "gains": [COARSE_GAIN, DETAIL_GAIN],
        "prefilter": prefilter()[REACH:].tolist(),
        "padding": PADDING,
        "textureWidth": TEXTURE_WIDTH,
        "prior": prior,
    }
    return description, decisions, bits


def _record_prior(version: int, recorder: Recorder) -> dict[str, Any]:
    """Append the network of an edge prior, and return its description."""
    layers = stored_layers(version)
    for layer in layers:
        recorder.integers(layer.integers.ravel().tolist())
        recorder.floats(layer.scale.astype(np.float32))
        recorder.floats(layer.bias)
    return {"shapes": [layer.integers.shape[:3] for layer in layers], "leak": LEAK}


def page_script(field: WaveletSiren) -> str:
    """Return the script that decodes a field and fills its textures."""
    names = ["decoder", "transform", *(["details"] if field.prior else []), "page"]
    return "\n".join(render_template(f"compact/{name}.js") for name in names)
