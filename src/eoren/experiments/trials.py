"""Trainings that are measured on their way: what the experiments' curves, tables and figures are made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float

from eoren._version import __version__
from eoren.backends.tile_evaluation import tuning_moments
from eoren.errors import EorenError
from eoren.evaluation.metrics import evaluate
from eoren.experiments.methods import Method
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.provenance import Provenance
from eoren.field.serialization import dumps, loads
from eoren.model.quantization import rounded
from eoren.training.settings import Settings
from eoren.training.trainer import Trainer, build_tiling

_CPU = torch.device("cpu")

Image = Float[np.ndarray, "height width channels"]

METRICS: Mapping[str, str] = MappingProxyType(
    {"psnr": "PSNR (dB)", "gradient_psnr": "gradient PSNR (dB)", "ssim": "SSIM"}
)
"""What samples are measured by, as plots and tables label it."""


@dataclass(frozen=True)
class Sample:
    """How good a field was at some moment of its training: see :class:`eoren.evaluation.metrics.Metrics`.

    Attributes:
        epoch: how often every pixel had been seen. Tiles of a mosaic that sat a step out are counted as if not.
        seconds: of training; of images that are trained together, each one's equal share. Targets, channel tuning
            and measuring are not in it.
        psnr: dB, peak 1.
        gradient_psnr: dB, against the reference gradient, per pixel.
        ssim: not a number for images under 11 pixels.
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
        method: which.
        field: as it comes back from its file.
        samples: along the way, the last of them of ``field``.
        seed: of the run, see :func:`eoren.training.trainer.picture_seed`.
    """

    method: Method
    field: Field
    samples: tuple[Sample, ...]
    seed: int

    @property
    def final(self) -> Sample:
        """Of the field."""
        return self.samples[-1]


def run_all(
    images: Sequence[Image],
    methods: Sequence[Method],
    *,
    epochs: float | int | None = None,
    seconds: float | int | None = None,
    seed: int = 0,
    samples: int = 12,
    watch: Callable[[float], bool | None] | None = None,
) -> dict[str, list[Trial]]:
    """Fit some images by several methods, on the CPU.

    Where an image gets one network, all images are trained as one batch; mosaics, one image after the other.
    Methods that differ in channel tuning alone share one training. What a method does in the epochs it is given is
    a matter of images, method, epochs and seed; what it does in seconds, of the machine too.

    Args:
        images: of one size, ``(H, W, C)`` each, values in [0, 1].
        methods: any of :data:`eoren.experiments.methods.METHODS`, or their kind.
        epochs: budget of every image; an epoch is every pixel seen once.
        seconds: budget of training of every image. With both, the first to be used up ends the training.
        seed: of the random numbers.
        samples: how often to measure: at the end, and before at shares of the budget that grow quadratically, so
            that a curve is dense where it is steep.
        watch: called after every step with the share of all the work that is done; return true to give it up.

    Returns:
        By key of the method, a trial for every image.

    Raises:
        EorenError: no images, images of several sizes, or no budget.
        KeyboardInterrupt: ``watch`` said so.

    Example:
        >>> from eoren.experiments.methods import Networks, methods
        >>> tiny = methods(Networks(width=16, depth=2, epochs=5, rate=1e-3))
        >>> images = list(np.random.default_rng(0).random((2, 12, 12, 1), np.float32))
        >>> found = run_all(images, [tiny["gradient"], tiny["eoren"]], epochs=5, samples=2)
        >>> [sample.epoch for sample in found["eoren"][1].samples]
        [2.0, 5.0]
    """
    if len(images) == 0 or len({image.shape for image in images}) != 1:
        raise EorenError(f"{len(images)} images were given; give at least one, and all of one size")
    if epochs is None and seconds is None:
        raise EorenError("a trial needs an end; give epochs or seconds")
    epochs, seconds = (None if given is None else float(given) for given in (epochs, seconds))
    trainings: dict[Settings, list[Method]] = {}
    for method in methods:
        trainings.setdefault(method.settings, []).append(method)
    found: dict[str, list[Trial]] = {method.key: [] for method in methods}
    work = [(settings, batch) for settings in trainings for batch in _batches(images, settings)]
    for number, (settings, batch) in enumerate(work):

        def shown(done: float, number: int = number) -> None:
            if watch is not None and watch((number + done) / len(work)):
                raise KeyboardInterrupt

        training = _Training(batch, settings, seed)
        points = [((k + 1) / samples) ** 2 for k in range(samples)]
        series = training.series(trainings[settings], points, epochs, seconds, shown)
        for key, trials in series.items():
            found[key] += trials
    return found


def _batches(images: Sequence[Image], settings: Settings) -> list[Sequence[Image]]:
    """What is trained at once: everything, or one mosaic."""
    return [images[k : k + 1] for k in range(len(images))] if _is_mosaic(images[0], settings) else [images]


def _is_mosaic(image: Image, settings: Settings) -> bool:
    height, width, channels = image.shape
    return settings.architecture(width, height, channels)[0] > 1


class _Training:
    """Some images in training, all with the same settings."""

    def __init__(self, images: Sequence[Image], settings: Settings, seed: int) -> None:
        """Prepare targets and networks."""
        self._images, self._settings, self._seed = images, settings, seed
        self._tiling = build_tiling(images[0], settings)
        if _is_mosaic(images[0], settings):
            self._trainer = Trainer.of_picture(images[0], settings, seed=seed, device=_CPU, tiling=self._tiling)
        else:
            self._trainer = Trainer.of_pictures(np.stack(images), settings, seed=seed, device=_CPU)
        self._per_epoch = -(-self._trainer.patches.most // self._trainer.points_per_step)
        self._seconds = 0.0

    def series(
        self,
        methods: Sequence[Method],
        points: Sequence[float],
        epochs: float | None,
        seconds: float | None,
        watch: Callable[[float], None],
    ) -> dict[str, list[Trial]]:
        """Train to the end of the budget, and measure whenever a share of it is used up."""
        seen: dict[str, list[list[Sample]]] = {method.key: [[] for _ in self._images] for method in methods}
        fields: dict[str, list[Field]] = {}
        for point in points:
            while (done := self._done(epochs, seconds)) < point:
                self._step(done, epochs)
                watch(min(done, 1.0))
            for method in methods:
                fields[method.key] = self._fields(method)
                for field, image, series in zip(fields[method.key], self._images, seen[method.key], strict=True):
                    series.append(self._sample(field, image))
        return {
            method.key: [
                Trial(method, field, tuple(series), self._seed)
                for field, series in zip(fields[method.key], seen[method.key], strict=True)
            ]
            for method in methods
        }

    @property
    def _epoch(self) -> float:
        return self._trainer.steps_done / self._per_epoch

    @property
    def _share(self) -> float:
        """Seconds of training an image."""
        return self._seconds / len(self._images)

    def _done(self, epochs: float | None, seconds: float | None) -> float:
        """Share of the budget that is used up. However short it is, one step is made."""
        if self._trainer.steps_done == 0:
            return 0.0
        by_epochs = 0.0 if epochs is None else self._epoch / epochs
        return max(by_epochs, 0.0 if seconds is None else self._share / seconds)

    def _step(self, done: float, epochs: float | None) -> None:
        start = perf_counter()
        made = self._trainer.steps_done
        steps = made / done if done else 1000.0 if epochs is None else epochs * self._per_epoch
        self._trainer.step(self._settings.schedule(min(done, 1.0), steps))
        self._seconds += perf_counter() - start

    def _fields(self, method: Method) -> list[Field]:
        """What the files would hold now."""
        bits = self._settings.bits
        siren = rounded(self._trainer.networks(), bits)
        tuning = tuning_moments(siren, self._trainer.patches).tuning() if method.tuned else self._trainer.tuning
        origin = Provenance(
            self._settings.as_dict(), self._seed, self._trainer.steps_done, round(self._share, 3), version=__version__
        )
        whole = Field(SirenMosaic(siren, tuning, self._tiling, bits), origin)
        if self._tiling.count > 1:
            fields = [whole]
        else:
            each = [slice(k, k + 1) for k in range(len(self._images))]
            fields = [Field(SirenMosaic(siren.select(k), tuning.select(k), self._tiling, bits), origin) for k in each]
        return [loads(dumps(field)) for field in fields]

    def _sample(self, field: Field, image: Image) -> Sample:
        # The size of the file is not asked for.
        found = evaluate(field, image, stored_bytes=0)
        return Sample(self._epoch, self._share, found.psnr, found.gradient_psnr, found.ssim)
