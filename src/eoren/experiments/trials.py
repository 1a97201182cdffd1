"""Trials: images fitted by methods and measured during training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from types import MappingProxyType

import numpy as np
import torch

from eoren._version import __version__
from eoren.backends.tile_evaluation import tuning_moments
from eoren.errors import EorenError
from eoren.evaluation.metrics import evaluate
from eoren.experiments.datasets import Image
from eoren.experiments.methods import Method
from eoren.experiments.progress import ProgressCallback, subtasks
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.provenance import Provenance
from eoren.field.serialization import dumps, loads
from eoren.model.quantization import rounded
from eoren.training.assembly import build_tiling
from eoren.training.budget import Budget
from eoren.training.settings import Settings
from eoren.training.trainer import Trainer

_CPU = torch.device("cpu")

METRICS: Mapping[str, str] = MappingProxyType(
    {"psnr": "PSNR (dB)", "gradient_psnr": "gradient PSNR (dB)", "ssim": "SSIM"}
)
"""Metrics of a sample, with their labels in plots and tables."""


@dataclass(frozen=True)
class Sample:
    """Quality of a field at one moment of its training, see :class:`eoren.evaluation.metrics.Metrics`.

    Attributes:
        epoch: how often every pixel was seen; tiles that skip a step are counted as if they had not.
        seconds: training time, without targets, channel tuning and measurements; images that are trained together get
            equal shares.
        psnr: dB, peak 1.
        gradient_psnr: dB, against the reference gradient, per pixel.
        ssim: structural similarity; NaN for images with a side below 11 pixels.
    """

    epoch: float
    seconds: float
    psnr: float
    gradient_psnr: float
    ssim: float


@dataclass(frozen=True, eq=False)
class Trial:
    """One image, fitted by one method.

    Attributes:
        method: the method.
        field: the field, as read back from its file format.
        samples: measurements during training; the last one belongs to ``field``.
        seed: seed of the run, see :func:`eoren.training.trainer.image_seed`.
    """

    method: Method
    field: Field
    samples: tuple[Sample, ...]
    seed: int

    @property
    def final(self) -> Sample:
        """The measurement of the field."""
        return self.samples[-1]


def run_trials(
    images: Sequence[Image],
    methods: Sequence[Method],
    *,
    epochs: float | int | None = None,
    seconds: float | int | None = None,
    seed: int = 0,
    samples: int = 12,
    watch: ProgressCallback = lambda label, share: None,
) -> dict[str, list[Trial]]:
    """Fit images by several methods, on the CPU.

    Images that get a single network are trained as one batch, tiled ones one after the other. Methods that differ in
    channel tuning alone share one training. A budget of epochs gives reproducible results, one of seconds does not.

    Args:
        images: images of one size, ``(H, W, C)`` each, values in [0, 1].
        methods: methods, see :func:`eoren.experiments.methods.methods`.
        epochs: budget of every image; an epoch is every pixel seen once.
        seconds: budget of training time of every image. With both, the first budget used up ends the training.
        seed: seed of the random generator.
        samples: number of measurements: at the end, and before at quadratically growing shares of the budget, so that
            a curve is dense where it is steep.
        watch: progress callback, called after every step with the labels of the methods.

    Returns:
        A trial for every image, by key of the method.

    Raises:
        EorenError: there are no images, sizes differ, or there is no budget.

    Example:
        >>> from eoren.experiments.methods import Networks, methods
        >>> tiny = methods(Networks(width=16, depth=2, epochs=5, rate=1e-3))
        >>> images = list(np.random.default_rng(0).random((2, 12, 12, 1), np.float32))
        >>> trials = run_trials(images, [tiny["gradient"], tiny["eoren"]], epochs=5, samples=2)
        >>> [sample.epoch for sample in trials["eoren"][1].samples]
        [2.0, 5.0]
    """
    if len(images) == 0 or len({image.shape for image in images}) != 1:
        raise EorenError(f"images must be at least one, and all of one size, got {len(images)} images")
    if epochs is None and seconds is None:
        raise EorenError("a trial needs a budget; give epochs or seconds")
    by_settings: dict[Settings, list[Method]] = {}
    for method in methods:
        by_settings.setdefault(method.settings, []).append(method)
    tasks = [
        (" and ".join(method.label for method in group), (group, batch))
        for group in by_settings.values()
        for batch in _batches(images, group[0].settings)
    ]
    shares = [((k + 1) / samples) ** 2 for k in range(samples)]
    trials: dict[str, list[Trial]] = {method.key: [] for method in methods}
    for (group, batch), report in subtasks(tasks, watch):
        training = _Training(batch, group[0].settings, seed, epochs, seconds)
        for key, batch_trials in training.run(group, shares, report).items():
            trials[key] += batch_trials
    return trials


def _batches(images: Sequence[Image], settings: Settings) -> list[Sequence[Image]]:
    """Split images into those that are trained at once: all of them, or one image in tiles."""
    return [images[k : k + 1] for k in range(len(images))] if _is_tiled(images[0], settings) else [images]


def _is_tiled(image: Image, settings: Settings) -> bool:
    height, width, channels = image.shape
    return settings.architecture(width, height, channels)[0] > 1


class _Training:
    """The training of one batch of images with the same settings."""

    def __init__(
        self,
        images: Sequence[Image],
        settings: Settings,
        seed: int,
        epochs: float | int | None,
        seconds: float | int | None,
    ) -> None:
        self._images, self._settings, self._seed = images, settings, seed
        self._tiling = build_tiling(images[0], settings)
        if _is_tiled(images[0], settings):
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
                Trial(method, series[-1][0], tuple(sample for _, sample in series), self._seed)
                for series in zip(*measured[method.key], strict=True)
            ]
            for method in methods
        }

    def _sample(self, field: Field, image: Image) -> Sample:
        metrics = evaluate(field, image)
        return Sample(self._epoch, self._seconds_per_image, metrics.psnr, metrics.gradient_psnr, metrics.ssim)

    @property
    def _epoch(self) -> float:
        return self._trainer.steps_done / self._steps_per_epoch

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
        mosaics = [SirenMosaic(siren, tuning, self._tiling, bits)]
        if self._tiling.count == 1:
            slices = [slice(k, k + 1) for k in range(len(self._images))]
            mosaics = [SirenMosaic(siren.select(k), tuning.select(k), self._tiling, bits) for k in slices]
        return [loads(dumps(Field(mosaic, origin))) for mosaic in mosaics]
