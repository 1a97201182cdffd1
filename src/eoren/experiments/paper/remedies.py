"""What mends EoREN, one remedy at a time: other targets, colours beside them, a freer channel tuning.

Why gradients lose where they lose has three causes, and each has its remedies. Targets that disagree with the pixels:
the spline's derivative. Drift at low frequency: a tuning that may change over the image, or colours in the
objective. All share network, optimiser and epochs with EoREN, and are measured like it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float

from eoren.evaluation.metrics import decibel, psnr
from eoren.experiments.datasets import PICTURES, mnist, pictures, square
from eoren.experiments.methods import NETWORKS, Method, Networks, Scale, methods
from eoren.experiments.paper.corrections import Correction, Said, cosines, windows
from eoren.experiments.paper.figures import figure
from eoren.experiments.results import Row, Table, Watch, in_turn, interval, markdown_table, paired, per_image, summary
from eoren.experiments.sweep import Protocol
from eoren.experiments.trials import Image, Trial, run_all
from eoren.fs.files import write_text
from eoren.image.gradients import SPLINE, pixel_gradient

PROTOCOLS: Mapping[Scale, Protocol] = MappingProxyType(
    {
        "small": Protocol(NETWORKS["small"], side=96, seeds=1, samples=1, batch=20),
        "paper": Protocol(NETWORKS["paper"], side=256, seeds=1, samples=1, batch=1),
    }
)

DATASETS = ("mnist", *PICTURES)
"""What has to be at hand."""

_DIGITS = 28
_LABELS = {"natural": "photographs", "digits": f"digits at {_DIGITS} pixels"}
_METRICS = {"psnr": "PSNR (dB)", "gradient_psnr": "gradient PSNR (dB)", "zoom_psnr": "PSNR at twice the size (dB)"}


class _Picture(NamedTuple):
    """An image, and what is known of it between its pixels."""

    image: Image
    doubled: Float[np.ndarray, "twice_height twice_width channels"] | None


@dataclass(frozen=True)
class Remedy:
    """A way of training, and what follows it.

    Attributes:
        key: as tables call it.
        label: as people read it.
        training: key in :func:`trainings`.
        correction: in place of the paper's tuning; none for the tuning that the training itself has.
    """

    key: str
    label: str
    training: str
    correction: Correction | None = None


_SMOOTH = Correction("smooth", cosines, 8, scales=False)
_BY_TILE = Correction("tiles", windows, 8, scales=True)

REMEDIES = (
    Remedy("pixel", "SIREN + pixels", "pixel"),
    Remedy("eoren", "EoREN", "eoren"),
    Remedy("tiles", "tuned by tile (8 x 8)", "eoren", _BY_TILE),
    Remedy("smooth", "smooth field of colour (8 x 8 cosines)", "eoren", _SMOOTH),
    Remedy("spline", "spline targets", "spline"),
    Remedy("spline-smooth", "spline targets, smooth field of colour", "spline", _SMOOTH),
    Remedy("mixed", "colours beside the gradients", "mixed"),
    Remedy("mixed-spline", "spline targets, colours beside them", "mixed-spline"),
)
"""From what is to be beaten to what beats it."""


def trainings(networks: Networks) -> Mapping[str, Method]:
    """The trainings that remedies start from, all of one size of network.

    Example:
        >>> found = trainings(NETWORKS["small"])
        >>> [(key, each.settings.objective, each.settings.filter) for key, each in found.items()][2:4]
        [('spline', 'gradient', 'spline'), ('mixed', 'sobolev', 'central')]
    """
    every = methods(networks)
    eoren = every["eoren"]

    def changed(key: str, **changes: str) -> Method:
        return replace(eoren, key=key, settings=replace(eoren.settings, **cast("Any", changes)))

    found = (
        every["pixel"],
        eoren,
        changed("spline", filter=SPLINE),
        changed("mixed", objective="sobolev"),
        changed("mixed-spline", objective="sobolev", filter=SPLINE),
    )
    return MappingProxyType({method.key: method for method in found})


def reproduce(
    folder: Path, protocol: Protocol, *, seed: int, watch: Watch, command: str, most: int | None = None
) -> Path:
    """Measure, draw ``remedies.png`` (and SVG), and conclude.

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
    table = Table(folder / "remedies.csv", key=("image", "remedy", "seed"), protocol=str(protocol))
    seeds = range(seed, seed + protocol.seeds)
    sets = {"natural": _photographs(protocol.side, most), "digits": _digits(most)}
    rounds = [
        (f"{_LABELS[kind]}, seed {number}, {method.key}", (number, kind, [*found][k : k + protocol.batch], method))
        for number in seeds
        for kind, found in sets.items()
        for k in range(0, len(found), protocol.batch)
        for method in trainings(protocol.networks).values()
    ]
    for (number, kind, names, method), show in in_turn(rounds, watch):
        wanted = [remedy for remedy in REMEDIES if remedy.training == method.key]
        if all(table.find(image=name, remedy=each.key, seed=number) for name in names for each in wanted):
            continue
        images = [sets[kind][name].image for name in names]
        [trials] = run_all(
            images, [method], epochs=protocol.networks.epochs, seed=number, samples=1, watch=show
        ).values()
        rows = []
        for name, trial in zip(names, trials, strict=True):
            for remedy in wanted:
                measured = _measured(remedy, trial, sets[kind][name])
                rows.append({"image": name, "kind": kind, "remedy": remedy.key, "seed": number, **measured})
        table.add(rows)
    shown = {kind: list(found) for kind, found in sets.items()}
    _draw(table, shown, seeds, folder / "remedies")
    path = folder / "remedies.md"
    write_text(path, _concluded(table, shown, seeds, protocol, command))
    return path


def _photographs(side: int, most: int | None) -> dict[str, _Picture]:
    """Each at its side, and at twice it."""
    return {
        f"{dataset}-{name}": _Picture(square(image, side), square(image, 2 * side))
        for dataset in PICTURES
        for name, image in list(pictures(dataset))[:most]
    }


def _digits(most: int | None) -> dict[str, _Picture]:
    """The first of each kind in the test set, at its own size: nobody knows it at twice the size."""
    images, labels = mnist("test")
    firsts = [int(np.flatnonzero(labels == digit)[0]) for digit in np.unique(labels).tolist()][:most]
    return {f"digit-{labels[index]}-{index:04}": _Picture(square(images[index], _DIGITS), None) for index in firsts}


def _measured(remedy: Remedy, trial: Trial, picture: _Picture) -> Row:
    field, (image, doubled) = trial.field, picture
    height, width, channels = image.shape
    sizes = [(width, height)] if doubled is None else [(width, height), (2 * width, 2 * height)]
    if remedy.correction is None:
        said = [Said(*field.sample(*size, "color", "gradient")) for size in sizes]
        extra = 0
    else:
        said = remedy.correction.tuned(field, image, sizes)
        extra = (remedy.correction.coefficients - 2) * channels
    (color, gradient), *rest = said
    per_pixel = gradient / np.array([width, height])
    return {
        "psnr": psnr(color, image),
        "gradient_psnr": decibel(float(np.mean(np.square(per_pixel - pixel_gradient(image.astype(np.float64)))))),
        "zoom_psnr": float("nan") if doubled is None else psnr(rest[0][0], doubled),
        "parameters": field.parameters + extra,
        "seconds": trial.final.seconds,
    }


def _rows(table: Table, remedy: str, names: Sequence[str], seeds: range) -> list[Row]:
    """The file may have more."""
    return [row for row in table.find(remedy=remedy) if row["image"] in names and row["seed"] in seeds]


def _draw(table: Table, shown: Mapping[str, Sequence[str]], seeds: range, stem: Path) -> None:
    """What every remedy adds to EoREN, colour beside gradient."""
    with figure(stem, (8.4, 5.4)) as drawn:
        grid = drawn.subplots(len(shown), 2, sharey=True, squeeze=False)
        for row, (kind, names) in zip(grid, shown.items(), strict=True):
            for axes, column in zip(row, ("psnr", "gradient_psnr"), strict=True):
                base = _rows(table, "eoren", names, seeds)
                others = [each for each in REMEDIES if each.key != "eoren"]
                gains = [paired(_rows(table, each.key, names, seeds), base, column) for each in others]
                at = list(range(len(others)))[::-1]
                # An interval of one image has no ends.
                reach = [each.high - each.mean if each.size > 1 else 0.0 for each in gains]
                colors = ["#0072B2" if each.key == "pixel" else "#D55E00" for each in others]
                axes.barh(at, [each.mean for each in gains], color=colors, xerr=reach, error_kw={"elinewidth": 0.8})
                axes.axvline(0, color="#333333", linewidth=0.8)
                axes.set_yticks(at, [each.label for each in others])
                axes.grid(visible=False, axis="y")
                axes.set_xlabel(f"minus EoREN, {_METRICS[column]}")
            row[0].set_title(f"{_LABELS[kind]} ({len(names)})")
        drawn.suptitle("bar: mean over the images; whisker: 95 % confidence interval", fontsize=9)


def _concluded(
    table: Table, shown: Mapping[str, Sequence[str]], seeds: range, protocol: Protocol, command: str
) -> str:
    parts = [
        "Every remedy has EoREN's network, optimiser and epochs; corrections follow the training, by least squares "
        "against the pixels. Numbers are means, and in brackets the 95 % interval of the difference to EoREN."
    ]
    for kind, names in shown.items():
        metrics = {name: label for name, label in _METRICS.items() if kind == "natural" or name != "zoom_psnr"}
        lines = []
        for remedy in REMEDIES:
            rows, base = (_rows(table, key, names, seeds) for key in (remedy.key, "eoren"))
            cells = []
            for column in metrics:
                mean = interval([*per_image(rows, column).values()]).mean
                gain = "" if remedy.key == "eoren" else f" ({paired(rows, base, column)})"
                cells.append(f"{mean:.2f}{gain}")
            seconds = float(np.mean([float(row["seconds"]) for row in rows]))
            lines.append([remedy.label, *cells, rows[0]["parameters"], f"{seconds:.2f}"])
        header = [f"{_LABELS[kind]} ({len(names)})", *metrics.values(), "parameters", "seconds a picture"]
        parts.append(markdown_table(header, lines))
    parts.append("![What every remedy adds](remedies.png)")
    return summary("What mends EoREN", command, str(protocol), parts)
