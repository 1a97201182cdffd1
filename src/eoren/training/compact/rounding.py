"""From coefficients to integer latents, and what they take and lose."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int16

from eoren.backends.dispatch import choose_coder
from eoren.coding.bands import MAX_LATENT, Latents, blocks
from eoren.coding.block_coder import STREAM_BITS
from eoren.coding.context_model import OFFSETS, Shifts
from eoren.field.wavelet_siren import WaveletSiren, band_steps
from eoren.training.compact.analysis import Coefficients

BIT_PRICE = 0.14
"""Price of a bit in squared steps, which relates the step to the Lagrangian: measured in docs/measurements.md."""
_SHIFTS = (4, 2)
_SHIFT_BITS, _SHIFT_BLOCKS = 6, 8


class Rounded(NamedTuple):
    """Latents with the step they belong to."""

    latents: Latents
    step: float


def round_coefficients(
    coefficients: Coefficients,
    step: float,
    offsets: Int16[np.ndarray, "bands channels"],
    shifts: Shifts | None = None,
) -> Latents:
    """Choose latents by rate and distortion, see :func:`eoren.coding.block_coder.quantize_block`."""
    latents, exact = coefficients.zeros(), Latents.from_bands(coefficients.bands)
    for box in blocks(coefficients.width, coefficients.height, coefficients.levels):
        scaled = in_steps(exact.block(box).bands(), step, offsets)
        choose_coder().quantize(scaled, latents.block(box), BIT_PRICE, shifts=shifts)
    return latents


def round_block(coefficients: Latents, latents: Latents, price: float, shifts: Shifts | None = None) -> None:
    """Choose the latents of a block again, around coefficients in quantisation steps; a bit costs `price` squares."""
    for band in latents.bands():
        band[:] = 0
    values = tuple(np.ascontiguousarray(band, np.float32) for band in coefficients.bands())
    choose_coder().quantize(values, latents, price, shifts=shifts)


def round_again(field: WaveletSiren, coefficients: Latents, price: float) -> WaveletSiren:
    """Return the field with its latents chosen around coefficients in quantisation steps."""
    latents = field.latents.copy()
    for box in blocks(*field.size, latents.levels):
        round_block(coefficients.block(box), latents.block(box), price, field.shifts)
    return replace(field, latents=latents)


def latent_bits(latents: Latents, width: int, height: int, shifts: Shifts | None = None) -> float:
    """Compute the bits of all blocks, without coding them."""
    boxes = blocks(width, height, latents.levels)
    return float(sum(choose_coder().bits(latents.block(box), shifts=shifts).sum() + STREAM_BITS for box in boxes))


def choose_shifts(latents: Latents, width: int, height: int) -> Shifts:
    """Choose the differences of the image's scales from the model's that take the fewest bits."""
    boxes = blocks(width, height, latents.levels)
    boxes = boxes[:: -(-len(boxes) // _SHIFT_BLOCKS)]

    def costs(shifts: Shifts) -> np.ndarray:
        bits = sum(choose_coder().bits(latents.block(box), shifts=shifts) for box in boxes)
        return np.asarray(bits + _SHIFT_BITS * (shifts != 0))  # a shift takes a few bits itself, and must gain them

    best = np.zeros(OFFSETS, np.int16)
    least = costs(best)
    for change in _SHIFTS:  # first the coarse shifts, then one finer to either side of the best
        for shifts in (best - np.int16(change), best + np.int16(change)):  # of the best before this loop
            cost = costs(shifts)
            best, least = np.where(cost < least, shifts, best), np.minimum(cost, least)
    return best


def squared_error(
    coefficients: Coefficients, rounded: Rounded, offsets: Int16[np.ndarray, "bands channels"], energies: np.ndarray
) -> float:
    """Estimate the sum of the squared errors of all pixels from those of the coefficients."""
    steps, total = band_steps(rounded.step, offsets), 0.0
    for band, latent, step, energy in zip(coefficients.bands, rounded.latents.bands(), steps, energies, strict=True):
        total += energy * float(((band - latent * step[:, None, None]) ** 2).sum())
    return total


def step_of(lagrangian: float, channels: int) -> float:
    """Return the base step that belongs to a price of a bit per pixel, in mean squared errors."""
    return float(np.sqrt(channels * lagrangian / BIT_PRICE))


def finest_step(coefficients: Coefficients, offsets: Int16[np.ndarray, "bands channels"]) -> float:
    """Return the smallest base step at which all latents are within the limit of the format."""
    steps = band_steps(1.0, offsets)
    largest = max(
        float((np.abs(band).max((1, 2)) / s).max())
        for band, s in zip(coefficients.bands, steps, strict=True)
        if band.size
    )
    return max(2.0**-20, largest / (MAX_LATENT - 1))


def in_steps(
    bands: Sequence[Float[np.ndarray, "channels _ _"]],
    step: float,
    offsets: Int16[np.ndarray, "bands channels"],
) -> tuple[Float32[np.ndarray, "channels _ _"], ...]:
    """Divide the coefficients of each band by its steps."""
    steps = band_steps(step, offsets).astype(np.float32)
    return tuple(band / s[:, None, None] for band, s in zip(bands, steps, strict=True))
