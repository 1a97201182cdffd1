"""A shard of images becomes a shard of networks: images of one size train as one batch, large ones as mosaics.

What a shard becomes is a matter of its images, the settings and the seed alone, whoever fits it and where.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float

from eoren.dataset.metrics import measure
from eoren.dataset.sources import Content, decoded
from eoren.errors import ImageError
from eoren.evaluation.metrics import evaluate
from eoren.field.field import Field
from eoren.image.cell_averages import point_values
from eoren.image.io import SourceImage
from eoren.model.channel_tuning import Moments
from eoren.model.devices import choose_device
from eoren.model.quantization import rounded
from eoren.model.tiling import Tiling
from eoren.training.settings import Settings
from eoren.training.trainer import Trainer, picture_seed

Image = Float[np.ndarray, "height width channels"]
Images = Float[np.ndarray, "pictures height width channels"]
Row = dict[str, Any]
Watch = Callable[[float], bool]
"""Called with the share of a shard that is done; returns true to give it up."""

METRICS = ("psnr", "psnr_8bit", "gradient_psnr", "ssim")
"""Columns of a row, and fields of :class:`eoren.evaluation.metrics.Metrics`."""

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


class GivenUp(Exception):
    """Somebody said so while a shard was being fitted."""


def fit_shard(task: Task, work: Work, watch: Watch = lambda share: False) -> Fitted:
    """Fit every image of a shard.

    An image that cannot be read or fitted gets a row that says why, and takes nothing from the others.

    Raises:
        GivenUp: ``watch`` said so.
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
    from eoren.training.fit import fit

    settings = work.settings.as_dict()
    found = fit(
        image,
        preset=settings.pop("preset"),
        seed=row["seed"],
        device=work.device,
        watch=lambda progress: watch(progress.done),
        **settings,
    )
    if found.ended == "interrupted":
        raise GivenUp
    metrics = found.metrics
    row |= {"networks": found.field.tiling.count, "parameters": found.field.parameters, "steps": found.steps}
    row |= {name: getattr(metrics, name) for name in METRICS}
    return found.field.to("cpu")


def _fit_batch(images: Images, rows: Sequence[Row], work: Work, watch: Watch) -> Field:
    """One network each, all at once: rounded as they are stored, tuned, measured."""
    settings = work.settings
    areas = settings.pixels == "areas"
    points = np.stack([point_values(image) for image in images]) if areas else images
    trainer = _trained(points, work, watch)
    siren = rounded(trainer.networks(), settings.bits)
    said = trainer.patches.of_one_size(siren)
    moments = Moments(siren.batch, siren.channels, siren.device)
    moments.add(slice(None), said[:, 0], torch.from_numpy(points).flatten(1, 2).to(siren.device))
    tuning = moments.tuning()
    _, height, width, _ = images.shape
    tiling = Tiling.single(width, height)
    fields = Field(siren, tuning, tiling, settings.bits).to("cpu")
    if areas:
        # Averages over pixels are asked for rarely, and by metrics.py alone.
        each = [_metrics_alone(fields, place, image, settings) for place, image in enumerate(images)]
        measured = {name: np.array([one[name] for one in each]) for name in each[0]}
    else:
        measured = measure(tuning.apply(said).cpu().numpy(), images)
    for place, row in enumerate(rows):
        row |= {"networks": 1, "parameters": fields.parameters // siren.batch, "steps": trainer.steps_done}
        row |= {name: float(values[place]) for name, values in measured.items()}
    return fields


def _metrics_alone(fields: Field, place: int, image: Image, settings: Settings) -> dict[str, float]:
    one = slice(place, place + 1)
    origin = replace(fields.provenance, settings=settings.as_dict())
    field = replace(fields, siren=fields.siren.select(one), tuning=fields.tuning.select(one), provenance=origin)
    found = evaluate(field, image, stored_bytes=0)
    return {name: getattr(found, name) for name in METRICS}


def _trained(images: Images, work: Work, watch: Watch) -> Trainer:
    """All steps of a batch; seconds are every image's."""
    settings = work.settings
    _, height, width, _ = images.shape
    limit = settings.time_limit(width, height)
    trainer = Trainer.of_pictures(
        images, settings, seed=work.seed, device=choose_device(work.device), same_start=work.same_start
    )
    train(trainer, settings, None if limit is None else limit * len(images), watch)
    return trainer


def train(trainer: Trainer, settings: Settings, limit: float | None, watch: Watch) -> None:
    """All steps, with the rates of :mod:`eoren.training.loop`.

    Args:
        trainer: that makes them.
        settings: with their number, if there is one.
        limit: seconds; none for no limit.
        watch: called before every step, and every few milliseconds.

    Raises:
        GivenUp: ``watch`` said so.
    """
    start = monotonic()

    def done() -> float:
        """Share of the budget that is used up; one step is made, however short it is."""
        made = trainer.steps_done
        by_time = 0.0 if limit is None or not made else (monotonic() - start) / limit
        by_steps = 0.0 if settings.steps is None else made / settings.steps if settings.steps else 1.0
        return max(by_time, by_steps)

    while (share := done()) < 1:
        made = trainer.steps_done
        steps = float(settings.steps) if limit is None and settings.steps else made / share if share else 1000.0
        if trainer.step(settings.schedule(share, steps), partial(watch, share)) is None:
            raise GivenUp
