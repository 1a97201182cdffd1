"""A field as one ONNX graph: points in, colours and gradients out.

::

    xy (N, 2) --> down the tree of cuts --> entries: a point, a tile that answers there, its weight w and grad w
                                               |
         for every tile that answers: its network at its entries, value and both derivatives
                                               |
         total += w Phi_i,  w grad Phi_i + Phi_i grad w --> color, gradient

Both loops are loops of the graph (``field.onnxtxt``), so that its size does not depend on the number of tiles, and a
point costs what the tiles beside it cost. Positions are float64 and networks float32, as in :class:`eoren.Field`.
Weights keep the bits that they have in the .eoren file, and are widened where they are used.
"""

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jinja2 import Environment

from eoren._version import __version__
from eoren.errors import EorenError
from eoren.export.mosaic import mosaic_of
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.fs.files import atomic_path
from eoren.model.quantization import pack

if TYPE_CHECKING:
    from onnx import ModelProto

_MOST_BYTES = 2**31 - 1  # of a protocol buffer
_FAR = 1e30  # where a tile is "cut": beyond all points, so that they stay in it


def write_onnx(path: str | Path, field: Field) -> None:
    """Write a field as an ONNX model, see :func:`onnx_model`; whole or not at all.

    Raises:
        EorenError: as :func:`onnx_model`, or the place cannot be written to.
    """
    data = onnx_model(field).SerializeToString()
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def onnx_model(field: Field) -> "ModelProto":
    """A field as an ONNX model (opset 18) of one input and two outputs, N points at once.

    - ``xy``, float64 ``(N, 2)``: points of the unit square, x to the right, y down. They are float64 because float32
      misses a place in an image of 1000 pixels by up to 3e-5 pixels, more than all the rounding of the network.
    - ``color``, float32 ``(N, C)``: intensity, not clamped to [0, 1].
    - ``gradient``, float32 ``(N, C, 2)``: ``(d/dx, d/dy)``, intensity per unit-square side.

    Raises:
        EorenError: onnx is not installed, or the field is too large for the format (2 GiB).

    Example:
        >>> import eoren
        >>> found = eoren.fit(np.full((6, 5, 1), 0.5, np.float32), steps=1, width=8, depth=2).field
        >>> [each.name for each in onnx_model(found).graph.output]
        ['color', 'gradient']
    """
    try:
        import onnx
        from onnx import numpy_helper, parser
    except ModuleNotFoundError:
        raise EorenError("writing ONNX needs onnx; pip install 'eoren[onnx]'") from None
    mosaic = mosaic_of(field, "ONNX")
    constants = {**_tree(mosaic), **_networks(mosaic)}
    if sum(each.nbytes for each in constants.values()) > 0.99 * _MOST_BYTES:
        raise EorenError(f"{field.parameters:,} parameters do not fit into the 2 GiB of an ONNX file; fit fewer")
    text = Environment().from_string(files(__package__).joinpath("field.onnxtxt").read_text("utf-8"))
    model = parser.parse_model(
        text.render(
            version=__version__, channels=field.channels, layers=mosaic.siren.depth + 1, scaled=mosaic.bits == 8
        )
    )
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value, order="C"), name) for name, value in constants.items()
    )
    width, height = field.size
    model.graph.doc_string = f"An image of {width} x {height} pixels as a function of (x, y) in the unit square."
    onnx.checker.check_model(model, full_check=True)
    return model


def _tree(mosaic: SirenMosaic) -> dict[str, np.ndarray]:
    """The tree of cuts, node by node, and plain numbers."""
    tiling = mosaic.tiling
    tree = tiling.tree
    nodes = np.arange(len(tree.axis))
    leaf = tree.tile >= 0
    return {
        "size": np.array(mosaic.size, np.float64),
        "halo": np.array(tiling.halo or 1.0, np.float64),
        "levels": np.array(tree.depth, np.int64),
        "node_across": np.stack([(tree.axis == 0) | leaf, tree.axis == 1], 1),
        "node_cut": np.where(leaf, _FAR, tree.cut)[:, None],
        "node_lower": np.where(leaf, nodes, tree.lower),
        "node_upper": np.where(leaf, nodes, tree.upper),
        "node_tile": tree.tile,
        "yes": np.array(True),
        "number_0": np.array(0),
        "number_1": np.array(1),
        "axis_0": np.array([0]),
        "axis_1": np.array([1]),
        "axis_2": np.array([2]),
        "other_axis": np.array([1, 0]),
        "one_and_two": np.array([1, 2]),
        "three_by_channels": np.array([3, mosaic.channels]),
        **{
            name: np.array(value, np.float64)
            for name, value in {
                "zero": 0,
                "half": 0.5,
                "one": 1,
                "minus_one": -1,
                "six": 6,
                "ten": 10,
                "fifteen": 15,
            }.items()
        },
    }


def _networks(mosaic: SirenMosaic) -> dict[str, np.ndarray]:
    """The networks of all tiles, and what is theirs: place, tuning, frequency factors."""
    tiling = mosaic.tiling
    constants = {
        "tile_centre": tiling.centres,
        "tile_half": tiling.half_extents,
        # The streams of the derivatives start as (du/dx, 0) and (0, dv/dy).
        "tile_tangent": torch.diag_embed(tiling.local_per_unit).float().unsqueeze(2),
        "tile_alpha": mosaic.tuning.alpha.cpu(),
        "tile_beta": mosaic.tuning.beta.cpu(),
    }
    packed = pack(mosaic.siren.to("cpu"), mosaic.bits)
    for layer, omega in enumerate((*mosaic.siren.omegas, 1.0)):
        constants[f"weight_{layer}"] = packed[f"weight.{layer}"]
        constants[f"bias_{layer}"] = packed[f"bias.{layer}"]
        constants[f"omega_{layer}"] = torch.tensor(omega)
        scale = packed.get(f"scale.{layer}")
        constants[f"factors_{layer}"] = torch.tensor([omega]) if scale is None else scale * omega
    return {name: value.numpy() for name, value in constants.items()}
