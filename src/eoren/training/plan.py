"""What a fit will take: time and size, estimated before it starts, and a warning if it got far too little of them."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
import torch
from jaxtyping import Float

from eoren.errors import ImageError, ShortFitWarning, SmallFileWarning
from eoren.field.representation import Representation
from eoren.field.wavelet_siren import WaveletSiren
from eoren.image.arrays import Image
from eoren.model.quantization import stored_bits
from eoren.training.compact.finish import with_siren
from eoren.training.compact.fit import fit_compact
from eoren.training.compact.settings import CONVERGED_STEPS, CompactSettings
from eoren.training.result import FitResult, FitTarget, Progress
from eoren.training.settings import Settings

_SIDES, _PLACES = (256, 362), (0.25, 0.75)  # windows that are fitted for an estimate, along the image's diagonal
# The time per pixel of an image of ten megapixels, as a share of that of a window, before, in and after the loop:
# what is measured on samples of the image does not grow with it. Measured on two processors.
_GROWTH = (0.2, 0.75, 0.42)
_LEAST_PIXELS = 3_000_000  # compact fits of smaller images take seconds
_LEAST_SECONDS = 10.0
_MOST_BITS = 2**43  # beyond the memory of machines: the fit says so
_DESCRIPTION = 450  # bytes of a file beside its latents, about
_SIREN_SHARES = (0.02, 0.1)  # of the training of a SIREN that are timed
_FEWEST_STEPS = 100  # of a mosaic, below which it is no image
_USUAL_STEPS = 300
_LEAST_PSNR = 20.0  # dB, of a compact field, below which photographs are hardly recognisable


@dataclass(frozen=True)
class Plan:
    """Estimated time and size of a fit; None for what is unknown."""

    pixels: int
    seconds: float | None
    bytes: float | None

    def __str__(self) -> str:
        """Describe the plan in one line, such as ``12.2 MP: about 4 min, about 5 MB``."""
        parts = [] if self.seconds is None else [f"about {_format_seconds(self.seconds)}"]
        if self.bytes is not None:
            parts.append(f"about {_format_bytes(self.bytes)}")
        return f"{self.pixels / 1e6:.3g} MP: {', '.join(parts)}"


def plan_fit(image: Image, settings: Settings | CompactSettings, *, device: torch.device) -> Plan | None:
    """Estimate what a fit takes on this machine, or return None if that is too little to be worth it.

    For a compact field, two windows of the image are fitted with the same settings and timed. The time of a mosaic
    is its budget.

    Args:
        image: ``(H, W, C)``, colours in [0, 1].
        settings: settings of the fit.
        device: device of the fit.

    Example:
        >>> from eoren.training.presets import make_settings
        >>> image = np.zeros((1200, 1000, 3), np.float32)
        >>> print(plan_fit(image, make_settings("mosaic"), device=torch.device("cpu")))
        1.2 MP: about 3 min, about 1.8 MB
    """
    height, width, channels = image.shape
    pixels, limit = width * height, settings.time_limit(width, height)
    if isinstance(settings, Settings):
        if limit is None or limit < _LEAST_SECONDS:
            return None
        count, hidden = settings.architecture(width, height, channels)
        bits = count * stored_bits(hidden, settings.depth, channels, settings.bits)
        return None if bits > _MOST_BITS else Plan(pixels, limit, bits / 8)
    if pixels < _LEAST_PIXELS:
        return None
    try:
        seconds, size = _probe(image, settings, device)
    except ImageError:  # the image has no field of this size or quality, and the fit raises the same
        return None
    size = settings.target_bytes(width, height) or size
    return Plan(pixels, seconds if limit is None else min(seconds, max(limit, _LEAST_SECONDS)), size)


def warn_if_too_little(result: FitResult) -> FitResult:
    """Emit a warning if the time left networks untrained, or the size hardly an image; return the result."""
    settings, (width, height) = result.settings, result.field.size
    if (
        isinstance(settings, CompactSettings)
        and result.ended == "budget"
        and settings.target_bytes(width, height) is not None
        and result.metrics.psnr < _LEAST_PSNR
    ):
        warnings.warn(
            f"{result.bytes:,} bytes are too few for {width} x {height} pixels: PSNR is "
            f"{result.metrics.psnr:.1f} dB; give a larger size, or none for that of the preset",
            SmallFileWarning,
            stacklevel=3,
        )
    if (
        isinstance(settings, Settings)
        and result.ended == "budget"
        and settings.time_limit(width, height) is not None
        and result.steps < min(_FEWEST_STEPS, settings.steps or _FEWEST_STEPS)
    ):
        needed = _USUAL_STEPS * result.seconds / max(result.steps, 1)
        warnings.warn(
            f"{result.steps} steps in {result.seconds:.1f} s are too few for the networks of {width} x {height} "
            f"pixels; give about {_format_seconds(needed)}, or a preset of compact fields such as balanced",
            ShortFitWarning,
            stacklevel=3,
        )
    return result


def _probe(image: Image, settings: CompactSettings, device: torch.device) -> tuple[float, float]:
    """Fit two windows of an image, and scale their seconds and bytes to the whole of it."""
    height, width, _ = image.shape
    pixels, target = height * width, settings.target_bytes(width, height)
    steps = CONVERGED_STEPS if settings.steps is None else settings.steps
    unlimited = replace(settings, steps=steps, seconds=None, seconds_per_megapixel=None)
    plain = replace(unlimited, bits_per_pixel=None, siren_width=0)

    def measure(side: int, at: float) -> tuple[int, float, int, FitResult]:
        window = _window(image, side, at)
        count = window.shape[0] * window.shape[1]
        size = None if target is None else int(target * count / pixels) + _DESCRIPTION
        moments = [monotonic()]

        def watch(progress: Progress) -> None:
            if progress.loop is not None:  # not between the trials of a size or quality
                moments.append(monotonic())

        watched = FitTarget(window, ""), replace(plain, bytes=size)
        result = fit_compact(*watched, device=device, watch=watch)
        moments.append(monotonic())
        return count, _growing_seconds(moments), result.bytes - _DESCRIPTION, result

    measure(_SIDES[0] // 8, 0.5)  # loads what the first fit of a process needs
    windows = [measure(side, at) for side, at in zip(_SIDES, _PLACES, strict=True)]
    (count, seconds, size, result), (more, longer, larger, _) = windows
    share = pixels / (count + more)
    seconds = share * (seconds + longer)
    if settings.siren_width:
        window = _window(image, _SIDES[0], _PLACES[0])
        seconds += _siren_seconds(result.field.to("cpu").representation, window, settings)
    return seconds, _DESCRIPTION + share * (size + larger)


def _growing_seconds(moments: Sequence[float]) -> float:
    """Return the seconds of a fit that grow with the image.

    Args:
        moments: the start, the calls of the watcher in the loop, of which there is one or more, and the end.
    """
    start, first, last, end = *moments[:2], *moments[-2:]
    return sum(share * spent for share, spent in zip(_GROWTH, (first - start, last - first, end - last), strict=True))


def _window(image: Image, side: int, at: float) -> Float[np.ndarray, "rows columns channels"]:
    """Cut a square out of an image, at a share of the way along the diagonal; of a narrow one a longer rectangle."""
    height, width, _ = image.shape
    rows = min(height, side)
    columns = min(width, side * side // rows)
    rows = min(height, side * side // columns)
    top, left = int(at * (height - rows)), int(at * (width - columns))
    return np.ascontiguousarray(image[top : top + rows, left : left + columns])


def _siren_seconds(field: Representation, window: Image, settings: CompactSettings) -> float:
    """Time some steps of the training of a SIREN, and scale them to all of it."""
    assert isinstance(field, WaveletSiren)
    weight, times = settings.gradient_weight, []
    for end in _SIREN_SHARES:

        def is_done(share: float, end: float = end) -> bool:
            return share >= end

        start = monotonic()
        with_siren(
            field,
            window,
            width=settings.siren_width,
            gradient_weight=weight,
            price=0.0,
            seed=0,
            seconds=None,
            stop=is_done,
        )
        times.append(monotonic() - start)
    return max(0.0, times[1] - times[0]) / (_SIREN_SHARES[1] - _SIREN_SHARES[0])


def _format_seconds(seconds: float) -> str:
    """Format a duration with one or two digits."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{_round(seconds / length)} {unit}"
    return f"{_round(max(seconds, 1.0))} s"


def _format_bytes(count: float) -> str:
    """Format a size with one or two digits and a decimal unit."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{_round(count / size)} {unit}"
    return f"{_round(count)} B"


def _round(value: float) -> str:
    """Round to two digits, as an integer from 10 on."""
    return f"{float(f'{value:.2g}'):g}"
