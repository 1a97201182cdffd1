"""Fit shards: small images of one size train together as one batch, others one by one, as mosaics or compact fields.

The result depends only on the images, the settings and the seed, not on the machine or the executor.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from eoren.backends.tile_evaluation import predict_all_pixels
from eoren.cancellation import Cancelled
from eoren.dataset.groups import CompactGroup, Group, Row, ShardResult, encode_compact
from eoren.dataset.sources import Content, decode_content
from eoren.errors import ImageError
from eoren.evaluation.metrics import METRICS, Images, evaluate, evaluate_batch
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.provenance import Provenance
from eoren.field.wavelet_siren import WaveletSiren
from eoren.image.arrays import Image
from eoren.image.cell_averages import point_values
from eoren.image.io import SourceImage
from eoren.model.devices import choose_device
from eoren.model.moments import Moments
from eoren.model.quantization import rounded
from eoren.model.tiling import Tiling
from eoren.training.assembly import image_seed
from eoren.training.budget import Budget, train
from eoren.training.compact.settings import CompactSettings
from eoren.training.fit import fit_target
from eoren.training.result import FitTarget
from eoren.training.settings import Settings
from eoren.training.trainer import Trainer

ShareCallback = Callable[[float], bool]
"""Callback that receives the completed share of a job, 0 to 1, and returns True to stop it."""

# Memory limit of a batch, as float32 numbers, and the batch size beyond which the overhead of a step is negligible.
_MAX_NUMBERS = 1 << 26
_MAX_BATCH = 512
# Images of at most this number of samples stay decoded until their fit. Larger ones are decoded again, which takes
# little of the time of the fit: a decoded shard of photographs takes gigabytes.
_KEPT_SAMPLES = 1 << 14


@dataclass(frozen=True)
class FitPlan:
    """The settings, seed and device that all shards of a store have in common."""

    settings: Settings | CompactSettings
    seed: int = 0  # the seed of each image is derived from it and the pixels
    same_start: bool = False  # initialise all images with the network of `seed` instead
    device: str = "auto"
    to_srgb: bool = False  # convert colours from the profiles of the images
    checkpoints: Path | None = None  # folder for the state of images that are shards of their own; None for none

    def checkpoint(self, row: Row) -> Path | None:
        """Return the path of the checkpoint of the image of a row; another image at its place has another one."""
        return self.checkpoints and self.checkpoints / f"{row['shard']:07}-{row['sha256']}.resume"

    def seed_of(self, image: Image) -> int:
        """Return the seed of the networks of an image."""
        return self.seed if self.same_start else image_seed(image, self.seed)

    @property
    def is_compact(self) -> bool:
        """Whether the images become compact fields, and not networks."""
        return isinstance(self.settings, CompactSettings)

    @property
    def network_settings(self) -> Settings:
        """The settings of a plan of networks."""
        assert isinstance(self.settings, Settings)
        return self.settings

    def tile_count(self, shape: tuple[int, ...]) -> int:
        """Return the number of networks that represent an image of shape ``(H, W, C)``; 1 for a compact field."""
        height, width, channels = shape
        return 1 if self.is_compact else self.network_settings.architecture(width, height, channels)[0]


@runtime_checkable
class Job(Protocol):
    """A unit of work for an executor: a whole shard, or a group of tiles of a large image."""

    @property
    def name(self) -> str:
        """Name of the job, for people who watch a cluster."""

    @property
    def images(self) -> float:
        """Number of images of the job; a group of tiles is a part of one."""

    def run(self, plan: FitPlan, watch: ShareCallback) -> Any:
        """Run the job and return its result; raise :class:`Cancelled` when ``watch`` returns True."""


@dataclass(frozen=True)
class ShardJob:
    """A shard to fit."""

    shard: int
    first: int  # number of its first image
    names: Sequence[str]
    contents: Sequence[Content]  # not decoded yet

    @property
    def name(self) -> str:
        """Number of the shard and of its images."""
        return f"shard {self.shard}, {len(self.names)} images"

    @property
    def images(self) -> int:
        """Number of images of the shard."""
        return len(self.names)

    def run(self, plan: FitPlan, watch: ShareCallback) -> ShardResult:
        """Fit every image of the shard.

        An image that cannot be read or fitted gets a row with the reason and does not affect the others.
        """
        rows, profiles, positions_by_shape, kept = self._examine(plan)
        total = sum(prod(shape) * len(positions) for shape, positions in positions_by_shape.items())
        groups: list[Group] = []
        codes: list[bytes] = []
        done = 0.0

        def decode(position: int) -> Image:
            return kept.pop(position) if position in kept else self._decode(position, plan).pixels

        for shape, alike in positions_by_shape.items():
            for positions in _batches(shape, alike, plan):
                share = prod(shape) * len(positions) / total

                def watch_batch(within: float, done: float = done, share: float = share) -> bool:
                    return watch(done + share * within)

                batch_rows = [rows[position] for position in positions]
                # No name holds the images, so that they do not outlive their fit.
                for function, fitted in _fit_group(
                    [decode(position) for position in positions], batch_rows, profiles, plan, watch_batch
                ):
                    if isinstance(function, WaveletSiren):
                        fitted[0].update(status="done", group=0, offset=len(codes))
                        codes.append(encode_compact(function))
                        continue
                    for offset, row in enumerate(fitted):
                        row |= {"status": "done", "group": len(groups), "offset": offset}
                    groups.append(function)
                done += share
        return ShardResult(self.shard, [*groups, *([CompactGroup(codes)] if codes else [])], rows, profiles)

    def _decode(self, position: int, plan: FitPlan) -> SourceImage:
        return decode_content(self.names[position], self.contents[position], to_srgb=plan.to_srgb)

    def _examine(
        self, plan: FitPlan
    ) -> tuple[list[Row], dict[str, bytes], dict[tuple[int, ...], list[int]], dict[int, Image]]:
        """Decode each image, and return all rows, profiles, positions by shape, and the pixels of small images."""
        rows: list[Row] = []
        profiles: dict[str, bytes] = {}
        positions_by_shape: dict[tuple[int, ...], list[int]] = {}
        kept: dict[int, Image] = {}
        for position in range(len(self.names)):
            try:
                image = self._decode(position, plan)
                plan.tile_count(image.pixels.shape)  # refuses settings that do not suit the size
            except ImageError as error:
                rows.append(self.row(position) | failure(error))
                continue
            rows.append(self.row(position, image, plan.seed_of(image.pixels)))
            profiles |= profile_by_digest(image)
            positions_by_shape.setdefault(image.pixels.shape, []).append(position)
            if image.pixels.size <= _KEPT_SAMPLES:
                kept[position] = image.pixels
        return rows, profiles, positions_by_shape, kept

    def row(self, position: int, image: SourceImage | None = None, seed: int | None = None) -> Row:
        """Create the row of an image of the shard, with its properties if it could be decoded."""
        row = {"number": self.first + position, "name": self.names[position], "shard": self.shard}
        row["label"] = self.contents[position].label
        if image is not None:
            height, width, channels = image.pixels.shape
            row |= {"width": width, "height": height, "channels": channels, "sha256": image.sha256, "seed": seed}
            row |= {"notes": "; ".join(image.notes) or None, "profile": next(iter(profile_by_digest(image)), None)}
        return row


def profile_by_digest(image: SourceImage) -> dict[str, bytes]:
    """Return the ICC profile of an image under its SHA-256 digest; nothing if it has none."""
    return {hashlib.sha256(image.profile).hexdigest(): image.profile} if image.profile else {}


def failure(error: object) -> Row:
    """Create the columns of an image that could not be fitted."""
    return {"status": "failed", "error": " ".join(str(error).split())}


def _batches(shape: tuple[int, ...], positions: list[int], plan: FitPlan) -> Iterator[list[int]]:
    """Split images of one size into batches that fit into memory; mosaics and compact fields are fitted alone."""
    if plan.is_compact:
        yield from ([position] for position in positions)
        return
    height, width, channels = shape
    settings = plan.network_settings
    count, hidden = settings.architecture(width, height, channels)
    # Parameters, gradients and optimizer state; pixels, targets and their metrics.
    numbers = 4 * (settings.depth * hidden**2 + 4 * hidden) + 12 * height * width * channels
    size = max(1, min(_MAX_BATCH, _MAX_NUMBERS // numbers)) if count == 1 else 1
    for start in range(0, len(positions), size):
        yield positions[start : start + size]


def _fit_group(
    images: Sequence[Image], rows: Sequence[Row], profiles: Mapping[str, bytes], plan: FitPlan, watch: ShareCallback
) -> Iterable[tuple[SirenMosaic | WaveletSiren, Sequence[Row]]]:
    """Fit images of one size, fill in their rows, and return functions with the rows of their images."""
    try:
        if not plan.is_compact and plan.tile_count(images[0].shape) == 1:
            return [(_fit_batch(np.stack(images), rows, plan, watch), rows)]
        return [(_fit_alone(images[0], rows[0], profiles, plan, watch), rows)]
    except ImageError as error:
        if len(images) == 1:
            rows[0].update(failure(error))
            return []
    # One of them diverged. Fitting each alone gives the same networks and takes longer.
    return [
        group
        for image, row in zip(images, rows, strict=True)
        for group in _fit_group([image], [row], profiles, plan, lambda share: watch(0.0))
    ]


def _fit_alone(
    image: Image, row: Row, profiles: Mapping[str, bytes], plan: FitPlan, watch: ShareCallback
) -> SirenMosaic | WaveletSiren:
    result = fit_target(
        FitTarget(image, row["sha256"], profile=profiles.get(row["profile"], b"")),
        plan.settings,
        seed=row["seed"],
        device=plan.device,
        watch=lambda progress: watch(progress.done),
        checkpoint=plan.checkpoint(row),
    )
    if result.ended == "interrupted":
        raise Cancelled
    function = result.field.to("cpu").representation
    assert isinstance(function, SirenMosaic | WaveletSiren)
    networks = function.tiling.count if isinstance(function, SirenMosaic) else int(function.decoder.siren is not None)
    row |= {"networks": networks, "parameters": function.parameters, "steps": result.steps}
    row |= {name: getattr(result.metrics, name) for name in METRICS}
    return function


def _fit_batch(images: Images, rows: Sequence[Row], plan: FitPlan, watch: ShareCallback) -> SirenMosaic:
    """Fit one network per image in one batch: train, round as in the file, tune and measure."""
    settings = plan.network_settings
    averaged = settings.pixel_model == "cell_average"
    points = np.stack([point_values(image) for image in images]) if averaged else images
    _, height, width, _ = images.shape
    seconds = settings.time_limit(width, height)
    trainer = Trainer.of_images(
        points, settings, seed=plan.seed, device=choose_device(plan.device), same_start=plan.same_start
    )
    train(trainer, Budget(settings.steps, None if seconds is None else seconds * len(images)), watch)
    siren = rounded(trainer.networks(), settings.bits)
    prediction = predict_all_pixels(siren, trainer.tile_pixels)
    moments = Moments(siren.batch, siren.channels, siren.device)
    moments.add(slice(None), prediction[:, 0], torch.from_numpy(points).flatten(1, 2).to(siren.device))
    tuning = moments.tuning()
    mosaic = SirenMosaic(siren, tuning, Tiling.single(width, height), settings.bits).to("cpu")
    if averaged:
        # Averages over the pixels are rare, so these fields are measured one by one.
        metrics = []
        for number, image in enumerate(images):
            network = mosaic.select(slice(number, number + 1))
            metrics.append(evaluate(Field(network, Provenance(settings=settings.as_dict())), image))
        measured = {name: [getattr(values, name) for values in metrics] for name in METRICS}
    else:
        batch = evaluate_batch(tuning.apply(prediction).cpu().numpy(), images)
        measured = {name: values.tolist() for name, values in batch.items()}
    for number, row in enumerate(rows):
        row |= {"networks": 1, "parameters": mosaic.parameters // siren.batch, "steps": trainer.steps_done}
        row |= {name: values[number] for name, values in measured.items()}
    return mosaic
