"""Fig. 8 and 9 of the paper: handwritten digits, ten of each, by every method.

Tests whether EoREN beats pixel fitting on MNIST in colours (PSNR, SSIM) and in derivatives (gradient PSNR), at equal
epochs and at equal time, with confidence intervals over the digits. The paper enlarges the digits to 256 pixels a
side, which matters: the finer the grid, the better central differences agree with the pixels. So one digit of each
kind is fitted at smaller sides, too.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eoren.experiments.datasets import first_digits, square
from eoren.experiments.methods import NETWORKS
from eoren.experiments.paper.experiment import Experiment
from eoren.experiments.paper.figures import COLORS, ZERO_LINE, curve, figure, label_rows, legend_below, show_image
from eoren.experiments.paper.predictors import target_psnr
from eoren.experiments.progress import ProgressCallback, subtasks
from eoren.experiments.results import counted, interval, markdown_table, mean_over_images, per_image
from eoren.experiments.sweep import EPOCHS, METHOD_ORDER, TIME, Protocol, Sweep
from eoren.experiments.trials import METRICS

PAPER_OFFSET = 48.13  # excess of the paper's PSNR in dB: its values span 1, but its peak is 255
_DIGITS_OF_A_KIND = 10
_SIDES = (28, 64)


class _Sweeps(NamedTuple):
    full: Sweep  # all digits
    half: Sweep  # one digit of each kind for half the epochs
    by_side: Sequence[Sweep]  # one digit of each kind at smaller sides, then ``full``


def _measure(folder: Path, protocol: Protocol, seed: int, watch: ProgressCallback) -> _Sweeps:
    full = _sweep(folder, "mnist", protocol, seed, protocol.images or _DIGITS_OF_A_KIND)
    full.run(lambda label, share: watch(label, 0.9 * share))
    single = replace(protocol, seeds=1)
    epochs = max(1, protocol.networks.epochs // 2)
    half = replace(single, networks=replace(protocol.networks, epochs=epochs))
    variants = [(f"{epochs} epochs", ("half", half))]
    variants += [(f"{side} pixels a side", (str(side), replace(single, side=side))) for side in _SIDES]
    sweeps = []
    for (name, variant), report in subtasks(variants, lambda label, share: watch(label, 0.9 + 0.1 * share)):
        sweep = _sweep(folder, f"mnist-{name}", variant, seed, 1)
        sweep.run(report)
        sweeps.append(sweep)
    return _Sweeps(full, sweeps[0], [*sweeps[1:], full])


def _sweep(folder: Path, name: str, protocol: Protocol, seed: int, count: int) -> Sweep:
    """Prepare a sweep of the first samples of every digit."""
    digits = {f"{label}-{index:04}": (label, image) for label, index, image in first_digits(count)}
    images = {name: square(image, protocol.side) for name, (_, image) in digits.items()}
    columns = {name: {"digit": label} for name, (label, _) in digits.items()}
    return Sweep(folder, name, protocol, images, columns, seed=seed)


def _draw_bars(sweeps: _Sweeps, stem: Path) -> None:
    """Draw Fig. 8: the mean over the samples of every digit, at equal epochs."""
    sweep = sweeps.full
    digits = sorted({int(name[0]) for name in sweep.images})
    with figure(stem, (8.0, 6.6)) as drawing:
        rows = drawing.subplots(len(METRICS), 1, sharex=True)
        for axes, (column, label) in zip(rows, METRICS.items(), strict=True):
            for position, key in enumerate(METHOD_ORDER):
                by_digit = [per_image(sweep.rows(key, EPOCHS, digit=digit), column) for digit in digits]
                means = [interval([*values.values()]) for values in by_digit]
                axes.bar(
                    np.array(digits) + 0.2 * (position - 1.5),
                    [mean.estimate for mean in means],
                    width=0.19,
                    color=COLORS[key],
                    yerr=[mean.error for mean in means],
                    error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
                    label=sweep.methods[key].label,
                )
            axes.set_ylabel(label)
            axes.set_ylim(bottom=0)
            axes.grid(visible=False, axis="x")
        label = "digit (bars: mean over its samples; whiskers: 95 % confidence interval)"
        rows[-1].set(xticks=digits, xlabel=label)
        rows[0].set_title(f"MNIST after {sweep.protocol.networks.epochs} epochs of every method")
        legend_below(drawing, rows[0])


def _draw_curves(sweeps: _Sweeps, stem: Path) -> None:
    sweep = sweeps.full
    with figure(stem, (8.0, 5.6)) as drawing:
        grid = drawing.subplots(2, len(METRICS), sharex="row")
        budgets = ((EPOCHS, "epoch", "epochs"), (TIME, "seconds", "seconds of training a digit"))
        for row, (budget, x, label) in zip(grid, budgets, strict=True):
            for axes, (column, name) in zip(row, METRICS.items(), strict=True):
                for key in METHOD_ORDER:
                    positions = sweep.curve(key, budget, x).mean(0).tolist()
                    curve(axes, positions, sweep.curve(key, budget, column), key, sweep.methods[key].label)
                axes.set(xlabel=label, ylabel=name)
            row[0].set_title(f"at equal {budget}")
        drawing.suptitle("line: mean over the digits; band: its 95 % confidence interval", fontsize=9)
        legend_below(drawing, grid[0, 0])


def _draw_digits(sweeps: _Sweeps, stem: Path) -> None:
    """Draw Fig. 9: reconstructions after half the epochs and after all."""
    half, full = sweeps.half, sweeps.full
    rows = [(key, sweep) for key in METHOD_ORDER for sweep in (half, full)]
    with figure(stem, (8.0, 7.9)) as drawing:
        grid = drawing.subplots(1 + len(rows), len(half.images))
        for column, (name, image) in enumerate(half.images.items()):
            show_image(grid[0, column], image)
            for axes, (key, sweep) in zip(grid[1:, column], rows, strict=True):
                (row,) = sweep.rows(key, EPOCHS, image=name, seed=sweep.seeds[0])
                show_image(axes, sweep.reconstruction(name, key), note=f"{float(row['psnr']):.1f} dB")
        fits = [f"{s.methods[key].label}\n{counted(s.protocol.networks.epochs, 'epoch')}" for key, s in rows]
        label_rows(grid[:, 0], ["original", *fits])


def _draw_sides(sweeps: _Sweeps, stem: Path) -> None:
    """Draw EoREN minus pixels over the side of the images."""
    with figure(stem, (8.0, 3.0)) as drawing:
        grid = drawing.subplots(1, len(METRICS))
        for axes, (column, label) in zip(grid, METRICS.items(), strict=True):
            for budget, color, marker in ((EPOCHS, "#D55E00", "o"), (TIME, "#CC79A7", "s")):
                gains = [sweep.mean_gain(budget, column) for sweep in sweeps.by_side]
                axes.errorbar(
                    [sweep.protocol.side for sweep in sweeps.by_side],
                    [gain.estimate for gain in gains],
                    [gain.high - gain.estimate for gain in gains],
                    color=color,
                    marker=marker,
                    markersize=4,
                    capsize=2,
                    label=f"equal {budget}",
                )
            axes.axhline(0, **ZERO_LINE)
            axes.set(xlabel="side of the image (pixels)", ylabel=label)
        grid[0].set_title("EoREN minus pixels, mean and 95 % interval")
        legend_below(drawing, grid[0], 2)


def _conclude(sweeps: _Sweeps) -> list[str]:
    parts = [_claim(sweeps.full)]
    for budget in (EPOCHS, TIME):
        parts += [f"## At equal {budget}", _scores(sweeps.full, budget)]
    return [
        *parts,
        f"PSNR has its peak at 1. The paper's PSNR is {PAPER_OFFSET} dB higher, because its values span 1 and its "
        "peak is 255; that column is only for comparison with the paper's figures.",
        "## By the size of the image",
        _by_side(sweeps.by_side),
        "![By size](mnist-sides.png)",
        "![PSNR and SSIM of every digit](mnist.png)",
        "![Curves](mnist-curves.png)",
        "![Digits after half the epochs and after all](mnist-digits.png)",
    ]


def _scores(sweep: Sweep, budget: str) -> str:
    header = ["method", *METRICS.values(), "paper's scale (dB)", "parameters", "epochs", "seconds a digit"]
    lines = []
    for key in METHOD_ORDER:
        rows = sweep.rows(key, budget)
        psnr, gradient_psnr, ssim, epoch, seconds = (
            mean_over_images(rows, column) for column in (*METRICS, "epoch", "seconds")
        )
        cells = [psnr, gradient_psnr, f"{ssim:.4f}", psnr + PAPER_OFFSET, rows[0]["parameters"]]
        lines.append([sweep.methods[key].label, *cells, f"{epoch:.0f}", f"{seconds:.3f}"])
    return markdown_table(header, lines)


def _by_side(sweeps: Sequence[Sweep]) -> str:
    outcomes = [(budget, column) for budget in (EPOCHS, TIME) for column in ("psnr", "gradient_psnr")]
    lines = []
    for sweep in sweeps:
        target = float(np.mean([target_psnr(image) for image in sweep.images.values()]))
        gains = [str(sweep.mean_gain(budget, column)) for budget, column in outcomes]
        lines.append([sweep.protocol.side, len(sweep.images), target, *gains])
    header = ["side", "digits", "central differences against the derivative, PSNR (dB)"]
    header += [f"{METRICS[column]}, equal {budget}" for budget, column in outcomes]
    text = (
        "EoREN minus SIREN + pixels [95 %]. The third column is the agreement between the pixels and the gradient "
        "that EoREN is fitted to."
    )
    return f"{text}\n\n{markdown_table(header, lines)}"


def _claim(sweep: Sweep) -> str:
    """State whether the paper's claim is confirmed or refuted."""
    lines = []
    for budget in (EPOCHS, TIME):
        for column, label in METRICS.items():
            for key in ("pixel", "ours"):
                gain = sweep.mean_gain(budget, column, key)
                verdict = "higher" if gain.low > 0 else "lower" if gain.high < 0 else "undecided"
                estimate, low, high = (f"{value:+.{4 if column == 'ssim' else 2}f}" for value in gain[:3])
                row = [f"equal {budget}", label, sweep.methods[key].label, f"{estimate} [{low}, {high}]", verdict]
                lines.append(row)
    gain = sweep.mean_gain(EPOCHS, "psnr")
    verdict = "confirmed" if gain.low > 0 else "refuted" if gain.high < 0 else "neither confirmed nor refuted"
    text = (
        f"**At equal epochs EoREN beats pixel fitting in PSNR: {verdict}**, by {gain} dB [95 %] over {gain.size} "
        "digits. Paired differences of every digit's mean over the seeds; Student's t."
    )
    header = ["budget", "metric", "EoREN minus", "mean [95 %]", "EoREN is"]
    return f"{text}\n\n{markdown_table(header, lines)}"


EXPERIMENT = Experiment(
    name="mnist",
    title="MNIST: Fig. 8 and 9",
    datasets=("mnist",),
    protocols={
        "small": Protocol(replace(NETWORKS["small"], epochs=80), side=128, seeds=2, samples=6, batch=20),
        "paper-sample": Protocol(NETWORKS["paper"], side=256, seeds=1, samples=12, batch=1, images=1),
        "paper": Protocol(NETWORKS["paper"], side=256, seeds=3, samples=12, batch=10),
    },
    measure=_measure,
    figures={"": _draw_bars, "-curves": _draw_curves, "-digits": _draw_digits, "-sides": _draw_sides},
    conclude=_conclude,
)
