"""The context model: a small network that predicts mean and scale of a latent from its context, in integers alone.

There is one network for each phase, and for the first and the other channels, with two hidden layers:

    context (integers of sixteenths) -> hidden -> hidden -> mean, scale
                  |                                            ^
                  +--------------------------------------------+

Offsets of the first layer and of the outputs depend on level, orientation and channel as well. Weights have 8
fractional bits, hidden values 4, between 0 and 127/16. All sums stay below 2**24, so that products in float32 are
exact, in any order, on every processor: integers in floating-point clothing.

The tables are trained once, on free photographs (``tools/train_context_model.py``), and are part of the format.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int16, Int32

from eoren.coding.bands import COARSE, PHASES
from eoren.coding.distributions import MEAN_LIMIT, SCALES, Distributions

WEIGHT_BITS = 8
HIDDEN_LIMIT = 127
LEVELS = 5
"""Levels with offsets of their own; coarser ones use those of the last."""
CHANNELS = 3
NETWORKS = 2 * len(PHASES)
OFFSETS = LEVELS * 4 * CHANNELS

SHIFT_FRACTION = 4
"""Parts of a scale index in which an image's scales may differ from the model's."""
MAX_SHIFT = 64
Shifts = Int16[np.ndarray, f"{OFFSETS}"]
"""Differences of one image's scales from the model's, one for each offset."""

_MODEL = Path(__file__).with_name("context_model.npz")


class ContextModel(NamedTuple):
    """Integer weights, as float32 arrays, and the tables of probabilities."""

    first: Float32[np.ndarray, "networks slots hidden"]
    first_bias: Float32[np.ndarray, "networks hidden"]
    first_offset: Float32[np.ndarray, "offsets hidden"]
    second: Float32[np.ndarray, "networks hidden hidden"]
    second_bias: Float32[np.ndarray, "networks hidden"]
    last: Float32[np.ndarray, "networks hidden 2"]
    skip: Float32[np.ndarray, "networks slots 2"]
    last_bias: Float32[np.ndarray, "networks 2"]
    last_offset: Float32[np.ndarray, "offsets 2"]
    distributions: Distributions

    def predict(
        self, contexts: Int16[np.ndarray, "places slots"], network: int, offset: int
    ) -> tuple[Int32[np.ndarray, " places"], Int32[np.ndarray, " places"]]:
        """Compute mean (in sixteenths) and scale (index) of latents from their contexts.

        Args:
            contexts: contexts of :mod:`eoren.coding.contexts`.
            network: result of :func:`network_of`.
            offset: result of :func:`offset_of`.
        """
        x = contexts.astype(np.float32)
        sums = x @ self.first[network]
        hidden = _hidden(sums + (self.first_bias[network] + self.first_offset[offset]))
        hidden = _hidden(hidden @ self.second[network] + self.second_bias[network])
        outputs = hidden @ self.last[network] + x @ self.skip[network]
        outputs += self.last_bias[network] + self.last_offset[offset]
        mean = np.clip(np.floor(outputs[:, 0] * 2.0**-WEIGHT_BITS), -MEAN_LIMIT, MEAN_LIMIT)
        scale = np.clip(np.floor(outputs[:, 1] * 2.0 ** (-WEIGHT_BITS - 4)), 0, SCALES - 1)
        return mean.astype(np.int32), scale.astype(np.int32)

    def adapted(self, shifts: Shifts | None) -> "ContextModel":
        """Return the model with the scales of one image: shifts are added to those of each offset."""
        if shifts is None or not np.any(shifts):
            return self
        last_offset = self.last_offset.copy()
        last_offset[:, 1] += shifts.astype(np.float32) * (2.0 ** (WEIGHT_BITS + 4) / SHIFT_FRACTION)
        return self._replace(last_offset=last_offset)


def network_of(phase: int, channel: int) -> int:
    """Return the index of the network for a phase and a channel."""
    return 2 * phase + (channel > 0)


def offset_of(level: int, orientation: int, channel: int) -> int:
    """Return the index of the offsets for a band; level 1 is the finest."""
    index = min(level - 1 if orientation != COARSE else level, LEVELS - 1)
    return (index * 4 + orientation) * CHANNELS + min(channel, CHANNELS - 1)


@cache
def context_model() -> ContextModel:
    """Read the context model that is part of the format."""
    with np.load(_MODEL, allow_pickle=False) as arrays:
        reach, bounds = arrays["reach"].astype(np.int32), arrays["bounds"].astype(np.uint32)
        weights = {name: arrays[name].astype(np.float32) for name in ContextModel._fields[:-1]}
        return ContextModel(**weights, distributions=Distributions(reach, bounds))


def _hidden(sums: np.ndarray) -> np.ndarray:
    """Round sums with 12 fractional bits to hidden values with 4, and limit them."""
    values: np.ndarray = np.clip(np.floor(sums * np.float32(2.0**-WEIGHT_BITS)), 0, HIDDEN_LIMIT)
    return values
