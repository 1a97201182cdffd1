"""The compact field: wavelet latents carry the bits, and a small SIREN makes colours of their features."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float, Float64, Int16

from eoren.backends.dispatch import choose_coder, choose_latent_evaluator
from eoren.backends.latents.base import LatentBackend, LatentEvaluator
from eoren.backends.latents.native import NativeLatentEvaluator
from eoren.backends.latents.prior import PriorEvaluator
from eoren.backends.mosaic_evaluation import Jet
from eoren.coding.bands import Latents
from eoren.coding.context_model import OFFSETS, Shifts
from eoren.field.representation import UNIT, Extent, Quantity
from eoren.field.wavelet_file import VERSION, Contents, decode_contents, encode_contents
from eoren.model.arrays import Array, as_numpy, as_tensor, is_tensor
from eoren.model.isolation import untransformed
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.features import LatentFeatures
from eoren.model.latents.wavelet import unflatten
from eoren.model.siren import Siren

if TYPE_CHECKING:
    import torch

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
    def device(self) -> "torch.device":
        """Device of the parameters."""
        return as_tensor(self.decoder.linear).device

    @property
    def requires_grad(self) -> bool:
        """Whether PyTorch follows any of the parameters."""
        return any(is_tensor(t) and t.requires_grad for t in self.decoder.tensors())

    @property
    def is_native(self) -> bool:
        """Whether the native backend evaluates the function; see the protocol."""
        return choose_latent_evaluator(self.decoder) is NativeLatentEvaluator

    def to(self, *args: Any, **kwargs: Any) -> "WaveletSiren":
        """Return the same function with tensors on another device or in another precision, as ``Tensor.to``."""
        return replace(self, decoder=self.decoder.to(*args, **kwargs))

    @cached_property
    def features(self) -> LatentFeatures:
        """The features that the color decoder sees, as arrays in the precision of its parameters."""
        dtype = np.float64 if "float64" in str(self.decoder.linear.dtype) else np.float32
        steps = self.steps().astype(dtype)
        return LatentFeatures(unflatten([*self.latents.bands()]), tuple(map(np.diag, steps)), *self.size)

    @cached_property
    def _evaluators(self) -> dict[LatentBackend, tuple[tuple[Any, ...], LatentEvaluator]]:
        return {}

    def _evaluator(self, *, differentiable: bool) -> LatentEvaluator:
        """Return the evaluator of a backend; a new one if a parameter of the decoder changed."""
        kind = choose_latent_evaluator(self.decoder, differentiable=differentiable)
        state = tuple(map(_state, self.decoder.tensors()))
        if kind not in self._evaluators or self._evaluators[kind][0] != state:
            with untransformed():
                evaluator = self._new_evaluator(kind)
            self._evaluators[kind] = state, evaluator
        return self._evaluators[kind][1]

    def _new_evaluator(self, kind: LatentBackend) -> LatentEvaluator:
        if self.prior:
            return PriorEvaluator(kind, self.features, self.decoder, self.prior)
        return kind(self.features, self.decoder)

    def steps(self) -> Float[np.ndarray, "bands channels"]:
        """Return the quantisation steps of all bands and channels, float64."""
        return band_steps(self.step, self.offsets)

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
        evaluator = self._evaluator(differentiable=differentiable)
        return evaluator.jet(points, gradient=gradient, laplacian=laplacian, extent=extent)

    def sample(
        self,
        x: Float64[np.ndarray, " columns"],
        y: Float64[np.ndarray, " rows"],
        *quantities: Quantity,
        extent: Extent = UNIT,
    ) -> tuple[np.ndarray, ...]:
        """Evaluate quantities on a grid; see the protocol."""
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

    def encode(self, kind: Mapping[str, str], provenance: Mapping[str, Any]) -> tuple[str, dict[str, np.ndarray]]:
        """Encode the field for a file; see the protocol."""
        siren = self.decoder.siren
        weights = [as_numpy(t).astype(np.float64) for t in self.decoder.tensors()]
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
        return json.dumps({"format_version": VERSION, **kind}), {"data": data}

    @classmethod
    def decode(
        cls, text: str, header: Mapping[str, Any], tensors: dict[str, np.ndarray], *, skip_damaged: bool = False
    ) -> tuple["WaveletSiren", Mapping[str, Any]]:
        """Build a field and its provenance from a file; see the protocol."""
        data = tensors.get("data")
        if header["format_version"] != VERSION or [*tensors] != ["data"] or data is None or data.dtype != np.uint8:
            raise ValueError("the data of a compact field are missing, or the version is wrong")
        contents = decode_contents(data.tobytes(), choose_coder().decode, skip_damaged=skip_damaged)
        linear, *others = (w.astype(np.float32) for w in contents.weights)
        layers = len(others) // 2
        siren = Siren(tuple(others[:layers]), tuple(others[layers:]), (1.0,) * (layers - 1)) if others else None
        decoder = ColorDecoder(linear, siren)
        step, offsets, exponents = contents.step, contents.offsets, tuple(contents.exponents)
        size = contents.width, contents.height
        field = cls(contents.latents, *size, step, offsets, decoder, exponents, contents.shifts, contents.prior)
        return field, contents.provenance


def band_steps(step: float, offsets: Int16[np.ndarray, "bands channels"]) -> Float64[np.ndarray, "bands channels"]:
    """Return the quantisation steps of all bands and channels that belong to a base step."""
    steps: Float64[np.ndarray, "bands channels"] = step * 2.0 ** (offsets.astype(np.float64) / STEP_FRACTION)
    return steps


def _state(parameter: Array) -> tuple[Any, ...]:
    """Return what changes with the values of a parameter, and with what PyTorch follows."""
    if is_tensor(parameter):
        return parameter.data_ptr(), parameter._version, parameter.requires_grad
    return parameter.shape, parameter.tobytes()
