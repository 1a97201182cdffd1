"""``eoren compare``."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from eoren.cli import console
from eoren.errors import EorenError

if TYPE_CHECKING:
    from eoren.experiments.comparison import Comparison

_SUFFIX = ".html"
_STDOUT = "-"


def compare(
    image: console.ImageFile,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PATH", help="The .html file to write.")
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="PATH", help="File for all numbers and curves as JSON; - for stdout."),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(metavar="N", help="Of every method in the first round; by default the scale's.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(metavar="S", help="Of every method in the second round; by default what EoREN took."),
    ] = None,
    size: Annotated[
        int, typer.Option(metavar="N", help="Longer side, in pixels, that the image is brought down to.")
    ] = 256,
    scale: Annotated[
        Literal["small", "paper"],
        typer.Option(metavar="NAME", help="Networks of the paper's methods: small (minutes) or paper (hours)."),
    ] = "small",
    seed: console.Seed = 0,
    overwrite: console.Overwrite = False,
    quiet: console.Quiet = False,
) -> int:
    """Fit an image in four ways and report what each gets right.

    SIREN + pixels, SIREN + gradients, EoREN and the default of eoren fit, at equal epochs and at equal time.

    The report is one HTML file that needs no other. The JSON holds picture, scale, seed, epochs, seconds, machine,
    methods (with their settings), and for both rounds, equal_epochs and equal_time, a list with an object a method:
    method, psnr, gradient_psnr, ssim, epochs, seconds, parameters, bytes and samples, the curves.
    """
    if output is None and json_file is None:
        raise EorenError("there is nothing to write; give --output report.html, or --json PATH")
    for name, value in (("epochs", epochs), ("seconds", seconds), ("size", size)):
        if value is not None and not 0 < value < float("inf"):
            raise EorenError(f"--{name} is {value:g}, but must be a number above zero")
    console.check_seed(seed)
    if output is not None and output.suffix != _SUFFIX:
        raise EorenError(f"{output}: is to be an {_SUFFIX} file; choose an --output that ends so")
    numbers = None if json_file in (None, _STDOUT) else Path(str(json_file))
    for path in (output, numbers):
        if path is not None:
            console.check_output(path, image, overwrite)
    if output is not None and numbers is not None and output.resolve() == numbers.resolve():
        raise EorenError(f"{output}: cannot hold both the report and the JSON; choose another --json")

    from eoren.experiments.comparison import compare as run
    from eoren.experiments.report import report
    from eoren.fs.files import atomic_path

    picture = console.read_source_image(image, quiet=quiet)
    try:
        with console.progress(quiet) as show:
            found = run(picture, epochs=epochs, seconds=seconds, scale=scale, side=size, seed=seed, watch=show)
        page = None if output is None else report(found)
        values = found.as_dict()
        with ExitStack() as both:  # both are written before either takes its place
            if output is not None and page is not None:
                both.enter_context(atomic_path(output)).write_text(page, encoding="utf-8")
            if numbers is not None:
                text = json.dumps(values, allow_nan=False, indent=1) + "\n"
                both.enter_context(atomic_path(numbers)).write_text(text, encoding="utf-8")
    except KeyboardInterrupt:
        console.notice("interrupted; nothing is written")
        return console.INTERRUPTED
    if json_file == _STDOUT:
        console.print_json(values)
    elif not quiet:
        _print_summary(found, [path for path in (output, numbers) if path is not None])
    return 0


def _print_summary(found: "Comparison", files: list[Path]) -> None:
    rows = {"written": ", ".join(f"{path} ({console.byte_size(path.stat().st_size)})" for path in files)}
    rounds = ((f"{found.epochs:g} epochs", found.equal_epochs), (f"{found.seconds:.3g} s", found.equal_time))
    for budget, trials in rounds:
        for trial in trials:
            last = trial.final
            rows[f"{trial.method.label}, {budget}"] = (
                f"psnr {console.decibels(last.psnr)}, gradient_psnr {console.decibels(last.gradient_psnr)}, "
                f"ssim {last.ssim:.4f}"
            )
    console.print_table(rows)
