"""One image: the four methods at equal epochs and at equal time, and compact fields beside image codecs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from eoren.errors import EorenError
from eoren.evaluation.metrics import finite
from eoren.experiments.machine import machine
from eoren.experiments.methods import NETWORKS, Scale, methods
from eoren.experiments.progress import ProgressCallback, subtasks
from eoren.experiments.rates import Rates, measure_rates
from eoren.experiments.trials import Trial, run_trials
from eoren.field.serialization import dumps
from eoren.image.arrays import Image
from eoren.image.io import SourceImage
from eoren.image.profiles import describe_profile
from eoren.visualization.resampling import downsample

SIDE = 256  # longer side of the paper's images, in pixels


@dataclass(frozen=True, eq=False)
class Comparison:
    """The results behind the report and its JSON."""

    source: SourceImage
    image: Image  # that the networks were fitted to, reduced if the source was larger
    scale: Scale
    seed: int
    epochs: float  # budget of every method in equal_epochs
    seconds: float  # budget of training time of every method in equal_time
    equal_epochs: Sequence[Trial]  # one per method
    equal_time: Sequence[Trial]  # one per method, in the same order
    rates: Rates  # compact fields beside image codecs
    machine: Mapping[str, str | int] = field(default_factory=machine)

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON types: all numbers of the report, and the curves; infinity and NaN become null."""
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
                "profile": describe_profile(self.source.profile) if self.source.profile else "",
            },
            **{name: getattr(self, name) for name in ("scale", "seed", "epochs", "seconds")},
            "machine": dict(self.machine),
            "methods": [
                {**asdict(trial.method), "settings": trial.method.settings.as_dict()} for trial in self.equal_epochs
            ],
            "equal_epochs": [_as_dict(trial) for trial in self.equal_epochs],
            "equal_time": [_as_dict(trial) for trial in self.equal_time],
            "rates": self.rates.as_dict(),
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
    """Fit one image by SIREN + pixels, SIREN + gradients, EoREN and the preset ``mosaic``, twice, and store it.

    The first round ends after ``epochs``, by default those of the scale; the second after ``seconds`` of training per
    method, by default what EoREN took in the first. Then the image is stored as compact fields and by image codecs,
    see :mod:`eoren.experiments.rates`. An image whose longer side is above ``side`` is reduced to it.
    """
    for name, value in (("epochs", epochs), ("seconds", seconds), ("size", side)):
        if value is not None and not 0 < value < float("inf"):
            raise EorenError(f"{name} must be a positive number, got {value}")
    image = downsample(source.pixels, side)
    epochs = float(NETWORKS[scale].epochs) if epochs is None else epochs
    compared = list(methods(scale).values())
    rounds: list[dict[str, list[Trial]]] = []
    rates = None
    for number, report in subtasks([("equal epochs", 0), ("equal time", 1), ("equal bytes", 2)], watch):
        if number == 2:
            rates = measure_rates(image, seed=seed, watch=report)
            continue
        if number == 1 and seconds is None:
            seconds = rounds[0]["eoren"][0].final.seconds
        budgets = (None, seconds) if number else (epochs, None)
        rounds.append(run_trials([image], compared, epochs=budgets[0], seconds=budgets[1], seed=seed, watch=report))
    assert seconds is not None
    assert rates is not None
    equal_epochs, equal_time = ([trial for (trial,) in trials.values()] for trials in rounds)
    return Comparison(source, image, scale, seed, epochs, seconds, equal_epochs, equal_time, rates)


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
