"""The four ways of fitting that the experiments compare.

The paper's three methods share network, optimiser and protocol (arXiv 2209.11697, section 4), so that they differ
only in the objective and in channel tuning. The fourth method is the preset ``mosaic``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from eoren.training.presets import make_settings
from eoren.training.settings import Settings

Scale = Literal["small", "paper"]

# Keys of the methods, grouped by the training that they share.
TRAINING_GROUPS = (("gradient", "eoren"), ("pixel",), ("ours",))


@dataclass(frozen=True)
class Method:
    """One way of fitting."""

    key: str  # pixel, gradient, eoren or ours: the name in tables
    label: str  # name in figures and reports
    settings: Settings
    tuned: bool  # whether channel tuning follows the training; without it the network output is the colour


@dataclass(frozen=True)
class Networks:
    """Network and training that the paper's three methods share."""

    width: int  # units of a hidden layer
    depth: int  # number of sine layers
    epochs: int
    rate: float  # learning rate of Adam

    def __str__(self) -> str:
        return f"{self.depth} sine layers of {self.width}, {self.epochs} epochs, Adam {self.rate:g}, full batch"


# The paper's network, and one that two cores train in minutes; narrower layers take a higher learning rate.
NETWORKS: Mapping[Scale, Networks] = {
    "small": Networks(width=64, depth=3, epochs=200, rate=4e-4),
    "paper": Networks(width=256, depth=5, epochs=1000, rate=1e-4),
}


def methods(networks: Scale | Networks = "paper") -> Mapping[str, Method]:
    """Build the four methods, by key: the paper's three with these networks, and the preset ``mosaic``.

    EoREN trains for all epochs, like the others: the 50 epochs that the paper spends on channel tuning become one
    pass over the pixels, see :mod:`eoren.model.channel_tuning`.
    """
    shared = networks if isinstance(networks, Networks) else NETWORKS[networks]
    paper = {"width": shared.width, "depth": shared.depth, "steps": shared.epochs, "learning_rate": shared.rate}
    gradient = make_settings("paper", **paper)
    every = (
        Method("pixel", "SIREN + pixels", make_settings("paper", **paper, objective="pixel"), tuned=False),
        Method("gradient", "SIREN + gradients", gradient, tuned=False),
        Method("eoren", "EoREN (paper)", gradient, tuned=True),
        Method("ours", "this library, mosaic", make_settings(), tuned=True),
    )
    return {method.key: method for method in every}


METHODS = methods()
