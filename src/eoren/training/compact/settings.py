"""Settings and presets of compact fits."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

from eoren.checks import check_choice
from eoren.errors import EorenError
from eoren.field.wavelet_file import MAX_WIDTH
from eoren.training.settings import PIXEL_MODELS

_SIZES = ("bits_per_pixel", "bytes", "until_psnr", "lagrangian")
# Far beyond useful values, and far within the steps that the format holds.
_MAX_WEIGHT = 1e6

CONVERGED_STEPS = 24
"""Steps of a fit with a time budget: the refinement of latents has converged before, after some twelve."""


@dataclass(frozen=True)
class CompactSettings:
    """All settings of a compact fit; with the image, the seed and the device they determine the result.

    The fit minimises ``D + lagrangian bits / pixel``, where D is the mean squared error of the colours plus
    ``gradient_weight`` times that of the gradients in intensity per pixel. A size or a quality is reached by the
    Lagrangian that belongs to it.

    Attributes:
        preset: name of the preset that the settings derive from.
        bits_per_pixel: size of the file in bits per pixel of the image.
        bytes: size of the file in bytes.
        until_psnr: PSNR of the colours over all pixels in dB.
        lagrangian: price of a bit per pixel in squared errors, at most 1e6, where no size or quality is given. A very
            small price gives the finest field that the format holds.
        gradient_weight: weight of the gradients' errors, at most 1e6.
        pixel_model: meaning of a pixel's value: ``point_sample`` or ``cell_average``, see
            :class:`eoren.training.settings.Settings`.
        siren_width: units of the two sine layers of the color decoder; 0 for linear colours.
        edge_prior: whether a field of point samples gets the edge prior, where it helps with the image itself.
        seconds: time budget in seconds, for the refinement and the sine layers; None for no limit. Meeting a size or
            a quality takes the time that it needs.
        seconds_per_megapixel: time budget for images for which it gives more than ``seconds``.
        steps: number of steps of the refinement of latents; None for no limit, 0 for none.
    """

    preset: str
    bits_per_pixel: float | None = None
    bytes: int | None = None
    until_psnr: float | None = None
    lagrangian: float = 2.2e-5
    gradient_weight: float = 0.1
    pixel_model: str = "point_sample"
    siren_width: int = 0
    edge_prior: bool = True
    seconds: float | None = None
    seconds_per_megapixel: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        check_choice("pixel_model", self.pixel_model, PIXEL_MODELS)
        may_be_zero = ("steps", "gradient_weight", "siren_width")
        for name, value in asdict(self).items():
            least_is_zero = name in may_be_zero
            if type(value) in (int, float) and not (0 <= value < float("inf") and (value > 0 or least_is_zero)):
                least = "zero or a positive number" if least_is_zero else "a positive number"
                raise EorenError(f"{name} must be {least}, got {value}")
        for name in ("lagrangian", "gradient_weight"):
            if getattr(self, name) > _MAX_WEIGHT:
                raise EorenError(f"{name} must be at most {_MAX_WEIGHT:g}, got {getattr(self, name)}")
        if self.siren_width > MAX_WIDTH or self.siren_width % 16:
            raise EorenError(f"siren_width must be a multiple of 16 up to {MAX_WIDTH}, or 0, got {self.siren_width}")
        if self.seconds is None and self.seconds_per_megapixel is None and self.steps is None:
            raise EorenError("a fit needs a budget; give seconds or steps")
        sizes = [name for name in _SIZES[:3] if getattr(self, name) is not None]
        if len(sizes) > 1:
            raise EorenError(f"{' and '.join(sizes)} both set the size; give one of them")

    def target_bytes(self, width: int, height: int) -> float | None:
        """Return the size of the file in bytes; None if the settings do not give one."""
        if self.bits_per_pixel is not None:
            return self.bits_per_pixel * width * height / 8
        return None if self.bytes is None else float(self.bytes)

    def time_limit(self, width: int, height: int) -> float | None:
        """Compute the time budget in seconds for an image of a size in pixels; None for no limit."""
        if self.seconds_per_megapixel is None:
            return self.seconds
        return max(self.seconds or 0.0, self.seconds_per_megapixel * width * height / 1e6)

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON values, without those that are the preset's."""
        preset = asdict(PRESETS[self.preset])
        kept = {"preset"}
        if self.seconds is not None or self.seconds_per_megapixel is not None:
            kept.add("steps")  # a time budget alone changes the preset's steps
        return {name: value for name, value in asdict(self).items() if name in kept or value != preset[name]}


PRESETS: Mapping[str, CompactSettings] = MappingProxyType(
    {
        settings.preset: settings
        for settings in (
            CompactSettings("fast", steps=2),
            CompactSettings("balanced", steps=12, gradient_weight=0.15),
            CompactSettings("best", steps=CONVERGED_STEPS, gradient_weight=0.15, siren_width=32),
        )
    }
)
"""Presets of compact fits by name."""

NAMES = tuple(field.name for field in fields(CompactSettings))[1:]
"""Names of the settings of compact fits."""
