"""The start of a compact fit: the step that meets a size or a quality, and latents by rate and distortion."""

import logging
from collections.abc import Callable
from math import inf, log, log2

import numpy as np

from eoren.coding.context_model import Shifts
from eoren.errors import ImageError
from eoren.evaluation.metrics import decibel
from eoren.field.wavelet_siren import WaveletSiren
from eoren.image.arrays import Image
from eoren.training.compact.analysis import Coefficients, analyze_image, band_energies, step_offsets
from eoren.training.compact.finish import linear_decoder, with_least_squares
from eoren.training.compact.rounding import (
    Rounded,
    choose_shifts,
    finest_step,
    latent_bits,
    round_coefficients,
    squared_error,
    step_of,
)
from eoren.training.compact.settings import CompactSettings
from eoren.training.compact.solving import solve_step

_log = logging.getLogger(__name__)

SIZE_TOLERANCE = 0.004  # of the bytes
_START_TOLERANCE = 0.02  # of the bytes: the last rounding meets them
PSNR_TOLERANCE = 0.01  # dB
_CORRECTIONS = 4  # of the estimated PSNR


def round_image(
    image: Image,
    settings: CompactSettings,
    *,
    overhead: Callable[[], int],
    color_psnr: Callable[[WaveletSiren], float],
    stop: Callable[[], bool],
) -> tuple[WaveletSiren, Coefficients]:
    """Return the field before its refinement: the wavelet coefficients, rounded by rate and distortion.

    Args:
        image: point values ``(H, W, C)``.
        settings: settings of the fit.
        overhead: function that returns the bytes of the file beside the latents.
        color_psnr: function that measures the colours of a field.
        stop: function that is called after every trial of a size or a quality, and returns true to take the best one.

    Returns:
        The field, and the coefficients of the image.
    """
    coefficients = analyze_image(image)
    offsets = step_offsets(coefficients.levels, image.shape[2], settings.gradient_weight)
    rounded = _Rounder(coefficients, offsets)

    def build(step: float) -> WaveletSiren:
        decoder, exponents = linear_decoder(image.shape[2], coefficients.levels, step)
        size = coefficients.width, coefficients.height
        latents, shifts = rounded.at(step).latents, rounded.shifts
        field = WaveletSiren(latents, *size, step, offsets, decoder, exponents, shifts)
        return with_least_squares(field, image, settings.gradient_weight)

    step = max(step_of(settings.lagrangian, image.shape[2]), rounded.finest)
    target = settings.target_bytes(coefficients.width, coefficients.height)
    if target is not None:
        step = _step_of_size(rounded, target, overhead(), step, stop)
    elif settings.until_psnr is not None:
        step = _step_of_psnr(rounded, settings.until_psnr, step, lambda step: color_psnr(build(step)), stop)
    return build(step), coefficients


def _step_of_size(rounded: "_Rounder", target: float, overhead: int, start: float, stop: Callable[[], bool]) -> float:
    def measure(step: float) -> float:
        return log2(rounded.bits(step) / 8)

    # Bits fall by a third to a half for every doubling of the step.
    room, tolerance = target - overhead, _START_TOLERANCE / log(2)
    limits = {"tolerance": tolerance, "finest": rounded.finest}
    if room >= 1 and (step := solve_step(measure, log2(room), start, slope=-0.6, at_most=True, stop=stop, **limits)):
        return step
    raise ImageError(
        f"a file of {target:,.0f} bytes is too small for this image; its description and parameters take {overhead} "
        "bytes, its colours more; give more bytes or bits per pixel"
    )


def _step_of_psnr(
    rounded: "_Rounder",
    target: float,
    start: float,
    measure: Callable[[float], float],
    stop: Callable[[], bool],
) -> float:
    """Find the step of a PSNR: by the coefficients' errors, corrected by the measured PSNR of the field."""
    aim, trials = target, []
    limits = {"tolerance": PSNR_TOLERANCE, "finest": rounded.finest}
    for _ in range(_CORRECTIONS):
        step = solve_step(rounded.psnr, aim, start, slope=-5.5, at_most=False, stop=stop, **limits)
        if step is None:
            break
        excess = measure(step) - target
        trials.append((excess < -PSNR_TOLERANCE, abs(excess), step))
        if abs(excess) <= 2 * PSNR_TOLERANCE or excess == inf or stop():
            break
        aim, start = aim - excess, step
    if not trials:
        raise ImageError(f"until_psnr must be a PSNR that this image can reach, got {target:g}; give less")
    return min(trials)[2]


class _Rounder:
    """The latents of an image at any step; remembers the last one."""

    def __init__(self, coefficients: Coefficients, offsets: np.ndarray) -> None:
        self._coefficients, self._offsets = coefficients, offsets
        self._energies = band_energies(coefficients.levels, 0.0)
        self._last: Rounded | None = None
        self.shifts: Shifts | None = None
        self.finest = finest_step(coefficients, offsets)

    def at(self, step: float) -> Rounded:
        if self._last is None or self._last.step != step:
            latents = round_coefficients(self._coefficients, step, self._offsets, self.shifts)
            if self.shifts is None:
                self.shifts = choose_shifts(latents, self._coefficients.width, self._coefficients.height)
                latents = round_coefficients(self._coefficients, step, self._offsets, self.shifts)
            self._last = Rounded(latents, step)
        return self._last

    def bits(self, step: float) -> float:
        width, height = self._coefficients.width, self._coefficients.height
        bits = latent_bits(self.at(step).latents, width, height, self.shifts)
        _log.info("step %.5g: %.0f bits", step, bits)
        return bits

    def psnr(self, step: float) -> float:
        error = squared_error(self._coefficients, self.at(step), self._offsets, self._energies)
        samples = len(self._coefficients.bands[0]) * self._coefficients.width * self._coefficients.height
        psnr = decibel(error / samples)
        _log.info("step %.5g: about %.2f dB", step, psnr)
        return psnr
