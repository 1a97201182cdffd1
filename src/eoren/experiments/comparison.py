"""The four methods on one image, at equal epochs and at equal time."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from eoren.errors import EorenError
from eoren.evaluation.metrics import finite
from eoren.experiments.machine import machine
from eoren.experiments.methods import NETWORKS, Scale, methods
from eoren.experiments.progress import ProgressCallback, subtasks
from eoren.experiments.trials import Trial, run_trials
from eoren.field.serialization import dumps
from eoren.image.io import SourceImage
from eoren.visualization.resampling import downsample

SIDE = 256
"""Longer side of the paper's images, in pixels."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The results behind the report and its JSON.

    Attributes:
        source: the image as it was read.
        image: ``(H, W, C)``, the image that the networks were fitted to, reduced if the source was larger.
        scale: size of the paper's networks, ``small`` or ``paper``.
        seed: seed of every trial.
        epochs: budget of every method in ``equal_epochs``; an epoch is every pixel seen once.
        seconds: budget of training time of every method in ``equal_time``.
        equal_epochs: one trial per method.
        equal_time: one trial per method, in the same order.
        machine: hardware and versions, see :func:`eoren.experiments.machine.machine`.
    """

    source: SourceImage
    image: Float[np.ndarray, "height width channels"]
    scale: Scale
    seed: int
    epochs: float
    seconds: float
    equal_epochs: Sequence[Trial]
    equal_time: Sequence[Trial]
    machine: Mapping[str, str | int] = field(default_factory=machine)

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON types: all numbers of the report, and the curves.

        Returns:
            ``picture``: name, sha256, width and height of the file, ``fitted_width`` and ``fitted_height``, channels.
            ``scale``, ``seed``; ``epochs`` and ``seconds``, the two budgets; ``machine``.
            ``methods``: key, label, tuned and settings of each.
            ``equal_epochs`` and ``equal_time``: one object per method: ``method``, its key; ``psnr``,
            ``gradient_psnr`` (dB) and ``ssim`` at the end; ``epochs`` and ``seconds`` used; ``parameters`` and
            ``bytes``; ``samples``, a list of epoch, seconds, psnr, gradient_psnr and ssim. Infinity and NaN become
            null.
        """
        height, width, channels = self.image.shape
        return {
            "picture": {
                "name": self.source.name,
                "sha256": self.source.sha256,
                "width": self.source.pixels.shape[1],
                "height": self.source.pixels.shape[0],
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
    source: SourceImage,
    *,
    epochs: float | None = None,
    seconds: float | None = None,
    scale: Scale = "small",
    side: int = SIDE,
    seed: int = 0,
    watch: ProgressCallback = lambda label, share: None,
) -> Comparison:
    """Fit one image by SIREN + pixels, SIREN + gradients, EoREN and the default of this library, twice.

    Args:
        source: image, see :func:`eoren.image.io.read_source_image`.
        epochs: budget of the first round; by default that of the scale.
        seconds: budget of training time per method in the second round; by default what EoREN took in the first.
        scale: size of the paper's networks.
        side: longer side, in pixels, to which a larger image is reduced for all methods.
        seed: seed of the random generator.
        watch: progress callback; its label is the name of the round.

    Raises:
        EorenError: a budget or the side is not positive.

    Example:
        >>> from eoren.image.io import read_source_image
        >>> comparison = compare(read_source_image("sample:camera"), epochs=1.0, seconds=0.1, side=16)
        >>> [trial.method.key for trial in comparison.equal_time]
        ['pixel', 'gradient', 'eoren', 'ours']
    """
    for name, value in (("epochs", epochs), ("seconds", seconds), ("size", side)):
        if value is not None and not 0 < value < float("inf"):
            raise EorenError(f"{name} must be a positive number, got {value}")
    image = downsample(source.pixels, side)
    epochs = float(NETWORKS[scale].epochs) if epochs is None else epochs
    rounds: list[list[Trial]] = []
    for is_first, report in subtasks([("equal epochs", True), ("equal time", False)], watch):
        if not is_first and seconds is None:
            seconds = next(trial.final.seconds for trial in rounds[0] if trial.method.key == "eoren")
        trials = run_trials(
            [image],
            list(methods(scale).values()),
            epochs=epochs if is_first else None,
            seconds=None if is_first else seconds,
            seed=seed,
            watch=report,
        )
        rounds.append([trial for (trial,) in trials.values()])
    assert seconds is not None
    equal_epochs, equal_time = rounds
    return Comparison(source, image, scale, seed, epochs, seconds, equal_epochs, equal_time)


def final_numbers(trial: Trial) -> dict[str, float | int]:
    """Collect the final numbers of a trial, under their names in the JSON."""
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
    samples = [finite(asdict(sample)) for sample in trial.samples]
    return {"method": trial.method.key, **finite(final_numbers(trial)), "samples": samples}
