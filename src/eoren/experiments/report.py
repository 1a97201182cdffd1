"""A comparison as a single HTML file: embedded images, plots as SVG, no network access; a script enlarges images.

The template is ``report.html`` in this package.
"""

import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from math import isfinite
from typing import Any

import jinja2

from eoren.experiments.comparison import Comparison, final_numbers
from eoren.experiments.panels import ZOOM, Figure, Panels, Prediction, curves, format_decibels, rate_curves
from eoren.experiments.rates import LABELS, Rates, Stored
from eoren.experiments.trials import Trial
from eoren.fs.names import as_utf8
from eoren.image.profiles import describe_profile
from eoren.visualization.colormaps import data_uri, direction_wheel, heat_stops

# Images with a longer side below this are enlarged, with pixels as squares.
_COARSE = 160
_EXPLANATIONS = {
    "pixel": "One SIREN, a network of sines, fitted to the values of the pixels.",
    "gradient": "The same network, fitted to the gradient of the image alone. A gradient does not determine the "
    "mean: the output is shown around mid gray.",
    "eoren": "The same training on gradients, followed by channel tuning: the factor and the offset per channel that "
    "fit the pixels best. This is the paper's method.",
    "ours": "The preset mosaic of this library: a tiling of small SIRENs, fitted to values and gradients at once.",
}
# Key, heading, digits, whether the maximum is best.
_COLUMNS = (
    ("psnr", "PSNR (dB)", 2, True),
    ("gradient_psnr", "gradient PSNR (dB)", 2, True),
    ("ssim", "SSIM", 4, True),
    ("epochs", "epochs", 1, False),
    ("seconds", "seconds", 1, False),
    ("parameters", "parameters", 0, False),
    ("bytes", "bytes of the file", 0, False),
)
_FILE_COLUMNS = (
    ("psnr", "PSNR, 8 bits (dB)", 2, True),
    ("gradient_psnr", "gradient PSNR (dB)", 2, True),
    ("bytes", "bytes of the file", 0, False),
    ("bits_per_pixel", "bits per pixel", 2, False),
    ("encode_seconds", "seconds to write", 2, False),
    ("decode_seconds", "to read", 2, False),
)


def report(comparison: Comparison) -> str:
    """Render the report of a comparison as an HTML document."""
    image = comparison.image
    budgets = (comparison.equal_epochs, comparison.equal_time)
    rounds = [[Prediction.of_trial(trial) for trial in trials] for trials in budgets]
    files = [Prediction.of_file(stored) for stored in comparison.rates.stored]
    panels, file_panels = Panels(image, [*rounds[0], *rounds[1]]), Panels(image, files)
    undefined = jinja2.StrictUndefined
    environment = jinja2.Environment(autoescape=True, undefined=undefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(resources.files(__package__).joinpath("report.html").read_text("utf-8"))
    epochs, seconds = _format_count(comparison.epochs), f"{comparison.seconds:.3g}"
    introductions = (
        f"Every method saw every pixel {epochs} times. The time that this takes differs: see the seconds.",
        f"Every method had {seconds} seconds of training, for as many epochs as fit into it.",
    )
    return template.render(
        name=as_utf8(comparison.source.name) or "an image",
        coarse=max(image.shape[:2]) < _COARSE,
        conclusion=_conclusion(comparison),
        first=_first_figures(panels, rounds[1], files),
        methods=[_method(trial) for trial in comparison.equal_epochs],
        findings=[
            _finding(f"After {epochs} epochs each", comparison.equal_epochs),
            _finding(f"After {seconds} seconds each", comparison.equal_time),
            _file_finding(comparison.rates.stored),
        ],
        size_note=_size_note(comparison),
        scale_note=_scale_note(comparison),
        runs=[
            _round(panels, predictions, trials, budget, introduction)
            for predictions, trials, budget, introduction in zip(
                rounds, budgets, ("epochs", "time"), introductions, strict=True
            )
        ],
        files=_files(file_panels, files, comparison.rates),
        wheel=data_uri(direction_wheel()),
        heat=heat_stops(),
        gradient_full=f"{panels.gradient_scale:g}",
        error_full=f"{panels.error_scale:g}",
        error_half=f"{panels.error_scale / 2:g}",
        zoom=ZOOM,
        box=panels.box,
        row=panels.row,
        column=panels.column,
        own_drift=" and ".join(f"{drift:.3f}" for drift in panels.reference_drifts()),
        epochs=epochs,
        seconds=seconds,
        curve_legend=[(trial.method.key, trial.method.label) for trial in comparison.equal_epochs],
        curves=[*curves(comparison.equal_epochs, "epoch"), *curves(comparison.equal_time, "seconds")],
        facts=_facts(comparison),
    )


def _conclusion(comparison: Comparison) -> str:
    """Return the numbers of this library and of the paper's method in one sentence."""
    finals = {trial.method.key: trial.final for trial in comparison.equal_time}
    stored = comparison.rates.stored[0].measurement
    colors, derivatives = (
        [format_decibels(getattr(measured, name)) for measured in (finals["ours"], finals["eoren"], stored)]
        for name in ("psnr", "gradient_psnr")
    )
    return (
        f"In {comparison.seconds:.3g} seconds of training, this library's mosaic reaches {colors[0]} and "
        f"EoREN (paper) {colors[1]}, in the derivative {derivatives[0]} and {derivatives[1]}; this library's compact "
        f"field, the default, has {colors[2]} and {derivatives[2]} in {stored.bytes:,} bytes."
    )


def _first_figures(panels: Panels, trained: Sequence[Prediction], files: Sequence[Prediction]) -> list[Figure]:
    """Draw the image and one of its edges beside the paper's method and this library's, in two rows."""
    shown = [*(prediction for prediction in trained if prediction.key in ("eoren", "ours")), files[0]]
    squares, _, *edges = panels.crops(shown)
    derivatives = (f"gradient PSNR {format_decibels(prediction.gradient_psnr)}" for prediction in shown)
    labelled = (edge._replace(value=value) for edge, value in zip(edges, derivatives, strict=True))
    return [*panels.reconstructions(shown), squares, *labelled]


def _round(
    panels: Panels, predictions: Sequence[Prediction], trials: Sequence[Trial], budget: str, introduction: str
) -> dict[str, Any]:
    kinds = ("reconstructions", "gradients", "errors", "crops", "profiles", "histograms")
    return {
        "id": f"equal-{budget}",
        "heading": f"At equal {budget}",
        "introduction": introduction,
        "columns": [heading for _, heading, *_ in _COLUMNS],
        "rows": _table([(trial.method.key, trial.method.label, final_numbers(trial)) for trial in trials], _COLUMNS),
        **{kind: list(getattr(panels, kind)(predictions)) for kind in kinds},
    }


def _files(panels: Panels, predictions: Sequence[Prediction], rates: Rates) -> dict[str, Any]:
    rows = [(stored.key, stored.label, stored.measurement.as_dict()) for stored in rates.stored]
    missing = [f"{LABELS[key]} is missing: {reason}." for key, reason in rates.missing.items()]
    return {
        "columns": [heading for _, heading, *_ in _FILE_COLUMNS],
        "rows": _table(rows, _FILE_COLUMNS),
        "missing": " ".join(missing),
        "legend": [(key, LABELS[key]) for key in rates.curves],
        "curves": list(rate_curves(rates)),
        "error_full": f"{panels.error_scale:g}",
        **{kind: list(getattr(panels, kind)(predictions)) for kind in ("gradients", "errors", "crops")},
    }


def _table(
    rows: Sequence[tuple[str, str, Mapping[str, float | int]]], columns: Sequence[tuple[str, str, int, bool]]
) -> list[dict[str, Any]]:
    best = {key: max(row[key] for _, _, row in rows) for key, _, _, highest in columns if highest}
    return [
        {
            "style": style,
            "label": label,
            "cells": [
                {"text": _format_cell(row[key], digits), "best": highest and row[key] == best[key]}
                for key, _, digits, highest in columns
            ],
        }
        for style, label, row in rows
    ]


def _format_cell(value: float | int, digits: int) -> str:
    return f"{value:,.{digits}f}" if isfinite(value) else "exact" if value > 0 else "–"


def _finding(when: str, trials: Sequence[Trial]) -> str:
    papers = [trial for trial in trials if trial.method.key != "ours"]
    return f"{when}, {_best(trials)}. Of the paper's three, {_best(papers)}."


def _file_finding(files: Sequence[Stored]) -> str:
    numbers = ", ".join(
        f"{stored.label} {format_decibels(stored.measurement.psnr)} and "
        f"{format_decibels(stored.measurement.gradient_psnr)}"
        for stored in files
    )
    return f"In files of about {files[0].measurement.bytes:,} bytes, PSNR and gradient PSNR are: {numbers}."


def _best(trials: Sequence[Trial]) -> str:
    color = max(trials, key=lambda trial: trial.final.psnr)
    edges = max(trials, key=lambda trial: trial.final.gradient_psnr)
    subject = "" if edges is color else f"{edges.method.label} has "
    return (
        f"{color.method.label} has the best colours (PSNR {format_decibels(color.final.psnr)}) and "
        f"{subject}the best derivative (gradient PSNR {format_decibels(edges.final.gradient_psnr)})"
    )


def _method(trial: Trial) -> dict[str, Any]:
    key, settings = trial.method.key, trial.method.settings.as_dict()
    chosen = [(name, value) for name, value in settings.items() if value is not None]
    return {"key": key, "label": trial.method.label, "explanation": _EXPLANATIONS[key], "settings": chosen}


def _size_note(comparison: Comparison) -> str:
    height, width, _ = comparison.image.shape
    before = comparison.source.pixels.shape
    if before[:2] == (height, width):
        return f"The image was fitted at its own size: {width} x {height} pixels."
    return (
        f"The image of {before[1]} x {before[0]} pixels was reduced to {width} x {height} for every method: "
        "the paper's networks use all pixels in every step, and its images have 256 a side. Change it with --size."
    )


def _scale_note(comparison: Comparison) -> str:
    paper = next(trial.method.settings for trial in comparison.equal_epochs if trial.method.key == "eoren")
    network = f"{paper.depth} sine layers of {paper.width} units"
    ours = "The fourth has the size of this library's preset mosaic for an image: the tables list the parameters."
    if comparison.scale == "paper":
        return f"Scale “paper”: the first three methods have the paper's network, {network}. {ours}"
    return (
        f"Scale “{comparison.scale}”: the first three methods have a network of {network}, smaller than the paper's. "
        f"--scale paper uses the paper's own, and takes hours. {ours}"
    )


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    source, name = comparison.source, as_utf8(comparison.source.name)
    image = shlex.quote(f"./{name}" if name.startswith("-") else name)
    options = f"--scale {comparison.scale} --seed {comparison.seed} --size {max(comparison.image.shape[:2])} "
    budget = f"--epochs {comparison.epochs:g} --seconds {comparison.seconds:.4g}"
    return [
        ("command", f"eoren compare {image} -o report.html {options}{budget}"),
        ("seed", str(comparison.seed)),
        *((name.replace("_", " "), str(value)) for name, value in comparison.machine.items()),
        *([("sha256 of the image", source.sha256)] if source.sha256 else []),
        *([("colours", f"in the profile {describe_profile(source.profile)}")] if source.profile else []),
        ("PSNR", "peak 1, over all pixels and channels, output clamped to [0, 1]"),
        (
            "gradient PSNR",
            "the network's exact derivative at the pixels against that of the quintic spline through them, "
            "intensity per pixel, mean over both axes",
        ),
        ("SSIM", "scikit-image, Gaussian weights, range 1"),
    ]


def _format_count(value: float) -> str:
    return f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"
