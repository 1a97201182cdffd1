"""``eoren fit-many``."""

import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

import eoren
from eoren.cli import console, options, signals
from eoren.errors import SourceWarning

if TYPE_CHECKING:
    from eoren.dataset.fit_many import Progress

_MOST_LINES = 3  # of notes, and of errors


def fit_many(
    sources: Annotated[
        list[str], Argument(metavar="SOURCE...", help="Folder, pattern, zip, tar, IDX file (MNIST) or image files.")
    ],
    output: Annotated[Path, options.output_option("Folder to write; existing results are kept.", "STORE")],
    preset: Annotated[options.PresetName, options.preset_option("fast, balanced and best for photographs")] = "small",
    steps: options.Steps = None,
    seconds: options.Seconds = None,
    until_psnr: options.UntilPsnr = None,
    bits_per_pixel: options.BitsPerPixel = None,
    objective: options.Objective = None,
    bits: options.Bits = None,
    seed: options.Seed = 0,
    same_start: Annotated[bool, Option("--same-start", help="Start all networks alike, to compare weights.")] = False,
    setting: options.Set = None,
    shard: Annotated[int | None, Option(metavar="N", help="Images per file; a kill loses at most one file.")] = None,
    to_srgb: options.ToSrgb = False,
    device: options.Device = "auto",
    executor: Annotated[Literal["local", "ray"], Option(help="Run shards on this machine or on Ray.")] = "local",
    engine: Annotated[Literal["local", "ray"] | None, Option(hidden=True)] = None,
    address: Annotated[str | None, Option(metavar="HOST:PORT", help="Ray cluster; by default, start one.")] = None,
    workers: Annotated[int | None, Option(metavar="N", help="Shards at a time; by default one per core.")] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> int:
    """Turn many images into small functions, in one folder.

    The presets fast, balanced and best store compact fields, the others networks. After an interruption the same
    command continues. Images that cannot be read are listed at the end (status 3).
    """
    budget = options.given(steps=steps, seconds=seconds, until_psnr=until_psnr, bits_per_pixel=bits_per_pixel)
    changes = options.parse_settings(setting) | budget | options.given(objective=objective, bits=bits)
    if engine is not None:
        console.notice("--engine is deprecated; use --executor")
        executor = engine
    if quiet:
        warnings.simplefilter("ignore", SourceWarning)
    # Ray prints messages about its workers to stdout, which is for results.
    with (
        signals.explain_interruption(f"{output} keeps the fitted images, and the same command continues"),
        redirect_stdout(sys.stderr),
        console.progress(quiet) as show,
    ):

        def watch(progress: "Progress") -> None:
            failed = f", {progress.failed:,} failed" if progress.failed else ""
            total = "" if progress.total is None else f" of {progress.total:,}"
            share = progress.pictures / progress.total if progress.total else 0.0
            show(f"{progress.pictures:,.0f}{total} images{failed}", share)

        summary = eoren.fit_many(
            *sources,
            store=output,
            preset=preset,
            seed=seed,
            same_start=same_start,
            to_srgb=to_srgb,
            shard=shard,
            device=device,
            executor=executor,
            address=address,
            workers=workers,
            watch=watch,
            **changes,
        )
    pictures = f"{summary.pictures:,}, {summary.pictures - summary.earlier:,} of them in this run"
    values = {"store": str(output), **asdict(summary)}
    console.print_result(values, {"store": str(output), "pictures": pictures}, as_json=as_json, quiet=quiet)
    if not quiet:
        _print_notices(output)
    if not summary.failed:
        return 0
    console.notice(f"{summary.failed:,} failed; column 'error' of {output / 'index'} gives the reasons")
    return 3


def _print_notices(folder: Path) -> None:
    """Print the commonest notes on the pixels, and some of the errors; the index has all of them."""
    from eoren.dataset.store import Store

    store, columns = Store(folder), ["name", "error", "notes"]
    every = (row for shard in store.shards() for row in store.rows(shard).select(columns).to_pylist())
    rows = [row for row in every if row["notes"] or row["error"]]
    names: dict[str, list[str]] = {}
    for row in rows:
        if row["notes"]:
            names.setdefault(row["notes"], []).append(row["name"])
    common = sorted(names.items(), key=lambda item: -len(item[1]))
    for note, (first, *others) in common[:_MOST_LINES]:
        console.notice(f"{first}{f' and {len(others):,} more' if others else ''}: {note}")
    if len(common) > _MOST_LINES:
        count = sum(len(images) for _, images in common[_MOST_LINES:])
        console.notice(f"{count:,} images have other notes; column 'notes' of {folder / 'index'} has them")
    for row in islice((row for row in rows if row["error"]), _MOST_LINES):
        console.notice(f"{row['name']}: {row['error']}")
