"""A compact fit from the image to the result: step and latents, descent, file, measurement."""

import logging
from collections.abc import Callable
from dataclasses import replace
from math import ceil, inf, log, log2
from pathlib import Path
from time import monotonic

import numpy as np
import torch

from eoren._version import __version__
from eoren.backends.dispatch import choose_coder
from eoren.coding.bands import Latents, blocks, choose_levels
from eoren.coding.parameters import FINEST
from eoren.errors import EorenError
from eoren.evaluation.metrics import METRICS, color_psnr, decibel, evaluate
from eoren.field.field import Field
from eoren.field.provenance import Provenance
from eoren.field.serialization import dumps, loads
from eoren.field.wavelet_siren import WaveletSiren
from eoren.image.arrays import Image
from eoren.image.cell_averages import point_values
from eoren.model.color_decoder import ColorDecoder
from eoren.model.latent_features import group_count
from eoren.training.compact.analysis import Coefficients, analyze_image, band_energies, step_offsets
from eoren.training.compact.rounding import (
    Rounded,
    latent_bits,
    round_coefficients,
    solve_step,
    squared_error,
    step_of,
)
from eoren.training.compact.settings import CompactSettings
from eoren.training.result import Ended, FitResult, FitTarget, Progress

_log = logging.getLogger(__name__)

_SIZE_TOLERANCE = 0.004  # of the bytes
_PSNR_TOLERANCE = 0.01  # dB
_METRIC_DIGITS = 4
_CORRECTIONS = 4  # of the estimated PSNR
_LINEAR_BITS = 10  # fractional bits of the linear part of the color decoder, at least


def round_image(
    image: Image,
    settings: CompactSettings,
    *,
    overhead: Callable[[], int],
    color_psnr: Callable[[WaveletSiren], float],
) -> WaveletSiren:
    """Return the field at the start of a descent: the wavelet coefficients, rounded by rate and distortion.

    Args:
        image: point values ``(H, W, C)``.
        settings: settings of the fit.
        overhead: function that returns the bytes of the file beside the latents.
        color_psnr: function that measures the colours of a field.
    """
    coefficients = analyze_image(image)
    offsets = step_offsets(coefficients.levels, image.shape[2], settings.gradient_weight)
    rounded = _Rounder(coefficients, offsets)

    def build(step: float) -> WaveletSiren:
        decoder = ColorDecoder.init(image.shape[2], group_count(coefficients.levels))
        bits = _linear_bits(step)
        decoder = decoder.with_tensors([torch.round(t * 2**bits) / 2**bits for t in decoder.tensors()])
        size = coefficients.width, coefficients.height
        return WaveletSiren(rounded.at(step).latents, *size, step, offsets, decoder, (bits,))

    step = step_of(settings.lagrangian, image.shape[2])
    target = settings.target_bytes(coefficients.width, coefficients.height)
    if target is not None:
        step = _step_of_size(rounded, target, overhead(), step)
    elif settings.until_psnr is not None:
        step = _step_of_psnr(rounded, settings.until_psnr, step, lambda step: color_psnr(build(step)))
    return build(step)


def _step_of_size(rounded: "_Rounder", target: float, overhead: int, start: float) -> float:
    def measure(step: float) -> float:
        return log2(rounded.bits(step) / 8)

    # Bits fall by a third to a half for every doubling of the step.
    room, tolerance = target - overhead, _SIZE_TOLERANCE / log(2)
    if room >= 1 and (step := solve_step(measure, log2(room), start, slope=-0.6, tolerance=tolerance, at_most=True)):
        return step
    raise EorenError(
        f"a file of {target:,.0f} bytes is too small for this image; its description and parameters take {overhead} "
        "bytes, its colours more; give more bytes or bits per pixel"
    )


def _step_of_psnr(rounded: "_Rounder", target: float, start: float, measure: Callable[[float], float]) -> float:
    """Find the step of a PSNR: by the coefficients' errors, corrected by the measured PSNR of the field."""
    aim, trials = target, []
    for _ in range(_CORRECTIONS):
        step = solve_step(rounded.psnr, aim, start, slope=-5.5, tolerance=_PSNR_TOLERANCE, at_most=False)
        if step is None:
            break
        excess = measure(step) - target
        trials.append((excess < -_PSNR_TOLERANCE, abs(excess), step))
        if abs(excess) <= 2 * _PSNR_TOLERANCE or excess == inf:
            break
        aim, start = aim - excess, step
    if not trials:
        raise EorenError(f"until_psnr must be a PSNR that this image can reach, got {target:g}; give less")
    return min(trials)[2]


def _linear_bits(step: float) -> int:
    """Return the fractional bits of the linear decoder: its rounding must not be seen beside that of the latents."""
    return min(max(_LINEAR_BITS, ceil(-log2(step)) + 4), FINEST)


def fit_compact(
    target: FitTarget,
    settings: CompactSettings,
    *,
    seed: int = 0,
    device: torch.device,
    watch: Callable[[Progress], bool | None] | None = None,
    checkpoint: Path | None = None,
) -> FitResult:
    """Fit a compact field to an image; :func:`eoren.fit` documents the arguments."""
    start = monotonic()
    image = point_values(target.image) if settings.pixel_model == "cell_average" else target.image
    height, width, channels = image.shape
    provenance = Provenance(settings.as_dict(), seed, 0, None, target.sha256, version=__version__)
    provenance = replace(provenance, composition=dict(target.composition))
    reference = target.image if target.reference is None else target.reference
    representation = round_image(
        image,
        settings,
        overhead=lambda: _overhead(width, height, channels, provenance),
        color_psnr=lambda colors: color_psnr(Field(colors, provenance), reference),
    )
    elapsed = monotonic() - start
    fitted = loads(dumps(Field(representation, provenance))).to(device)
    metrics = evaluate(fitted, reference)
    quality = {name: value for name, value in metrics.as_dict().items() if name in METRICS}
    quality = {name: value and round(value, _METRIC_DIGITS) for name, value in quality.items()}
    fitted = replace(fitted, provenance=replace(provenance, metrics=quality))
    progress = Progress(0, elapsed, 1.0, metrics.psnr, metrics.gradient_psnr)
    if watch is not None:
        watch(progress)
    ended: Ended = "budget" if settings.until_psnr is None or metrics.psnr < settings.until_psnr - 0.05 else "target"
    return FitResult(fitted, metrics, (progress,), settings, seed, 0, elapsed, ended)


def _overhead(width: int, height: int, channels: int, provenance: Provenance) -> int:
    """Return the bytes of a file beside its latents, for typical numbers."""
    metrics = dict.fromkeys(METRICS, 12.3456)
    levels = choose_levels(width, height)
    empty = Latents.zeros(channels, height, width, levels)
    decoder = ColorDecoder.init(channels, group_count(levels))
    offsets = step_offsets(levels, channels, 0.1)
    field = WaveletSiren(empty, width, height, 0.0123456789, offsets, decoder, (_LINEAR_BITS,))
    whole = len(dumps(Field(field, replace(provenance, metrics=metrics))))
    return whole - sum(len(choose_coder().encode(empty.block(box))) for box in blocks(width, height, levels))


class _Rounder:
    """The latents of an image at any step; remembers the last one."""

    def __init__(self, coefficients: Coefficients, offsets: np.ndarray) -> None:
        self._coefficients, self._offsets = coefficients, offsets
        self._energies = band_energies(coefficients.levels, 0.0)
        self._last: Rounded | None = None

    def at(self, step: float) -> Rounded:
        if self._last is None or self._last.step != step:
            self._last = Rounded(round_coefficients(self._coefficients, step, self._offsets), step)
        return self._last

    def bits(self, step: float) -> float:
        bits = latent_bits(self.at(step).latents, self._coefficients.width, self._coefficients.height)
        _log.info("step %.5g: %.0f bits", step, bits)
        return bits

    def psnr(self, step: float) -> float:
        error = squared_error(self._coefficients, self.at(step), self._offsets, self._energies)
        samples = len(self._coefficients.bands[0]) * self._coefficients.width * self._coefficients.height
        psnr = decibel(error / samples)
        _log.info("step %.5g: about %.2f dB", step, psnr)
        return psnr
