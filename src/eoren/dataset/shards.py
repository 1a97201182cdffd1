"""A shard of images becomes a shard of networks: images of one size train as one batch, large ones as mosaics.

What a shard becomes is a matter of its images, the settings and the seed alone, whoever fits it and where.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float

from eoren.cancellation import Cancelled
from eoren.dataset.sources import Content, decoded
from eoren.errors import ImageError
from eoren.evaluation.metrics import METRICS, Metrics, evaluate, evaluate_batch
from eoren.field.field import Field
from eoren.image.cell_averages import point_values
from eoren.image.io import SourceImage, digest_of
from eoren.model.channel_tuning import Moments
from eoren.model.devices import choose_device
from eoren.model.quantization import rounded
from eoren.model.tiling import Tiling
from eoren.training.assembly import picture_seed
from eoren.training.budget import Budget, train
from eoren.training.fit import FitTarget, fit_target
from eoren.training.settings import Settings
from eoren.training.trainer import Trainer

Image = Float[np.ndarray, "height width channels"]
Images = Float[np.ndarray, "pictures height width channels"]
Row = dict[str, Any]
Watch = Callable[[float], bool]
"""Called with the share of a shard that is done; returns true to give it up."""

# What a batch may keep in memory, in numbers of float32; and how many networks share the cost of a step's operations.
_NUMBERS_AT_ONCE = 1 << 26
_MOST_AT_ONCE = 512


@dataclass(frozen=True)
class Work:
    """What all shards of a store have in common.

    Attributes:
        settings: of every fit.
        seed: from which, and from its pixels, every image's own seed follows.
        same_start: begin with the same network for all images instead, that of ``seed``.
        device: where to train.
    """

    settings: Settings
    seed: int = 0
    same_start: bool = False
    device: str = "auto"

    def seed_of(self, image: Image) -> int:
        """The seed of an image's networks."""
        return self.seed if self.same_start else picture_seed(image, self.seed)

    def is_single(self, shape: tuple[int, ...]) -> bool:
        """Whether an image of shape ``(H, W, C)`` gets one network."""
        height, width, channels = shape
        return self.settings.architecture(width, height, channels)[0] == 1


@dataclass(frozen=True)
class Task:
    """Some images to fit.

    Attributes:
        shard: its number.
        first: number of its first image.
        names: of the images.
        contents: of the images, not decoded yet.
    """

    shard: int
    first: int
    names: Sequence[str]
    contents: Sequence[Content]
    share: ClassVar[float] = 1.0

    def run(self, work: Work, watch: "Watch") -> "Fitted":
        """See :func:`fit_shard`."""
        return fit_shard(self, work, watch)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A task, done.

    Attributes:
        shard: its number.
        groups: images of one size each, as one :class:`eoren.Field` whose networks are those of all its
            images, one image after the other. Their tiling is one image's.
        rows: one for every image, in order, with the columns of :data:`eoren.dataset.index.COLUMNS`.
    """

    shard: int
    groups: Sequence[Field]
    rows: Sequence[Row]


@runtime_checkable
class Job(Protocol):
    """What an engine hands to its workers: a :class:`Task`, or a piece of a large image.

    Attributes:
        share: how much of a shard it is.
    """

    @property
    def share(self) -> float:
        """How much of a shard it is."""

    def run(self, work: Work, watch: Watch) -> Any:
        """Do it, and return what came of it."""


def fit_shard(task: Task, work: Work, watch: Watch = lambda share: False) -> Fitted:
    """Fit every image of a shard.

    An image that cannot be read or fitted gets a row that says why, and takes nothing from the others.

    Raises:
        Cancelled: ``watch`` returned true.
    """
    rows: list[Row] = []
    sizes: dict[tuple[int, ...], list[int]] = {}
    pictures: dict[int, SourceImage] = {}
    for place, (name, content) in enumerate(zip(task.names, task.contents, strict=True)):
        try:
            picture = decoded(name, content)
            work.is_single(picture.pixels.shape)
        except ImageError as error:
            rows.append(_named(task, place) | failed(str(error)))
            continue
        rows.append(described(task, place, picture, work.seed_of(picture.pixels)))
        pictures[place] = picture
        sizes.setdefault(picture.pixels.shape, []).append(place)
    pixels_in_all = sum(picture.pixels.size for picture in pictures.values())
    groups: list[Field] = []
    done = 0.0
    for places in (part for shape, every in sizes.items() for part in _parts(shape, every, work.settings)):
        some = [pictures[place].pixels for place in places]
        share = sum(image.size for image in some) / pixels_in_all

        def shown(within: float, done: float = done, share: float = share) -> bool:
            return watch(done + share * within)

        for fields, kept in _fitted(some, [rows[place] for place in places], work, shown):
            for offset, row in enumerate(kept):
                row |= {"status": "done", "group": len(groups), "offset": offset}
            groups.append(fields)
        done += share
    return Fitted(task.shard, groups, rows)


def described(task: Task, place: int, picture: SourceImage, seed: int) -> Row:
    """What the row of an image says before it is fitted."""
    height, width, channels = picture.pixels.shape
    size = {"width": width, "height": height, "channels": channels}
    return _named(task, place) | size | {"sha256": picture.sha256, "seed": seed}


def _named(task: Task, place: int) -> Row:
    label = task.contents[place].label
    return {"number": task.first + place, "name": task.names[place], "label": label, "shard": task.shard}


def failed(reason: str) -> Row:
    """What it says of an image that could not be fitted."""
    return {"status": "failed", "error": " ".join(reason.split())}


def _parts(shape: tuple[int, ...], places: list[int], settings: Settings) -> Iterator[list[int]]:
    """Pictures of one size in pieces that fit into memory; mosaics one by one."""
    height, width, channels = shape
    count, hidden = settings.architecture(width, height, channels)
    if count > 1:
        yield from ([place] for place in places)
        return
    # Parameters, gradients and memories of the optimisers; pixels, targets and their metrics.
    numbers = 4 * (settings.depth * hidden**2 + 4 * hidden) + 12 * height * width * channels
    size = max(1, min(_MOST_AT_ONCE, _NUMBERS_AT_ONCE // numbers))
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _fitted(
    images: Sequence[Image], rows: Sequence[Row], work: Work, watch: Watch
) -> Iterable[tuple[Field, Sequence[Row]]]:
    """Groups of fields, and the rows of their images, filled in."""
    try:
        if work.is_single(images[0].shape):
            return [(_fit_batch(np.stack(images), rows, work, watch), rows)]
        return [(_fit_mosaic(images[0], rows[0], work, watch), rows)]
    except ImageError as error:
        if len(images) == 1:
            rows[0].update(failed(str(error)))
            return []
    # One of them diverged. They are fitted as if alone, so the others lose nothing but time.
    return [
        found
        for image, row in zip(images, rows, strict=True)
        for found in _fitted([image], [row], work, lambda share: watch(0.0))
    ]


def _fit_mosaic(image: Image, row: Row, work: Work, watch: Watch) -> Field:
    result = fit_target(
        FitTarget(image, digest_of(image)),
        work.settings,
        seed=row["seed"],
        device=work.device,
        watch=lambda progress: watch(progress.done),
    )
    if result.ended == "interrupted":
        raise Cancelled
    field = result.field
    row |= {"networks": field.tiling.count, "parameters": field.parameters, "steps": result.steps}
    row |= {name: getattr(result.metrics, name) for name in METRICS}
    return field.to("cpu")


def _fit_batch(images: Images, rows: Sequence[Row], work: Work, watch: Watch) -> Field:
    """Fit one network per image in one batch: train, round as in the file, tune and measure."""
    settings = work.settings
    averaged = settings.pixel_model == "cell_average"
    points = np.stack([point_values(image) for image in images]) if averaged else images
    _, height, width, _ = images.shape
    seconds = settings.time_limit(width, height)
    trainer = Trainer.of_pictures(
        points, settings, seed=work.seed, device=choose_device(work.device), same_start=work.same_start
    )
    train(trainer, Budget(settings.steps, None if seconds is None else seconds * len(images)), watch)
    siren = rounded(trainer.networks(), settings.bits)
    prediction = trainer.patches.of_one_size(siren)
    moments = Moments(siren.batch, siren.channels, siren.device)
    moments.add(slice(None), prediction[:, 0], torch.from_numpy(points).flatten(1, 2).to(siren.device))
    tuning = moments.tuning()
    fields = Field(siren, tuning, Tiling.single(width, height), settings.bits).to("cpu")
    if averaged:
        # Averages over the pixels are rare, so that these fields are measured one by one.
        metrics = [_evaluate_one(fields, number, image, settings) for number, image in enumerate(images)]
        measured = {name: [getattr(each, name) for each in metrics] for name in METRICS}
    else:
        batch = evaluate_batch(tuning.apply(prediction).cpu().numpy(), images)
        measured = {name: values.tolist() for name, values in batch.items()}
    for number, row in enumerate(rows):
        row |= {"networks": 1, "parameters": fields.parameters // siren.batch, "steps": trainer.steps_done}
        row |= {name: values[number] for name, values in measured.items()}
    return fields


def _evaluate_one(fields: Field, number: int, image: Image, settings: Settings) -> Metrics:
    one = slice(number, number + 1)
    provenance = replace(fields.provenance, settings=settings.as_dict())
    field = replace(fields, siren=fields.siren.select(one), tuning=fields.tuning.select(one), provenance=provenance)
    return evaluate(field, image)
