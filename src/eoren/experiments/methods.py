"""The four ways of fitting that the experiments compare.

The paper's three methods share network, optimiser and protocol (arXiv 2209.11697, section 4), so that they differ
only in the objective and in channel tuning. The fourth method is the default of this library.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from eoren.training.presets import make_settings
from eoren.training.settings import Settings

Scale = Literal["small", "paper"]

TRAINING_GROUPS = (("gradient", "eoren"), ("pixel",), ("ours",))
"""Keys of the methods, grouped by the training that they share."""


@dataclass(frozen=True)
class Method:
    """One way of fitting.

    Attributes:
        key: ``pixel``, ``gradient``, ``eoren`` or ``ours``, the name in tables.
        label: name in figures and reports.
        settings: settings of the fit.
        tuned: whether channel tuning follows the training; without it the network output is the colour.
    """

    key: str
    label: str
    settings: Settings
    tuned: bool


@dataclass(frozen=True)
class Networks:
    """Network and training that the paper's three methods share.

    Attributes:
        width: units of a hidden layer.
        depth: number of sine layers.
        epochs: training epochs.
        rate: learning rate of Adam.
    """

    width: int
    depth: int
    epochs: int
    rate: float

    def __str__(self) -> str:
        return f"{self.depth} sine layers of {self.width}, {self.epochs} epochs, Adam {self.rate:g}, full batch"


NETWORKS: Mapping[Scale, Networks] = MappingProxyType(
    {
        "small": Networks(width=64, depth=3, epochs=200, rate=4e-4),
        "paper": Networks(width=256, depth=5, epochs=1000, rate=1e-4),
    }
)
"""The paper's network, and one that two cores train in minutes; narrower layers take a higher learning rate."""


def methods(networks: Scale | Networks = "paper") -> Mapping[str, Method]:
    """Build the four methods, by key.

    EoREN trains for all epochs, like the others: the 50 epochs that the paper spends on channel tuning become one
    pass over the pixels, see :mod:`eoren.model.channel_tuning`.

    Args:
        networks: network and training of the paper's three methods; ``ours`` is always the default of
            :func:`eoren.fit`.

    Example:
        >>> [method.label for method in methods("small").values()]
        ['SIREN + pixels', 'SIREN + gradients', 'EoREN', 'ours']
        >>> METHODS["eoren"].settings.width, METHODS["eoren"].settings.steps
        (256, 1000)
    """
    shared = networks if isinstance(networks, Networks) else NETWORKS[networks]
    paper = {"width": shared.width, "depth": shared.depth, "steps": shared.epochs, "learning_rate": shared.rate}
    gradient = make_settings("paper", **paper)
    every = (
        Method("pixel", "SIREN + pixels", make_settings("paper", **paper, objective="pixel"), tuned=False),
        Method("gradient", "SIREN + gradients", gradient, tuned=False),
        Method("eoren", "EoREN", gradient, tuned=True),
        Method("ours", "ours", make_settings(), tuned=True),
    )
    return MappingProxyType({method.key: method for method in every})


METHODS = methods()
"""The four methods at the paper's scale."""
