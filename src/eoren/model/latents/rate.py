"""The differentiable rate of latents: the bits that a block takes, as a smooth function of its latents.

This is the counterpart of :func:`eoren.coding.block_coder.block_bits` for fitting by gradient descent. Contexts,
phases and weights are the same, but nothing is rounded: latents may be any real numbers, means and scales are real,
and the probability of a latent ``q`` is that of ``[q - 1/2, q + 1/2]`` under a mixture of two Laplacians. At
integers, both agree to about 1 %.

The gradient of a latent has two parts, because it has a probability and is part of the contexts of later latents.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from math import log

import torch
from jaxtyping import Float
from torch import Tensor

from eoren.coding.bands import COARSE, HORIZONTAL, PHASES, band_order
from eoren.coding.context_model import HIDDEN_LIMIT, WEIGHT_BITS, context_model, network_of, offset_of
from eoren.coding.contexts import COMPRESSED, DIAGONAL, DIRECT, KNIGHT, LOWPASS, MARGIN, RING, RING_OF_DIAGONAL
from eoren.coding.distributions import LEAST_MASS, MEAN_LIMIT, MIXTURE_RATIO, MIXTURE_WEIGHT, SCALES
from eoren.model.latents.wavelet import Details, synthesize_level

COMPRESSED_LIMIT = float(COMPRESSED[-1])
NEIGHBOURS = (("direct", DIRECT, 2.0), ("diagonal", DIAGONAL, 2.0), ("knight", KNIGHT, 1.0))
"""Groups of neighbours: their offsets, and the factor of the sum of their absolute values, in eighths."""
RING_FACTOR, RING_OF_DIAGONAL_FACTOR, MEAN_FACTOR = 43 / 64, 1.0, 57 / 64
"""Factors of the sums of absolute values in the rings and in 3 x 3 places, in eighths."""

Bands = Sequence[Float[Tensor, "channels _ _"]]
# Index of a slot of the context, and its values at all places of a channel.
_Slots = list[tuple[int, Float[Tensor, "rows columns"]]]


def latent_bits(bands: Bands) -> Float[Tensor, ""]:
    """Compute the bits of the latents of a block. Differentiable.

    Args:
        bands: latents of all bands, ``(C, rows, columns)`` each, in the order of
            :meth:`eoren.coding.bands.Latents.bands`; any real numbers.

    Example:
        >>> bands = [torch.full((1, 4, 4), 0.3, requires_grad=True)]
        >>> bits = latent_bits(bands)
        >>> bits.backward()
        >>> bits.shape, bands[0].grad.shape
        (torch.Size([]), torch.Size([1, 4, 4]))
    """
    return torch.stack([bits.sum() for bits in _phase_bits(bands)]).sum()


def lowpass_bands(bands: Bands) -> list[Float[Tensor, "channels _ _"]]:
    """Compute the low-pass band that the contexts of every level see, those of the finest level first."""
    low, result = bands[0], []
    for first in range(len(bands) - 3, 0, -3):
        result.append(low)
        if first > 1:
            low = synthesize_level(low, Details(*bands[first : first + 3]))
    return result[::-1]


def compress(eighths: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compress numbers in eighths like :func:`eoren.coding.contexts.compress`, without rounding."""
    # A sign without zero, so that the derivative at 0 is right.
    sign = torch.where(eighths < 0, -1.0, 1.0).to(eighths)
    return sign * (torch.log1p(eighths * sign / 8) * (16 / log(2))).clamp(max=COMPRESSED_LIMIT)


def mixture_bits(distance: Float[Tensor, "*shape"], scale: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute the bits of latents, given their distances from the mean and their real scale indices."""
    width = torch.exp2((scale - 16) / 4)
    distance = distance.abs()
    mass = MIXTURE_WEIGHT * _laplace_mass(distance, width)
    mass = mass + (1 - MIXTURE_WEIGHT) * _laplace_mass(distance, MIXTURE_RATIO * width)
    return -torch.log2(mass.clamp(min=LEAST_MASS))


def _laplace_mass(distance: Tensor, width: Tensor) -> Tensor:
    """Integrate a Laplace distribution over an interval of length 1, without cancellation."""
    near, far = distance - 0.5, distance + 0.5
    outside = torch.exp(-near.clamp(min=0) / width) * -torch.expm1(-1 / width)
    inside = -torch.expm1(near.clamp(max=0) / width) - torch.expm1(-far / width)
    return torch.where(near < 0, inside, outside) / 2


def _phase_bits(bands: Bands) -> Iterator[Tensor]:
    """Yield the bits of all places, one phase of one channel after the other."""
    levels = (len(bands) - 1) // 3
    if len(bands) != 1 + 3 * levels:
        raise ValueError(f"bands must be 1, 4, 7 ... tensors, got {len(bands)}")
    low, model = lowpass_bands(bands), tables(bands[0].device, bands[0].dtype)
    for level, orientation in band_order(levels):
        band = _frame(bands, level, orientation)
        if not band.numel():
            continue
        for channel, plane in enumerate(band):
            common = _earlier_slots(band[:channel])
            if orientation != COARSE:
                siblings = [bands[3 * level - 2 + o][channel] for o in range(orientation)]
                parent = _frame(bands, level + 1, orientation)[channel] if level < levels else None
                lowpass = low[level - 1][channel]
                common += _common_slots(
                    plane.shape, siblings, parent, lowpass.T if orientation == HORIZONTAL else lowpass
                )
            offset = offset_of(level, orientation, channel)
            for number, phase in enumerate(PHASES):
                values = plane[phase.rows, phase.columns]
                if values.numel():
                    slots = [(slot, values[phase.rows, phase.columns]) for slot, values in common]
                    slots += _neighbour_slots(plane, number)
                    mean, scale = model.predict(slots, values.numel(), network_of(number, channel), offset)
                    yield mixture_bits(values.reshape(-1) - mean, scale)


def _frame(bands: Bands, level: int, orientation: int) -> Tensor:
    """Return a band, transposed if it is a horizontal one."""
    if orientation == COARSE:
        return bands[0]
    band = bands[3 * level - 2 + orientation]
    return band.mT if orientation == HORIZONTAL else band


def _neighbour_slots(plane: Tensor, number: int) -> _Slots:
    """Compute the slots of a phase that depend on earlier phases of the same channel."""
    phase, (height, width) = PHASES[number], plane.shape
    padded = torch.nn.functional.pad(plane, (MARGIN,) * 4)

    def at(offset: tuple[int, int]) -> Tensor:
        top, left = MARGIN + phase.scale * offset[0], MARGIN + phase.scale * offset[1]
        return padded[top : top + height, left : left + width][phase.rows, phase.columns]

    slots, first = [], 0
    for k, (name, offsets, factor) in enumerate(NEIGHBOURS):
        if name in phase.neighbours:
            values = torch.stack([at(offset) for offset in offsets])
            slots += list(enumerate(compress(8 * values), first))
            slots.append((16 + k, compress(factor * values.abs().sum(0))))
        first += len(offsets)
    if phase.neighbours:
        ring: Sequence[tuple[int, int]] = RING
        factor = RING_FACTOR
        if phase.neighbours == "diagonal":
            ring, factor = RING_OF_DIAGONAL, RING_OF_DIAGONAL_FACTOR
        total = torch.stack([at(offset).abs() for offset in ring]).sum(0)
        slots.append((19, compress(factor * total)))
    return slots


def _earlier_slots(channels: Tensor) -> _Slots:
    return [slot for k, plane in enumerate(channels[:2]) for slot in enumerate(_value_and_means(plane), 20 + 3 * k)]


def _common_slots(shape: torch.Size, siblings: Sequence[Tensor], parent: Tensor | None, low: Tensor) -> _Slots:
    """Compute the slots that depend on other bands."""
    rows, columns = shape
    slots: _Slots = []
    if parent is not None and parent.numel():
        doubled = [t.repeat_interleave(2, 0).repeat_interleave(2, 1) for t in _value_and_means(parent)]
        slots += [(slot, _extended(values, rows, columns)) for slot, values in enumerate(doubled, 26)]
    for k, plane in enumerate(siblings):
        if plane.numel():
            extended = [_extended(values, rows, columns) for values in _value_and_means(plane)[1:]]
            slots += list(enumerate(extended, 29 + 2 * k))
    padded = torch.nn.functional.pad(8 * low[None, None], (2,) * 4, "replicate")[0, 0]
    middle = 8 * low[:rows, :columns]
    for slot, (dy, dx) in enumerate(LOWPASS, 33):
        slots.append((slot, compress(padded[2 + dy : 2 + dy + rows, 2 + dx : 2 + dx + columns] - middle)))
    return slots


def _value_and_means(plane: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = plane.shape
    padded = torch.nn.functional.pad(plane.abs(), (1,) * 4)
    total = torch.stack([padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]).sum(0)
    value = compress(8 * plane)
    return value, value.abs(), compress(MEAN_FACTOR * total)


def _extended(values: Tensor, rows: int, columns: int) -> Tensor:
    """Cut to a size, repeating the last row and column where they are missing."""
    values = values[:rows, :columns]
    missing = (0, columns - values.shape[1], 0, rows - values.shape[0])
    return torch.nn.functional.pad(values[None, None], missing, "replicate")[0, 0]


class Tables:
    """The weights of the context model as real numbers: without fractional bits, and without offsets for rounding.

    Hidden values remain in sixteenths, as contexts do.

    Args:
        device: device of the weights.
        dtype: data type of the weights.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        model, unit = context_model(), 2.0**-WEIGHT_BITS
        half = 0.5 / unit  # turns the rounding down of sums into rounding to nearest
        output = torch.tensor([unit / 16, unit / 16])  # to the units of latents, and of scale indices

        def tensor(array: object, factor: float | Tensor = unit) -> Tensor:
            return (torch.as_tensor(array) * factor).to(device, dtype)

        self.first = tensor(model.first)
        self.first_bias = tensor(model.first_bias - half)
        self.first_offset = tensor(model.first_offset)
        self.second = tensor(model.second)
        self.second_bias = tensor(model.second_bias - half)
        self.last, self.skip = tensor(model.last, output), tensor(model.skip, output)
        self.last_bias = tensor(model.last_bias - [half, 16 * half], output)
        self.last_offset = tensor(model.last_offset, output)

    def predict(self, slots: _Slots, places: int, network: int, offset: int) -> tuple[Tensor, Tensor]:
        """Compute means and scale indices at the places of a phase; slots that are not given are 0."""
        indices = [slot for slot, _ in slots]
        x = torch.stack([values.reshape(-1) for _, values in slots], -1) if slots else self.first.new_zeros(places, 0)
        sums = x @ self.first[network][indices] + (self.first_bias[network] + self.first_offset[offset])
        hidden = sums.relu().clamp(max=HIDDEN_LIMIT)
        hidden = (hidden @ self.second[network] + self.second_bias[network]).relu().clamp(max=HIDDEN_LIMIT)
        outputs = hidden @ self.last[network] + x @ self.skip[network][indices]
        outputs = outputs + (self.last_bias[network] + self.last_offset[offset])
        return outputs[:, 0].clamp(-MEAN_LIMIT / 16, MEAN_LIMIT / 16), outputs[:, 1].clamp(0, SCALES - 1)


@cache
def tables(device: torch.device, dtype: torch.dtype) -> Tables:
    """Return the weights of the context model on a device."""
    return Tables(device, dtype)
