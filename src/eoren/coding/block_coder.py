"""Coding of one block of latents: band after band, phase after phase, each with what is known by then."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32

from eoren.coding import lowpass
from eoren.coding.bands import (
    COARSE,
    DIAGONAL,
    HORIZONTAL,
    LARGE_LATENT,
    MAX_LATENT,
    PHASES,
    Latents,
    Plane,
    band_order,
)
from eoren.coding.context_model import OFFSETS, ContextModel, Shifts, context_model, network_of, offset_of
from eoren.coding.contexts import MARGIN, Surroundings, common_slots, phase_contexts
from eoren.coding.rans import Decoder, encode

STREAM_BITS = 63
"""Bits of a block beside those of its latents."""


class BandKey(NamedTuple):
    """One channel of one band."""

    level: int
    orientation: int
    channel: int


Choose = Callable[[BandKey, int, np.ndarray, np.ndarray], Int32[np.ndarray, " places"]]
"""Returns the latents of a phase, given the band, the phase, and predicted means and scales of its places."""


def encode_block(latents: Latents, shifts: Shifts | None = None) -> bytes:
    """Encode the latents of a block; a ValueError if one is too large."""
    _check_range(latents)
    model, starts, frequencies = context_model().adapted(shifts), [], []

    def choose(key: BandKey, phase: int, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        values = _frame(latents, key)[PHASES[phase].rows, PHASES[phase].columns].ravel()
        start, frequency = model.distributions.intervals(values, mean, scale)
        starts.append(start)
        frequencies.append(frequency)
        return values

    walk(_like(latents), choose, model)
    return encode(np.concatenate(starts), np.concatenate(frequencies))


def decode_block(data: bytes, latents: Latents, shifts: Shifts | None = None) -> None:
    """Decode a block into latents, which must be zero; a ValueError if the data are damaged."""
    model, decoder = context_model().adapted(shifts), Decoder(data)
    walk(latents, lambda key, phase, mean, scale: model.distributions.decode(decoder, mean, scale), model)
    decoder.finish()


def block_bits(latents: Latents, shifts: Shifts | None = None) -> Float64[np.ndarray, " offsets"]:
    """Compute the bits of a block, without coding it; a ValueError if a latent is too large.

    Returns:
        Bits of the latents of each offset of the context model. The block has their sum and `STREAM_BITS`.
    """
    _check_range(latents)
    model, bits = context_model().adapted(shifts), np.zeros(OFFSETS)

    def choose(key: BandKey, phase: int, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        values = _frame(latents, key)[PHASES[phase].rows, PHASES[phase].columns].ravel()
        bits[offset_of(*key)] += model.distributions.cost(values, mean, scale).sum()
        return values

    walk(_like(latents), choose, model)
    return bits


def quantize_block(
    coefficients: tuple[Float[np.ndarray, "channels _ _"], ...],
    latents: Latents,
    weight: float,
    shifts: Shifts | None = None,
) -> None:
    """Choose latents by rate and distortion: between the nearest integer and the next one towards the mean.

    Minimises ``(coefficient - latent)**2 + weight bits`` place by place, in the order of coding: the bits are those
    of this latent, given the latents before it; its effect on later ones is not considered.

    Args:
        coefficients: coefficients of each band in quantisation steps, in the order of :meth:`.Latents.bands`.
        latents: latents to fill in, zero on entry.
        weight: squared steps that one bit is worth.
        shifts: differences of the image's scales from the model's.
    """
    model, exact_bands = context_model().adapted(shifts), finite_coefficients(coefficients, latents)
    wanted = Latents.from_bands(exact_bands)

    def choose(key: BandKey, phase: int, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        exact = _frame(wanted, key)[PHASES[phase].rows, PHASES[phase].columns].ravel().astype(np.float64)
        nearest = np.rint(np.clip(exact, -MAX_LATENT, MAX_LATENT)).astype(np.int32)
        centre = (mean + 8) >> 4
        closer = nearest - np.sign(nearest - centre)
        best, least = nearest, None
        for candidate in (nearest, closer):
            cost = (exact - candidate) ** 2 + weight * model.distributions.cost(candidate, mean, scale)
            best, least = (candidate, cost) if least is None else (np.where(cost < least, candidate, best), least)
        return best.astype(np.int32)

    walk(latents, choose, model)


def finite_coefficients(
    coefficients: tuple[Float[np.ndarray, "channels _ _"], ...], latents: Latents
) -> list[Float32[np.ndarray, "channels _ _"]]:
    """Return coefficients of a block as dense float32 arrays; a ValueError if they do not fit, or are not finite."""
    if [band.shape for band in coefficients] != [band.shape for band in latents.bands()]:
        raise ValueError("coefficients and latents must have the same shapes")
    exact = [np.ascontiguousarray(band, np.float32) for band in coefficients]
    if not all(np.isfinite(band).all() for band in exact):
        raise ValueError("coefficients must be finite")
    return exact


def walk(latents: Latents, choose: Choose, model: ContextModel) -> None:
    """Fill in the latents of a block in the order of coding.

    Args:
        latents: latents of the block, zero on entry.
        choose: function that returns the latents of each phase.
        model: context model.
    """
    channels = len(latents.coarse)
    low: list[Plane] = []
    for level, orientation in band_order(latents.levels):
        for channel in range(channels):
            key = BandKey(level, orientation, channel)
            plane = _frame(latents, key)
            if plane.size:
                around = _surroundings(latents, key, low[channel] if low else None)
                _walk_plane(plane, around, key, choose, model)
        if orientation == COARSE:
            low = [8 * plane for plane in latents.coarse]
        elif orientation == DIAGONAL:
            details = latents.details[level - 1]
            low = [lowpass.synthesize_level(low[c], *(8 * band[c] for band in details)) for c in range(channels)]


def _walk_plane(plane: Plane, around: Surroundings, key: BandKey, choose: Choose, model: ContextModel) -> None:
    known = np.zeros((plane.shape[0] + 2 * MARGIN, plane.shape[1] + 2 * MARGIN), np.int32)
    inner = known[MARGIN:-MARGIN, MARGIN:-MARGIN]
    common, offset = common_slots(around), offset_of(*key)
    for number, phase in enumerate(PHASES):
        places = plane[phase.rows, phase.columns]
        if not places.size:
            continue
        contexts = phase_contexts(known, common, number)
        mean, scale = model.predict(contexts, network_of(number, key.channel), offset)
        values = choose(key, number, mean, scale).reshape(places.shape)
        plane[phase.rows, phase.columns] = inner[phase.rows, phase.columns] = values


def _surroundings(latents: Latents, key: BandKey, low: Plane | None) -> Surroundings:
    level, orientation, channel = key
    shape = _frame(latents, key).shape
    earlier = [_frame(latents, BandKey(level, orientation, c)) for c in range(channel)]
    if orientation == COARSE:
        return Surroundings(shape, earlier, None, (), None)
    parent = None if level == latents.levels else _frame(latents, BandKey(level + 1, orientation, channel))
    siblings = [latents.details[level - 1][o][channel] for o in range(orientation)]
    if low is not None and orientation == HORIZONTAL:
        low = low.T
    return Surroundings(shape, earlier, parent, siblings, low)


def _frame(latents: Latents, key: BandKey) -> np.ndarray:
    """Return a view of one channel of a band, transposed if it is a horizontal one."""
    if key.orientation == COARSE:
        plane: np.ndarray = latents.coarse[key.channel]
        return plane
    plane = latents.details[key.level - 1][key.orientation][key.channel]
    return plane.T if key.orientation == HORIZONTAL else plane


def _check_range(latents: Latents) -> None:
    if any(band.size and max(band.max(), -int(band.min())) > MAX_LATENT for band in latents.bands()):
        raise ValueError(LARGE_LATENT)


def _like(latents: Latents) -> Latents:
    return Latents(np.zeros_like(latents.coarse), tuple(tuple(map(np.zeros_like, d)) for d in latents.details))  # type: ignore[misc]
