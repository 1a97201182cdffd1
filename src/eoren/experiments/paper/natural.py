"""Fig. 7 of the paper: photographs on which pixel fitting or EoREN wins, and image statistics that may predict it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eoren.experiments.datasets import IMAGE_DATASETS, square_images
from eoren.experiments.methods import NETWORKS
from eoren.experiments.paper.experiment import Experiment
from eoren.experiments.paper.figures import ZERO_LINE, figure, label_rows, legend_below, show_image
from eoren.experiments.paper.predictors import PREDICTORS, correlation
from eoren.experiments.progress import ProgressCallback
from eoren.experiments.results import Row, Value, interval, markdown_table, per_image
from eoren.experiments.sweep import EPOCHS, METHOD_ORDER, TIME, Protocol, Sweep
from eoren.experiments.trials import METRICS
from eoren.image.arrays import Image

_METRICS = {**METRICS, "zoom_psnr": "PSNR at twice the size (dB)"}
_COMPARED = ("psnr", "gradient_psnr", "zoom_psnr")
_LABELS = {"set5": "Set5", "set14": "Set14", "kodak": "Kodak", "div2k": "DIV2K"}
# Colours of Okabe and Ito that the methods do not use.
_COLORS = {"set5": "#E69F00", "set14": "#56B4E9", "kodak": "#CC79A7", "div2k": "#000000"}
_MARKERS = {"set5": "^", "set14": "s", "kodak": "o", "div2k": "x"}
_EXTREMES = 3


def _measure(folder: Path, protocol: Protocol, seed: int, watch: ProgressCallback) -> Sweep:
    images: dict[str, Image] = {}
    doubled: dict[str, Image] = {}
    columns: dict[str, Row] = {}
    for dataset, name, image, large in square_images(protocol.side, protocol.images):
        images[name], doubled[name] = image, large
        columns[name] = {"dataset": dataset, **{label: measure(image) for label, measure in PREDICTORS.items()}}
    sweep = Sweep(folder, "natural", protocol, images, columns, seed=seed, doubled=doubled)
    sweep.run(watch)
    return sweep


def _draw_differences(sweep: Sweep, stem: Path) -> None:
    with figure(stem, (8.0, 5.4)) as drawing:
        rows = drawing.subplots(2, 1)
        for axes, column in zip(rows, ("psnr", "gradient_psnr"), strict=True):
            gains = sweep.gains(EPOCHS, column)
            order = sorted(gains, key=gains.__getitem__)
            for dataset, label in _LABELS.items():
                names = _names(sweep, dataset)
                positions = [k for k, name in enumerate(order) if name in names]
                heights = [gains[order[k]] for k in positions]
                axes.bar(positions, heights, color=_COLORS[dataset], label=label)
            axes.axhline(0, **ZERO_LINE)
            axes.set_ylabel(f"EoREN minus pixels,\n{_METRICS[column]}")
            axes.set(xlabel="images, in the order of the difference", xticks=[])
            axes.grid(visible=False, axis="x")
        rows[0].set_title(f"Above zero EoREN is better: {sweep.protocol.networks.epochs} epochs of both")
        legend_below(drawing, rows[0])


def _draw_predictors(sweep: Sweep, stem: Path) -> None:
    with figure(stem, (9.0, 5.2)) as drawing:
        grid = drawing.subplots(2, len(PREDICTORS), sharex="col", sharey="row")
        for row, column in zip(grid, ("psnr", "gradient_psnr"), strict=True):
            gains = sweep.gains(EPOCHS, column)
            for axes, predictor in zip(row, PREDICTORS, strict=True):
                values = _predictor_values(sweep, predictor)
                for dataset, label in _LABELS.items():
                    names = _names(sweep, dataset)
                    x, y = [values[name] for name in names], [gains[name] for name in names]
                    axes.scatter(x, y, s=14, color=_COLORS[dataset], marker=_MARKERS[dataset], label=label)
                axes.axhline(0, **ZERO_LINE)
                rank = correlation([*values.values()], [*gains.values()])
                axes.set_title(f"rank correlation {rank.estimate:+.2f}", fontsize=9)
            row[0].set_ylabel(f"EoREN minus pixels,\n{_METRICS[column]}")
        for axes, predictor in zip(grid[-1], PREDICTORS, strict=True):
            axes.set_xlabel(predictor)
        legend_below(drawing, grid[0, 0])


def _draw_images(sweep: Sweep, stem: Path) -> None:
    """Draw Fig. 7: the images on which either method wins by the largest margin."""
    gains = sweep.gains(EPOCHS, "psnr")
    order = sorted(gains, key=gains.__getitem__)
    extremes = [str(name) for name in dict.fromkeys(order[:_EXTREMES] + order[-_EXTREMES:])]
    methods = ("pixel", "eoren", "ours")
    with figure(stem, (1.6 * len(extremes) + 0.8, 7.2)) as drawing:
        grid = drawing.subplots(1 + len(methods), len(extremes), squeeze=False)
        for column, name in enumerate(extremes):
            show_image(grid[0, column], sweep.images[name], note=f"EoREN {gains[name]:+.1f} dB")
            grid[0, column].set_title(name, fontsize=8)
            for row, key in enumerate(methods, 1):
                psnr = per_image(sweep.rows(key, EPOCHS, image=name), "psnr")[name]
                show_image(grid[row, column], sweep.reconstruction(name, key), note=f"{psnr:.1f} dB")
        label_rows(grid[:, 0], ["original", *(sweep.methods[key].label for key in methods)])


def _conclude(sweep: Sweep) -> list[str]:
    parts = []
    for budget in (EPOCHS, TIME):
        parts += [f"## At equal {budget}", _scores(sweep, budget), _wins(sweep, budget)]
    return [
        *parts,
        "## Predictors of the difference",
        _correlations(sweep),
        "![EoREN minus pixels](natural.png)",
        "![Predictors](natural-predictors.png)",
        "![Images with the largest differences](natural-pictures.png)",
    ]


def _scores(sweep: Sweep, budget: str) -> str:
    """Tabulate the means of every method by data set."""
    lines = []
    for dataset, label in _LABELS.items():
        names = _names(sweep, dataset)
        cells = []
        for key in METHOD_ORDER:
            scores = [per_image(sweep.rows(key, budget), column) for column in _METRICS]
            psnr, slope, ssim, zoom = (float(np.mean([score[name] for name in names])) for score in scores)
            cells.append(f"{psnr:.2f} / {slope:.2f} / {ssim:.4f} / {zoom:.2f}")
        lines.append([f"{label} ({len(names)})", *cells])
    labels = (sweep.methods[key].label for key in METHOD_ORDER)
    return markdown_table(["PSNR / gradient PSNR / SSIM / PSNR at twice the size", *labels], lines)


def _wins(sweep: Sweep, budget: str) -> str:
    """Tabulate EoREN minus pixels by metric and data set."""
    lines = []
    for column in _COMPARED:
        gains = sweep.gains(budget, column)
        for label, names in [*((label, _names(sweep, key)) for key, label in _LABELS.items()), ("all", sweep.images)]:
            values = [gains[name] for name in names]
            wins = sum(value > 0 for value in values)
            lines.append([label, _METRICS[column], str(interval(values)), f"{wins} of {len(values)}"])
    return markdown_table(["EoREN minus pixels", "metric", "mean [95 %]", "EoREN wins"], lines)


def _correlations(sweep: Sweep) -> str:
    outcomes = [(budget, column) for budget in (EPOCHS, TIME) for column in _COMPARED]
    lines = []
    for predictor in PREDICTORS:
        values = [*_predictor_values(sweep, predictor).values()]
        gains = [[*sweep.gains(budget, column).values()] for budget, column in outcomes]
        lines.append([predictor, *(str(correlation(values, gain)) for gain in gains)])
    header = ["rank correlation [95 %] with EoREN minus pixels in"]
    header += [f"{_METRICS[column]}, equal {budget}" for budget, column in outcomes]
    return markdown_table(header, lines)


def _names(sweep: Sweep, dataset: str) -> Sequence[Value]:
    return [name for name, row in sweep.columns.items() if row["dataset"] == dataset]


def _predictor_values(sweep: Sweep, predictor: str) -> dict[Value, float]:
    return {name: float(row[predictor]) for name, row in sweep.columns.items()}


EXPERIMENT = Experiment(
    name="natural",
    title="Natural images: Fig. 7",
    datasets=IMAGE_DATASETS,
    protocols={
        "small": Protocol(NETWORKS["small"], side=96, seeds=1, samples=6, batch=20),
        "paper-sample": Protocol(NETWORKS["paper"], side=256, seeds=1, samples=12, batch=1, images=1),
        "paper": Protocol(NETWORKS["paper"], side=256, seeds=1, samples=12, batch=1),
    },
    measure=_measure,
    figures={"": _draw_differences, "-predictors": _draw_predictors, "-pictures": _draw_images},
    conclude=_conclude,
)
