"""Trials: images fitted by methods and measured during training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from eoren._version import __version__
from eoren.backends.tile_evaluation import tuning_moments
from eoren.errors import EorenError
from eoren.evaluation.metrics import evaluate
from eoren.experiments.methods import Method
from eoren.experiments.progress import ProgressCallback, subtasks
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.provenance import Provenance
from eoren.field.serialization import dumps, loads
from eoren.image.arrays import Image
from eoren.model.quantization import rounded
from eoren.training.assembly import build_tiling
from eoren.training.budget import Budget
from eoren.training.settings import Settings
from eoren.training.trainer import Trainer

Number = float | int
_CPU = torch.device("cpu")

# Metrics of a sample, with their labels in plots and tables.
METRICS: Mapping[str, str] = {"psnr": "PSNR (dB)", "gradient_psnr": "gradient PSNR (dB)", "ssim": "SSIM"}


@dataclass(frozen=True)
class Sample:
    """Quality of a field at one moment of its training, see :class:`eoren.evaluation.metrics.Metrics`."""

    epoch: float  # tiles that skip a step are counted as if they had not
    seconds: float  # without targets, channel tuning and measurements; images trained together get equal shares
    psnr: float
    gradient_psnr: float
    ssim: float


@dataclass(frozen=True, eq=False)
class Trial:
    """One image, fitted by one method."""

    method: Method
    field: Field  # as read back from its file format
    samples: tuple[Sample, ...]  # during training; the last one belongs to the field

    @property
    def final(self) -> Sample:
        """Measurement of the field."""
        return self.samples[-1]


def run_trials(
    images: Sequence[Image],
    methods: Sequence[Method],
    *,
    epochs: Number | None = None,
    seconds: Number | None = None,
    seed: int = 0,
    samples: int = 12,
    watch: ProgressCallback = lambda label, share: None,
) -> dict[str, list[Trial]]:
    """Fit images of one size by several methods, on the CPU; return a trial for every image, by key of the method.

    Images that get a single network are trained as one batch, tiled ones one after the other. Methods that differ in
    channel tuning alone share one training. Epochs and seconds are the budget of every image, and the first that is
    used up ends its training. The measurements lie at quadratically growing shares of the budget, so that a curve is
    dense where it is steep.
    """
    if len(images) == 0 or len({image.shape for image in images}) != 1:
        raise EorenError(f"images must be at least one, and all of one size, got {len(images)} images")
    if epochs is None and seconds is None:
        raise EorenError("a trial needs a budget; give epochs or seconds")
    by_settings: dict[Settings, list[Method]] = {}
    for method in methods:
        by_settings.setdefault(method.settings, []).append(method)
    height, width, channels = images[0].shape
    tasks: list[tuple[str, tuple[list[Method], Sequence[Image]]]] = []
    for settings, group in by_settings.items():
        is_tiled = settings.architecture(width, height, channels)[0] > 1
        label = " and ".join(method.label for method in group)
        tasks += [(label, (group, batch)) for batch in ([[image] for image in images] if is_tiled else [images])]
    shares = [((k + 1) / samples) ** 2 for k in range(samples)]
    trials: dict[str, list[Trial]] = {method.key: [] for method in methods}
    for (group, batch), report in subtasks(tasks, watch):
        training = _Training(batch, group[0].settings, seed, epochs, seconds)
        for key, batch_trials in training.run(group, shares, report).items():
            trials[key] += batch_trials
    return trials


class _Training:
    """The training of one batch of images with the same settings."""

    def __init__(
        self, images: Sequence[Image], settings: Settings, seed: int, epochs: Number | None, seconds: Number | None
    ) -> None:
        self._images, self._settings, self._seed = images, settings, seed
        self._tiling = build_tiling(images[0], settings)
        if self._tiling.count > 1:
            self._trainer = Trainer.of_image(images[0], settings, seed=seed, device=_CPU, tiling=self._tiling)
        else:
            self._trainer = Trainer.of_images(np.stack(images), settings, seed=seed, device=_CPU)
        self._steps_per_epoch = -(-self._trainer.tile_pixels.most // self._trainer.points_per_step)
        steps = None if epochs is None else epochs * self._steps_per_epoch
        self._budget = Budget(steps, seconds)
        self._elapsed = 0.0

    def run(
        self, methods: Sequence[Method], shares: Sequence[float], report: ProgressCallback
    ) -> dict[str, list[Trial]]:
        """Train until the budget is used up, and measure at these shares of it."""
        measured: dict[str, list[list[tuple[Field, Sample]]]] = {method.key: [] for method in methods}
        for share in shares:
            while (done := self._budget.used(self._trainer.steps_done, self._seconds_per_image)) < share:
                self._step(done)
                report("", min(done, 1.0))
            for method in methods:
                fields = zip(self._fields(method), self._images, strict=True)
                measured[method.key].append([(field, self._sample(field, image)) for field, image in fields])
        return {
            method.key: [
                Trial(method, series[-1][0], tuple(sample for _, sample in series))
                for series in zip(*measured[method.key], strict=True)
            ]
            for method in methods
        }

    def _sample(self, field: Field, image: Image) -> Sample:
        metrics = evaluate(field, image)
        epoch = self._trainer.steps_done / self._steps_per_epoch
        return Sample(epoch, self._seconds_per_image, metrics.psnr, metrics.gradient_psnr, metrics.ssim)

    @property
    def _seconds_per_image(self) -> float:
        return self._elapsed / len(self._images)

    def _step(self, done: float) -> None:
        start = perf_counter()
        steps = self._budget.total_steps(self._trainer.steps_done, done)
        self._trainer.step(self._settings.schedule(min(done, 1.0), steps))
        self._elapsed += perf_counter() - start

    def _fields(self, method: Method) -> list[Field]:
        """Assemble the fields of all images as their files would store them now."""
        bits = self._settings.bits
        siren = rounded(self._trainer.networks(), bits)
        tuning = tuning_moments(siren, self._trainer.tile_pixels).tuning() if method.tuned else self._trainer.tuning
        seconds = round(self._seconds_per_image, 3)
        origin = Provenance(
            self._settings.as_dict(), self._seed, self._trainer.steps_done, seconds, version=__version__
        )
        mosaic, count = SirenMosaic(siren, tuning, self._tiling, bits), self._tiling.count
        slices = [slice(start, start + count) for start in range(0, siren.batch, count)]
        return [loads(dumps(Field(mosaic.select(networks), origin))) for networks in slices]
