"""``eoren fit-many``."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Literal

import typer

from eoren.cli import console
from eoren.cli.commands.fit import named_settings
from eoren.errors import EorenError

_SOME_FAILED = 3


def fit_many(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Folder, pattern, zip, tar, IDX file (MNIST) or image files."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="STORE", help="Folder to write, and to go on in.")
    ],
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="small, or any of fit's: fast, balanced, best, single, paper.")
    ] = "small",
    steps: Annotated[int | None, typer.Option(metavar="N", help="Steps for every image.")] = None,
    seconds: Annotated[float | None, typer.Option(metavar="S", help="Time for every image, instead.")] = None,
    objective: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to get right: gradient, pixel, or sobolev (both).")
    ] = None,
    bits: Annotated[int | None, typer.Option(metavar="N", help="Of a stored weight: 32, 16 or 8.")] = None,
    seed: console.Seed = 0,
    same_start: Annotated[
        bool, typer.Option("--same-start", help="Begin with one network for all: weights can be compared.")
    ] = False,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, such as width=32. May be repeated."),
    ] = None,
    shard: Annotated[
        int | None, typer.Option(metavar="N", help="Pictures stored together; a kill costs at most the last ones.")
    ] = None,
    device: console.Device = "auto",
    engine: Annotated[
        Literal["local", "ray"], typer.Option(metavar="NAME", help="Who works: local, or ray (a cluster).")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Of the Ray cluster; by default one is started here.")
    ] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Shards at a time; by default one a core.")] = None,
    quiet: console.Quiet = False,
    as_json: console.Json = False,
) -> int:
    """Turn many images into networks, in one folder.

    Interrupted or killed, the same command goes on. Images that cannot be read are named at the end (status 3).
    """
    console.check_seed(seed)
    own = {"steps": steps, "seconds": seconds, "objective": objective, "bits": bits}
    changes = named_settings(setting or []) | {name: value for name, value in own.items() if value is not None}
    if "until_psnr" in changes:
        raise EorenError("until_psnr is for one image; give many images --steps or --seconds")

    from eoren.dataset.fit_many import Progress
    from eoren.dataset.fit_many import fit_many as run

    try:
        # Ray says on stdout what it thinks of its workers; stdout is for results.
        with redirect_stdout(sys.stderr), console.progress(quiet) as show:

            def watch(at: Progress) -> None:
                failed = f", {at.failed:,} failed" if at.failed else ""
                total = "" if at.total is None else f" of {at.total:,}"
                show(f"{at.pictures:,.0f}{total} images{failed}", at.pictures / at.total if at.total else 0.0)

            found = run(
                *sources,
                store=output,
                preset=preset,
                seed=seed,
                same_start=same_start,
                shard=shard,
                device=device,
                engine=engine,
                address=address,
                workers=workers,
                watch=watch,
                **changes,
            )
    except KeyboardInterrupt:
        console.notice(f"interrupted; {output} keeps what was fitted, and the same command goes on")
        return console.INTERRUPTED
    if as_json:
        values = {"store": str(output), "pictures": found.pictures, "failed": found.failed, "earlier": found.earlier}
        console.print_json(values)
    elif not quiet:
        fitted = found.pictures - found.earlier
        rows = {"store": str(output), "pictures": f"{found.pictures:,}, {fitted:,} of them in this run"}
        console.print_table(rows)
    if found.failed:
        _name_failures(output, found.failed, quiet)
        return _SOME_FAILED
    return 0


def _name_failures(store: Path, failed: int, quiet: bool) -> None:
    """The first of them; the index has all."""
    from eoren.dataset.store import Store

    shown = 0
    opened = Store(store)
    for number in [] if quiet else opened.shards():
        rows = opened.rows(number)
        for name, status, error in zip(*(rows[c].to_pylist() for c in ("name", "status", "error")), strict=True):
            if status == "failed" and shown < 3:
                console.notice(f"{name}: {error}")
                shown += 1
        if shown == 3:
            break
    console.notice(f"{failed:,} failed; column 'error' of {store / 'index'} says why")
