"""``eoren reproduce``."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from typer import Argument, Option

from eoren.cli import console, options, signals
from eoren.errors import EorenError
from eoren.fs.names import as_line

_Experiment = Literal["gma", "composition", "mnist", "natural", "remedies", "all"]


def reproduce(
    experiment: Annotated[_Experiment, Argument(help="Experiment to run.")],
    scale: Annotated[
        Literal["small", "paper-sample", "paper"],
        Option(help="Protocol: small (minutes), paper (days), or paper-sample: a few images of it (hours)."),
    ] = "small",
    output: Annotated[Path, options.output_option("Folder to write; results are kept.", "DIR")] = Path(
        "reproduction"
    ),
    seed: options.Seed = 0,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Repeat the experiments of the paper and summarise them.

    Each writes figures, raw numbers as CSV and a summary in Markdown.

    gma: Fig. 2, gradients with and without magnitude adjustment. mnist: Fig. 8 and 9, digits. natural: Fig. 7,
    photographs of Set5, Set14, Kodak and DIV2K. composition: Fig. 10, two images mixed in their gradients.
    remedies: changes that help EoREN where pixels win.

    Results that the folder already holds are not measured again: after an interruption the same command continues.
    """
    names = get_args(_Experiment)[:-1] if experiment == "all" else (experiment,)

    from importlib import import_module

    from eoren.experiments.paper.figures import check_matplotlib
    from eoren.fs.files import check_writable, make_folder

    make_folder(output)
    check_writable(output / f"{names[0]}.csv")
    check_matplotlib()
    command = f"eoren reproduce {experiment} --scale {scale} --seed {seed}"
    experiments = {name: import_module(f"eoren.experiments.paper.{name}").EXPERIMENT for name in names}
    for name, chosen in experiments.items():
        if scale not in chosen.protocols:
            raise EorenError(f"--scale {scale} is for mnist and natural, got {name}; give --scale small or paper")
    summaries = []
    with signals.explain_interruption(f"{output} keeps the measurements, and the same command continues"):
        _download([dataset for chosen in experiments.values() for dataset in chosen.datasets], quiet)
        for name, chosen in experiments.items():
            with console.progress(quiet) as show:

                def watch(label: str, share: float, name: str = name) -> None:
                    show(f"{name}: {label}", share)

                summary = chosen.reproduce(output, chosen.protocols[scale], seed=seed, watch=watch, command=command)
            summaries.append(str(summary))
            if not (quiet or as_json):
                print(as_line(str(summary)))
    console.print_result({"summaries": summaries}, as_json=as_json)


def _download(datasets: list[str], quiet: bool) -> None:
    """Download the files of data sets that EOREN_DATA does not hold, before any work."""
    from eoren.experiments.datasets import dataset_path, file_names

    files = [(dataset, name) for dataset in datasets for name in file_names(dataset)]
    with console.progress(quiet) as show:
        for number, (dataset, name) in enumerate(files):
            show(f"{dataset}: {name}", number / len(files))
            dataset_path(dataset, name)
