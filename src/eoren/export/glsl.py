"""A field as a fragment shader of WebGL 2 (GLSL ES 3.00), with its numbers in two textures.

The shader (``field.frag``) walks down the tree of cuts at every fragment, runs the networks of the tiles that it
meets, and blends them, derivatives too. Numbers are in float32, which is all that WebGL has; positions come in two
parts, whole pixels and the rest, so that no zoom is too deep.
"""

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from eoren.errors import EorenError
from eoren.export.mosaic import mosaic_of
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.fs.files import atomic_path
from eoren.model.siren import Siren

TEXTURE_WIDTH = 2048
"""Texels in a row of either texture: every device that has WebGL 2 takes so many."""

_MOST_ROWS = 16384  # what today's GPUs take; WebGL 2 promises 2048
_MOST_LEVELS = 64  # of the stack in the shader: a tree of 2^63 tiles, if it is balanced


class Shader(NamedTuple):
    """A field for the GPU.

    Attributes:
        source: GLSL ES 3.00.
        tiles: ``(rows, 2048, 4)``, the texture ``eoren_tiles``: tree, places and tuning.
        networks: ``(rows, 2048, 4)``, the texture ``eoren_networks``: weights and biases.
    """

    source: str
    tiles: Float[np.ndarray, "rows 2048 4"]
    networks: Float[np.ndarray, "rows 2048 4"]


def write_glsl(path: str | Path, field: Field) -> Path:
    """Write a field as a fragment shader, and its two textures into the file beside it, see :func:`data_path`.

    That file holds little-endian float32, RGBA, 2048 texels a row: ``eoren_tiles``, then ``eoren_networks``. The
    first lines of the shader say how many rows each has.

    Returns:
        The file with the textures.

    Raises:
        EorenError: the field is too large for textures, or the place cannot be written to.
    """
    shader = field_shader(field)
    data = data_path(path)
    with atomic_path(path) as source, atomic_path(data) as numbers:
        numbers.write_bytes(shader.tiles.astype("<f4").tobytes() + shader.networks.astype("<f4").tobytes())
        source.write_text(shader.source, encoding="utf-8")
    return data


def data_path(path: str | Path) -> Path:
    """Where the textures of a shader file are: ``field.glsl`` has ``field.glsl.bin``."""
    path = Path(path)
    return path.with_name(f"{path.name}.bin")


def field_shader(field: Field) -> Shader:
    """A field as a fragment shader and its textures.

    The function ``eoren`` of the shader gives colour and derivatives per pixel of the image at any place. ``main``
    shows a rectangle of it, by the uniforms ``u_base``, ``u_offset``, ``u_step`` and ``u_layer``.

    Raises:
        EorenError: the field is too large for textures, or its tree of tiles too deep.

    Example:
        >>> import eoren
        >>> found = eoren.fit(np.full((6, 5, 1), 0.5, np.float32), steps=1, width=8, depth=2).field
        >>> shader = field_shader(found)
        >>> shader.source.splitlines()[0], shader.networks.shape
        ('#version 300 es', (1, 2048, 4))
    """
    mosaic = mosaic_of(field, "GLSL")
    networks = network_texels(mosaic.siren.to("cpu"))
    tree = mosaic.tiling.tree
    if tree.depth >= _MOST_LEVELS:
        raise EorenError(f"the tiles' tree is {tree.depth} cuts deep, too deep for a shader; fit with fewer tiles")
    tiles = _texture(tile_texels(mosaic))
    weights = _texture(networks.flatten(0, 1))
    if max(len(tiles), len(weights)) > _MOST_ROWS:
        raise EorenError(f"{field.parameters:,} parameters are too many for a texture; fit fewer")
    width, height = field.size
    constants = {
        "TEXTURE_WIDTH": TEXTURE_WIDTH,
        "TEXTURE_SHIFT": TEXTURE_WIDTH.bit_length() - 1,
        "CHANNELS": field.channels,
        "DEPTH": mosaic.siren.depth,
        "GROUPS": -(-mosaic.siren.width // 4),
        "TEXELS_PER_NETWORK": networks.shape[1],
        "NODES": len(tree.axis),
        "LEVELS": tree.depth + 2,
    }
    source = [
        "#version 300 es",
        f"// An image of {width} x {height} pixels. Textures, RGBA32F, {TEXTURE_WIDTH} texels wide:",
        f"// eoren_tiles has {len(tiles)} rows, eoren_networks {len(weights)}.",
        *(f"#define {name} {value}" for name, value in constants.items()),
        f"#define HALO {mosaic.tiling.halo or 1.0!r}",
        f"#define OMEGAS float[]({', '.join(map(repr, map(float, mosaic.siren.omegas)))})",
        files(__package__).joinpath("field.frag").read_text("utf-8"),
    ]
    return Shader("\n".join(source), tiles, weights)


def network_texels(siren: Siren) -> Float[Tensor, "batch texels 4"]:
    """The networks as the shader reads them.

    Per layer and four outputs: their biases, then, for every input, its weights to the four. What a width lacks to a
    multiple of four is filled with zeros, which change nothing.
    """
    parts = []
    for weight, bias in zip(siren.weights, siren.biases, strict=True):
        batch, inputs, outputs = weight.shape
        more_inputs = 0 if inputs == 2 else -inputs % 4
        rows = torch.cat([bias, pad(weight, (0, 0, 0, more_inputs))], 1)
        rows = pad(rows, (0, -outputs % 4))
        parts.append(rows.unflatten(2, (-1, 4)).movedim(2, 1).reshape(batch, -1, 4))
    return torch.cat(parts, 1)


def tile_texels(mosaic: SirenMosaic) -> Float[Tensor, "texels 4"]:
    """The tree of cuts, then place and tuning of every tile."""
    tree, tiling = mosaic.tiling.tree, mosaic.tiling
    leaf = tree.tile >= 0
    columns = [tree.axis, np.where(leaf, tree.tile, tree.cut), tree.upper, np.zeros(len(leaf))]
    nodes = torch.from_numpy(np.stack(columns, 1))
    places = pad(torch.cat([tiling.centres, tiling.half_extents[:, None]], 1), (0, 1))
    alpha, beta = (
        pad(each.cpu()[:, 0], (0, 4 - mosaic.channels)) for each in (mosaic.tuning.alpha, mosaic.tuning.beta)
    )
    return torch.cat([nodes.float(), torch.stack([places.float(), alpha, beta], 1).flatten(0, 1)])


def _texture(texels: Float[Tensor, "texels 4"]) -> Float[np.ndarray, "rows 2048 4"]:
    """Texels in rows, the last filled up with zeros."""
    filled: np.ndarray = pad(texels, (0, 0, 0, -len(texels) % TEXTURE_WIDTH)).view(-1, TEXTURE_WIDTH, 4).numpy()
    return filled
