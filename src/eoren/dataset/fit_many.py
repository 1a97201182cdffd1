"""fit_many(): fit many images into a store that grows shard by shard and is consistent at any time."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count, islice
from os import PathLike
from typing import Any

from eoren.checks import check_integer
from eoren.dataset.executors import Executor, make_executor
from eoren.dataset.groups import ShardResult
from eoren.dataset.index import MAX_ROWS
from eoren.dataset.planning import all_items, first_shape, make_plan, shard_size
from eoren.dataset.progress import NOTICE_COLUMNS, Notices, Progress, RunRecorder, Summary
from eoren.dataset.shards import FitPlan, Job, ShardJob
from eoren.dataset.sources import Item, open_source
from eoren.dataset.store import Manifest, Store, is_store
from eoren.dataset.tile_jobs import LargeImageAssembly, TileGroupResult, split_large_image
from eoren.errors import EorenError
from eoren.model.isolation import isolated

_logger = logging.getLogger(__name__)


@isolated()
def fit_many(
    *sources: Any,
    store: str | PathLike[str],
    preset: str = "small",
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    same_start: bool = False,
    to_srgb: bool = False,
    shard: int | None = None,
    device: str = "auto",
    executor: str = "local",
    address: str | None = None,
    workers: int | None = None,
    watch: Callable[[Progress], bool | None] | None = None,
    engine: str | None = None,
    **settings: Any,
) -> Summary:
    """Fit many images and store their fields in a folder.

    After an interruption or a kill, the same call continues: no image is fitted twice and none is left out. With a
    budget in steps, interruptions do not affect the result.

    Args:
        sources: sources of images, see :func:`eoren.dataset.sources.open_source`.
        store: folder of the store, or its address, such as ``s3://bucket/store``; it may hold the results of an
            earlier call.
        preset: preset as in :func:`eoren.fit`. ``small`` is for small images and for data sets of weights: one
            network of width 16 up to about 39 x 39 pixels, tiles of such networks above; colours alone. ``fast``,
            ``balanced`` and ``best`` store compact fields, for photographs.
        steps: number of steps for each image.
        seconds: time for each image instead; the result then depends on the machine.
        seed: seed from which, together with its pixels, the seed of each image is derived.
        same_start: initialise all images with the same network, so that their weights can be compared.
        to_srgb: convert colours from the profiles of the images to sRGB; values outside sRGB are clamped. By default
            they stay as they are, and the fields have the profiles.
        shard: number of images that are stored together, and fitted again after a kill; by default what takes about
            half a minute, at most 1024.
        device: ``auto``, which is the CPU on Ray, ``cpu``, ``cuda`` or ``mps``.
        executor: ``local``, or ``ray`` for a cluster.
        address: address of the Ray cluster; by default a cluster is started on this machine.
        workers: number of concurrent shards; by default one per core, or one on a GPU.
        watch: callback that receives the progress a few times a second and returns True to stop.
        engine: deprecated name of ``executor``.
        settings: other settings as in :func:`eoren.fit`, such as ``bits_per_pixel=2`` or ``until_psnr=40`` for
            compact fields.

    Raises:
        EorenError: A source, a setting or the folder cannot be used. Damaged images do not raise; the index has
            the reasons.
        KeyboardInterrupt: ``watch`` returned True.

    Example:
        >>> import eoren, numpy as np, tempfile
        >>> images = np.random.default_rng(0).random((3, 12, 12), np.float32)
        >>> folder = tempfile.mkdtemp()
        >>> eoren.fit_many(images, store=folder, steps=2).pictures
        3
        >>> eoren.Collection(folder)[1].size
        (12, 12)
    """
    if engine is not None:
        message = "fit_many(engine=...) is deprecated; use executor=..."
        warnings.warn(message, DeprecationWarning, stacklevel=3)  # of the caller, beyond the isolation
        executor = engine
    plan = make_plan(
        preset,
        seed=seed,
        same_start=same_start,
        device=device,
        to_srgb=to_srgb,
        steps=steps,
        seconds=seconds,
        **settings,
    )
    runner = make_executor(executor, address=address, workers=workers)
    source = open_source(*sources)
    items = all_items(source)
    if shard is None and is_store(store):
        shard = Store(store).manifest.shard
    if shard is None:
        shape, items = first_shape(items, plan)
        shard = shard_size(shape, plan.settings)
    size = check_integer("shard", shard, 1, MAX_ROWS)
    with Store.open_locked(store, Manifest(plan.settings, plan.seed, same_start, size, to_srgb)) as opened:
        if size == 1 and executor == "local":  # the workers of a cluster have no access to the store
            plan = replace(plan, checkpoints=opened.pieces)
        return _fit(opened, plan, source.count, items, runner, watch)


def _fit(
    store: Store,
    plan: FitPlan,
    total: int | None,
    items: Iterator[Item],
    executor: Executor,
    watch: Callable[[Progress], bool | None] | None,
) -> Summary:
    done, failed, earlier = 0, 0, 0
    notices, recorder = Notices(), RunRecorder(store, total)
    size = store.manifest.shard
    stored = set(store.shards())
    stored_rows = store.rows(sorted(stored))
    large_images: dict[int, LargeImageAssembly] = {}

    def missing_jobs() -> Iterator[Job]:
        """Read the shards that are not in the store, one by one as an executor takes them."""
        nonlocal done, failed, earlier
        for number in count():
            if not (shard := list(islice(items, size))):
                break
            names = [item.name for item in shard]
            if number in stored:
                stored.remove(number)
                rows = next(stored_rows)
                if _is_complete(store, number, rows["name"].to_pylist(), names):
                    done, earlier = done + len(shard), earlier + len(shard)
                    failed += notices.add(rows.select(NOTICE_COLUMNS).to_pylist())
                    _logger.info("%s: shard %d resumed from an earlier run", store.folder, number)
                    continue
            job = ShardJob(number, number * size, names, [item.load() for item in shard])
            _logger.info("%s: shard %d of %d images started", store.folder, number, len(shard))
            if (large_image := split_large_image(job, plan)) is None:
                yield job
                continue
            for piece in store.pieces_of(number):
                with suppress(EorenError):  # a damaged one is fitted again
                    large_image.add(TileGroupResult.loads(piece))
            if large_image.is_complete:
                save(large_image.assemble())
                continue
            large_images[number] = large_image
            yield from large_image.missing_jobs()
        if stored:
            raise _other_source(store, f"it has images from number {min(stored) * size} on that the source does not")

    def save(result: ShardResult) -> None:
        nonlocal done, failed
        store.write(result)
        done += len(result.rows)
        failed += notices.add(result.rows)
        _logger.info("%s: shard %d written, %d images in total", store.folder, result.shard, done)

    def report(running: float) -> None:
        running += sum(large_image.share for large_image in large_images.values())
        recorder.update(done, failed, earlier)
        if watch is not None and watch(Progress(done + running, total, failed, earlier)):
            raise KeyboardInterrupt

    for result in executor.run(plan, missing_jobs(), report):
        if isinstance(result, TileGroupResult):
            store.save_piece(result.shard, result.group, result.dumps())
            large_images[result.shard].add(result)
            if large_images[result.shard].is_complete:
                save(large_images.pop(result.shard).assemble())
        else:
            save(result)
    recorder.end()
    return Summary(done, failed, earlier, *notices.summary())


def _is_complete(store: Store, number: int, stored: list[str], names: list[str]) -> bool:
    """Compare a stored shard with the source, and return False if the source has more images for it now."""
    first = number * store.manifest.shard
    for number_of_image, (old, new) in enumerate(zip(stored, names, strict=False), first):
        if old != new:
            raise _other_source(store, f"image {number_of_image} was {old!r} and is {new!r}")
    if len(stored) > len(names):
        raise _other_source(store, f"it has {first + len(stored)} images, the source fewer")
    return len(stored) == len(names)


def _other_source(store: Store, difference: str) -> EorenError:
    return EorenError(
        f"{store.folder}: is of another source: {difference}; give the same source, or another --output"
    )
