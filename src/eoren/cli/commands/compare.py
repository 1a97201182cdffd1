"""``eoren compare``."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from eoren.cli import console, files, options, signals
from eoren.errors import EorenError


def compare(
    image: options.ImageFile,
    output: Annotated[
        list[Path] | None, options.output_option("Report (.html) or numbers (.json). May be repeated.")
    ] = None,
    epochs: Annotated[float | None, Option(metavar="N", help="Epochs of round one; by default the scale's.")] = None,
    seconds: Annotated[float | None, Option(metavar="S", help="Seconds of round two; by default EoREN's.")] = None,
    size: Annotated[int, Option(metavar="N", help="Longer side, in pixels, that the image is reduced to.")] = 256,
    scale: Annotated[Literal["small", "paper"], Option(help="Networks: small (minutes) or paper (hours).")] = "small",
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Fit an image by several methods and codecs, and report on them.

    SIREN + pixels, SIREN + gradients, EoREN and the preset mosaic of eoren fit, at equal epochs and at equal time;
    then the preset balanced, JPEG 2000 and AVIF, at equal bytes and over a range of sizes.

    The report is one self-contained HTML file. The JSON object, printed or written, holds `picture`, scale, seed,
    epochs, seconds, machine, methods (with their settings), and for both rounds, equal_epochs and equal_time, one
    object per method: method, psnr, gradient_psnr, ssim, epochs, seconds, parameters, bytes and samples, the curves.
    `rates` holds equal_bytes, one object per kind of file, and curves, by kind: psnr (8 bits), gradient_psnr, bytes,
    bits_per_pixel and seconds.
    """
    outputs = output or []
    if not outputs and not as_json:
        raise EorenError("there is nothing to write; give --output report.html, --output numbers.json or --json")
    for name, value in (("epochs", epochs), ("seconds", seconds), ("size", size)):
        if value is not None and not 0 < value < float("inf"):
            raise EorenError(f"--{name} must be above zero and finite, got {value:g}")
    for path in outputs:
        if path.suffix not in (".html", ".json"):
            raise EorenError(f"--output must end in .html or .json, got {path}")
        files.check_output(path, image, overwrite)

    from eoren.experiments import comparison, report
    from eoren.fs.files import atomic_path

    source = files.read_source_image(image, quiet=quiet)
    with signals.explain_interruption("nothing is written"):
        with console.progress(quiet) as show:
            result = comparison.compare(
                source, epochs=epochs, seconds=seconds, scale=scale, side=size, seed=seed, watch=show
            )
        values = result.as_dict()
        with ExitStack() as stack:  # all files are complete before the first replaces an old one
            for path in outputs:
                numbers = json.dumps(values, allow_nan=False, indent=1) + "\n"
                text = report.report(result) if path.suffix == ".html" else numbers
                stack.enter_context(atomic_path(path)).write_text(text, encoding="utf-8")
    rows = {"written": ", ".join(f"{path} ({console.byte_size(path.stat().st_size)})" for path in outputs)}
    rounds = {f"{result.epochs:g} epochs": result.equal_epochs, f"{result.seconds:.3g} s": result.equal_time}
    names = ("psnr", "gradient_psnr", "ssim")
    for budget, trials in rounds.items():
        for trial in trials:
            metrics = [f"{name} {console.format_metric(name, getattr(trial.final, name))}" for name in names]
            rows[f"{trial.method.label}, {budget}"] = ", ".join(metrics)
    for stored in result.rates.stored:
        quality = [f"{name} {console.decibels(getattr(stored.measurement, name))}" for name in names[:2]]
        rows[f"{stored.label}, {console.byte_size(stored.measurement.bytes)}"] = ", ".join(quality)
    console.print_result(values, rows, as_json=as_json, quiet=quiet)
