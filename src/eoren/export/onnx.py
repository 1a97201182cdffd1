"""A field as one ONNX graph from points to colours and gradients.

::

    xy (N, 2) --> down the tree of cuts --> entries: a point, a tile that covers it, its weight w and grad w
                                               |
         for every such tile: its network at its entries, value and both derivatives
                                               |
         total += w Phi_i,  w grad Phi_i + Phi_i grad w --> color, gradient

Both loops are loops of the graph (``field.onnxtxt``), so that its size does not depend on the number of tiles, and
the cost of a point depends only on the tiles that cover it. Positions are float64 and networks float32, as in
:class:`eoren.Field`. Weights keep the bits of the .eoren file, and are converted to float32 where they are used.
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
from eoren.fs.files import atomic_path
from eoren.model.channel_tuning import Tuning
from eoren.model.quantization import pack
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling

if TYPE_CHECKING:
    from onnx import ModelProto

_MAX_BYTES = 2**31 - 1  # of a protocol buffer
_BEYOND_ALL_POINTS = 1e30  # "cut" of a leaf, so that points stay in it


def write_onnx(path: str | Path, field: Field) -> None:
    """Write a field as an ONNX model (see :func:`onnx_model`), atomically.

    Raises:
        EorenError: as :func:`onnx_model`, or the file cannot be written.
    """
    data = onnx_model(field).SerializeToString()
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def onnx_model(field: Field) -> "ModelProto":
    """Convert a field to an ONNX model (opset 18) with one input and two outputs, for N points at once.

    - ``xy``, float64 ``(N, 2)``: points of the unit square, x to the right, y down. In float32,
      positions in an image of 1000 pixels would be off by up to 3e-5 pixels, more than all rounding in the network.
    - ``color``, float32 ``(N, C)``: intensity, not clamped to [0, 1].
    - ``gradient``, float32 ``(N, C, 2)``: ``(d/dx, d/dy)``, intensity per unit-square side.

    Raises:
        EorenError: onnx is not installed, or the field exceeds the 2 GiB of the format.

    Example:
        >>> import eoren
        >>> field = eoren.fit(np.full((6, 5, 1), 0.5, np.float32), steps=1, width=8, depth=2).field
        >>> [output.name for output in onnx_model(field).graph.output]
        ['color', 'gradient']
    """
    try:
        import onnx
        from onnx import numpy_helper, parser
    except ModuleNotFoundError:
        raise EorenError("ONNX export needs the onnx package; pip install 'eoren[onnx]'") from None
    mosaic = mosaic_of(field, "ONNX").to("cpu")
    siren, tuning, tiling = mosaic.siren, mosaic.tuning, mosaic.tiling
    tensors = {**_tree_tensors(tiling), **_network_tensors(siren, tuning, tiling, mosaic.bits)}
    if sum(tensor.nbytes for tensor in tensors.values()) > 0.99 * _MAX_BYTES:
        raise EorenError(f"{field.parameters:,} parameters do not fit into the 2 GiB of an ONNX file; fit with fewer")
    template = Environment().from_string(files(__package__).joinpath("field.onnxtxt").read_text("utf-8"))
    text = template.render(
        version=__version__, channels=field.channels, layers=siren.depth + 1, scaled=mosaic.bits == 8
    )
    model = parser.parse_model(text)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(tensor, order="C"), name) for name, tensor in tensors.items()
    )
    width, height = field.size
    model.graph.doc_string = f"An image of {width} x {height} pixels as a function of (x, y) in the unit square."
    onnx.checker.check_model(model, full_check=True)
    return model


def _tree_tensors(tiling: Tiling) -> dict[str, np.ndarray]:
    """The nodes of the tree of cuts. A leaf is a node whose children are itself."""
    tree = tiling.tree
    nodes = np.arange(len(tree.axis))
    leaf = tree.tile >= 0
    return {
        "size": np.array([tiling.width, tiling.height], np.float64),
        "halo": np.array(tiling.halo or 1.0, np.float64),
        "levels": np.array(tree.depth, np.int64),
        "node_across": np.stack([(tree.axis == 0) | leaf, tree.axis == 1], 1),
        "node_cut": np.where(leaf, _BEYOND_ALL_POINTS, tree.cut)[:, None],
        "node_lower": np.where(leaf, nodes, tree.lower),
        "node_upper": np.where(leaf, nodes, tree.upper),
        "node_tile": tree.tile,
    }


def _network_tensors(siren: Siren, tuning: Tuning, tiling: Tiling, bits: int) -> dict[str, np.ndarray]:
    """Position, tuning and network of every tile, and the frequency factors."""
    tensors = {
        "tile_centre": tiling.centres,
        "tile_half": tiling.half_extents,
        # The streams of the derivatives start as (du/dx, 0) and (0, dv/dy).
        "tile_tangent": torch.diag_embed(tiling.local_per_unit).float().unsqueeze(2),
        "tile_alpha": tuning.alpha,
        "tile_beta": tuning.beta,
    }
    packed = pack(siren, bits)
    for layer, omega in enumerate((*siren.omegas, 1.0)):
        tensors[f"weight_{layer}"] = packed[f"weight.{layer}"]
        tensors[f"bias_{layer}"] = packed[f"bias.{layer}"]
        tensors[f"omega_{layer}"] = torch.tensor(omega)
        scale = packed.get(f"scale.{layer}")
        tensors[f"factors_{layer}"] = torch.tensor([omega]) if scale is None else scale * omega
    return {name: tensor.numpy() for name, tensor in tensors.items()}
