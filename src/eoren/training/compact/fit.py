"""A compact fit from the image to the result: step and latents, descent, file, measurement."""

import logging
from collections.abc import Callable
from dataclasses import replace
from math import log2
from pathlib import Path
from time import monotonic

import numpy as np
import torch

from eoren._version import __version__
from eoren.coding.bands import Latents, blocks, choose_levels
from eoren.backends.dispatch import choose_coder
from eoren.errors import EorenError
from eoren.evaluation.metrics import METRICS, decibel, evaluate
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
_LINEAR_BITS = 10  # fractional bits of the linear part of the color decoder


def round_image(image: Image, settings: CompactSettings, overhead: Callable[[], int]) -> WaveletSiren:
    """Return the field at the start of a descent: the wavelet coefficients, rounded by rate and distortion.

    Args:
        image: point values ``(H, W, C)``.
        settings: settings of the fit.
        overhead: function that returns the bytes of the file beside the latents.
    """
    coefficients = analyze_image(image)
    offsets = step_offsets(coefficients.levels, image.shape[2], settings.gradient_weight)
    rounded = _Rounder(coefficients, offsets)
    step = step_of(settings.lagrangian, image.shape[2])
    target = settings.target_bytes(coefficients.width, coefficients.height)
    if target is not None:
        room = target - overhead()
        if room <= 0:
            raise EorenError(
                f"{target:.0f} bytes are too few for this file; it needs more than {overhead()} besides the latents"
            )
        # Bits fall by a third to a half for every doubling of the step.
        measure = lambda at: log2(rounded.bits(at) / 8)  # noqa: E731
        step = solve_step(
            measure,
            log2(room),
            step,
            slope=-0.6,
            tolerance=_SIZE_TOLERANCE * 1.44,
            what=f"a size of {target:.0f} bytes",
        )
    elif settings.until_psnr is not None:
        step = solve_step(
            rounded.psnr, settings.until_psnr, step, slope=-5.5, tolerance=_PSNR_TOLERANCE, what="the PSNR"
        )
    width, height = coefficients.width, coefficients.height
    decoder = ColorDecoder.init(image.shape[2], group_count(coefficients.levels))
    decoder = decoder.with_tensors([torch.round(t * 2**_LINEAR_BITS) / 2**_LINEAR_BITS for t in decoder.tensors()])
    return WaveletSiren(rounded.at(step).latents, width, height, step, offsets, decoder, (_LINEAR_BITS,))


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
    representation = round_image(image, settings, lambda: _overhead(width, height, channels, provenance))
    elapsed = monotonic() - start
    fitted = loads(dumps(Field(representation, provenance))).to(device)
    metrics = evaluate(fitted, target.image if target.reference is None else target.reference)
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
