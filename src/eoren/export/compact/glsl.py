"""A compact field as a fragment shader of WebGL 2: features, color decoder and details of the edge prior in textures.

For every fragment, the shader (``field.frag``) evaluates the splines of all features from the 6 x 6 coefficients
around, the color decoder by the chain rule, and the spline of the details.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy.ndimage import correlate1d
from torch import Tensor
from torch.nn.functional import pad

from eoren.backends.latents.prior import DetailFeatures
from eoren.coding.bands import Box
from eoren.errors import EorenError
from eoren.export.common import TEXTURE_WIDTH, as_texture, groups_of_four, render_template
from eoren.export.compact.parts import Parts
from eoren.model.arrays import as_numpy
from eoren.model.latents.edge_prior import SCALE
from eoren.model.latents.spline_basis import PADDING, REACH, pieces, prefilter

_STRIP = 512  # rows of the detail image
_MAX_SIDE = 16384  # of textures of current GPUs; WebGL 2 guarantees 2048


class CompactShader(NamedTuple):
    """A compact field for the GPU."""

    source: str  # GLSL ES 3.00
    spline: Float32[np.ndarray, "layers rows columns 4"]  # texture eoren_spline, an array
    decoder: Float32[np.ndarray, "rows 2048 4"]  # texture eoren_decoder
    details: Float32[np.ndarray, "4 detail_rows detail_columns 4"] | None  # texture eoren_details, an array

    def textures(self) -> list[np.ndarray]:
        """Return the textures in the order of their file."""
        return [texture for texture in self[1:] if texture is not None]


def shader_of(parts: Parts, *, function_only: bool) -> CompactShader:
    """Convert a field to a fragment shader and its textures; see :func:`eoren.export.glsl.field_shader`."""
    details = None if parts.details is None else detail_layers(parts.details)
    return CompactShader(
        shader_source(parts, function_only=function_only), spline_layers(parts), decoder_texture(parts), details
    )


def shader_source(parts: Parts, *, function_only: bool = False) -> str:
    """Return the fragment shader alone; an EorenError if the field does not fit into textures."""
    width, height = parts.features.width, parts.features.height
    if max(width, height) + 2 * PADDING > _MAX_SIDE:
        limit = _MAX_SIDE - 2 * PADDING
        raise EorenError(f"images must have sides of at most {limit} pixels for textures, got {width} x {height}")
    features, channels = parts.linear.shape
    return render_template(
        "compact/field.frag",
        width=width,
        height=height,
        channels=channels,
        layers=-(-features // 4),
        padding=PADDING,
        depth=max(0, len(parts.layers) - 1),
        groups=-(-parts.layers[0][0].shape[1] // 4) if parts.layers else 0,
        pieces=pieces().ravel().tolist(),
        texture_width=TEXTURE_WIDTH,
        decoder_rows=len(decoder_texture(parts)),
        prior=parts.details is not None,
        function_only=function_only,
    )


def spline_layers(parts: Parts) -> Float32[np.ndarray, "layers rows columns 4"]:
    """Compute the B-spline coefficients of all features, four in a layer, with their padding."""
    width, height = parts.features.width, parts.features.height
    features = parts.features.window(Box(0, 0, width, height))[0].numpy()
    layers = np.zeros((-(-len(features) // 4), height + 2 * PADDING, width + 2 * PADDING, 4), np.float32)
    for number, feature in enumerate(features):
        layers[number // 4, ..., number % 4] = spline_coefficients(feature)
    return layers


def detail_layers(details: DetailFeatures) -> Float32[np.ndarray, "4 rows columns 4"]:
    """Compute the B-spline coefficients of the detail image: odd columns and rows are layers of their own.

    Args:
        details: details of a field.
    """
    image = np.concatenate([*_detail_rows(details)], 1)
    layers = np.zeros((SCALE, SCALE, details.size[1] + PADDING, details.size[0] + PADDING, 4), np.float32)
    for channel, samples in enumerate(image):
        coefficients = spline_coefficients(samples)
        apart = coefficients.reshape(layers.shape[2], SCALE, layers.shape[3], SCALE)
        layers[..., channel] = apart.transpose(1, 3, 0, 2)
    return layers.reshape(SCALE**2, *layers.shape[2:])


def _detail_rows(details: DetailFeatures) -> Iterator[Float32[np.ndarray, "channels rows columns"]]:
    """Compute the detail image in strips, which limit the memory of its network."""
    for top in range(0, details.height, _STRIP):
        box = Box(0, top, details.width, min(top + _STRIP, details.height))
        yield as_numpy(details.window_bands(box).coarse)


def spline_coefficients(
    samples: Float32[np.ndarray, "rows columns"],
) -> Float32[np.ndarray, "padded_rows padded_columns"]:
    """Compute the padded B-spline coefficients of one feature."""
    coefficients = np.pad(samples.astype(np.float64), PADDING + REACH, mode="reflect", reflect_type="odd")
    for axis in (0, 1):
        coefficients = correlate1d(coefficients, prefilter(), axis)
    return coefficients[REACH:-REACH, REACH:-REACH].astype(np.float32)


def decoder_texture(parts: Parts) -> Float32[np.ndarray, "rows 2048 4"]:
    """Arrange the linear part, then biases and weights of the SIREN, as the shader reads them.

    Inputs are padded to a multiple of four with zeros, as the features and units that they belong to.
    """
    rows = [_padded(parts.linear)]
    rows += [torch.cat([bias[None], _padded(weight)]) for weight, bias in parts.layers]
    return as_texture(torch.cat([groups_of_four(some[None])[0] for some in rows]))


def _padded(weight: Float[Tensor, "inputs outputs"]) -> Float[Tensor, "padded outputs"]:
    return pad(weight, (0, 0, 0, -len(weight) % 4))
