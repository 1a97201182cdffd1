"""The four methods on one image, twice: after equal epochs, and after equal time."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from eoren.errors import EorenError
from eoren.evaluation.metrics import finite
from eoren.experiments.machine import machine
from eoren.experiments.methods import NETWORKS, Scale, methods
from eoren.experiments.trials import Trial, run_all
from eoren.field.serialization import dumps
from eoren.image.io import SourceImage
from eoren.visualization.resampling import downsample

SIDE = 256
"""Longer side of the paper's images, in pixels."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that the report and the JSON say.

    Attributes:
        picture: as it was read.
        image: ``(H, W, C)``, what the networks were fitted to: the image, reduced if it was larger.
        scale: of the paper's networks, ``small`` or ``paper``.
        seed: of every trial.
        epochs: that every method had in ``equal_epochs``; one is every pixel seen once.
        seconds: of training that every method had in ``equal_time``.
        equal_epochs: one trial a method, in the same order as ``equal_time``.
        equal_time: likewise.
        machine: where it ran.
    """

    picture: SourceImage
    image: Float[np.ndarray, "height width channels"]
    scale: Scale
    seed: int
    epochs: float
    seconds: float
    equal_epochs: tuple[Trial, ...]
    equal_time: tuple[Trial, ...]
    machine: Mapping[str, str | int] = field(default_factory=machine)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: every number of the report, and the curves.

        Returns:
            ``picture``: name, sha256, width and height of the file, ``fitted_width`` and ``fitted_height``, channels.
            ``scale``, ``seed``; ``epochs`` and ``seconds``, the budgets of the two rounds; ``machine``.
            ``methods``: key, label, tuned, settings of each.
            ``equal_epochs`` and ``equal_time``: a list with an object a method: ``method``, its key; ``psnr``,
            ``gradient_psnr`` (dB) and ``ssim`` at the end; ``epochs`` and ``seconds`` that it took; ``parameters``
            and ``bytes``; ``samples``, a list of epoch, seconds, psnr, gradient_psnr and ssim. What is infinite or
            not a number is null.
        """
        height, width, channels = self.image.shape
        return {
            "picture": {
                "name": self.picture.name,
                "sha256": self.picture.sha256,
                "width": self.picture.pixels.shape[1],
                "height": self.picture.pixels.shape[0],
                "fitted_width": width,
                "fitted_height": height,
                "channels": channels,
            },
            "scale": self.scale,
            "seed": self.seed,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "machine": dict(self.machine),
            "methods": [
                {**asdict(trial.method), "settings": trial.method.settings.as_dict()} for trial in self.equal_epochs
            ],
            "equal_epochs": [_as_dict(trial) for trial in self.equal_epochs],
            "equal_time": [_as_dict(trial) for trial in self.equal_time],
        }


def compare(
    picture: SourceImage,
    *,
    epochs: float | None = None,
    seconds: float | None = None,
    scale: Scale = "small",
    side: int = SIDE,
    seed: int = 0,
    watch: Callable[[str, float], object] | None = None,
) -> Comparison:
    """Fit one image by SIREN + pixels, SIREN + gradients, EoREN and our default, twice.

    Args:
        picture: see :func:`eoren.image.io.read_source_image`.
        epochs: of the first round; by default the scale's.
        seconds: of training, for each method in the second round; by default what EoREN took in the first.
        scale: of the paper's networks.
        side: longer side, in pixels, that the image is brought down to for all methods.
        seed: of the random numbers.
        watch: called with the name of the round and the share of all the work that is done, 0..1.

    Raises:
        EorenError: a budget or side that is not above zero.

    Example:
        >>> from eoren.image.io import read_source_image
        >>> found = compare(read_source_image("sample:camera"), epochs=1.0, seconds=0.1, side=16)
        >>> [trial.method.key for trial in found.equal_time]
        ['pixel', 'gradient', 'eoren', 'ours']
    """
    for name, value in (("epochs", epochs), ("seconds", seconds), ("size", side)):
        if value is not None and not 0 < value < float("inf"):
            raise EorenError(f"{name} is {value}, but must be a number above zero")
    image = downsample(picture.pixels, side)
    epochs = float(NETWORKS[scale].epochs) if epochs is None else epochs

    def trials(
        number: int, what: str, *, epochs: float | None = None, seconds: float | None = None
    ) -> tuple[Trial, ...]:
        def say(share: float) -> None:
            if watch is not None:
                watch(what, (number + share) / 2)

        every = tuple(methods(scale).values())
        found = run_all([image], every, epochs=epochs, seconds=seconds, seed=seed, watch=say)
        say(1.0)
        return tuple(trial for (trial,) in found.values())

    equal_epochs = trials(0, "equal epochs", epochs=epochs)
    if seconds is None:
        seconds = next(trial.final.seconds for trial in equal_epochs if trial.method.key == "eoren")
    equal_time = trials(1, "equal time", seconds=seconds)
    return Comparison(picture, image, scale, seed, epochs, seconds, equal_epochs, equal_time)


def numbers(trial: Trial) -> dict[str, float | int]:
    """What one trial found in the end, under the names of the JSON."""
    last = trial.final
    return {
        "psnr": last.psnr,
        "gradient_psnr": last.gradient_psnr,
        "ssim": last.ssim,
        "epochs": last.epoch,
        "seconds": last.seconds,
        "parameters": trial.field.parameters,
        "bytes": len(dumps(trial.field)),
    }


def _as_dict(trial: Trial) -> dict[str, Any]:
    return {
        "method": trial.method.key,
        **finite(numbers(trial)),
        "samples": [finite(asdict(sample)) for sample in trial.samples],
    }
