"""The stored form of a mosaic: which header and tensors are valid. Files are untrusted until checked here."""

from collections.abc import Mapping
from itertools import pairwise
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from eoren.fs.safetensors_layout import DamagedError
from eoren.image.decoders import MAX_PIXELS
from eoren.model.channel_tuning import Tuning
from eoren.model.quantization import BITS, unpack
from eoren.model.siren import MAX_SINE_LAYERS, Siren
from eoren.model.tiling import MAX_OVERLAP, Tiling

# Cuts above one tile. Our trees halve the number of tiles at each cut; a chain of a hundred thousand cuts would take
# as many times more memory than its file.
_MAX_DEPTH = 64


class MosaicSchema(NamedTuple):
    """The header of networks of one shape, in .eoren files and in the shards of stores."""

    width: int
    height: int
    halo: float  # half the overlap of tiles in pixels
    channels: int
    omegas: tuple[float, ...]
    bits: int

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> "MosaicSchema":
        """Check and convert a stored header; invalid ones raise KeyError, TypeError, ValueError or OverflowError."""
        width, height = whole_number(header, "width", MAX_PIXELS), whole_number(header, "height", MAX_PIXELS)
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width} x {height} pixels exceed the limit of {MAX_PIXELS}")
        channels, bits = whole_number(header, "channels", 4), whole_number(header, "bits", 32)
        if len(header["omegas"]) > MAX_SINE_LAYERS:
            raise ValueError(f"it must have at most {MAX_SINE_LAYERS} sine layers, got {len(header['omegas'])}")
        omegas = tuple(float(omega) for omega in header["omegas"])
        if bits not in BITS or not omegas:
            raise ValueError(f"bits is {bits}, with {len(omegas)} sine layers")
        if not all(abs(omega) <= np.finfo(np.float32).max for omega in omegas):
            raise ValueError("a frequency factor is not finite")
        halo = float(header["halo"])
        if not 0 <= halo < float("inf"):
            raise ValueError(f"halo is {halo}")
        return cls(width, height, halo, channels, omegas, bits)

    def check(self, tensors: Mapping[str, np.ndarray], others: Mapping[str, tuple[int, ...]]) -> None:
        """Check names, types and shapes of the tensors of such networks; ``others`` are shapes of int32 tensors."""
        batch, _, width = tensors["weight.0"].shape
        sizes = [2, *[width] * len(self.omegas), self.channels]
        plain = "float32" if self.bits == 32 else "float16"
        expected: dict[str, tuple[str, tuple[int, ...]]] = {
            "alpha": ("float32", (batch, 1, self.channels)),
            "beta": ("float32", (batch, 1, self.channels)),
            **{name: ("int32", shape) for name, shape in others.items()},
        }
        for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
            expected[f"weight.{layer}"] = "int8" if self.bits == 8 else plain, (batch, inputs, outputs)
            expected[f"bias.{layer}"] = plain, (batch, 1, outputs)
            if self.bits == 8:
                expected[f"scale.{layer}"] = "float32", (batch, 1, outputs)
        actual = {name: (t.dtype.name, t.shape) for name, t in tensors.items()}
        if actual != expected or width < 1:
            names = (name for name in {**expected, **actual} if expected.get(name) != actual.get(name))
            raise ValueError(f"tensor {next(names, 'weight.0'):.40} does not fit the others")

    def tiling(self, nodes: Int32[np.ndarray, "nodes 2"]) -> Tiling:
        """Build the tiling from its stored tree; a ValueError if it is invalid, too deep, or overlaps too far."""
        if nodes.dtype != np.int32 or nodes.ndim != 2 or nodes.shape[1] != 2:
            raise ValueError("the tree of tiles is not an int32 tensor of two columns")
        tiling = Tiling(self.width, self.height, self.halo, nodes)
        if tiling.tree.depth > _MAX_DEPTH:
            raise ValueError(f"a tile must lie under at most {_MAX_DEPTH} cuts, got {tiling.tree.depth}")
        if tiling.max_overlap > MAX_OVERLAP:
            raise ValueError(f"with halo {self.halo:.6g}, {tiling.max_overlap} tiles would overlap at one point")
        return tiling

    def networks(self, tensors: Mapping[str, np.ndarray]) -> tuple[Siren, Tuning]:
        """Build networks and channel tuning from checked tensors; a ValueError if a value is not finite."""
        siren, tuning = unpack(tensors, self.omegas), Tuning(tensors["alpha"], tensors["beta"])
        if not all(np.isfinite(t).all() for t in (*siren.tensors(), tuning.alpha, tuning.beta)):
            raise ValueError("a parameter is not finite")
        return siren, tuning


def finite_number(text: str) -> float:
    """Parse a number of a stored header, which has to be finite, so that it can be written again."""
    if not isfinite(number := float(text)):
        raise DamagedError(f"its header has a number that is not finite, {text:.20}")
    return number


def whole_number(header: Mapping[str, Any], name: str, maximum: int, minimum: int = 1) -> int:
    """Return a whole number from a stored header; a KeyError or ValueError if it is missing or out of range."""
    value = header[name]
    if type(value) is not int or not minimum <= value <= maximum:
        raise ValueError(f"{name} is {value!r:.40}")
    return value
