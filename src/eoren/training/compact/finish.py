"""The end of a compact fit: the color decoder, and the last rounding, which meets a size or a quality."""

import logging
from collections.abc import Callable
from dataclasses import replace
from math import ceil, exp, inf, log, log2
from time import monotonic

import torch

from eoren.coding.bands import Latents
from eoren.field.wavelet_siren import WaveletSiren
from eoren.image.arrays import Image
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.features import group_count
from eoren.training.budget import Budget
from eoren.training.compact.color_fit import draw_samples, fit_linear, fit_siren, round_decoder
from eoren.training.compact.rounding import BIT_PRICE, round_again
from eoren.training.compact.solving import search

_log = logging.getLogger(__name__)

_POINTS, _SIREN_POINTS = 1 << 16, 1 << 18
_LINEAR_BITS = (10, 17)  # fractional bits of the linear part of the color decoder; its numbers are below 8
_PRICE_RANGE = 4.0
_TRIALS = 8
_SIREN_STEPS = 800


def linear_decoder(channels: int, levels: int, step: float) -> tuple[ColorDecoder, tuple[int, ...]]:
    """Return the decoder at the start of a fit, and the fractional bits of its numbers."""
    return rounded_linear(ColorDecoder.init(channels, group_count(levels)), step)


def rounded_linear(decoder: ColorDecoder, step: float) -> tuple[ColorDecoder, tuple[int, ...]]:
    """Round a linear decoder such that its rounding is not seen beside that of the latents."""
    bits = min(max(_LINEAR_BITS[0], ceil(-log2(step)) + 4), _LINEAR_BITS[1])
    return decoder.with_tensors([torch.round(t * 2**bits) / 2**bits for t in decoder.tensors()]), (bits,)


def with_least_squares(field: WaveletSiren, image: Image, gradient_weight: float) -> WaveletSiren:
    """Return a field with the linear decoder of least distortion for its latents."""
    samples = draw_samples(field.features, image, _POINTS, seed=0)
    start = ColorDecoder.init(field.channels, group_count(field.latents.levels))
    decoder, exponents = rounded_linear(fit_linear(samples, start, gradient_weight), field.step)
    return replace(field, decoder=decoder, exponents=exponents)


def with_siren(
    field: WaveletSiren,
    image: Image,
    *,
    width: int,
    gradient_weight: float,
    price: float,
    seed: int,
    seconds: float | None,
    stop: Callable[[float], bool],
) -> WaveletSiren:
    """Return a field with a SIREN in its decoder, or the field itself if the SIREN does not pay for its bits.

    Args:
        field: field with a linear decoder.
        image: point values ``(H, W, C)``.
        width: units of the two sine layers.
        gradient_weight: weight of the gradients' errors.
        price: what one bit of the file is worth in distortion.
        seed: seed of the SIREN and of its training.
        seconds: time budget in seconds; None for no limit.
        stop: function of the share of the budget that is used up, which returns true to end the training.
    """
    budget, started = Budget(_SIREN_STEPS, None if seconds is None else max(0.0, seconds)), monotonic()

    def used(step: int) -> float:
        share = budget.used(step, monotonic() - started)
        return 1.0 if stop(share) else share

    samples = draw_samples(field.features, image, _SIREN_POINTS, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    decoder = ColorDecoder.init(field.channels, group_count(field.latents.levels), width=width, generator=generator)
    decoder = ColorDecoder(field.decoder.linear, decoder.siren)
    trained = fit_siren(samples, decoder, gradient_weight, generator=generator, done=used)
    _, _, without = round_decoder(samples, field.decoder, gradient_weight, price)
    rounded, exponents, cost = round_decoder(samples, trained, gradient_weight, price)
    _log.info("cost %.4g with a SIREN, %.4g without", cost, without)
    return replace(field, decoder=rounded, exponents=exponents) if cost < without else field


def meet(
    field: WaveletSiren,
    coefficients: Latents,
    measure: Callable[[WaveletSiren], float],
    target: float,
    *,
    slope: float,
    tolerance: float,
    stop: Callable[[], bool],
) -> WaveletSiren:
    """Find the price of the last rounding at which a measure that falls with the price meets its target.

    Args:
        field: field to begin with.
        coefficients: coefficients in quantisation steps.
        measure: bytes or PSNR of a field.
        target: value to meet.
        slope: expected change of the measure if the price grows by the factor e, negative.
        tolerance: difference from the target that ends the search.
        stop: function that is called after every trial, and returns true to end the search.

    Returns:
        The field that comes nearest.
    """
    best, least = field, inf

    def measure_at(log_price: float) -> float:
        nonlocal best, least
        candidate = field if log_price == start else round_again(field, coefficients, exp(log_price))
        value = measure(candidate)
        if abs(value - target) < least:
            best, least = candidate, abs(value - target)
        return value

    start, reach = log(BIT_PRICE), log(_PRICE_RANGE)
    limits = start - reach, start + reach
    search(measure_at, target, start, limits, slope=slope, tolerance=tolerance, most=_TRIALS, stop=stop)
    return best
