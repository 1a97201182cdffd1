"""Settings of a fit, and the named sets of them that are worth having."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import cos, pi
from types import MappingProxyType
from typing import Any, get_type_hints

from eoren.errors import EorenError, ImageError
from eoren.image.gradients import SPLINE, STENCILS
from eoren.model.loss import OBJECTIVES, Objective
from eoren.model.quantization import BITS, stored_bits
from eoren.model.siren import MOST_LAYERS, parameter_count
from eoren.model.tiling import LEAST_HALO

# Networks of smaller tiles would have more numbers than their tiles have.
_SMALLEST_TILE = 24
# Far beyond all use; numbers of 32 bits end soon after.
_MOST_RATE = 1e6
# In a function: as many as the largest image that is read has, with four channels.
_MOST_NUMBERS = 2**32


# These come first because the presets below are checked as they are made.
def _choice(what: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        raise EorenError(f"{what} {value!r} is unknown; choose one of {', '.join(map(str, choices))}")


def _above_zero(name: str, value: float | int) -> None:
    if not 0 < value < float("inf"):
        raise EorenError(f"{name} is {value}, but must be a number above zero")


def _widest(fits: Callable[[int], bool]) -> int:
    """The largest width that fits; 0 if none does. Every width above one that does not fit does not, either."""
    end = 1
    while fits(end):
        end *= 2
    return bisect_left(range(1, end), True, key=lambda width: not fits(width))


@dataclass(frozen=True)
class Settings:
    """Everything that decides a fit besides the image, the seed and the device.

    Attributes:
        preset: the set these came from.
        objective: ``gradient`` (EoREN), ``pixel`` or ``sobolev`` (both).
        gradient_weight: of the gradient term of ``sobolev``; the others have one term alone.
        pixels: what a pixel of the image is: ``points``, the value at its centre, or ``areas``, the average over
            its square, which zooms better (:mod:`eoren.image.cell_averages`).
        filter: where target gradients come from: ``spline``, the derivative of the interpolating quintic
            spline, which agrees with the pixels; or a stencil, adjusted by its ramp response.
        width: units of a hidden layer.
        depth: sine layers.
        tile: pixels along the side of an average tile, one network each; none for one network. Tiles are smaller
            where the image has more edges.
        parameters: size of the whole function in numbers stored; it replaces ``tile`` and ``width``.
        bits_per_pixel: the same as bits of the file's numbers a pixel; its description adds two or three kB.
        omega_first: frequency factor of the first layer; none for one that suits the size of the image or tile.
        omega_hidden: frequency factor of the other sine layers.
        halo: half the overlap of neighbouring tiles, in pixels.
        optimizer: ``muon`` (hidden matrices; Adam for the rest) or ``adam``.
        rate: learning rate of Muon in a fit of a thousand steps, see :meth:`pace`; or of Adam where it is alone.
        adam_rate: learning rate of Adam beside Muon, likewise; none for one that suits the objective.
        decay: what the learning rate comes down to along a cosine, as a fraction; 1 keeps it.
        batch: pixels that every network sees in a step, fresh ones until all had their turn; none for all of them.
        standardize: let networks see colours of mean 0 and variance 1, each its own, instead of [-0.5, 0.5].
        alternate: fit one axis of the gradient a step, in turn, instead of both.
        bits: that a weight takes in the file: 32, 16 or 8.
        seconds: time for the fit, targets included; none for no limit.
        seconds_per_megapixel: time for images to which it gives more than ``seconds``.
        steps: number of steps; none for no limit. The cosine runs over whichever budget there is.
        until_psnr: stop when the colours are this good (dB); none to use the whole budget.
    """

    preset: str
    objective: str = "sobolev"
    gradient_weight: float = 0.1
    pixels: str = "points"
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
    rate: float = 0.006
    adam_rate: float | None = None
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
        """Refuse what cannot be fitted, naming the option."""
        _choice("objective", self.objective, [*OBJECTIVES])
        _choice("pixels", self.pixels, ["points", "areas"])
        _choice("filter", self.filter, [SPLINE, *STENCILS])
        _choice("optimizer", self.optimizer, ["muon", "adam"])
        _choice("bits", self.bits, BITS)
        for name in ("width", "depth", "halo", "omega_hidden", "rate", "decay"):
            _above_zero(name, getattr(self, name))
        for name in (
            "tile",
            "parameters",
            "bits_per_pixel",
            "batch",
            "omega_first",
            "adam_rate",
            "seconds",
            "seconds_per_megapixel",
            "until_psnr",
        ):
            if getattr(self, name) is not None:
                _above_zero(name, getattr(self, name))
        if self.depth > MOST_LAYERS:
            raise EorenError(f"depth is {self.depth}, but must be at most {MOST_LAYERS} sine layers")
        for name in ("steps", "gradient_weight"):
            if not 0 <= (getattr(self, name) or 0) < float("inf"):
                raise EorenError(f"{name} is {getattr(self, name)}, but must be a number, zero or above")
        if max(self.rate, self.adam_rate or 0.0) > _MOST_RATE:
            raise EorenError(f"rates are {self.rate} and {self.adam_rate}, but must be at most {_MOST_RATE:g}")
        if self.halo < LEAST_HALO:
            raise EorenError(f"halo is {self.halo}, but must be at least {LEAST_HALO:g} pixels")
        if self.decay > 1:
            raise EorenError(f"decay is {self.decay}, but is a share of the learning rate, at most 1")
        if self.parameters is not None and self.bits_per_pixel is not None:
            raise EorenError("parameters and bits_per_pixel both set the size; give one of them")
        if self.seconds is None and self.seconds_per_megapixel is None and self.steps is None:
            raise EorenError("a fit needs an end: give seconds or steps")
        if self.filter == "forward" and self.objective == "sobolev":
            raise EorenError(
                "filter 'forward' measures between the pixels, where there is no colour to fit; "
                "use objective 'gradient', or another filter"
            )

    def architecture(self, width: int, height: int, channels: int) -> tuple[int, int]:
        """How many networks an image gets, and how wide they are.

        A size in parameters or bits is met as nearly as it can be from below: by the number of tiles while they
        stay larger than ``_SMALLEST_TILE`` pixels a side, by their networks' width beyond that.

        Args:
            width: of the image, in pixels.
            height: of the image, in pixels.
            channels: of the image.

        Raises:
            ImageError: a size too small for any network, or of more numbers than any image has.

        Example:
            >>> make_settings("balanced").architecture(768, 512, 3)
            (130, 32)
            >>> make_settings("balanced", parameters=300_000).architecture(768, 512, 3)
            (129, 32)
        """
        count, hidden = self._unbounded(width, height, channels)
        if count * parameter_count(hidden, self.depth, channels) > _MOST_NUMBERS:
            raise ImageError(
                f"a function for {width} x {height} pixels would have more than {_MOST_NUMBERS:,} numbers with "
                f"these settings; ask for fewer parameters or bits, a smaller width, or larger tiles"
            )
        return count, hidden

    def _unbounded(self, width: int, height: int, channels: int) -> tuple[int, int]:
        """:meth:`architecture`, however large."""
        if self.bits_per_pixel is not None:
            wanted, what = self.bits_per_pixel * width * height, "bits"
        elif self.parameters is not None:
            wanted, what = self.parameters, "parameters"
        else:
            return (1 if self.tile is None else max(1, round(width * height / self.tile**2))), self.width
        budget = int(min(wanted, 2**60))  # far beyond the limit, and not infinite

        def cost(hidden: int) -> int:
            if what == "bits":
                return stored_bits(hidden, self.depth, channels, self.bits)
            return parameter_count(hidden, self.depth, channels) + 2 * channels

        room = 1 if self.tile is None else max(1, width * height // _SMALLEST_TILE**2)
        count = min(room, max(1, budget // cost(self.width)))
        if count < room and budget >= cost(self.width):
            return count, self.width
        hidden = _widest(lambda hidden: count * cost(hidden) <= budget)
        if hidden == 0:
            raise ImageError(f"a size of {budget} {what} is too small; one network needs {cost(1)} or more")
        return count, hidden

    def time_limit(self, width: int, height: int) -> float | None:
        """Seconds for an image of so many pixels; none for no limit.

        Example:
            >>> make_settings("balanced").time_limit(768, 512), make_settings("balanced").time_limit(6000, 4000)
            (60.0, 3600.0)
        """
        if self.seconds_per_megapixel is None:
            return self.seconds
        return max(self.seconds or 0.0, self.seconds_per_megapixel * width * height / 1e6)

    def starting_omega(self, half: float) -> float:
        """The first layer's frequency factor for a network that covers ``2 half`` pixels.

        It starts the network at up to 0.2 radians a pixel, and never below SIREN's 30 radians over half its
        width: large images need finer waves than that, and learn them slowly.
        """
        return self.omega_first or max(30.0, 0.4 * half)

    @property
    def rate_beside_muon(self) -> float:
        """Learning rate of Adam beside Muon. Colours alone do not hold high frequencies back."""
        return self.adam_rate or (0.003 if self.weights().gradient == 0 else 0.006)

    def pace(self, steps: float) -> float:
        """What the rates beside Muon, and its own, are multiplied with in a fit of so many steps.

        The more steps there are, the smaller the best ones: so time, images and machines of any size are served by
        the same settings. The exponent was measured between 300 and 4,000 steps: docs/measurements.md.

        Example:
            >>> make_settings("balanced").pace(1000.0), round(make_settings("balanced").pace(3375.0), 6)
            (1.0, 0.666667)
        """
        return float((1000 / max(steps, 300)) ** (1 / 3)) if self.optimizer == "muon" else 1.0

    def schedule(self, done: float, steps: float) -> float:
        """What the rates are multiplied with: :meth:`pace`, and a cosine down to ``decay`` over the budget.

        Args:
            done: share of the budget that is used up, 0..1.
            steps: that the whole budget allows.

        Example:
            >>> settings = make_settings("balanced")
            >>> settings.schedule(0.0, 1000.0), round(settings.schedule(1.0, 1000.0), 6)
            (1.0, 0.01)
        """
        return self.pace(steps) * (self.decay + (1 - self.decay) * (1 + cos(pi * done)) / 2)

    def weights(self) -> Objective:
        """The objective with its weights."""
        objective = OBJECTIVES[self.objective]
        return replace(objective, gradient=self.gradient_weight) if objective.name == "sobolev" else objective

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


PRESETS: Mapping[str, Settings] = MappingProxyType(
    {
        settings.preset: settings
        for settings in (
            Settings("fast", seconds=10.0, seconds_per_megapixel=25.0),
            Settings("balanced", seconds=60.0, seconds_per_megapixel=150.0),
            Settings("best", tile=40, batch=512, seconds=107.0, seconds_per_megapixel=270.0),
            # For many images: docs/scaling.md. Steps, not seconds, so that every one gets the same. A third of a
            # digit's pixels in a step: more steps of fewer pixels are better, until the noise is too much.
            Settings(
                "small",
                objective="pixel",
                width=16,
                tile=32,
                omega_hidden=15.0,
                rate=0.008,
                adam_rate=0.008,
                batch=264,
                steps=130,
            ),
            # The best that was found for one network in a minute.
            Settings(
                "single",
                gradient_weight=0.3,
                width=256,
                depth=4,
                omega_hidden=30.0,
                tile=None,
                batch=2048,
                rate=0.002,
                adam_rate=0.0005,
                seconds=60.0,
            ),
            # arXiv 2209.11697, section 4: 950 of 1000 epochs are the Edge-Oriented Module's. The 50 of the
            # Channel Tuning Module look for what tuning.py finds exactly, so they are not run.
            Settings(
                "paper",
                objective="gradient",
                filter="central",
                width=256,
                depth=5,
                tile=None,
                optimizer="adam",
                rate=1e-4,
                decay=1.0,
                batch=None,
                omega_first=30.0,
                omega_hidden=30.0,
                standardize=False,
                alternate=False,
                bits=32,
                steps=950,
            ),
        )
    }
)


def make_settings(preset: str = "balanced", **changes: Any) -> Settings:
    """A preset with some settings changed.

    Steps or seconds that are given replace the preset's budget, its seconds per megapixel included.

    Raises:
        EorenError: an unknown preset or setting, or a value that cannot be.

    Example:
        >>> settings = make_settings("paper", steps=10)
        >>> settings.objective, settings.steps, settings.seconds
        ('gradient', 10, None)
    """
    _choice("preset", preset, [*PRESETS])
    known = get_type_hints(Settings)
    given = dict(changes)
    for name, value in changes.items():
        _choice("setting", name, [field.name for field in fields(Settings)][1:])
        given[name] = _converted(name, value, known[name])
    if "steps" in given or "seconds" in given:
        given = {"steps": None, "seconds": None, "seconds_per_megapixel": None, **given}
    return replace(PRESETS[preset], **given)


def _converted(name: str, value: Any, kind: Any) -> Any:
    """An integer is welcome where a float is meant; anything else must be of the right type."""
    kinds = getattr(kind, "__args__", (kind,))
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(k.__name__ for k in kinds if k is not type(None))
        raise EorenError(f"{name} is {value!r}, but must be of type {names}")
    return value
