"""``eoren reproduce``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from eoren.cli import console
from eoren.errors import EorenError

_EXPERIMENTS = ("gma", "composition", "mnist", "natural", "remedies")


def reproduce(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="gma, mnist, natural, composition, remedies, or all of them.")
    ],
    scale: Annotated[
        Literal["small", "paper"],
        typer.Option(metavar="NAME", help="small (minutes on two cores) or paper (its full protocol: days)."),
    ] = "small",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to, and to go on in.")
    ] = Path("reproduction"),
    seed: Annotated[int, typer.Option(metavar="N", help="The first of the seeds.")] = 0,
    quiet: console.Quiet = False,
) -> int:
    """Repeat the experiments of the paper, and sum up.

    Each writes figures, raw numbers as CSV and a summary in Markdown.

    gma: Fig. 2, gradients with and without magnitude adjustment. mnist: Fig. 8 and 9, digits. natural: Fig. 7,
    photographs of Set5, Set14, Kodak and DIV2K. composition: Fig. 10, two images mixed in their gradients.
    remedies: what mends EoREN where pixels win.

    What is in the folder already is not measured again: interrupted, the same command goes on.
    """
    if what not in (*_EXPERIMENTS, "all"):
        raise EorenError(f"experiment {what!r} is unknown; choose one of {', '.join(_EXPERIMENTS)}, all")
    console.check_seed(seed)
    chosen = _EXPERIMENTS if what == "all" else (what,)

    from importlib import import_module

    from eoren.experiments.paper.figures import check_matplotlib
    from eoren.fs.files import check_writable, make_folder

    make_folder(output)
    check_writable(output / f"{chosen[0]}.csv")
    check_matplotlib()
    command = f"eoren reproduce {what} --scale {scale} --seed {seed}"
    experiments = {name: import_module(f"eoren.experiments.paper.{name}").EXPERIMENT for name in chosen}
    try:
        # Before any work is done.
        _fetch([dataset for experiment in experiments.values() for dataset in experiment.datasets], quiet)
        for name, experiment in experiments.items():
            with console.progress(quiet) as show:

                def watch(label: str, share: float, name: str = name) -> None:
                    show(f"{name}: {label}", share)

                written = experiment.reproduce(
                    output, experiment.protocols[scale], seed=seed, watch=watch, command=command
                )
            if not quiet:
                typer.echo(written)
    except KeyboardInterrupt:
        console.notice(f"interrupted; {output} keeps what was measured, and the same command goes on")
        return console.INTERRUPTED
    return 0


def _fetch(datasets: list[str], quiet: bool) -> None:
    """Have every file at hand, downloaded where EOREN_DATA does not have it."""
    from eoren.experiments.datasets import dataset_path, file_names

    files = [(dataset, name) for dataset in datasets for name in file_names(dataset)]
    with console.progress(quiet) as show:
        for number, (dataset, name) in enumerate(files):
            show(f"{dataset}: {name}", number / len(files))
            dataset_path(dataset, name)
