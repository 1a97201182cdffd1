"""``eoren fit-many``."""

import sys
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option

import eoren
from eoren.cli import console, options, signals
from eoren.errors import SourceWarning

if TYPE_CHECKING:
    from eoren.dataset.progress import Progress, Summary

_MOST_LINES = 3  # of notes, and of errors


def fit_many(
    sources: Annotated[
        list[str],
        Argument(
            metavar="SOURCE...",
            help="Folder, pattern, zip, tar, Parquet, IDX file (MNIST) or image files, or addresses such as "
            "s3://bucket/folder.",
        ),
    ],
    output: Annotated[str, options.output_option("Folder or address to write; existing results are kept.", "STORE")],
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
    dry_run: Annotated[
        bool, Option("--dry-run", help="Fit a sample, print what all will cost, and write nothing.")
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> int:
    """Turn many images into small functions, in one folder.

    The presets fast, balanced and best store compact fields, the others networks. After an interruption the same
    command continues. Images that cannot be read are listed at the end (status 3).
    """
    budget = options.given(steps=steps, seconds=seconds, until_psnr=until_psnr, bits_per_pixel=bits_per_pixel)
    changes = options.parse_settings(setting) | budget | options.given(objective=objective, bits=bits)
    given = {"preset": preset, "seed": seed, "same_start": same_start, "to_srgb": to_srgb, "shard": shard, **changes}
    given |= {"device": device, "workers": workers}
    if engine is not None:
        console.notice("--engine is deprecated; use --executor")
        executor = engine
    if quiet:
        warnings.simplefilter("ignore", SourceWarning)
    if dry_run:
        _print_estimate(sources, as_json=as_json, **given)
        return 0
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

        summary = eoren.fit_many(*sources, store=output, executor=executor, address=address, watch=watch, **given)
    pictures = f"{summary.pictures:,}, {summary.pictures - summary.earlier:,} of them in this run"
    store = output.rstrip("/")
    values = {"store": store, "pictures": summary.pictures, "failed": summary.failed, "earlier": summary.earlier}
    console.print_result(values, {"store": store, "pictures": pictures}, as_json=as_json, quiet=quiet)
    if not quiet:
        _print_notices(summary, store)
    if not summary.failed:
        return 0
    console.notice(f"{summary.failed:,} failed; column 'error' of {store}/index gives the reasons")
    return 3


def _print_estimate(sources: list[str], *, as_json: bool, **given: Any) -> None:
    """Print what a run will cost."""
    from eoren.dataset.planning import estimate

    values = estimate(*sources, **given)
    errors = "".join(f"; {name}: {error}" for name, error in values.errors[:1])
    time = f"{values.seconds:.3g} s of a core, standard deviation {values.spread:.2g} s"
    rows = {
        "pictures": f"{'' if values.counted else 'about '}{values.pictures:,}",
        "sample": f"{values.sampled:,} fitted, {values.failed:,} of them failed{errors}",
        "per image": f"{time}; {console.byte_size(round(values.bytes / values.pictures))}",
        "core hours": f"{values.core_hours:,.3g}",
        "store": f"{console.byte_size(values.bytes)}, in shards of {values.shard:,}",
        "time": f"{console.duration(values.wall_seconds)} with {values.workers:,} workers",
    }
    console.print_result(values.as_dict(), rows, as_json=as_json)


def _print_notices(summary: "Summary", store: str) -> None:
    """Print the commonest notes on the pixels, and some of the errors; the index has all of them."""
    for text, first, count in summary.notes[:_MOST_LINES]:
        console.notice(f"{first}{f' and {count - 1:,} more' if count > 1 else ''}: {text}")
    if others := sum(note.images for note in summary.notes[_MOST_LINES:]):
        console.notice(f"{others:,} images have other notes; column 'notes' of {store}/index has them")
    for name, error in summary.errors[:_MOST_LINES]:
        console.notice(f"{name}: {error}")
