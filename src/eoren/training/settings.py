"""Settings of a fit."""

import warnings
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from math import cos, pi
from types import MappingProxyType
from typing import Any

from eoren.checks import check_choice
from eoren.errors import DeprecatedSettingWarning, EorenError, ImageError
from eoren.image.gradients import SPLINE, STENCILS
from eoren.model.loss import OBJECTIVES, Objective
from eoren.model.quantization import BITS, stored_bits
from eoren.model.siren import MAX_SINE_LAYERS, parameter_count
from eoren.model.tiling import MIN_HALO

# Networks of smaller tiles would have more numbers than their tiles have.
_SMALLEST_TILE = 24
# Far beyond useful values; float32 overflows soon above.
_MAX_LEARNING_RATE = 1e6
# Numbers of a function: as many as the largest readable image with four channels has.
_MAX_NUMBERS = 2**32

PIXEL_MODELS = ("point_sample", "cell_average")

_NEW_NAMES = {"rate": "learning_rate", "adam_rate": "adam_learning_rate", "pixels": "pixel_model"}
_NEW_VALUES: Mapping[object, str] = MappingProxyType({"points": "point_sample", "areas": "cell_average"})


def current_names(settings: Mapping[str, Any], *, warn: bool = False) -> dict[str, Any]:
    """Replace setting names and values of earlier versions by today's; ``warn`` emits one warning with all names."""
    renamed: dict[str, Any] = {}
    changes: list[str] = []
    for name, value in settings.items():
        new_name, new_value = _NEW_NAMES.get(name, name), value
        if new_name == "pixel_model" and isinstance(value, str):
            new_value = _NEW_VALUES.get(value, value)
        if name != new_name and new_name in settings:
            raise EorenError(f"{name} is the former name of {new_name}; give only {new_name}")
        if (name, value) != (new_name, new_value):
            values = (f"={value}", f"={new_value}") if new_value != value else ("", "")
            changes.append(f"{name}{values[0]} is now {new_name}{values[1]}")
        renamed[new_name] = new_value
    if warn and changes:
        warnings.warn(f"settings were renamed: {', '.join(changes)}", DeprecatedSettingWarning, stacklevel=3)
    return renamed


def _largest_width(fits: Callable[[int], bool]) -> int:
    """Find the largest width that fits by bisection, 0 if none does."""
    end = 1
    while fits(end):
        end *= 2
    return bisect_left(range(1, end), True, key=lambda width: not fits(width))


@dataclass(frozen=True)
class Settings:
    """All settings of a fit; with the image, the seed and the device they determine the result.

    Attributes:
        preset: name of the preset that the settings derive from.
        objective: terms of the loss: ``gradient`` (EoREN), ``pixel`` or ``sobolev`` (both).
        gradient_weight: weight of the gradient term of ``sobolev``.
        pixel_model: meaning of a pixel's value: ``point_sample``, the value at its centre, or ``cell_average``, the
            average over its square, which gives better zooms (:mod:`eoren.image.cell_averages`).
        filter: source of the target gradients: ``spline``, the derivative of the interpolating quintic spline, which
            is consistent with the pixels, or a stencil, adjusted by its ramp response.
        width: units of a hidden layer.
        depth: number of sine layers.
        tile: side of an average tile in pixels, with one network each; None for one network. Tiles are smaller where
            the image has more edges.
        parameters: size of the whole function in stored numbers; it replaces ``tile`` and ``width``.
        bits_per_pixel: the same size in bits of the stored numbers per pixel; the file's description adds 2 to 3 kB.
        omega_first: frequency factor of the first layer; None for one that suits the size of the image or tile.
        omega_hidden: frequency factor of the other sine layers.
        halo: half the overlap of neighbouring tiles in pixels.
        optimizer: ``muon`` (hidden matrices; Adam for the other parameters) or ``adam``.
        learning_rate: learning rate of Muon in a fit of a thousand steps, see :meth:`lr_scale`, or of Adam alone.
        adam_learning_rate: learning rate of Adam beside Muon; None for one that suits the objective.
        decay: factor of the learning rate at the end of its cosine schedule; 1 keeps it constant.
        batch: pixels that every network sees in a step, without repetition within an epoch; None for all pixels.
        standardize: give every network targets of mean 0 and variance 1 in each channel instead of [-0.5, 0.5].
        alternate: fit one axis of the gradient per step, in turn, instead of both.
        bits: bits of a weight in the file: 32, 16 or 8.
        seconds: time budget in seconds, with preparing the targets; None for no limit.
        seconds_per_megapixel: time budget for images for which it gives more than ``seconds``.
        steps: number of steps; None for no limit. The cosine schedule spans the budget that ends first.
        until_psnr: PSNR of the colours (dB) at which to stop; None to use the whole budget.
    """

    preset: str
    objective: str = "sobolev"
    gradient_weight: float = 0.1
    pixel_model: str = "point_sample"
    filter: str = SPLINE
    width: int = 32
    depth: int = 3
    tile: int | None = 55
    parameters: int | None = None
    bits_per_pixel: float | None = None
    omega_first: float | None = None
    omega_hidden: float = 20.0
    halo: float = 1.0
    optimizer: str = "muon"
    learning_rate: float = 0.006
    adam_learning_rate: float | None = None
    decay: float = 0.01
    batch: int | None = 1024
    standardize: bool = True
    alternate: bool = True
    bits: int = 16
    seconds: float | None = None
    seconds_per_megapixel: float | None = None
    steps: int | None = None
    until_psnr: float | None = None

    def __post_init__(self) -> None:
        check_choice("objective", self.objective, OBJECTIVES)
        check_choice("pixel_model", self.pixel_model, PIXEL_MODELS)
        check_choice("filter", self.filter, [SPLINE, *STENCILS])
        check_choice("optimizer", self.optimizer, ["muon", "adam"])
        check_choice("bits", self.bits, BITS)
        may_be_zero = ("steps", "gradient_weight")
        for name, value in asdict(self).items():
            if type(value) in (int, float) and name not in may_be_zero and not 0 < value < float("inf"):
                raise EorenError(f"{name} must be a positive number, got {value}")
        if self.depth > MAX_SINE_LAYERS:
            raise EorenError(f"depth must be at most {MAX_SINE_LAYERS} sine layers, got {self.depth}")
        for name in may_be_zero:
            if not 0 <= (getattr(self, name) or 0) < float("inf"):
                raise EorenError(f"{name} must be zero or a positive number, got {getattr(self, name)}")
        if max(self.learning_rate, self.adam_learning_rate or 0.0) > _MAX_LEARNING_RATE:
            raise EorenError(
                f"learning rates must be at most {_MAX_LEARNING_RATE:g}, "
                f"got {self.learning_rate} and {self.adam_learning_rate}"
            )
        if self.halo < MIN_HALO:
            raise EorenError(f"halo must be at least {MIN_HALO:g} pixels, got {self.halo}")
        if self.decay > 1:
            raise EorenError(f"decay must be a factor of the learning rate, at most 1, got {self.decay}")
        if self.parameters is not None and self.bits_per_pixel is not None:
            raise EorenError("parameters and bits_per_pixel both set the size; give one of them")
        if self.seconds is None and self.seconds_per_megapixel is None and self.steps is None:
            raise EorenError("a fit needs a budget; give seconds or steps")
        if self.filter == "forward" and self.objective == "sobolev":
            raise EorenError(
                "filter 'forward' measures between the pixels, where there is no colour to fit; "
                "use objective 'gradient', or another filter"
            )

    def architecture(self, width: int, height: int, channels: int) -> tuple[int, int]:
        """Compute the number of networks for an image of a size in pixels, and their width.

        A size in parameters or bits is approached from below by the number of tiles while these stay larger than
        ``_SMALLEST_TILE`` pixels a side, and by the width of their networks beyond that.

        Raises:
            ImageError: the size is too small for any network, or larger than that of any image.

        Example:
            >>> Settings("balanced", steps=1000).architecture(768, 512, 3)
            (130, 32)
            >>> Settings("balanced", steps=1000, parameters=300_000).architecture(768, 512, 3)
            (129, 32)
        """
        count, hidden = self._unbounded(width, height, channels)
        if count * parameter_count(hidden, self.depth, channels) > _MAX_NUMBERS:
            raise ImageError(
                f"a function for {width} x {height} pixels would have more than {_MAX_NUMBERS:,} numbers with "
                f"these settings; give fewer parameters or bits, a smaller width, or larger tiles"
            )
        return count, hidden

    def _unbounded(self, width: int, height: int, channels: int) -> tuple[int, int]:
        """Compute :meth:`architecture` without its upper limit."""
        if self.bits_per_pixel is not None:
            size, unit = self.bits_per_pixel * width * height, "bits"
        elif self.parameters is not None:
            size, unit = self.parameters, "parameters"
        else:
            return (1 if self.tile is None else max(1, round(width * height / self.tile**2))), self.width
        budget = int(min(size, 2**60))  # far beyond the limit, and finite

        def cost(hidden: int) -> int:
            if unit == "bits":
                return stored_bits(hidden, self.depth, channels, self.bits)
            return parameter_count(hidden, self.depth, channels) + 2 * channels

        max_count = 1 if self.tile is None else max(1, width * height // _SMALLEST_TILE**2)
        count = min(max_count, max(1, budget // cost(self.width)))
        if count < max_count and budget >= cost(self.width):
            return count, self.width
        hidden = _largest_width(lambda hidden: count * cost(hidden) <= budget)
        if hidden == 0:
            raise ImageError(f"a size of {budget} {unit} is too small; one network needs {cost(1)} or more")
        return count, hidden

    def time_limit(self, width: int, height: int) -> float | None:
        """Compute the time budget in seconds for an image of a size in pixels; None for no limit."""
        if self.seconds_per_megapixel is None:
            return self.seconds
        return max(self.seconds or 0.0, self.seconds_per_megapixel * width * height / 1e6)

    def starting_omega(self, half: float) -> float:
        """Compute the frequency factor of the first layer of a network that covers ``2 half`` pixels.

        It starts the network at up to 0.2 radians per pixel, and never below SIREN's 30 radians over half its width:
        large images need higher frequencies than that, and learn them slowly.
        """
        return self.omega_first or max(30.0, 0.4 * half)

    @property
    def learning_rate_beside_muon(self) -> float:
        """Learning rate of Adam beside Muon; lower by default if no gradient term damps high frequencies."""
        return self.adam_learning_rate or (0.003 if self.loss.gradient == 0 else 0.006)

    def lr_scale(self, steps: float) -> float:
        """Compute the factor of the learning rates with Muon in a fit of a number of steps.

        The more steps, the smaller the best learning rates, so that the same settings suit any time, image and
        machine. The exponent was measured between 300 and 4,000 steps: docs/measurements.md.

        Example:
            >>> settings = Settings("balanced", steps=1000)
            >>> settings.lr_scale(1000.0), round(settings.lr_scale(3375.0), 6)
            (1.0, 0.666667)
        """
        return float((1000 / max(steps, 300)) ** (1 / 3)) if self.optimizer == "muon" else 1.0

    def schedule(self, done: float, steps: float) -> float:
        """Compute the factor of the learning rates: :meth:`lr_scale` times a cosine down to ``decay``.

        Args:
            done: share of the budget that is used up, 0..1.
            steps: number of steps that the whole budget allows.

        Example:
            >>> settings = Settings("balanced", steps=1000)
            >>> settings.schedule(0.0, 1000.0), round(settings.schedule(1.0, 1000.0), 6)
            (1.0, 0.01)
        """
        return self.lr_scale(steps) * (self.decay + (1 - self.decay) * (1 + cos(pi * done)) / 2)

    @property
    def loss(self) -> Objective:
        """The loss with the weights of its terms."""
        objective = OBJECTIVES[self.objective]
        return replace(objective, gradient=self.gradient_weight) if objective.name == "sobolev" else objective

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return asdict(self)
