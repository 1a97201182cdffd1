"""Variants of EoREN, one remedy at a time: other targets, colours in the objective, channel tuning with more freedom.

Fitting gradients loses to fitting pixels for two reasons. Targets that disagree with the pixels: the remedy is the
derivative of the spline through them. Drift at low frequency: the remedy is a tuning that varies over the image, or
colours in the objective. All variants share network, optimiser and epochs with EoREN, and are measured like it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float

from eoren.evaluation.metrics import decibel, psnr
from eoren.experiments.datasets import IMAGE_DATASETS, first_digits, square, square_images
from eoren.experiments.methods import NETWORKS, Method, Networks, methods
from eoren.experiments.paper.experiment import Experiment
from eoren.experiments.paper.figures import ZERO_LINE, figure
from eoren.experiments.paper.spatial_tuning import FieldSamples, SpatialTuning, cosine_basis, window_basis
from eoren.experiments.progress import ProgressCallback, subtasks
from eoren.experiments.results import Row, Table, markdown_table, mean_over_images, paired
from eoren.experiments.sweep import Protocol
from eoren.experiments.trials import Trial, run_trials
from eoren.image.arrays import Image
from eoren.image.gradients import SPLINE, pixel_gradient

_Doubled = Float[np.ndarray, "twice twice 1"] | None  # an image at twice the size, where it is known
_DIGITS = 28
_LABELS = {"natural": "photographs", "digits": f"digits at {_DIGITS} pixels"}
_METRICS = {"psnr": "PSNR (dB)", "gradient_psnr": "gradient PSNR (dB)", "zoom_psnr": "PSNR at twice the size (dB)"}


@dataclass(frozen=True)
class Variant:
    """A variant of EoREN."""

    key: str  # name in tables
    label: str  # name in figures and reports
    training: str  # key in trainings()
    tuning: SpatialTuning | None = None  # in place of the training's


_SMOOTH = SpatialTuning(cosine_basis, 8, varies_scale=False)
_BY_TILE = SpatialTuning(window_basis, 8, varies_scale=True)

# The two baselines, then the variants.
VARIANTS = (
    Variant("pixel", "SIREN + pixels", "pixel"),
    Variant("eoren", "EoREN", "eoren"),
    Variant("tiles", "tuned by tile (8 x 8)", "eoren", _BY_TILE),
    Variant("smooth", "smooth field of colour (8 x 8 cosines)", "eoren", _SMOOTH),
    Variant("spline", "spline targets", "spline"),
    Variant("spline-smooth", "spline targets, smooth field of colour", "spline", _SMOOTH),
    Variant("mixed", "colours beside the gradients", "mixed"),
    Variant("mixed-spline", "spline targets, colours beside them", "mixed-spline"),
)


def trainings(networks: Networks) -> Mapping[str, Method]:
    """Build the trainings that the variants need, all with the same network."""
    every = methods(networks)
    eoren = every["eoren"]

    def changed(key: str, **changes: str) -> Method:
        return replace(eoren, key=key, settings=replace(eoren.settings, **cast("Any", changes)))

    selected = (
        every["pixel"],
        eoren,
        changed("spline", filter=SPLINE),
        changed("mixed", objective="sobolev"),
        changed("mixed-spline", objective="sobolev", filter=SPLINE),
    )
    return {method.key: method for method in selected}


class _Measurements(NamedTuple):
    table: Table
    names: Mapping[str, list[str]]  # of the images, by kind
    seeds: range

    def rows(self, variant: str, kind: str) -> list[Row]:
        """Find the rows of these images and seeds: the file may contain more."""
        return self.table.find(remedy=variant, image=self.names[kind], seed=self.seeds)


def _measure(folder: Path, protocol: Protocol, seed: int, watch: ProgressCallback) -> _Measurements:
    table = Table(folder / "remedies.csv", key=("image", "remedy", "seed"), protocol=str(protocol))
    seeds = range(seed, seed + protocol.seeds)
    # By kind and name.
    sets: dict[str, dict[str, tuple[Image, _Doubled]]] = {
        "natural": {name: (image, doubled) for _, name, image, doubled in square_images(protocol.side)},
        "digits": {f"digit-{k}-{i:04}": (square(image, _DIGITS), None) for k, i, image in first_digits(1)},
    }
    tasks = [
        (f"{_LABELS[kind]}, seed {seed}, {method.key}", (seed, kind, [*images][k : k + protocol.batch], method))
        for seed in seeds
        for kind, images in sets.items()
        for k in range(0, len(images), protocol.batch)
        for method in trainings(protocol.networks).values()
    ]
    for (seed, kind, names, method), report in subtasks(tasks, watch):
        variants = [variant for variant in VARIANTS if variant.training == method.key]
        if all(table.find(image=name, remedy=variant.key, seed=seed) for name in names for variant in variants):
            continue
        images = [sets[kind][name][0] for name in names]
        epochs = protocol.networks.epochs
        [trials] = run_trials(images, [method], epochs=epochs, seed=seed, samples=1, watch=report).values()
        rows = []
        for name, trial in zip(names, trials, strict=True):
            for variant in variants:
                numbers = _evaluate(variant, trial, *sets[kind][name])
                rows.append({"image": name, "kind": kind, "remedy": variant.key, "seed": seed, **numbers})
        table.add(rows)
    return _Measurements(table, {kind: list(images) for kind, images in sets.items()}, seeds)


def _evaluate(variant: Variant, trial: Trial, image: Image, doubled: _Doubled) -> Row:
    field = trial.field
    height, width, channels = image.shape
    sizes = [(width, height)] if doubled is None else [(width, height), (2 * width, 2 * height)]
    if variant.tuning is None:
        samples = [FieldSamples(*field.sample(*size, "color", "gradient")) for size in sizes]
        extra = 0
    else:
        samples = variant.tuning.tune(field, image, sizes)
        extra = (variant.tuning.coefficients - 2) * channels
    per_pixel = samples[0].gradient / np.array([width, height])
    return {
        "psnr": psnr(samples[0].color, image),
        "gradient_psnr": decibel(float(np.mean(np.square(per_pixel - pixel_gradient(image.astype(np.float64)))))),
        "zoom_psnr": float("nan") if doubled is None else psnr(samples[1].color, doubled),
        "parameters": field.parameters + extra,
        "seconds": trial.final.seconds,
    }


def _draw(measurements: _Measurements, stem: Path) -> None:
    """Draw the difference of every variant to EoREN, in colour and in gradient."""
    others = [variant for variant in VARIANTS if variant.key != "eoren"]
    positions = list(range(len(others)))[::-1]
    colors = ["#0072B2" if variant.key == "pixel" else "#D55E00" for variant in others]
    with figure(stem, (8.4, 5.4)) as drawing:
        grid = drawing.subplots(len(measurements.names), 2, sharey=True, squeeze=False)
        for row, (kind, names) in zip(grid, measurements.names.items(), strict=True):
            base = measurements.rows("eoren", kind)
            for axes, column in zip(row, ("psnr", "gradient_psnr"), strict=True):
                gains = [paired(measurements.rows(variant.key, kind), base, column) for variant in others]
                means, errors = [gain.estimate for gain in gains], [gain.error for gain in gains]
                axes.barh(positions, means, color=colors, xerr=errors, error_kw={"elinewidth": 0.8})
                axes.axvline(0, **ZERO_LINE)
                axes.set_yticks(positions, [variant.label for variant in others])
                axes.grid(visible=False, axis="y")
                axes.set_xlabel(f"minus EoREN, {_METRICS[column]}")
            row[0].set_title(f"{_LABELS[kind]} ({len(names)})")
        drawing.suptitle("bar: mean over the images; whisker: 95 % confidence interval", fontsize=9)


def _conclude(measurements: _Measurements) -> list[str]:
    parts = [
        "Every variant has EoREN's network, optimiser and epochs; a spatial tuning follows the training, by least "
        "squares against the pixels. Numbers are means; in brackets, the 95 % interval of the difference to EoREN."
    ]
    for kind, names in measurements.names.items():
        metrics = {name: label for name, label in _METRICS.items() if kind == "natural" or name != "zoom_psnr"}
        base = measurements.rows("eoren", kind)
        lines = []
        for variant in VARIANTS:
            rows = measurements.rows(variant.key, kind)
            cells = []
            for column in metrics:
                gain = "" if variant.key == "eoren" else f" ({paired(rows, base, column)})"
                cells.append(f"{mean_over_images(rows, column):.2f}{gain}")
            seconds = float(np.mean([float(row["seconds"]) for row in rows]))
            lines.append([variant.label, *cells, rows[0]["parameters"], f"{seconds:.2f}"])
        header = [f"{_LABELS[kind]} ({len(names)})", *metrics.values(), "parameters", "seconds an image"]
        parts.append(markdown_table(header, lines))
    return [*parts, "![Difference of every variant to EoREN](remedies.png)"]


EXPERIMENT = Experiment(
    name="remedies",
    title="Variants of EoREN",
    datasets=("mnist", *IMAGE_DATASETS),
    protocols={
        "small": Protocol(NETWORKS["small"], side=96, seeds=1, samples=1, batch=20),
        "paper": Protocol(NETWORKS["paper"], side=256, seeds=1, samples=1, batch=1),
    },
    measure=_measure,
    figures={"": _draw},
    conclude=_conclude,
)
