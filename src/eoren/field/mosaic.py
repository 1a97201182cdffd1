"""The mosaic of SIRENs: one small network per tile, blended where tiles overlap. One tile is the paper's network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float, Float64

from eoren.backends.dispatch import choose_backend
from eoren.backends.mosaic_evaluation import Jet, evaluate_mosaic
from eoren.field.parts import decode_parts, encode_parts
from eoren.field.representation import UNIT, Extent, Quantity
from eoren.field.schema import MosaicSchema
from eoren.model.arrays import Array, as_numpy, as_tensor, is_tensor
from eoren.model.channel_tuning import Tuning
from eoren.model.quantization import pack
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling

if TYPE_CHECKING:
    import torch

# The arrays that a backend computes with. Memory is shared where it can be.
_CONVERSIONS: Mapping[str, Callable[[Array], Array]] = {"native": as_numpy, "torch": as_tensor}


@dataclass(frozen=True, eq=False)
class SirenMosaic:
    """A mosaic of SIRENs as a :class:`eoren.field.representation.Representation`.

    Attributes:
        siren: one network per tile.
        tuning: channel tuning of each network.
        tiling: places of the tiles.
        bits: bits per weight in the file: 32, 16 or 8.
    """

    kind: ClassVar[str] = "mosaic"
    shared_tensors: ClassVar[tuple[str, ...]] = ("tiles",)

    siren: Siren
    tuning: Tuning
    tiling: Tiling
    bits: int = 32

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image in pixels."""
        return self.tiling.width, self.tiling.height

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.siren.channels

    @property
    def parameters(self) -> int:
        """Number of stored numbers: networks and channel tuning."""
        return self.siren.batch * (self.siren.parameters_per_network + 2 * self.channels)

    @property
    def device(self) -> "torch.device":
        """Device of the parameters."""
        return self.siren.device

    @property
    def requires_grad(self) -> bool:
        """Whether PyTorch follows any of the parameters."""
        parameters = (*self.siren.tensors(), self.tuning.alpha, self.tuning.beta)
        return any(is_tensor(t) and t.requires_grad for t in parameters)

    @property
    def is_native(self) -> bool:
        """Whether the native backend evaluates the function; see the protocol."""
        return choose_backend(self.siren).name == "native"

    def to(self, *args: Any, **kwargs: Any) -> "SirenMosaic":
        """Return the same function with tensors on another device or in another precision, as ``Tensor.to``."""
        return replace(self, siren=self.siren.to(*args, **kwargs), tuning=self.tuning.to(*args, **kwargs))

    def select(self, networks: slice) -> "SirenMosaic":
        """Return some networks with their tuning; the tiling stays."""
        return replace(self, siren=self.siren.select(networks), tuning=self.tuning.select(networks))

    def jet(
        self,
        points: Float[Array, "points 2"],
        *,
        gradient: bool = False,
        laplacian: bool = False,
        extent: Extent = UNIT,
        differentiable: bool = False,
    ) -> Jet:
        """Evaluate colour, and optionally gradient and Laplacian, at any points; see the protocol."""
        backend = choose_backend(self.siren, differentiable=differentiable)
        convert = _CONVERSIONS[backend.name]
        options: Any = {"gradient": gradient, "laplacian": laplacian, "extent": extent}
        jet = evaluate_mosaic(backend.evaluate, *self._parts(convert), convert(points), **options)
        return jet.like(points)

    def sample(
        self,
        x: Float64[np.ndarray, " columns"],
        y: Float64[np.ndarray, " rows"],
        *quantities: Quantity,
        extent: Extent = UNIT,
    ) -> tuple[np.ndarray, ...]:
        """Evaluate quantities on a grid; see the protocol."""
        backend = choose_backend(self.siren)
        return backend.render(*self._parts(_CONVERSIONS[backend.name]), x, y, *quantities, extent=extent)

    def _parts(self, convert: Callable[[Array], Array]) -> tuple[Siren, Tuning, Tiling]:
        """Return networks, tuning and tiling with parameters of one kind."""
        siren = self.siren.with_tensors([convert(t) for t in self.siren.tensors()])
        return siren, Tuning(convert(self.tuning.alpha), convert(self.tuning.beta)), self.tiling

    def summary(self) -> dict[str, Any]:
        """Describe the architecture, for ``eoren info --json``."""
        siren = self.siren
        shape = {"hidden_width": siren.width, "depth": siren.depth, "omegas": siren.omegas}
        return {"networks": siren.batch, **shape, "bits": self.bits}

    def describe(self) -> str:
        """Describe the architecture in a few words."""
        siren = self.siren
        networks = "1 network" if siren.batch == 1 else f"{siren.batch:,} networks"
        return f"{networks}, {siren.depth} sine layers of {siren.width}"

    def header(self) -> dict[str, Any]:
        """Return the description that a file stores as JSON."""
        tiling, siren = self.tiling, self.siren
        schema = MosaicSchema(tiling.width, tiling.height, tiling.halo, siren.channels, siren.omegas, self.bits)
        return schema._asdict()

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the tensors that a file stores, as contiguous arrays."""
        siren, tuning, tiling = self._parts(as_numpy)
        arrays = pack(siren, self.bits) | {"alpha": tuning.alpha, "beta": tuning.beta, "tiles": tiling.nodes}
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    def encode(self, kind: Mapping[str, str], provenance: Mapping[str, Any]) -> tuple[str, dict[str, np.ndarray]]:
        """Encode the mosaic for a file; see the protocol."""
        return encode_parts(self, kind, provenance)

    @classmethod
    def decode(
        cls, text: str, header: Mapping[str, Any], tensors: dict[str, np.ndarray], *, skip_damaged: bool = False
    ) -> tuple["SirenMosaic", Mapping[str, Any]]:
        """Build a mosaic and its provenance from a file; see the protocol. All tiles are needed."""
        return decode_parts(cls, text, header, tensors)

    @classmethod
    def check_stored(cls, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> int:
        """Check names, types and shapes of stored tensors, and return the number of tiles, see :class:`.Parted`."""
        tiles = len(tensors["alpha"])
        MosaicSchema.from_header(header).check(tensors, {"tiles": (2 * tiles - 1, 2)})
        return tiles

    @classmethod
    def locate_part(cls, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray], part: int) -> str:
        """Describe where a tile lies in the image, see :class:`.Parted`."""
        x0, y0, x1, y1 = MosaicSchema.from_header(header).tiling(tensors["tiles"]).tree.boxes[part]
        return f"tile {part}, columns {x0} to {x1 - 1}, rows {y0} to {y1 - 1}"

    @classmethod
    def from_stored(cls, header: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> "SirenMosaic":
        """Build the mosaic from checked tensors, see :class:`.Parted`."""
        schema = MosaicSchema.from_header(header)
        tiling = schema.tiling(tensors["tiles"])
        return cls(*schema.networks(tensors), tiling, schema.bits)
