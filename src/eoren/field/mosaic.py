"""The mosaic of SIRENs: one small network per tile, blended where tiles overlap. One tile is the paper's network."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from eoren.backends.dispatch import choose_backend
from eoren.backends.mosaic_evaluation import Jet, evaluate_mosaic
from eoren.field.parts import decode_parts, encode_parts
from eoren.field.representation import UNIT, Extent, Quantity
from eoren.field.schema import MosaicSchema
from eoren.model.channel_tuning import Tuning
from eoren.model.quantization import pack
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling


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
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.siren.device

    @property
    def requires_grad(self) -> bool:
        """Whether PyTorch follows any of the parameters."""
        return any(t.requires_grad for t in (*self.siren.tensors(), self.tuning.alpha, self.tuning.beta))

    def to(self, *args: Any, **kwargs: Any) -> "SirenMosaic":
        """Return the same function on another device or in another precision, as ``Tensor.to``."""
        tuning = Tuning(self.tuning.alpha.to(*args, **kwargs), self.tuning.beta.to(*args, **kwargs))
        return replace(self, siren=self.siren.to(*args, **kwargs), tuning=tuning)

    def select(self, networks: slice) -> "SirenMosaic":
        """Return some networks with their tuning; the tiling stays."""
        return replace(self, siren=self.siren.select(networks), tuning=self.tuning.select(networks))

    def jet(
        self,
        points: Float[Tensor, "points 2"],
        *,
        gradient: bool = False,
        laplacian: bool = False,
        extent: Extent = UNIT,
        differentiable: bool = False,
    ) -> Jet:
        """Evaluate colour, and optionally gradient and Laplacian, at any points; see the protocol."""
        evaluate = choose_backend(self.siren, differentiable=differentiable).evaluate
        parts = self.siren, self.tuning, self.tiling
        return evaluate_mosaic(evaluate, *parts, points, gradient=gradient, laplacian=laplacian, extent=extent)

    def sample(
        self, x: Float[Tensor, " columns"], y: Float[Tensor, " rows"], *quantities: Quantity, extent: Extent = UNIT
    ) -> tuple[Tensor, ...]:
        """Evaluate quantities on a grid; see the protocol."""
        with torch.no_grad():
            backend = choose_backend(self.siren)
            return backend.render(self.siren, self.tuning, self.tiling, x, y, *quantities, extent=extent)

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

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a file stores, on the CPU."""
        tensors = pack(self.siren, self.bits) | {"alpha": self.tuning.alpha, "beta": self.tuning.beta}
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        return stored | {"tiles": torch.tensor(self.tiling.nodes, dtype=torch.int32)}

    def encode(self, kind: Mapping[str, str], provenance: Mapping[str, Any]) -> tuple[str, dict[str, Tensor]]:
        """Encode the mosaic for a file; see the protocol."""
        return encode_parts(self, kind, provenance)

    @classmethod
    def decode(
        cls, text: str, header: Mapping[str, Any], tensors: dict[str, Tensor], *, skip_damaged: bool = False
    ) -> tuple["SirenMosaic", Mapping[str, Any]]:
        """Build a mosaic and its provenance from a file; see the protocol. All tiles are needed."""
        return decode_parts(cls, text, header, tensors)

    @classmethod
    def check_stored(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
        """Check names, types and shapes of stored tensors, and return the number of tiles, see :class:`.Parted`."""
        tiles = len(tensors["alpha"])
        MosaicSchema.from_header(header).check(tensors, {"tiles": (2 * tiles - 1, 2)})
        return tiles

    @classmethod
    def locate_part(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor], part: int) -> str:
        """Describe where a tile lies in the image, see :class:`.Parted`."""
        x0, y0, x1, y1 = MosaicSchema.from_header(header).tiling(tensors["tiles"]).tree.boxes[part]
        return f"tile {part}, columns {x0} to {x1 - 1}, rows {y0} to {y1 - 1}"

    @classmethod
    def from_stored(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "SirenMosaic":
        """Build the mosaic from checked tensors, see :class:`.Parted`."""
        schema = MosaicSchema.from_header(header)
        tiling = schema.tiling(tensors["tiles"])
        return cls(*schema.networks(tensors), tiling, schema.bits)
