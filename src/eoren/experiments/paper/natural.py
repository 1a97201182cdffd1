"""Fig. 7 of the paper: photographs, where pixel fitting wins and where EoREN does, and what would have told it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from eoren.experiments.datasets import PICTURES, pictures, square
from eoren.experiments.methods import NETWORKS, Scale
from eoren.experiments.paper.figures import figure, picture
from eoren.experiments.paper.predictors import PREDICTORS, correlation
from eoren.experiments.results import Row, Watch, interval, markdown_table, per_image, summary
from eoren.experiments.sweep import EPOCHS, ORDER, TIME, Contest, Protocol
from eoren.experiments.trials import METRICS, Image
from eoren.fs.files import write_text

PROTOCOLS: Mapping[Scale, Protocol] = MappingProxyType(
    {
        "small": Protocol(NETWORKS["small"], side=96, seeds=1, samples=6, batch=20),
        "paper": Protocol(NETWORKS["paper"], side=256, seeds=1, samples=12, batch=1),
    }
)

DATASETS = PICTURES
"""What has to be at hand."""

_METRICS = {**METRICS, "zoom_psnr": "PSNR at twice the size (dB)"}
_COMPARED = ("psnr", "gradient_psnr", "zoom_psnr")
_LABELS = {"set5": "Set5", "set14": "Set14", "kodak": "Kodak", "div2k": "DIV2K"}
# Of Okabe and Ito, other than the methods'.
_COLORS = {"set5": "#E69F00", "set14": "#56B4E9", "kodak": "#CC79A7", "div2k": "#000000"}
_MARKERS = {"set5": "^", "set14": "s", "kodak": "o", "div2k": "x"}
_EXTREMES = 3


def reproduce(
    folder: Path, protocol: Protocol, *, seed: int, watch: Watch, command: str, most: int | None = None
) -> Path:
    """Measure, draw ``natural.png``, ``natural-predictors.png`` and ``natural-pictures.png`` (and SVG), and conclude.

    Args:
        folder: where everything is written; what is there already is not measured again.
        protocol: of :data:`PROTOCOLS`, or one's own.
        seed: the first of the protocol's seeds.
        watch: see :data:`eoren.experiments.results.Watch`.
        command: that was given, for the record.
        most: images of every data set; all by default.

    Returns:
        The Markdown file.
    """
    images: dict[str, Image] = {}
    doubled: dict[str, Image] = {}
    columns: dict[str, Row] = {}
    for dataset in PICTURES:
        for name, image in list(pictures(dataset))[:most]:
            shown = square(image, protocol.side)
            images[f"{dataset}-{name}"] = shown
            doubled[f"{dataset}-{name}"] = square(image, 2 * protocol.side)
            found = {label: measure(shown) for label, measure in PREDICTORS.items()}
            columns[f"{dataset}-{name}"] = {"dataset": dataset, **found}
    contest = Contest(folder, "natural", protocol, images, columns, seed=seed, doubled=doubled)
    contest.hold(watch)
    _draw_differences(contest, columns, folder / "natural")
    _draw_predictors(contest, columns, folder / "natural-predictors")
    _draw_pictures(contest, folder / "natural-pictures")
    path = folder / "natural.md"
    write_text(path, _concluded(contest, columns, command))
    return path


def _gain(contest: Contest, budget: str, column: str, over: str = "pixel") -> dict[str, float]:
    """EoREN minus another method, by image."""
    mine, theirs = (per_image(contest.rows(key, budget), column) for key in ("eoren", over))
    return {name: mine[name] - theirs[name] for name in contest.images}


def _draw_differences(contest: Contest, columns: Mapping[str, Row], stem: Path) -> None:
    with figure(stem, (8.0, 5.4)) as drawn:
        rows = drawn.subplots(2, 1)
        for axes, column in zip(rows, ("psnr", "gradient_psnr"), strict=True):
            gains = _gain(contest, EPOCHS, column)
            order = sorted(gains, key=gains.__getitem__)
            for dataset, label in _LABELS.items():
                at = [k for k, name in enumerate(order) if columns[name]["dataset"] == dataset]
                axes.bar(at, [gains[order[k]] for k in at], color=_COLORS[dataset], label=label)
            axes.axhline(0, color="#333333", linewidth=0.8)
            axes.set_ylabel(f"EoREN minus pixels,\n{_METRICS[column]}")
            axes.set_xlabel("pictures, in the order of the difference")
            axes.set_xticks([])
            axes.grid(visible=False, axis="x")
        rows[0].set_title(f"Above zero EoREN is better: {contest.protocol.networks.epochs} epochs of both")
        drawn.legend(*rows[0].get_legend_handles_labels(), ncols=4, loc="outside lower center")


def _draw_predictors(contest: Contest, columns: Mapping[str, Row], stem: Path) -> None:
    with figure(stem, (9.0, 5.2)) as drawn:
        grid = drawn.subplots(2, len(PREDICTORS), sharex="col", sharey="row")
        for row, column in zip(grid, ("psnr", "gradient_psnr"), strict=True):
            gains = _gain(contest, EPOCHS, column)
            for axes, predictor in zip(row, PREDICTORS, strict=True):
                values = {name: float(columns[name][predictor]) for name in gains}
                for dataset, label in _LABELS.items():
                    names = [name for name in gains if columns[name]["dataset"] == dataset]
                    x, y = [values[name] for name in names], [gains[name] for name in names]
                    axes.scatter(x, y, s=14, color=_COLORS[dataset], marker=_MARKERS[dataset], label=label)
                axes.axhline(0, color="#333333", linewidth=0.8)
                found = correlation([*values.values()], [*gains.values()])
                axes.set_title(f"rank correlation {found.rho:+.2f}", fontsize=9)
            row[0].set_ylabel(f"EoREN minus pixels,\n{_METRICS[column]}")
        for axes, predictor in zip(grid[-1], PREDICTORS, strict=True):
            axes.set_xlabel(predictor)
        drawn.legend(*grid[0, 0].get_legend_handles_labels(), ncols=4, loc="outside lower center")


def _draw_pictures(contest: Contest, stem: Path) -> None:
    """Fig. 7: where each wins most."""
    gains = _gain(contest, EPOCHS, "psnr")
    order = sorted(gains, key=gains.__getitem__)
    shown = list(dict.fromkeys(order[:_EXTREMES] + order[-_EXTREMES:]))
    methods = ("pixel", "eoren", "ours")
    with figure(stem, (1.6 * len(shown) + 0.8, 7.2)) as drawn:
        grid = drawn.subplots(1 + len(methods), len(shown), squeeze=False)
        for column, name in enumerate(shown):
            picture(grid[0, column], contest.images[name], note=f"EoREN {gains[name]:+.1f} dB")
            grid[0, column].set_title(name, fontsize=8)
            for row, key in enumerate(methods, 1):
                found = per_image(contest.rows(key, EPOCHS, image=name), "psnr")[name]
                picture(grid[row, column], contest.reconstruction(name, key), note=f"{found:.1f} dB")
        for row, label in enumerate(["original", *(contest.methods[key].label for key in methods)]):
            grid[row, 0].set_ylabel(label.replace(" + ", "\n+ "), rotation=0, ha="right", va="center")


def _concluded(contest: Contest, columns: Mapping[str, Row], command: str) -> str:
    parts = []
    for budget in (EPOCHS, TIME):
        parts += [f"## At equal {budget}", _scores(contest, columns, budget), _wins(contest, columns, budget)]
    parts += ["## What predicts it", _predicted(contest, columns)]
    parts += [
        "![EoREN minus pixels](natural.png)",
        "![Predictors](natural-predictors.png)",
        "![Where each wins most](natural-pictures.png)",
    ]
    return summary("Natural images: Fig. 7", command, str(contest.protocol), parts)


def _scores(contest: Contest, columns: Mapping[str, Row], budget: str) -> str:
    """Means of every method by data set: PSNR / gradient PSNR / SSIM / PSNR at twice the size."""
    lines = []
    for dataset, label in _LABELS.items():
        names = _names(columns, dataset)
        cells = []
        for key in ORDER:
            found = [per_image(contest.rows(key, budget), column) for column in _METRICS]
            psnr, slope, ssim, zoom = (float(np.mean([each[name] for name in names])) for each in found)
            cells.append(f"{psnr:.2f} / {slope:.2f} / {ssim:.4f} / {zoom:.2f}")
        lines.append([f"{label} ({len(names)})", *cells])
    header = ["PSNR / gradient PSNR / SSIM / PSNR at twice the size", *(contest.methods[key].label for key in ORDER)]
    return markdown_table(header, lines)


def _wins(contest: Contest, columns: Mapping[str, Row], budget: str) -> str:
    """EoREN minus pixels."""
    lines = []
    for column in _COMPARED:
        gains = _gain(contest, budget, column)
        for dataset in (*_LABELS, None):
            values = [gains[name] for name in _names(columns, dataset)]
            wins = sum(value > 0 for value in values)
            who = "all" if dataset is None else _LABELS[dataset]
            lines.append([who, _METRICS[column], str(interval(values)), f"{wins} of {len(values)}"])
    return markdown_table(["EoREN minus pixels", "metric", "mean [95 %]", "EoREN wins"], lines)


def _predicted(contest: Contest, columns: Mapping[str, Row]) -> str:
    lines = []
    for predictor in PREDICTORS:
        cells = []
        for budget in (EPOCHS, TIME):
            for column in _COMPARED:
                gains = _gain(contest, budget, column)
                values = [float(columns[name][predictor]) for name in gains]
                cells.append(str(correlation(values, [*gains.values()])))
        lines.append([predictor, *cells])
    header = ["rank correlation [95 %] with EoREN minus pixels in"]
    header += [f"{_METRICS[column]}, equal {budget}" for budget in (EPOCHS, TIME) for column in _COMPARED]
    return markdown_table(header, lines)


def _names(columns: Mapping[str, Row], dataset: str | None) -> Sequence[str]:
    return [name for name, row in columns.items() if dataset in (None, row["dataset"])]
