"""The rivals of :mod:`eoren.experiments.rivals` as codecs of whole pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float
from PIL import Image

from eoren.experiments import rivals
from eoren.experiments.rivals import Measurement, Rival, unit
from eoren.image.gradients import pixel_gradient


class Codec(Protocol):
    """A way to store pictures, with a setting that changes the rate."""

    @property
    def title(self) -> str:
        """Name in tables and figures."""

    @property
    def settings(self) -> tuple[float, ...]:
        """Values of the setting, one per point of the curve."""

    def missing(self) -> str | None:
        """Describe why the codec cannot run here; None if it can."""

    def measure(self, path: Path, setting: float) -> Measurement:
        """Store one picture and measure the file."""


@dataclass(frozen=True)
class RivalCodec:
    """A rival that reads pictures from files, as RGB."""

    rival: Rival

    @property
    def title(self) -> str:
        """Name in tables and figures."""
        return self.rival.title

    @property
    def settings(self) -> tuple[float, ...]:
        """Values of the setting, one per point of the curve."""
        return self.rival.settings

    def missing(self) -> str | None:
        """Describe why the codec cannot run here; None if it can."""
        return self.rival.missing()

    def measure(self, path: Path, setting: float) -> Measurement:
        """Encode one picture in memory, decode it and measure both."""
        pixels, gradient = _picture_and_gradient(path)
        return self.rival.measure(pixels, unit(pixels), gradient, setting).measurement


RIVALS: Mapping[str, RivalCodec] = {name: RivalCodec(rival) for name, rival in rivals.RIVALS.items()}
"""Rivals by name. They run in this order."""


@lru_cache(maxsize=1)
def _picture_and_gradient(path: Path) -> tuple[np.ndarray, Float[np.ndarray, "height width channels 2"]]:
    """Read a picture as 8-bit RGB, and compute its reference gradient; remembers the last one."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return pixels, pixel_gradient(unit(pixels))
