"""A compact fit from the image to the result: start, refinement, finish, file, measurement."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic

import numpy as np
import torch

from eoren._version import __version__
from eoren.backends.dispatch import choose_coder
from eoren.coding.bands import Latents, blocks, choose_levels
from eoren.evaluation.metrics import METRICS, color_psnr, evaluate
from eoren.field.field import Field
from eoren.field.provenance import Provenance
from eoren.field.serialization import dumps, loads
from eoren.field.wavelet_siren import WaveletSiren
from eoren.image.arrays import Image
from eoren.image.cell_averages import point_values
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.edge_prior import VERSION
from eoren.training.checkpoint import CheckpointKey
from eoren.training.compact.analysis import Coefficients, step_offsets
from eoren.training.compact.finish import (
    linear_decoder,
    meet,
    with_least_squares,
    with_siren,
)
from eoren.training.compact.loop import CompactLoop
from eoren.training.compact.prior_choice import choose_prior
from eoren.training.compact.rounding import BIT_PRICE
from eoren.training.compact.settings import CompactSettings
from eoren.training.compact.start import PSNR_TOLERANCE, SIZE_TOLERANCE, round_image
from eoren.training.result import Ended, FitResult, FitTarget, Progress, Watch

_METRIC_DIGITS = 4
_PSNR_MISSED = 0.05  # dB
_BYTES_SLOPE, _PSNR_SLOPE = -0.15, -0.7  # of the bytes, and in dB, if the price of a bit grows by the factor e


def fit_compact(
    target: FitTarget,
    settings: CompactSettings,
    *,
    seed: int = 0,
    device: torch.device,
    watch: Watch | None = None,
    checkpoint: Path | None = None,
) -> FitResult:
    """Fit a compact field to an image; :func:`eoren.fit` documents the arguments."""
    start = monotonic()
    choose_coder(warn=device.type == "cpu")
    image = point_values(target.image) if settings.pixel_model == "cell_average" else target.image
    height, width, channels = image.shape
    provenance = Provenance(settings.as_dict(), seed, 0, None, target.sha256, version=__version__)
    timed = settings.seconds is not None or settings.seconds_per_megapixel is not None
    # Numbers of typical length stand for those that the fit finds.
    expected = replace(
        provenance,
        composition=dict(target.composition),
        profile=target.profile,
        steps=settings.steps or 0,
        seconds=123.456 if timed else None,
        metrics=dict.fromkeys(METRICS, 12.3456),
    )
    reference = target.image if target.reference is None else target.reference
    # Details between the pixels would change the averages of cells.
    may_have_prior = settings.edge_prior and settings.pixel_model == "point_sample"
    overhead = partial(_overhead, width, height, channels, expected, VERSION if may_have_prior else 0)
    interrupted = False

    def stop() -> bool:
        """Call the watcher before there is a loop, and return whether it has stopped the fit."""
        nonlocal interrupted
        interrupted = interrupted or (watch is not None and bool(watch(Progress(seconds=monotonic() - start))))
        return interrupted

    def measure_psnr(field: WaveletSiren) -> float:
        return color_psnr(Field(field, expected), reference)

    def measure_bytes(field: WaveletSiren) -> float:
        return float(len(dumps(Field(replace(field, prior=prior), expected))))

    field, coefficients = round_image(image, settings, overhead=overhead, color_psnr=measure_psnr, stop=stop)
    prior = choose_prior(field, image) if may_have_prior else 0
    exact = _scale_in_place(coefficients, field)
    del coefficients
    key = CheckpointKey(settings, seed, target.sha256)
    if interrupted:
        checkpoint = None  # its coefficients are in steps that the search for a size or quality has not found
    loop = CompactLoop(image, field, exact, key, device=device, start=start, watch=watch, checkpoint=checkpoint)
    loop.interrupted = interrupted
    loop.run()
    loop.save_checkpoint()
    if loop.steps or not loop.interrupted:
        finished = _finish(loop, exact, image, key, measure_bytes, measure_psnr)
        # The few latents of a tiny image may miss a PSNR that those at the start have met.
        least = None if settings.until_psnr is None else settings.until_psnr - _PSNR_MISSED
        if least is None or not measure_psnr(finished) < least <= measure_psnr(field):
            field = finished
        del finished
    field = replace(field, prior=prior)
    ended: Ended = "interrupted" if loop.interrupted else "budget"
    steps, elapsed, history = loop.steps, loop.elapsed(), tuple(loop.history)
    del loop, exact
    provenance = replace(expected, steps=steps, seconds=round(elapsed, 3) if timed else None)
    fitted = loads(dumps(Field(field, provenance))).to(device)
    metrics = evaluate(fitted, reference)
    quality = {name: value for name, value in metrics.as_dict().items() if name in METRICS}
    quality = {name: value and round(value, _METRIC_DIGITS) for name, value in quality.items()}
    fitted = replace(fitted, provenance=replace(provenance, metrics=quality))
    history = (*history, Progress(steps, elapsed, 1.0, metrics.psnr, metrics.gradient_psnr))
    if (
        settings.until_psnr is not None
        and ended != "interrupted"
        and metrics.psnr >= settings.until_psnr - _PSNR_MISSED
    ):
        ended = "target"
    return FitResult(fitted, metrics, history, settings, seed, steps, elapsed, ended)


def _scale_in_place(coefficients: Coefficients, field: WaveletSiren) -> Latents:
    """Divide coefficients by the steps of their bands, in place: they take as much memory as the image."""
    for band, steps in zip(coefficients.bands, field.steps().astype(np.float32), strict=True):
        band /= steps[:, None, None]
    return Latents.from_bands(coefficients.bands)


def _finish(
    loop: CompactLoop,
    coefficients: Latents,
    image: Image,
    key: CheckpointKey,
    measure_bytes: Callable[[WaveletSiren], float],
    measure_psnr: Callable[[WaveletSiren], float],
) -> WaveletSiren:
    """Fit the color decoder to the refined latents, and meet the size or quality."""
    settings = key.settings
    assert isinstance(settings, CompactSettings)
    weight = settings.gradient_weight
    field = with_least_squares(loop.result, image, weight)
    if settings.siren_width and not loop.interrupted:
        limit = settings.time_limit(*field.size)
        field = with_siren(
            field,
            image,
            width=settings.siren_width,
            gradient_weight=weight,
            price=BIT_PRICE * field.step**2 / (field.channels * field.width * field.height),
            seed=key.seed,
            seconds=None if limit is None else limit - loop.elapsed(),
            stop=loop.report_siren,
        )
    size, psnr = settings.target_bytes(*field.size), settings.until_psnr
    round_to = partial(meet, field, coefficients, stop=loop.report_trial)
    if size is not None:
        return round_to(measure_bytes, size, slope=_BYTES_SLOPE * size, tolerance=SIZE_TOLERANCE * size)
    if psnr is not None:
        return round_to(measure_psnr, psnr, slope=_PSNR_SLOPE, tolerance=PSNR_TOLERANCE)
    return field


def _overhead(width: int, height: int, channels: int, provenance: Provenance, prior: int) -> int:
    """Return the bytes of a file beside its latents, for typical numbers."""
    levels = choose_levels(width, height)
    empty = Latents.zeros(channels, height, width, levels)
    decoder, exponents = linear_decoder(channels, levels, 0.05)
    linear = decoder.linear + 0.05 * torch.randn(
        decoder.linear.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32
    )
    offsets = step_offsets(levels, channels, 0.1)
    field = WaveletSiren(empty, width, height, 0.0123456789, offsets, ColorDecoder(linear), exponents, prior=prior)
    whole = len(dumps(Field(field, provenance)))
    return whole - sum(len(choose_coder().encode(empty.block(box))) for box in blocks(width, height, levels))
