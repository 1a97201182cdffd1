"""fit_many(): from many images to a store of networks, which grows shard by shard and is whole at any time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from operator import index
from os import PathLike
from pathlib import Path
from typing import Any

from eoren.dataset.executors import Engine, engine_of
from eoren.dataset.shards import Fitted, Job, Task, Work
from eoren.dataset.sources import Item, Source, decoded, open_source
from eoren.dataset.store import Manifest, Store, is_store
from eoren.dataset.tile_jobs import LargeImageJob, TileGroupResult, spread
from eoren.errors import EorenError, ImageError
from eoren.model.devices import choose_device
from eoren.model.siren import parameter_count
from eoren.training.settings import Settings, make_settings

_MAX_SEED = 2**32 - 1
# A kill costs the shards under way: about half a minute of a core, at 30 GFLOP/s.
_SHARD_WORK = 1e12
_SHARD_SECONDS = 30.0
_MOST = 1024


@dataclass(frozen=True)
class Progress:
    """Where it stands.

    Attributes:
        pictures: that are done, earlier runs' included; those under way count in part.
        total: images in all; none if the source does not say.
        failed: images that could not be fitted.
        earlier: images that earlier runs did.
    """

    pictures: float
    total: int | None
    failed: int
    earlier: int


@dataclass(frozen=True)
class Summary:
    """What :func:`fit_many` did.

    Attributes:
        pictures: in the store, failed ones included.
        failed: how many could not be read or fitted; the index says why.
        earlier: how many were there already.
    """

    pictures: int
    failed: int
    earlier: int


def fit_many(
    *sources: Any,
    store: str | PathLike[str],
    preset: str = "small",
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    same_start: bool = False,
    shard: int | None = None,
    device: str = "auto",
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    watch: Callable[[Progress], bool | None] | None = None,
    **settings: Any,
) -> Summary:
    """Turn many images into networks, and keep them in a folder.

    Interrupted or killed at any time, the same call goes on: no image is fitted twice and none is left out. With a
    budget in steps, what an image becomes does not depend on that.

    Args:
        sources: where the images come from: see :func:`eoren.dataset.sources.open_source`.
        store: the folder; it may hold what an earlier call left.
        preset: as of :func:`eoren.fit`. ``small`` is for many images: one network of 16 units up to about 39 x 39
            pixels, mosaics of such networks above; colours alone.
        steps: budget of steps of every image.
        seconds: time for every image, instead; what comes out depends on the machine then.
        seed: from which, and from its pixels, every image's own seed follows.
        same_start: begin with one network for all instead, so that weights can be compared.
        shard: images that are stored together, and fitted anew after a kill; by default what takes about half a
            minute, at most 1024.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        engine: ``local``, or ``ray`` for a cluster.
        address: of the Ray cluster; none starts one here.
        workers: shards at a time; by default one a core, or one on a GPU.
        watch: called a few times a second; return true to stop.
        settings: any field of :class:`eoren.training.settings.Settings`.

    Raises:
        EorenError: a source, setting or folder that cannot be used. Images that are damaged get a row in the
            index that says so, and nothing is raised.
        KeyboardInterrupt: ``watch`` said so.

    Example:
        >>> import eoren, numpy as np, tempfile
        >>> images = np.random.default_rng(0).random((3, 12, 12), np.float32)
        >>> folder = tempfile.mkdtemp()
        >>> eoren.fit_many(images, store=folder, steps=2).pictures
        3
        >>> eoren.Collection(folder)[1].size
        (12, 12)
    """
    budget = {"steps": steps, "seconds": seconds}
    chosen = make_settings(preset, **{name: value for name, value in budget.items() if value is not None}, **settings)
    if chosen.until_psnr is not None:
        raise EorenError("until_psnr is for one image; give many images steps or seconds")
    choose_device(device)
    fitting = engine_of(engine, address=address, workers=workers)
    work = Work(chosen, _whole("seed", seed, 0, _MAX_SEED), same_start, device)
    source = open_source(*sources)
    folder = Path(store)
    items = iter(source)
    first = next(items, None)
    if first is None:
        raise EorenError("the source has no images; give another one")
    items = _again(first, items)
    if shard is not None:
        size = _whole("shard", shard, 1, 2**20)
    else:
        size = Store(folder).manifest.shard if is_store(folder) else _shard_size(first, chosen)
    with Store.open_locked(folder, Manifest.of(work, size)) as opened:
        return _fit(opened, work, source, items, fitting, watch)


def _fit(
    store: Store,
    work: Work,
    source: Source,
    items: Iterator[Item],
    engine: Engine,
    watch: Callable[[Progress], bool | None] | None,
) -> Summary:
    done, failed, earlier = 0, 0, 0
    size = store.manifest.shard
    there = set(store.shards())
    spreads: dict[int, LargeImageJob] = {}

    def missing() -> Iterator[Job]:
        """Shards that are not in the store, read when their turn comes."""
        nonlocal done, failed, earlier
        for number in count():
            if not (some := list(islice(items, size))):
                break
            if number in there:
                there.remove(number)
                rows = store.rows(number)
                if _is_same(store, number, rows["name"].to_pylist(), [item.name for item in some], size):
                    done, earlier = done + len(some), earlier + len(some)
                    failed += rows["status"].to_pylist().count("failed")
                    continue
            task = Task(number, number * size, [item.name for item in some], [item.load() for item in some])
            if (large := spread(task, work)) is None:
                yield task
                continue
            for fragment in store.fragments(number):
                large.add(fragment)
            if large.is_whole:
                keep(large.joined())
                continue
            spreads[number] = large
            yield from large.pieces()
        if there:
            raise _changed(store, f"it has images from number {min(there) * size} on that the source lacks")

    def keep(fitted: Fitted) -> None:
        nonlocal done, failed
        store.write(fitted)
        done += len(fitted.rows)
        failed += sum(row["status"] == "failed" for row in fitted.rows)

    def tick(parts: float) -> None:
        parts += sum(large.share for large in spreads.values())
        if watch is not None and watch(Progress(done + parts * size, source.count, failed, earlier)):
            raise KeyboardInterrupt

    for found in engine.run(work, missing(), tick):
        if isinstance(found, TileGroupResult):
            store.keep(found)
            spreads[found.shard].add(found)
            if spreads[found.shard].is_whole:
                keep(spreads.pop(found.shard).joined())
        else:
            keep(found)
    return Summary(done, failed, earlier)


def _is_same(store: Store, number: int, stored: list[str], given: list[str], size: int) -> bool:
    """Whether a shard is the source's; a last one that has grown since is not."""
    for place, (mine, theirs) in enumerate(zip(stored, given, strict=False)):
        if mine != theirs:
            raise _changed(store, f"picture {number * size + place} was {mine!r} and is {theirs!r}")
    if len(stored) > len(given):
        raise _changed(store, f"it has {number * size + len(stored)} images, the source fewer")
    return len(stored) == len(given)


def _changed(store: Store, how: str) -> EorenError:
    return EorenError(f"{store.folder}: is of another source: {how}; give the same source, or another --output")


def _again(first: Item, rest: Iterator[Item]) -> Iterator[Item]:
    yield first
    yield from rest


def _shard_size(first: Item, settings: Settings) -> int:
    """Pictures like the first one that keep a core busy for a while."""
    try:
        height, width, channels = decoded(first.name, first.load()).pixels.shape
        networks, hidden = settings.architecture(width, height, channels)
    except ImageError:
        return 64
    if (seconds := settings.time_limit(width, height)) is not None:
        return max(1, min(_MOST, int(_SHARD_SECONDS / seconds)))
    pixels = width * height // networks
    points = networks * min(settings.batch or pixels, pixels)
    each = 6.0 * parameter_count(hidden, settings.depth, channels) * points * (settings.steps or 1)
    return max(1, min(_MOST, int(_SHARD_WORK / each)))


def _whole(name: str, value: int, least: int, most: int) -> int:
    try:
        number = least - 1 if isinstance(value, bool) else index(value)
    except TypeError:
        number = least - 1
    if not least <= number <= most:
        raise EorenError(f"{name} is {value!r}, but must be a whole number from {least} to {most}")
    return number
