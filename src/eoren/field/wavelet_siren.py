"""The compact field: wavelet latents carry the bits, and a small SIREN makes colours of their features."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64, Int16
from torch import Tensor

from eoren.backends.dispatch import choose_coder, choose_latent_evaluator
from eoren.backends.latents.base import LatentEvaluator
from eoren.backends.latents.prior import PriorEvaluator
from eoren.backends.mosaic_evaluation import Jet
from eoren.coding.bands import Latents
from eoren.coding.context_model import OFFSETS, Shifts
from eoren.field.representation import UNIT, Extent, Quantity
from eoren.field.wavelet_file import VERSION, Contents, decode_contents, encode_contents
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.features import LatentFeatures, group_count
from eoren.model.latents.wavelet import unflatten

STEP_FRACTION = 16
"""Parts of an octave in which the steps of bands differ from the base step."""


@dataclass(frozen=True, eq=False)
class WaveletSiren:
    """Wavelet latents with a color decoder as a :class:`eoren.field.representation.Representation`.

    Attributes:
        latents: integer latents of the image.
        width: width of the image in pixels.
        height: its height.
        step: base quantisation step.
        offsets: ``(bands, C)``: the step of a band and channel is ``step * 2**(offset / 16)``; bands in the order of
            :meth:`.Latents.bands`.
        decoder: color decoder.
        exponents: for each tensor of the decoder, the fractional bits of its numbers in the file.
        shifts: differences of the image's scales from those of the context model; None for none.
        prior: version of the edge prior (:mod:`eoren.model.latents.edge_prior`), 0 for none.
    """

    kind: ClassVar[str] = "wavelet"

    latents: Latents
    width: int
    height: int
    step: float
    offsets: Int16[np.ndarray, "bands channels"]
    decoder: ColorDecoder
    exponents: tuple[int, ...]
    shifts: Shifts | None = None
    prior: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image in pixels."""
        return self.width, self.height

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.latents.coarse)

    @property
    def parameters(self) -> int:
        """Number of stored numbers: latents, steps, and the color decoder."""
        return self.channels * self.width * self.height + self.offsets.size + 1 + self.decoder.parameters

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.decoder.linear.device

    @property
    def requires_grad(self) -> bool:
        """Whether PyTorch follows any of the parameters."""
        return any(t.requires_grad for t in self.decoder.tensors())

    def to(self, *args: Any, **kwargs: Any) -> "WaveletSiren":
        """Return the same function on another device or in another precision, as ``Tensor.to``."""
        return replace(self, decoder=self.decoder.to(*args, **kwargs))

    @cached_property
    def features(self) -> LatentFeatures:
        """The features that the color decoder sees."""
        latents = unflatten([torch.from_numpy(band) for band in self.latents.bands()])
        steps = torch.from_numpy(self.steps()).to(self.decoder.linear)
        return LatentFeatures(latents, tuple(torch.diag(step) for step in steps), *self.size)

    @cached_property
    def _evaluators(self) -> dict[type, tuple[tuple[Any, ...], LatentEvaluator]]:
        return {}

    def _evaluator(self, *, differentiable: bool) -> LatentEvaluator:
        """Return the evaluator of a backend; a new one if a parameter of the decoder changed."""
        kind = choose_latent_evaluator(self.decoder, differentiable=differentiable)
        state = tuple((t.data_ptr(), t._version, t.requires_grad) for t in self.decoder.tensors())
        if kind not in self._evaluators or self._evaluators[kind][0] != state:
            if self.prior:
                evaluator: LatentEvaluator = PriorEvaluator(kind, self.features, self.decoder, self.prior)
            else:
                evaluator = kind(self.features, self.decoder)
            self._evaluators[kind] = state, evaluator
        return self._evaluators[kind][1]

    def steps(self) -> Float[np.ndarray, "bands channels"]:
        """Return the quantisation steps of all bands and channels, float64."""
        return band_steps(self.step, self.offsets)

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
        evaluator = self._evaluator(differentiable=differentiable)
        return evaluator.jet(points, gradient=gradient, laplacian=laplacian, extent=extent)

    def sample(
        self, x: Float[Tensor, " columns"], y: Float[Tensor, " rows"], *quantities: Quantity, extent: Extent = UNIT
    ) -> tuple[Tensor, ...]:
        """Evaluate quantities on a grid; see the protocol."""
        with torch.no_grad():
            return self._evaluator(differentiable=False).sample(x, y, *quantities, extent=extent)

    def summary(self) -> dict[str, Any]:
        """Describe the architecture, for ``eoren info --json``."""
        siren = self.decoder.siren
        hidden = {"hidden_width": siren.width, "depth": siren.depth} if siren else {"hidden_width": 0, "depth": 0}
        prior = {"edge_prior": self.prior} if self.prior else {}
        return {"levels": self.latents.levels, "step": self.step, **hidden, **prior}

    def describe(self) -> str:
        """Describe the architecture in a few words."""
        siren = self.decoder.siren
        colors = f"{siren.depth} sine layers of {siren.width}" if siren else "linear colours"
        prior = ", edge prior" if self.prior else ""
        return f"wavelet latents of {self.latents.levels} levels, {colors}{prior}"

    def encode(self, kind: Mapping[str, str], provenance: Mapping[str, Any]) -> tuple[str, dict[str, Tensor]]:
        """Encode the field for a file; see the protocol."""
        siren = self.decoder.siren
        weights = [t.detach().cpu().double().numpy() for t in self.decoder.tensors()]
        contents = Contents(
            self.latents,
            *self.size,
            self.step,
            self.offsets,
            siren.width if siren else 0,
            weights,
            self.exponents,
            np.zeros(OFFSETS, np.int16) if self.shifts is None else self.shifts,
            provenance,
            self.prior,
        )
        data = np.frombuffer(encode_contents(contents, choose_coder().encode), np.uint8)
        return json.dumps({"format_version": VERSION, **kind}), {"data": torch.from_numpy(data.copy())}

    @classmethod
    def decode(
        cls, text: str, header: Mapping[str, Any], tensors: dict[str, Tensor], *, skip_damaged: bool = False
    ) -> tuple["WaveletSiren", Mapping[str, Any]]:
        """Build a field and its provenance from a file; see the protocol."""
        data = tensors.get("data")
        if header["format_version"] != VERSION or [*tensors] != ["data"] or data is None or data.dtype != torch.uint8:
            raise ValueError("the data of a compact field are missing, or the version is wrong")
        contents = decode_contents(data.numpy().tobytes(), choose_coder().decode, skip_damaged=skip_damaged)
        weights = [torch.from_numpy(w).float() for w in contents.weights]
        width, channels = contents.siren_width, len(contents.latents.coarse)
        generator = torch.Generator().manual_seed(0)
        groups = group_count(contents.latents.levels)
        decoder = ColorDecoder.init(channels, groups, width=width, generator=generator).with_tensors(weights)
        step, offsets, exponents = contents.step, contents.offsets, tuple(contents.exponents)
        size = contents.width, contents.height
        field = cls(contents.latents, *size, step, offsets, decoder, exponents, contents.shifts, contents.prior)
        return field, contents.provenance


def band_steps(step: float, offsets: Int16[np.ndarray, "bands channels"]) -> Float64[np.ndarray, "bands channels"]:
    """Return the quantisation steps of all bands and channels that belong to a base step."""
    steps: Float64[np.ndarray, "bands channels"] = step * 2.0 ** (offsets.astype(np.float64) / STEP_FRACTION)
    return steps
