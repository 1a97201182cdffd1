"""``eoren fit-many``."""

import sys
from contextlib import redirect_stdout
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

import eoren
from eoren.cli import console, options, signals

if TYPE_CHECKING:
    from eoren.dataset.fit_many import Progress

_SOME_FAILED = 3
_FAILURES_SHOWN = 3

Executor = Literal["local", "ray"]


def fit_many(
    sources: Annotated[
        list[str], Argument(metavar="SOURCE...", help="Folder, pattern, zip, tar, IDX file (MNIST) or image files.")
    ],
    output: Annotated[
        Path, Option("--output", "-o", metavar="STORE", help="Folder to write; existing results are kept.")
    ],
    preset: Annotated[options.PresetName, Option(help="Named set of settings.")] = "small",
    steps: options.Steps = None,
    seconds: options.Seconds = None,
    objective: options.Objective = None,
    bits: options.Bits = None,
    seed: options.Seed = 0,
    same_start: Annotated[
        bool, Option("--same-start", help="Start all from one network, to compare weights.")
    ] = False,
    setting: options.Set = None,
    shard: Annotated[int | None, Option(metavar="N", help="Images per file; a kill loses at most one file.")] = None,
    device: options.Device = "auto",
    executor: Annotated[Executor, Option(help="Run shards on this machine or on Ray.")] = "local",
    engine: Annotated[Executor | None, Option(hidden=True)] = None,
    address: Annotated[
        str | None, Option(metavar="HOST:PORT", help="Address of a Ray cluster; by default one is started.")
    ] = None,
    workers: Annotated[int | None, Option(metavar="N", help="Shards at a time; by default one per core.")] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> int:
    """Turn many images into networks, in one folder.

    After an interruption the same command continues. Images that cannot be read are listed at the end (status 3).
    """
    changes = options.parse_settings(setting) | options.given(
        steps=steps, seconds=seconds, objective=objective, bits=bits
    )
    if engine is not None:
        console.notice("--engine is deprecated; use --executor")
        executor = engine
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
            shard=shard,
            device=device,
            engine=executor,
            address=address,
            workers=workers,
            watch=watch,
            **changes,
        )
    pictures, failed, earlier = summary.pictures, summary.failed, summary.earlier
    values = {"store": str(output), "pictures": pictures, "failed": failed, "earlier": earlier}
    rows = {"store": str(output), "pictures": f"{pictures:,}, {pictures - earlier:,} of them in this run"}
    console.print_result(values, rows, as_json=as_json, quiet=quiet)
    if not failed:
        return 0
    if not quiet:
        _print_failures(output)
    console.notice(f"{failed:,} failed; column 'error' of {output / 'index'} gives the reasons")
    return _SOME_FAILED


def _print_failures(folder: Path) -> None:
    from eoren.dataset.store import Store

    store = Store(folder)
    columns = ("name", "status", "error")
    failures = (
        (name, error)
        for shard in store.shards()
        for name, status, error in zip(*(store.rows(shard)[c].to_pylist() for c in columns), strict=True)
        if status == "failed"
    )
    for name, error in islice(failures, _FAILURES_SHOWN):
        console.notice(f"{name}: {error}")
