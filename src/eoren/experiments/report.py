"""A comparison as one HTML file that needs nothing else: images within it, plots as SVG, no network, no script.

What is said, and in which order, stands in ``report.html`` beside this file; here is what it is filled with.
"""

import shlex
from collections.abc import Sequence
from importlib import resources
from math import isfinite
from typing import Any

import jinja2

from eoren.experiments.comparison import Comparison, numbers
from eoren.experiments.panels import ZOOM, Panels, Said, curves, decibels
from eoren.experiments.trials import Trial
from eoren.visualization.colormaps import data_uri, direction_wheel, heat_stops

# Images smaller than this are shown larger than they are, and their pixels as squares.
_COARSE = 160
_EXPLANATIONS = {
    "pixel": "One SIREN, a network of sines, fitted to the values of the pixels.",
    "gradient": "The same network, fitted to the gradient of the image alone. A gradient leaves the mean open: "
    "what the network says is shown around mid gray.",
    "eoren": "The same training on gradients, and then channel tuning: the one factor and offset a channel that fit "
    "the pixels best. This is the paper's method.",
    "ours": "The default of this library: a mosaic of small SIRENs, fitted to values and gradients at once.",
}
# Key of a row, heading, digits, whether the highest is best.
_COLUMNS = (
    ("psnr", "PSNR (dB)", 2, True),
    ("gradient_psnr", "gradient PSNR (dB)", 2, True),
    ("ssim", "SSIM", 4, True),
    ("epochs", "epochs", 1, False),
    ("seconds", "seconds", 1, False),
    ("parameters", "parameters", 0, False),
    ("bytes", "bytes of the file", 0, False),
)


def report(comparison: Comparison) -> str:
    """The whole report.

    Args:
        comparison: what was found.

    Returns:
        An HTML document.
    """
    image = comparison.image
    rounds = [[Said.of(trial) for trial in each] for each in (comparison.equal_epochs, comparison.equal_time)]
    panels = Panels(image, rounds)
    height, width, _ = image.shape
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(resources.files(__package__).joinpath("report.html").read_text("utf-8"))
    epochs, seconds = _count(comparison.epochs), f"{comparison.seconds:.3g}"
    return template.render(
        name=comparison.picture.name or "a picture",
        coarse=max(width, height) < _COARSE,
        methods=[_method(trial) for trial in comparison.equal_epochs],
        findings=[
            _finding(f"After {epochs} epochs each", comparison.equal_epochs),
            _finding(f"After {seconds} seconds each", comparison.equal_time),
        ],
        size_note=_size_note(comparison),
        scale_note=_scale_note(comparison),
        runs=[
            _round(
                panels,
                rounds[0],
                "equal-epochs",
                "At equal epochs",
                f"Every method saw every pixel {epochs} times. How long that takes differs: see the seconds.",
            ),
            _round(
                panels,
                rounds[1],
                "equal-time",
                "At equal time",
                f"Every method had {seconds} seconds of training, and got through as many epochs as it could.",
            ),
        ],
        wheel=data_uri(direction_wheel()),
        heat=heat_stops(),
        gradient_full=f"{panels.light:g}",
        error_full=f"{panels.hot:g}",
        error_half=f"{panels.hot / 2:g}",
        zoom=ZOOM,
        box=panels.box,
        row=panels.row,
        column=panels.column,
        own_drift=" and ".join(f"{drift:.3f}" for drift in panels.own_drifts()),
        epochs=epochs,
        seconds=seconds,
        curve_legend=[(trial.method.key, trial.method.label) for trial in comparison.equal_epochs],
        curves=[*curves(comparison.equal_epochs, "epoch"), *curves(comparison.equal_time, "seconds")],
        facts=_facts(comparison),
    )


def _round(panels: Panels, trials: Sequence[Said], name: str, heading: str, introduction: str) -> dict[str, Any]:
    return {
        "id": name,
        "heading": heading,
        "introduction": introduction,
        "columns": [heading for _, heading, *_ in _COLUMNS],
        "rows": _table([said.trial for said in trials]),
        "reconstructions": list(panels.reconstructions(trials)),
        "gradients": list(panels.gradients(trials)),
        "errors": list(panels.errors(trials)),
        "crops": list(panels.crops(trials)),
        "profiles": list(panels.profiles(trials)),
        "histograms": list(panels.histograms(trials)),
    }


def _table(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    found = [numbers(trial) for trial in trials]
    best = {key: max(row[key] for row in found) for key, _, _, highest in _COLUMNS if highest}
    return [
        {
            "style": trial.method.key,
            "label": trial.method.label,
            "cells": [
                {"text": _cell(row[key], digits), "best": highest and row[key] == best[key]}
                for key, _, digits, highest in _COLUMNS
            ],
        }
        for trial, row in zip(trials, found, strict=True)
    ]


def _cell(value: float | int, digits: int) -> str:
    return f"{value:,.{digits}f}" if isfinite(value) else "exact" if value > 0 else "–"


def _finding(when: str, trials: Sequence[Trial]) -> str:
    papers = [trial for trial in trials if trial.method.key != "ours"]
    return f"{when}, {_best(trials)}. Of the paper's three, {_best(papers)}."


def _best(trials: Sequence[Trial]) -> str:
    color = max(trials, key=lambda trial: trial.final.psnr)
    edges = max(trials, key=lambda trial: trial.final.gradient_psnr)
    who = "" if edges is color else f"{edges.method.label} has "
    return (
        f"{color.method.label} has the best colours (PSNR {decibels(color.final.psnr)}) and "
        f"{who}the best derivative (gradient PSNR {decibels(edges.final.gradient_psnr)})"
    )


def _method(trial: Trial) -> dict[str, Any]:
    method = trial.method
    settings = [(name, value) for name, value in method.settings.as_dict().items() if value is not None]
    return {
        "key": method.key,
        "label": method.label,
        "explanation": _EXPLANATIONS[method.key],
        "settings": settings,
    }


def _size_note(comparison: Comparison) -> str:
    height, width, _ = comparison.image.shape
    before = comparison.picture.pixels.shape
    if before[:2] == (height, width):
        return f"The image was fitted as it is: {width} x {height} pixels."
    return (
        f"The image of {before[1]} x {before[0]} pixels was brought down to {width} x {height} for every method: "
        "the paper's networks see all pixels in every step, and its images have 256 a side. --size changes it."
    )


def _scale_note(comparison: Comparison) -> str:
    small = next(trial.method.settings for trial in comparison.equal_epochs if trial.method.key == "eoren")
    which = f"{small.depth} sine layers of {small.width} units"
    ours = "The fourth has the size that this library gives an image by default: the parameters are in the tables."
    if comparison.scale == "paper":
        return f"Scale “paper”: the first three ways have the paper's network, {which}. {ours}"
    return (
        f"Scale “{comparison.scale}”: the first three ways have a network of {which}, smaller than the paper's. "
        f"--scale paper takes the paper's own, and hours. {ours}"
    )


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    options = f"--scale {comparison.scale} --seed {comparison.seed} --size {max(comparison.image.shape[:2])} "
    budget = f"--epochs {comparison.epochs:g} --seconds {comparison.seconds:.4g}"
    command = f"eoren compare {shlex.quote(comparison.picture.name)} -o report.html {options}{budget}"
    picture = [("sha256 of the picture", comparison.picture.sha256)] if comparison.picture.sha256 else []
    return [
        ("command", command),
        ("seed", str(comparison.seed)),
        *((name.replace("_", " "), str(value)) for name, value in comparison.machine.items()),
        *picture,
        ("PSNR", "peak 1, over all pixels and channels, what the network says clamped to [0, 1]"),
        (
            "gradient PSNR",
            "the network's own derivative at the pixels beside that of the quintic spline through them, "
            "intensity per pixel, mean over both axes",
        ),
        ("SSIM", "scikit-image, Gaussian weights, range 1"),
    ]


def _count(value: float) -> str:
    return f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"
