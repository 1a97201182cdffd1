"""A field as one ONNX graph from points to colours and gradients.

Of a compact field, :mod:`eoren.export.compact.onnx` describes the graph; of a mosaic it is::

    xy (N, 2) --> down the tree of cuts --> entries: a point, a tile that covers it, its weight w and grad w
                                               |
         for every such tile: its network at its entries, value and both derivatives
                                               |
         total += w Phi_i,  w grad Phi_i + Phi_i grad w --> color, gradient

Both loops are loops of the graph (``field.onnxtxt``), so that its size does not depend on the number of tiles, and
the cost of a point depends only on the tiles that cover it. ``gathered.onnxtxt`` is the same without loops: for a
single network, and for runtimes that have none. Positions are float64 and networks float32, as in
:class:`eoren.Field`. Weights keep the bits of the .eoren file, and are converted to float32 where they are used.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from eoren._version import __version__
from eoren.errors import EorenError
from eoren.export.common import mosaic_of, render_template
from eoren.export.compact.onnx import graph_tensors, template_values
from eoren.export.compact.parts import parts_of
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.wavelet_siren import WaveletSiren
from eoren.fs.files import write_file
from eoren.model.isolation import isolated
from eoren.model.quantization import pack

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

_MAX_BYTES = 2**31 - 1  # of a protocol buffer
_BEYOND_ALL_POINTS = 1e30  # "cut" of a leaf, so that points stay in it


def write_onnx(path: str | Path, field: Field, *, gradient: bool = True, loops: bool = True) -> None:
    """Write a field as an ONNX model (see :func:`onnx_model`), atomically.

    Raises:
        EorenError: as :func:`onnx_model`, or the file cannot be written.
    """
    write_file(path, onnx_model(field, gradient=gradient, loops=loops).SerializeToString())


@isolated()
def onnx_model(field: Field, *, gradient: bool = True, loops: bool = True) -> "ModelProto":
    """Convert a field to an ONNX model with one input and two outputs, for N points at once.

    - ``xy``, float64 ``(N, 2)``: points of the unit square, x to the right, y down. In float32,
      positions in an image of 1000 pixels would be off by up to 3e-5 pixels, more than all rounding in the network.
    - ``color``, float32 ``(N, C)``: intensity, not clamped to [0, 1].
    - ``gradient``, float32 ``(N, C, 2)``: ``(d/dx, d/dy)``, intensity per unit-square side.

    Args:
        field: field to convert.
        gradient: whether the model has the second output. Runtimes compute all outputs of a model, even if a program
            asks for one of them: without the gradient, colours take about half of the time.
        loops: whether the model of a mosaic of several tiles may have loops (opset 18). Without them, for converters
            that do not support them, every point reads the weights of all tiles that may cover it: about
            ten times the memory and the time. Other models have no loops (opset 17).

    Raises:
        EorenError: onnx is not installed, or the field exceeds the 2 GiB of the format.

    Example:
        >>> import eoren
        >>> field = eoren.fit(np.full((6, 5, 1), 0.5), preset="small", steps=1).field
        >>> [output.name for output in onnx_model(field).graph.output]
        ['color', 'gradient']
    """
    try:
        import onnx
        from onnx import helper, numpy_helper, parser
    except ModuleNotFoundError:
        raise EorenError("ONNX export needs the onnx package; pip install 'eoren[onnx]'") from None
    if isinstance(field.representation, WaveletSiren):
        parts = parts_of(field.representation)
        text = render_template("compact/field.onnxtxt", **template_values(parts, gradient=gradient))
        tensors = graph_tensors(parts)
    else:
        mosaic = mosaic_of(field, "ONNX")
        template = "field.onnxtxt" if loops and mosaic.tiling.count > 1 else "gathered.onnxtxt"
        tree = {"levels": mosaic.tiling.tree.depth, "slots": mosaic.tiling.max_overlap}
        text = render_template(template, siren=mosaic.siren, bits=mosaic.bits, gradient=gradient, **tree)
        tensors = _tensors(mosaic)
    if sum(tensor.nbytes for tensor in tensors.values()) > 0.99 * _MAX_BYTES:
        raise EorenError(f"{field.parameters:,} parameters do not fit into the 2 GiB of an ONNX file; fit with fewer")
    model = parser.parse_model(text)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(tensor, order="C"), name) for name, tensor in tensors.items()
    )
    used = set(_name_nodes(model.graph))
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    width, height = field.size
    model.graph.doc_string = f"An image of {width} x {height} pixels as a function of (x, y) in the unit square."
    helper.set_model_props(
        model,
        {
            "width": str(width),
            "height": str(height),
            "xy": "points of the unit square, x to the right, y down",
            "color": "intensity; the range of the image is 0 to 1",
            "gradient": "intensity per side of the unit square, d/dx and d/dy",
            "eoren_version": __version__,
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _name_nodes(graph: "GraphProto") -> Iterator[str]:
    """Name all nodes of a graph and its loops by their first outputs, and yield the names of what they read."""
    for node in graph.node:
        node.name = node.output[0]
        yield from node.input
        for attribute in node.attribute:
            yield from _name_nodes(attribute.g)


def _tensors(mosaic: SirenMosaic) -> dict[str, Any]:
    """Arrange the tree of cuts, and position, tuning and network of every tile, as NumPy or PyTorch arrays."""
    tiling, tuning, tree = mosaic.tiling, mosaic.tuning, mosaic.tiling.tree
    nodes, leaf = np.arange(len(tree.axis)), tree.tile >= 0
    tensors = {
        "size": np.array([tiling.width, tiling.height], np.float64),
        "halo": np.array(tiling.halo or 1.0, np.float64),
        "node_across": np.stack([(tree.axis == 0) | leaf, tree.axis == 1], 1),
        "node_cuts": np.where(leaf, _BEYOND_ALL_POINTS, tree.cut)[:, None].repeat(2, 1),
        "node_axes": np.stack([(tree.axis == 0) | leaf, tree.axis == 1], 1).astype(np.float64),
        "node_cut": np.where(leaf, _BEYOND_ALL_POINTS, tree.cut)[:, None],
        "node_lower": np.where(leaf, nodes, tree.lower),  # the children of a leaf are itself
        "node_upper": np.where(leaf, nodes, tree.upper),
        "node_tile": tree.tile,
        "tile_centre": tiling.centres,
        "tile_half": tiling.half_extents,
        # The streams of the derivatives start as (du/dx, 0) and (0, dv/dy).
        "levels": np.array(tree.depth, np.int64),
        "tile_tangents": torch.diag_embed(torch.from_numpy(tiling.local_per_unit)).float(),
        "tile_alpha": tuning.alpha,
        "tile_beta": tuning.beta,
    }
    packed = pack(mosaic.siren, mosaic.bits)
    for layer, omega in enumerate((*mosaic.siren.omegas, 1.0)):
        tensors[f"weight_{layer}"] = packed[f"weight.{layer}"]
        tensors[f"bias_{layer}"] = packed[f"bias.{layer}"]
        tensors[f"omega_{layer}"] = torch.tensor(omega, dtype=torch.float32)
        scale = packed.get(f"scale.{layer}")
        tensors[f"factors_{layer}"] = torch.tensor([omega], dtype=torch.float32) if scale is None else scale * omega
    return tensors
