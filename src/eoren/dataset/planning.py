"""Plans of a run: its settings, how many images make a shard, and what the run will cost, measured on a sample."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import chain, islice
from math import ceil
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image

from eoren.checks import MAX_SEED, check_integer
from eoren.dataset.executors import LocalExecutor
from eoren.dataset.groups import Row, ShardResult
from eoren.dataset.index import MAX_ROWS, encode_rows
from eoren.dataset.shards import FitPlan, ShardJob, ShareCallback
from eoren.dataset.sources import Content, Item, Source, decode_content, open_source
from eoren.errors import EorenError, ImageError
from eoren.image.decoders import Decoded
from eoren.model.devices import choose_device
from eoren.model.isolation import isolated
from eoren.model.siren import parameter_count
from eoren.training.compact.settings import PRESETS as COMPACT_PRESETS
from eoren.training.compact.settings import CompactSettings
from eoren.training.presets import choose_settings
from eoren.training.settings import Settings

# A kill loses the running shards, so a shard takes about half a minute of a core at 30 GFLOP/s.
_SHARD_OPERATIONS = 1e12
_SHARD_SECONDS = 30.0
_MAX_SHARD = 1024
# Time of a compact fit on a core at 30 GFLOP/s: a constant part, that of a SIREN, and that of a sample.
_FIT_SECONDS, _SIREN_SECONDS, _SAMPLE_SECONDS = 0.1, 8.0, 3e-6

_SAMPLE = 64  # images of a sample that are fitted one by one
_SAMPLE_SECONDS_AT_MOST = 30.0  # after which no further fit of a sample begins
_SHARD_BYTES = 250  # of the header of a shard
_ERRORS = 3
_TRIED = 32  # images of which the first that can be fitted gives the size of a shard


def make_plan(
    preset: str,
    *,
    seed: int = 0,
    same_start: bool = False,
    device: str = "auto",
    to_srgb: bool = False,
    **settings: Any,
) -> FitPlan:
    """Check the settings of a run; those that are None are those of the preset."""
    chosen = choose_settings(preset, **{name: value for name, value in settings.items() if value is not None})
    if chosen.until_psnr is not None and isinstance(chosen, Settings):
        raise EorenError(
            "until_psnr ends the fit of one mosaic; give many images steps or seconds, or a preset of compact "
            f"fields: {', '.join(COMPACT_PRESETS)}"
        )
    choose_device(device)
    return FitPlan(chosen, check_integer("seed", seed, 0, MAX_SEED), same_start, device, to_srgb)


def all_items(source: Source) -> Iterator[Item]:
    """Return all images of a source, which must have one."""
    items = iter(source)
    first = next(items, None)
    if first is None:
        raise EorenError("the source has no images; give another one")
    return chain([first], items)


def first_shape(items: Iterator[Item], plan: FitPlan) -> tuple[tuple[int, ...] | None, Iterator[Item]]:
    """Return the shape of the first image that can be fitted, None if the first few cannot; and all images."""
    tried: list[Item] = []
    for item in islice(items, _TRIED):
        tried.append(item)
        with suppress(ImageError):
            shape = decode_content(item.name, item.load(), to_srgb=plan.to_srgb).pixels.shape
            plan.tile_count(shape)  # refuses settings that do not suit the size
            return shape, chain(tried, items)
    return None, chain(tried, items)


def shard_size(shape: tuple[int, ...] | None, settings: Settings | CompactSettings) -> int:
    """Return how many images of a shape make a shard; a fixed number if it is None."""
    if shape is None:
        return 64
    height, width, channels = shape
    if (limit := settings.time_limit(width, height)) is not None:
        size = _SHARD_SECONDS / limit
    elif isinstance(settings, CompactSettings):
        seconds = _FIT_SECONDS + _SAMPLE_SECONDS * width * height * channels
        size = _SHARD_SECONDS / (seconds + _SIREN_SECONDS * (settings.siren_width > 0))
    else:
        networks, hidden = settings.architecture(width, height, channels)
        pixels = width * height // networks
        points = networks * min(settings.batch or pixels, pixels)
        operations = 6.0 * parameter_count(hidden, settings.depth, channels) * points * (settings.steps or 1)
        size = _SHARD_OPERATIONS / operations
    return max(1, min(_MAX_SHARD, int(size)))


@dataclass(frozen=True)
class Estimate:
    """What a run will cost, as :func:`estimate` measured it on a sample."""

    pictures: int
    counted: bool  # whether their number is exact, and not extrapolated from the part that was read
    sampled: int  # images of the sample that were fitted
    failed: int  # of these, could not be read or fitted
    errors: tuple[tuple[str, str], ...]  # names of the first of them, and the reasons
    seconds: float  # of a core for an image, the mean
    spread: float  # standard deviation of that between images, or between batches of small ones
    core_hours: float  # of fitting all images
    bytes: int  # of the store
    shard: int  # images in a shard
    workers: int
    wall_seconds: float  # of the run with that number of workers

    def as_dict(self) -> dict[str, Any]:
        """Return the values as JSON has them."""
        return asdict(self) | {"errors": [[*error] for error in self.errors]}


@isolated()
def estimate(
    *sources: Any,
    preset: str = "small",
    shard: int | None = None,
    workers: int | None = None,
    **settings: Any,
) -> Estimate:
    """Estimate what :func:`eoren.fit_many` will cost: read some images spread over the source, and fit a few.

    Takes about half a minute, and writes nothing. Images that are fitted alone are fitted one by one, small ones in
    shards, as many at a time as the machine has threads, because they slow each other down.

    Args:
        sources: sources of images, see :func:`eoren.dataset.sources.open_source`. Iterables are read once.
        preset: preset as in :func:`eoren.fit_many`.
        shard: number of images in a shard, as in :func:`eoren.fit_many`.
        workers: number of shards that the run will fit at a time, of this machine or a cluster of such machines; by
            default one per core.
        settings: other arguments of :func:`eoren.fit_many`.

    Raises:
        EorenError: A source or a setting cannot be used, or no image of the sample can be fitted.
    """
    plan = make_plan(preset, **settings)
    if workers is not None:
        check_integer("workers", workers, 1, 1 << 20)
    threads = torch.get_num_threads() if choose_device(plan.device).type == "cpu" else 1
    at_once = min(workers or threads, threads)
    source = open_source(*sources)
    shape, items = first_shape(all_items(source), plan)
    size = shard_size(shape, plan.settings) if shard is None else check_integer("shard", shard, 1, MAX_ROWS)
    alone = plan.is_compact or (shape is not None and plan.tile_count(shape) > 1)
    sample = _Sample(source, items, _SAMPLE if alone else size * at_once)
    batch = 1 if alone else min(size, max(1, len(sample.items) // at_once))
    fits = _fit_sample(sample, plan, batch, at_once)
    return _extrapolate(sample, fits, size, workers or threads)


class _Sample:
    """Images spread evenly over a source, or the first ones of an archive, whose length is extrapolated."""

    def __init__(self, source: Source, items: Iterator[Item], most: int) -> None:
        start = perf_counter()
        if source.count is None:
            self.items = [(item.name, item.load()) for item in islice(items, most)]
            self.read_seconds = (perf_counter() - start) / len(self.items)
            share = source.share() if source.share and len(self.items) == most else None
            self.counted = share is None
            self.count = round(len(self.items) / share) if share else len(self.items) + sum(1 for _ in items)
            return
        parts = min(most, source.count)
        places = (np.arange(parts) + np.random.default_rng(0).random(parts)) * source.count / parts
        chosen = {*places.astype(int).tolist()}
        # Objects are read in batches, so the time of a spread image is that of its whole batch. The first images,
        # some of which were read already, are left out.
        first = max(0, min(_SAMPLE, source.count - _SAMPLE))
        chosen_items, neighbours = [], []
        for number, item in enumerate(items):
            if number in chosen:
                chosen_items.append(item)
            if first <= number < first + _SAMPLE:
                neighbours.append(item)
        start = perf_counter()
        for item in neighbours:
            item.load()
        self.read_seconds = (perf_counter() - start) / len(neighbours)
        self.items = [(item.name, item.load()) for item in chosen_items]
        self.counted, self.count = True, source.count


@dataclass(frozen=True)
class _TimedJob:
    """A shard of a sample, of which the time is measured."""

    job: ShardJob
    name: str = "sample"
    images: float = 1.0

    def run(self, plan: FitPlan, watch: ShareCallback) -> tuple[ShardResult, float]:
        start = perf_counter()
        return self.job.run(plan, watch), perf_counter() - start


@dataclass(frozen=True)
class _Fits:
    """The fitted images of a sample."""

    seconds: list[float]  # of an image, mean over each job
    counts: list[int]  # images of each job
    rows: list[Row]
    stored: int  # bytes of the functions


def _pixel_count(content: Content) -> int | None:
    """Return how many pixels an image has, without decoding it; None if that is unknown."""
    data = content.data
    if isinstance(data, bytes):
        # Decoding reports what is wrong with an image; other formats than Pillow's, and damaged files, do not count.
        with suppress(Exception), Image.open(BytesIO(data)) as image:
            return image.width * image.height
        return None
    if isinstance(data, EorenError):
        return None
    shape = (data.samples if isinstance(data, Decoded) else data).shape
    return int(np.prod(shape[:2]))


def _fit_sample(sample: _Sample, plan: FitPlan, batch: int, at_once: int) -> _Fits:
    order = np.random.default_rng(0).permutation(len(sample.items)) if batch == 1 else np.arange(len(sample.items))
    chosen = [sample.items[number] for number in order.tolist()]
    groups = [chosen[first : first + batch] for first in range(0, len(chosen), batch)]
    jobs = [
        ShardJob(number, number * batch, [name for name, _ in group], [content for _, content in group])
        for number, group in enumerate(groups)
    ]
    executor = LocalExecutor(at_once)
    # The first fit of a process takes longer.
    first = ShardJob(0, 0, jobs[0].names[:2], jobs[0].contents[:2])
    deque(executor.run(plan, iter([first] * at_once), lambda running: None), maxlen=0)
    end = perf_counter() + _SAMPLE_SECONDS_AT_MOST

    def in_time() -> Iterator[_TimedJob]:
        for number, job in enumerate(jobs):
            if number >= at_once and perf_counter() > end:
                return
            yield _TimedJob(job)

    seconds, counts, rows, stored = [], [], [], 0
    for result, taken in executor.run(plan, in_time(), lambda running: None):
        seconds.append(taken / len(result.rows))
        counts.append(len(result.rows))
        rows += result.rows
        stored += sum(tensor.nbytes for group in result.groups for tensor in group.tensors().values())
    return _Fits(seconds, counts, rows, stored)


def _relative_size(sample: _Sample, fits: _Fits) -> float:
    """Compute by which factor the images that were read are larger than those that were fitted, in the mean."""
    read = [pixels for _, content in sample.items if (pixels := _pixel_count(content))]
    fitted = [row["width"] * row["height"] for row in fits.rows if "width" in row]
    return float(np.mean(read) / np.mean(fitted)) if read and fitted else 1.0


def _extrapolate(sample: _Sample, fits: _Fits, size: int, workers: int) -> Estimate:
    fitted, failed = len(fits.rows), [row for row in fits.rows if row["status"] == "failed"]
    if len(failed) == fitted:
        raise EorenError(f"none of {fitted} images can be fitted; the first: {failed[0]['error']}")
    weights = np.array(fits.counts) / sum(fits.counts)
    mean_seconds = float(weights @ fits.seconds)
    spread = float(np.sqrt(weights @ np.square(np.array(fits.seconds) - mean_seconds)))
    relative_size = _relative_size(sample, fits)
    seconds = relative_size * mean_seconds
    shards = ceil(sample.count / size)
    one, every = len(encode_rows(fits.rows[:1])), len(encode_rows(fits.rows))
    row = (every - one) / (fitted - 1) if fitted > 1 else 0.0
    stored = sample.count * (relative_size * fits.stored / fitted + row) + shards * (one + _SHARD_BYTES)
    wall = max(_wall_seconds(sample.count, size, seconds, workers), sample.count * sample.read_seconds)
    return Estimate(
        pictures=sample.count,
        counted=sample.counted,
        sampled=fitted,
        failed=len(failed),
        errors=tuple((row["name"], row["error"]) for row in failed[:_ERRORS]),
        seconds=seconds,
        spread=relative_size * spread,
        core_hours=sample.count * seconds / 3600,
        bytes=round(stored),
        shard=size,
        workers=workers,
        wall_seconds=wall,
    )


def _wall_seconds(count: int, size: int, seconds: float, workers: int) -> float:
    """Compute when the last of the workers ends, each of which takes the next shard when it is free."""
    full, rest = divmod(count, size)
    rounds, left = divmod(full, workers)
    ends = [(rounds + (number < left)) * size * seconds for number in range(workers)]
    return max(max(ends), min(ends) + rest * seconds)
