"""The four ways of fitting that the experiments compare.

The paper's three share network, optimiser and protocol (arXiv 2209.11697, section 4), so that what differs is what
they are asked to get right; the fourth is this library's default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from eoren.training.presets import make_settings
from eoren.training.settings import Settings

Scale = Literal["small", "paper"]


@dataclass(frozen=True)
class Method:
    """One way of fitting.

    Attributes:
        key: ``pixel``, ``gradient``, ``eoren`` or ``ours``: as tables call it.
        label: as people read it.
        settings: of the fit.
        tuned: whether channel tuning follows; without it the colours are what the networks say.
    """

    key: str
    label: str
    settings: Settings
    tuned: bool


@dataclass(frozen=True)
class Networks:
    """What the paper's three methods share.

    Attributes:
        width: units of a hidden layer.
        depth: sine layers.
        epochs: of the protocol.
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
"""The paper's, and one that two cores train in minutes: its rate is larger as its layers are narrower."""


def methods(networks: Scale | Networks = "paper") -> Mapping[str, Method]:
    """The four methods, by key.

    EoREN trains for all the epochs of the protocol, as the others do: the 50 that the paper spends on channel tuning
    become one pass over the pixels, see :mod:`eoren.model.channel_tuning`.

    Args:
        networks: of the paper's three methods; ``ours`` is the default of :func:`eoren.fit` whatever they are.

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


TOGETHER = (("gradient", "eoren"), ("pixel",), ("ours",))
"""Keys of the methods, those that share a training together."""

METHODS = methods()
"""By the paper's protocol."""
