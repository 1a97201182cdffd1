"""A field as a fragment shader of WebGL 2 (GLSL ES 3.00), with its parameters in two textures.

Computations are in float32, the only precision of WebGL; positions are split into whole pixels and a remainder, so
that precision does not limit the zoom. For every fragment, the shader of a mosaic (``field.frag``) descends the tree
of cuts, evaluates the networks of the tiles that overlap there, and blends them and their derivatives. For compact
fields see :mod:`eoren.export.compact.glsl`.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from eoren.errors import EorenError
from eoren.export.common import TEXTURE_WIDTH, as_texture, groups_of_four, mosaic_of, render_template
from eoren.export.compact.glsl import CompactShader, shader_of
from eoren.export.compact.parts import parts_of
from eoren.field.field import Field
from eoren.field.wavelet_siren import WaveletSiren
from eoren.fs.files import atomic_path
from eoren.model.channel_tuning import Tuning
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling

_MAX_ROWS = 16384  # of current GPUs; WebGL 2 guarantees 2048
_MAX_LEVELS = 64  # size of the stack in the shader: enough for a balanced tree of 2^63 tiles


class Shader(NamedTuple):
    """A mosaic for the GPU."""

    source: str  # GLSL ES 3.00
    tiles: Float[np.ndarray, "rows 2048 4"]  # texture eoren_tiles: tree of cuts, position and tuning of every tile
    networks: Float[np.ndarray, "rows 2048 4"]  # texture eoren_networks: weights and biases

    def textures(self) -> list[np.ndarray]:
        """Return the textures in the order of their file."""
        return [self.tiles, self.networks]


def write_glsl(path: str | Path, field: Field, *, function_only: bool = False) -> Path:
    """Write a field as a fragment shader, and its textures into the file given by :func:`data_path`.

    That file holds little-endian float32, RGBA: for a mosaic ``eoren_tiles``, then ``eoren_networks``; for a compact
    field ``eoren_spline``, ``eoren_decoder``, and with an edge prior ``eoren_details``; arrays layer by layer. The
    first lines of the shader give their sizes.

    Args:
        path: output file of the shader.
        field: field to write.
        function_only: whether to leave out ``#version`` and ``main``, see :func:`field_shader`.

    Returns:
        Path of the texture file.

    Raises:
        EorenError: the field does not fit into textures, or a file cannot be written.
    """
    shader = field_shader(field, function_only=function_only)
    data = data_path(path)
    with atomic_path(path) as source_file, atomic_path(data) as data_file:
        data_file.write_bytes(b"".join(texture.astype("<f4").tobytes() for texture in shader.textures()))
        source_file.write_text(shader.source, encoding="utf-8")
    return data


def data_path(path: str | Path) -> Path:
    """Return the path of a shader's texture file: ``field.glsl.bin`` for ``field.glsl``."""
    return Path(f"{Path(path)}.bin")


def field_shader(field: Field, *, function_only: bool = False) -> Shader | CompactShader:
    """Convert a field to a fragment shader and its textures.

    The shader's function ``eoren`` computes colour and derivatives per pixel at any position. Its ``main`` draws a
    rectangle chosen by the uniforms ``u_base``, ``u_offset``, ``u_step`` and ``u_layer``.

    Args:
        field: field to convert.
        function_only: whether to leave out ``#version`` and ``main``, to include the function in another shader.

    Raises:
        EorenError: the field does not fit into textures, or its tree of tiles is too deep.

    Example:
        >>> import eoren
        >>> field = eoren.fit(np.full((6, 5, 1), 0.5), preset="small", steps=1).field
        >>> shader = field_shader(field)
        >>> shader.source.splitlines()[0], shader.networks.shape
        ('#version 300 es', (1, 2048, 4))
    """
    if isinstance(field.representation, WaveletSiren):
        return shader_of(parts_of(field.representation), function_only=function_only)
    mosaic = mosaic_of(field, "GLSL")
    siren, tuning, tiling = mosaic.siren, mosaic.tuning, mosaic.tiling
    if tiling.tree.depth >= _MAX_LEVELS:
        raise EorenError(
            f"the tree of tiles must be less than {_MAX_LEVELS} cuts deep for a shader, got {tiling.tree.depth}; fit "
            "with fewer tiles"
        )
    texels = network_texels(siren)
    tiles, networks = as_texture(tile_texels(tuning, tiling)), as_texture(texels.flatten(0, 1))
    if max(len(tiles), len(networks)) > _MAX_ROWS:
        raise EorenError(f"{field.parameters:,} parameters do not fit into a texture; fit with fewer parameters")
    source = render_template(
        "field.frag",
        siren=siren,
        tiling=tiling,
        tiles=tiles,
        networks=networks,
        texture_width=TEXTURE_WIDTH,
        texels_per_network=texels.shape[1],
        function_only=function_only,
    )
    return Shader(source, tiles, networks)


def network_texels(siren: Siren) -> Float[Tensor, "batch texels 4"]:
    """Arrange networks as the shader reads them.

    For each layer and group of four outputs: their biases, then for every input its weights to the four. Widths are
    padded to a multiple of four with zeros, which do not affect the result.
    """
    first, *others = siren.weights
    weights = [first, *(pad(weight, (0, 0, 0, -weight.shape[1] % 4)) for weight in others)]
    layers = zip(siren.biases, weights, strict=True)
    return torch.cat([groups_of_four(torch.cat([bias, weight], 1)) for bias, weight in layers], 1)


def tile_texels(tuning: Tuning, tiling: Tiling) -> Float[Tensor, "texels 4"]:
    """Arrange the tree of cuts, then position and tuning of every tile, as the shader reads them."""
    tree = tiling.tree
    leaf = tree.tile >= 0
    nodes = np.stack([tree.axis, np.where(leaf, tree.tile, tree.cut), tree.upper, np.zeros(len(leaf))], 1)
    places = np.concatenate([tiling.centres, tiling.half_extents[:, None]], 1)
    positions = pad(torch.from_numpy(places), (0, 1)).float()
    alpha, beta = (pad(values[:, 0], (0, 4 - values.shape[2])) for values in (tuning.alpha, tuning.beta))
    return torch.cat([torch.from_numpy(nodes).float(), torch.stack([positions, alpha, beta], 1).flatten(0, 1)])
