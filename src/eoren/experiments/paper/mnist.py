"""Fig. 8 and 9 of the paper: handwritten digits, ten of each, by every method.

Does EoREN beat pixel fitting on MNIST? Asked of colours (PSNR, SSIM) and of derivatives (gradient PSNR), at equal
epochs and at equal time, with confidence intervals over the digits. The paper enlarges the digits to 256 pixels a
side. That matters: the finer the grid, the better central differences agree with the pixels. So one digit of each
kind is fitted at smaller sides, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from eoren.experiments.datasets import mnist, square
from eoren.experiments.methods import NETWORKS, Scale
from eoren.experiments.paper.figures import COLORS, curve, figure, picture
from eoren.experiments.paper.predictors import target_psnr
from eoren.experiments.results import Row, Watch, counted, interval, markdown_table, paired, per_image, summary
from eoren.experiments.sweep import EPOCHS, ORDER, TIME, Contest, Protocol
from eoren.experiments.trials import METRICS, Image
from eoren.fs.files import write_text

PROTOCOLS: Mapping[Scale, Protocol] = MappingProxyType(
    {
        "small": Protocol(replace(NETWORKS["small"], epochs=80), side=128, seeds=2, samples=6, batch=20),
        "paper": Protocol(NETWORKS["paper"], side=256, seeds=3, samples=12, batch=10),
    }
)
DATASETS = ("mnist",)
"""What has to be at hand."""

PAPER_OFFSET = 48.13
"""What the paper's PSNR is too high by, in dB: its values span 1, its peak is 255."""

_SIDES = (28, 64)


def reproduce(folder: Path, protocol: Protocol, *, seed: int, watch: Watch, command: str, each: int = 10) -> Path:
    """Measure, draw ``mnist.png``, ``-curves``, ``-digits`` and ``-sides`` (and SVG), and conclude.

    Beside the contest of all digits, one digit of each kind is fitted for half the epochs, and at smaller sides.

    Args:
        folder: where everything is written; what is there already is not measured again.
        protocol: of :data:`PROTOCOLS`, or one's own.
        seed: the first of the protocol's seeds.
        watch: see :data:`eoren.experiments.results.Watch`.
        command: that was given, for the record.
        each: samples of every digit: the first ones of the test set.

    Returns:
        The Markdown file.
    """
    images, columns = _digits(protocol.side, each)
    contest = Contest(folder, "mnist", protocol, images, columns, seed=seed)
    contest.hold(lambda label, share: watch(label, 0.9 * share))
    half, *smaller = _beside(folder, protocol, seed, watch)
    sides = [*smaller, contest]
    _draw_bars(contest, folder / "mnist")
    _draw_curves(contest, folder / "mnist-curves")
    _draw_digits([half, contest], folder / "mnist-digits")
    _draw_sides(sides, folder / "mnist-sides")
    path = folder / "mnist.md"
    write_text(path, _concluded(contest, sides, command))
    return path


def _beside(folder: Path, protocol: Protocol, seed: int, watch: Watch) -> list[Contest]:
    """One digit of each kind, one seed: for half the epochs, and at smaller sides."""
    epochs = max(1, protocol.networks.epochs // 2)
    protocol = replace(protocol, seeds=1)
    rounds = [("half", f"{epochs} epochs", replace(protocol, networks=replace(protocol.networks, epochs=epochs)))]
    rounds += [(str(side), f"{side} pixels a side", replace(protocol, side=side)) for side in _SIDES]
    found = []
    for number, (name, what, changed) in enumerate(rounds):
        images, columns = _digits(changed.side, 1)
        contest = Contest(folder, f"mnist-{name}", changed, images, columns, seed=seed)

        def show(label: str, share: float, what: str = what, number: int = number) -> bool | None:
            return watch(f"{what}, {label}", 0.9 + 0.1 * (number + share) / len(rounds))

        contest.hold(show)
        found.append(contest)
    return found


def _digits(side: int, each: int) -> tuple[dict[str, Image], dict[str, Row]]:
    """The first samples of every digit in the test set, by name, and what the table says of them."""
    images, labels = mnist("test")
    chosen = [index for digit in range(10) for index in np.flatnonzero(labels == digit)[:each].tolist()]
    names = {f"{labels[index]}-{index:04}": index for index in chosen}
    return (
        {name: square(images[index], side) for name, index in names.items()},
        {name: {"digit": int(labels[index])} for name, index in names.items()},
    )


def _draw_bars(contest: Contest, stem: Path) -> None:
    """Fig. 8: mean over the samples of every digit, at equal epochs."""
    digits = sorted({int(name[0]) for name in contest.images})
    with figure(stem, (8.0, 6.6)) as drawn:
        rows = drawn.subplots(len(METRICS), 1, sharex=True)
        for axes, (column, label) in zip(rows, METRICS.items(), strict=True):
            for place, key in enumerate(ORDER):
                found = [
                    interval([*per_image(contest.rows(key, EPOCHS, digit=digit), column).values()])
                    for digit in digits
                ]
                means = [one.mean for one in found]
                halves = [one.high - one.mean if one.size > 1 else 0.0 for one in found]
                axes.bar(
                    np.array(digits) + 0.2 * (place - 1.5),
                    means,
                    width=0.19,
                    color=COLORS[key],
                    yerr=halves,
                    error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
                    label=contest.methods[key].label,
                )
            axes.set_ylabel(label)
            axes.set_ylim(bottom=0)
            axes.grid(visible=False, axis="x")
        rows[-1].set_xticks(digits)
        rows[-1].set_xlabel("digit (bars: mean over its samples; whiskers: 95 % confidence interval)")
        rows[0].set_title(f"MNIST after {contest.protocol.networks.epochs} epochs of every method")
        drawn.legend(*rows[0].get_legend_handles_labels(), ncols=4, loc="outside lower center")


def _draw_curves(contest: Contest, stem: Path) -> None:
    with figure(stem, (8.0, 5.6)) as drawn:
        grid = drawn.subplots(2, len(METRICS), sharex="row")
        sides = ((EPOCHS, "epoch", "epochs"), (TIME, "seconds", "seconds of training a digit"))
        for row, (budget, x, label) in zip(grid, sides, strict=True):
            for axes, (column, name) in zip(row, METRICS.items(), strict=True):
                for key in ORDER:
                    at = contest.curve(key, budget, x).mean(0).tolist()
                    curve(axes, at, contest.curve(key, budget, column), key, contest.methods[key].label)
                axes.set_xlabel(label)
                axes.set_ylabel(name)
            row[0].set_title("at equal epochs" if budget == EPOCHS else "at equal time")
        drawn.suptitle("line: mean over the digits; band: its 95 % confidence interval", fontsize=9)
        drawn.legend(*grid[0, 0].get_legend_handles_labels(), ncols=4, loc="outside lower center")


def _draw_digits(contests: Sequence[Contest], stem: Path) -> None:
    """Fig. 9: what the fields show after half the epochs, and after all."""
    half, full = contests
    with figure(stem, (8.0, 7.9)) as drawn:
        grid = drawn.subplots(1 + 2 * len(ORDER), len(half.images))
        labels = ["original"]
        labels += [
            f"{full.methods[key].label}\n{counted(each.protocol.networks.epochs, 'epoch')}"
            for key in ORDER
            for each in contests
        ]
        for column, (name, image) in enumerate(half.images.items()):
            picture(grid[0, column], image)
            for row, (key, each) in enumerate(((key, each) for key in ORDER for each in contests), 1):
                (first, *_) = each.rows(key, EPOCHS, image=name)
                picture(grid[row, column], each.reconstruction(name, key), note=f"{float(first['psnr']):.1f} dB")
        for row, label in enumerate(labels):
            axes = grid[row, 0]
            axes.set_ylabel(label.replace(" + ", "\n+ "), rotation=0, ha="right", va="center")


def _draw_sides(contests: Sequence[Contest], stem: Path) -> None:
    """EoREN minus pixels over the side of the images."""
    with figure(stem, (8.0, 3.0)) as drawn:
        grid = drawn.subplots(1, len(METRICS))
        for axes, (column, label) in zip(grid, METRICS.items(), strict=True):
            for budget, color, marker in ((EPOCHS, "#D55E00", "o"), (TIME, "#CC79A7", "s")):
                found = [paired(each.rows("eoren", budget), each.rows("pixel", budget), column) for each in contests]
                axes.errorbar(
                    [each.protocol.side for each in contests],
                    [one.mean for one in found],
                    [one.high - one.mean for one in found],
                    color=color,
                    marker=marker,
                    markersize=4,
                    capsize=2,
                    label=f"equal {budget}",
                )
            axes.axhline(0, color="#333333", linewidth=0.8)
            axes.set_xlabel("side of the image (pixels)")
            axes.set_ylabel(label)
        grid[0].set_title("EoREN minus pixels, mean and 95 % interval")
        drawn.legend(*grid[0].get_legend_handles_labels(), ncols=2, loc="outside lower center")


def _by_side(contests: Sequence[Contest]) -> str:
    lines = []
    for each in contests:
        target = float(np.mean([target_psnr(image) for image in each.images.values()]))
        gains = [
            str(paired(each.rows("eoren", budget), each.rows("pixel", budget), column))
            for budget in (EPOCHS, TIME)
            for column in ("psnr", "gradient_psnr")
        ]
        lines.append([each.protocol.side, len(each.images), target, *gains])
    header = ["side", "digits", "central differences against the derivative, PSNR (dB)"]
    outcomes = ("psnr", "gradient_psnr")
    header += [f"{METRICS[column]}, equal {each}" for each in (EPOCHS, TIME) for column in outcomes]
    text = (
        "EoREN minus SIREN + pixels [95 %]. The gradient that EoREN is fitted to agrees with the pixels only as far "
        "as the third column says, which bounds what it can reach."
    )
    return f"{text}\n\n{markdown_table(header, lines)}"


def _concluded(contest: Contest, sides: Sequence[Contest], command: str) -> str:
    parts = [_claim(contest)]
    for budget in (EPOCHS, TIME):
        header = ["method", *METRICS.values(), "paper's scale (dB)", "parameters", "epochs", "seconds a digit"]
        lines = []
        for key in ORDER:
            rows = contest.rows(key, budget)
            means = {
                name: float(np.mean([*per_image(rows, name).values()])) for name in (*METRICS, "epoch", "seconds")
            }
            lines.append(
                [
                    contest.methods[key].label,
                    means["psnr"],
                    means["gradient_psnr"],
                    f"{means['ssim']:.4f}",
                    means["psnr"] + PAPER_OFFSET,
                    rows[0]["parameters"],
                    f"{means['epoch']:.0f}",
                    f"{means['seconds']:.3f}",
                ]
            )
        parts += [f"## At equal {budget}", markdown_table(header, lines)]
    parts.append(
        f"PSNR has its peak at 1. The paper's is {PAPER_OFFSET} dB higher, for its values span 1 and its peak is "
        "255; the column is for comparison with its figures alone."
    )
    parts += ["## By the size of the picture", _by_side(sides), "![By size](mnist-sides.png)"]
    parts += [
        "![PSNR and SSIM of every digit](mnist.png)",
        "![Curves](mnist-curves.png)",
        "![Digits after half the epochs and after all](mnist-digits.png)",
    ]
    return summary("MNIST: Fig. 8 and 9", command, str(contest.protocol), parts)


def _claim(contest: Contest) -> str:
    """Confirmed or refuted."""
    lines = []
    for budget in (EPOCHS, TIME):
        for column, label in METRICS.items():
            for key in ("pixel", "ours"):
                found = paired(contest.rows("eoren", budget), contest.rows(key, budget), column)
                digits = 4 if column == "ssim" else 2
                said = "higher" if found.low > 0 else "lower" if found.high < 0 else "undecided"
                ends = f"{found.mean:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"
                lines.append([f"equal {budget}", label, contest.methods[key].label, ends, said])
    found = paired(contest.rows("eoren", EPOCHS), contest.rows("pixel", EPOCHS), "psnr")
    verdict = "confirmed" if found.low > 0 else "refuted" if found.high < 0 else "neither confirmed nor refuted"
    text = (
        f"**At equal epochs EoREN beats pixel fitting in PSNR: {verdict}**, by {found} dB [95 %] over {found.size} "
        "digits. Paired differences, every digit's mean over seeds first; Student's t."
    )
    header = ["budget", "metric", "EoREN minus", "mean [95 %]", "EoREN is"]
    return f"{text}\n\n{markdown_table(header, lines)}"
