"""What a file's text says of the networks in it, believed once it has been checked."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Int32
from torch import Tensor

from eoren.field.field import Field, Provenance
from eoren.image.decoders import MAX_PIXELS
from eoren.model.channel_tuning import Tuning
from eoren.model.quantization import BITS, unpack
from eoren.model.siren import MOST_LAYERS
from eoren.model.tiling import MAX_OVERLAP, Tiling

# Cuts above one tile. The trees that we grow halve the number of tiles at each; a chain of a hundred thousand would
# take as many times as much memory as its file.
_MAX_DEPTH = 64


class Description(NamedTuple):
    """Networks of one shape, as .eoren files and the shards of stores have them.

    Attributes:
        width: of the image, in pixels.
        height: of the image, in pixels.
        halo: half the overlap of tiles, in pixels.
        channels: of the image.
        omegas: the frequency factor of each sine layer.
        bits: of a stored weight.
    """

    width: int
    height: int
    halo: float
    channels: int
    omegas: tuple[float, ...]
    bits: int

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> "Description":
        """What a text says.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: something is missing, or cannot be.
        """
        width, height = whole(header, "width", MAX_PIXELS), whole(header, "height", MAX_PIXELS)
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width} x {height} pixels exceed the limit of {MAX_PIXELS}")
        channels, bits = whole(header, "channels", 4), whole(header, "bits", 32)
        if len(header["omegas"]) > MOST_LAYERS:
            raise ValueError(f"it has {len(header['omegas'])} sine layers, where {MOST_LAYERS} are the most")
        omegas = tuple(float(omega) for omega in header["omegas"])
        if bits not in BITS or not omegas:
            raise ValueError(f"bits is {bits}, with {len(omegas)} sine layers")
        if not bool(torch.tensor(omegas).isfinite().all()):  # in 32 bits
            raise ValueError("some of its frequencies are not finite")
        halo = float(header["halo"])
        if not 0 <= halo < float("inf"):
            raise ValueError(f"halo is {halo}")
        return cls(width, height, halo, channels, omegas, bits)

    def check(self, tensors: Mapping[str, Tensor], others: Mapping[str, tuple[int, ...]]) -> None:
        """Exactly the tensors that such networks have, of their types and shapes: damage must not fail later.

        Args:
            tensors: by their names in the file.
            others: shapes of what there is besides networks and tuning, of type int32.

        Raises:
            KeyError, ValueError: another one, one too many, or one is missing.
        """
        batch, _, width = tensors["weight.0"].shape
        sizes = [2, *[width] * len(self.omegas), self.channels]
        plain = torch.float32 if self.bits == 32 else torch.float16
        expected: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
            "alpha": (torch.float32, (batch, 1, self.channels)),
            "beta": (torch.float32, (batch, 1, self.channels)),
            **{name: (torch.int32, shape) for name, shape in others.items()},
        }
        for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
            expected[f"weight.{layer}"] = torch.int8 if self.bits == 8 else plain, (batch, inputs, outputs)
            expected[f"bias.{layer}"] = plain, (batch, 1, outputs)
            if self.bits == 8:
                expected[f"scale.{layer}"] = torch.float32, (batch, 1, outputs)
        found = {name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()}
        if found != expected or width < 1:
            odd = next((name for name in {**expected, **found} if expected.get(name) != found.get(name)), "weight.0")
            raise ValueError(f"tensor {odd:.40} does not fit the others")

    def tiling(self, nodes: Int32[Tensor, "nodes 2"]) -> Tiling:
        """Where the tiles are.

        Raises:
            ValueError: the tree is none, or too deep, or its tiles overlap too far.
        """
        if nodes.dtype != torch.int32 or nodes.ndim != 2 or nodes.shape[1] != 2:
            raise ValueError("the tree of tiles is none")
        tiling = Tiling(self.width, self.height, self.halo, nodes.numpy())
        if tiling.tree.depth > _MAX_DEPTH:
            raise ValueError(f"a tile lies under {tiling.tree.depth} cuts, where {_MAX_DEPTH} are the most")
        if tiling.max_overlap > MAX_OVERLAP:
            raise ValueError(f"its halo is {self.halo:.6g}: {tiling.max_overlap} tiles would answer for one point")
        return tiling

    def field(self, tensors: Mapping[str, Tensor], tiling: Tiling, provenance: Provenance) -> Field:
        """The field itself, once its tensors are checked.

        Raises:
            ValueError: some of its numbers are not finite.
        """
        siren, tuning = unpack(tensors, self.omegas), Tuning(tensors["alpha"], tensors["beta"])
        if not all(bool(t.isfinite().all()) for t in (*siren.tensors(), tuning.alpha, tuning.beta)):
            raise ValueError("some of its numbers are not finite")
        return Field(siren, tuning, tiling, self.bits, provenance)


def whole(header: Mapping[str, Any], name: str, most: int, least: int = 1) -> int:
    """A whole number of a text.

    Raises:
        KeyError, ValueError: it is missing, or is none, or too small or too large.
    """
    value = header[name]
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {value!r:.40}")
    return value
