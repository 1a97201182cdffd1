"""The end of a compact fit: the color decoder, and the last rounding, which meets a size or a quality."""

import logging
from collections.abc import Callable
from dataclasses import replace
from math import ceil, exp, log, log2
from time import monotonic

import numpy as np
import torch

from eoren.backends.dispatch import choose_coder
from eoren.coding.bands import Latents, blocks
from eoren.field.wavelet_siren import WaveletSiren
from eoren.image.arrays import Image
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.features import group_count
from eoren.training.compact.color_fit import draw_samples, fit_linear, fit_siren, round_decoder

_log = logging.getLogger(__name__)

_POINTS, _SIREN_POINTS = 1 << 16, 1 << 18
_LINEAR_BITS = (10, 17)  # fractional bits of the linear part of the color decoder; its numbers are below 8
LAST_PRICE = 0.02
"""Price of a bit in squared steps at the last rounding after a descent, which has rounded most latents already."""
_PRICES = (1e-3, 0.3)
_TRIALS = 7


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
    steps: int | None,
    seconds: float | None,
) -> WaveletSiren:
    """Return a field with a SIREN in its decoder, or the field itself if the SIREN does not pay for its bits.

    Args:
        field: field with a linear decoder.
        image: point values ``(H, W, C)``.
        width: units of the two sine layers.
        gradient_weight: weight of the gradients' errors.
        price: what one bit of the file is worth in distortion.
        seed: seed of the SIREN and of its training.
        steps: number of steps; None for no limit.
        seconds: time budget in seconds; None for no limit.
    """
    started = monotonic()

    def used(step: int) -> float:
        by_time = 0.0 if seconds is None else (monotonic() - started) / max(seconds, 1e-9)
        return max(by_time, step / max(steps, 1) if steps is not None else 0.0)

    samples = draw_samples(field.features, image, _SIREN_POINTS, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    decoder = ColorDecoder.init(field.channels, group_count(field.latents.levels), width=width, generator=generator)
    decoder = ColorDecoder(field.decoder.linear, decoder.siren)
    trained = fit_siren(samples, decoder, gradient_weight, generator=generator, done=used)
    _, _, without = round_decoder(samples, field.decoder, gradient_weight, price)
    rounded, exponents, cost = round_decoder(samples, trained, gradient_weight, price)
    _log.info("cost %.4g with a SIREN, %.4g without", cost, without)
    return replace(field, decoder=rounded, exponents=exponents) if cost < without else field


def round_last(field: WaveletSiren, coefficients: Latents, price: float) -> WaveletSiren:
    """Return the field with its latents chosen once more, around coefficients in quantisation steps."""
    latents = Latents.zeros(field.channels, field.height, field.width, field.latents.levels)
    coder = choose_coder()
    for box in blocks(*field.size, latents.levels):
        values = tuple(np.ascontiguousarray(band, np.float32) for band in coefficients.block(box).bands())
        coder.quantize(values, latents.block(box), price, shifts=field.shifts)
    return replace(field, latents=latents)


def meet(
    field: WaveletSiren,
    coefficients: Latents,
    measure: Callable[[WaveletSiren], float],
    target: float,
    tolerance: float,
) -> WaveletSiren:
    """Find the price of the last rounding at which a measure that falls with the price meets its target.

    Args:
        field: field after the descent.
        coefficients: coefficients in quantisation steps.
        measure: bytes or PSNR of a field.
        target: value to meet.
        tolerance: difference from it that ends the search.

    Returns:
        The field that comes nearest.
    """
    low, high = (log(price) for price in _PRICES)
    at, best, least = log(LAST_PRICE), field, float("inf")
    for _ in range(_TRIALS):
        candidate = round_last(field, coefficients, exp(at))
        value = measure(candidate)
        if abs(value - target) < least:
            best, least = candidate, abs(value - target)
        if least <= tolerance:
            break
        low, high = (at, high) if value > target else (low, at)
        at = (low + high) / 2
    return best
