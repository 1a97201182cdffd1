"""Fig. 10 of the paper: two images mixed in their gradients, compared with the mix of their pixels.

EoREN is fitted to ``lambda grad A + (1 - lambda) grad B``. The adjusted filters are linear, so that is the gradient
of ``lambda A + (1 - lambda) B``: the field should reproduce this pixel mix, from which its channel tuning is
computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eoren.experiments.datasets import square
from eoren.experiments.methods import METHODS, NETWORKS, TRAINING_GROUPS, Networks, methods
from eoren.experiments.paper.experiment import Experiment
from eoren.experiments.paper.figures import curve, figure, hide_axes, label_rows, legend_below, show_image
from eoren.experiments.progress import ProgressCallback, subtasks
from eoren.experiments.results import Row, Table, counted, markdown_table
from eoren.experiments.trials import METRICS, run_trials
from eoren.fs.files import make_folder
from eoren.image.arrays import Image
from eoren.image.gradients import adjusted_gradient
from eoren.image.io import read_image, write_image

PAIR = ("camera", "chelsea")  # photographs of scikit-image, so that nothing is downloaded
_SHOWN = (0.2, 0.6, 0.9)
_KEYS = ("gradient", "eoren", "pixel", "ours")


@dataclass(frozen=True)
class Protocol:
    """Conditions of the mixes and their fits."""

    networks: Networks
    side: int  # of the square images, in pixels
    seeds: int
    steps: int = 10  # equal steps of lambda from 0 to 1

    def __str__(self) -> str:
        seeds = counted(self.seeds, "seed")
        return f"{PAIR[0]} and {PAIR[1]}, {self.side} x {self.side} pixels, {self.networks}, {seeds}"


class _Measurements(NamedTuple):
    pair: tuple[Image, Image]
    mixes: Mapping[float, Image]  # by lambda
    seeds: range
    table: Table
    folder: Path  # of the reconstructions

    def values(self, share: float, key: str, column: str = "psnr") -> list[float]:
        """Return a column of a mix, by seed."""
        rows = {row["seed"]: row for row in self.table.find(mix=share, method=key, seed=self.seeds)}
        return [float(rows[seed][column]) for seed in self.seeds]

    def reconstruction_path(self, share: float, key: str, seed: int) -> Path:
        return self.folder / f"{share:.2f}_{key}_{seed}.png"


def _measure(folder: Path, protocol: Protocol, seed: int, watch: ProgressCallback) -> _Measurements:
    first, second = (square(read_image(f"sample:{name}"), protocol.side) for name in PAIR)
    shares = [round(float(share), 4) for share in np.linspace(0, 1, protocol.steps + 1)]
    mixes = {share: (share * first + (1 - share) * second).astype(np.float32) for share in shares}
    table = Table(folder / "composition.csv", key=("mix", "method", "seed"), protocol=str(protocol))
    seeds = range(seed, seed + protocol.seeds)
    measurements = _Measurements((first, second), mixes, seeds, table, folder / "composition")
    make_folder(measurements.folder)
    every = methods(protocol.networks)
    tasks = [(f"seed {seed}", (seed, keys)) for seed in seeds for keys in TRAINING_GROUPS]
    for (seed, keys), report in subtasks(tasks, watch):
        if all(table.find(mix=share, method=key, seed=seed) for share in mixes for key in keys):
            continue
        epochs, group = protocol.networks.epochs, [every[key] for key in keys]
        trials = run_trials([*mixes.values()], group, epochs=epochs, seed=seed, samples=1, watch=report)
        rows: list[Row] = []
        for key in keys:
            for share, trial in zip(mixes, trials[key], strict=True):
                rows.append({"mix": share, "method": key, "seed": seed, **vars(trial.final)})
                write_image(measurements.reconstruction_path(share, key, seed), trial.field.render())
        table.add(rows)
    return measurements


def _draw_curve(measurements: _Measurements, stem: Path) -> None:
    shares = [*measurements.mixes]
    with figure(stem, (8.0, 3.4)) as drawing:
        sides = drawing.subplots(1, 2)
        for axes, column in zip(sides, ("psnr", "gradient_psnr"), strict=True):
            for key in _KEYS:
                values = np.array([measurements.values(share, key, column) for share in shares]).T
                curve(axes, shares, values, key, METHODS[key].label, band="range")
            label = f"lambda: 0 is {PAIR[1]}, 1 is {PAIR[0]}"
            axes.set(xlabel=label, ylabel=f"{METRICS[column]} against\nthe pixel mix")
        if len(measurements.seeds) > 1:
            drawing.suptitle("line: mean over the seeds; band: from minimum to maximum", fontsize=9)
        legend_below(drawing, sides[0])


def _draw_images(measurements: _Measurements, stem: Path) -> None:
    mixes = measurements.mixes
    shares = [share for share in _SHOWN if share in mixes] or list(mixes)[:3]
    with figure(stem, (1.9 * len(shares) + 1.6, 6.0)) as drawing:
        grid = drawing.subplots(3, len(shares), squeeze=False)
        for column, share in enumerate(shares):
            reconstruction = read_image(measurements.reconstruction_path(share, "eoren", measurements.seeds[0]))
            show_image(grid[0, column], mixes[share], f"lambda = {share:g}")
            psnr = measurements.values(share, "eoren")[0]
            show_image(grid[1, column], reconstruction, note=f"{psnr:.1f} dB")
            difference = (reconstruction - mixes[share])[..., 0]
            error = grid[2, column].imshow(difference, cmap="RdBu_r", vmin=-0.1, vmax=0.1)
            hide_axes(grid[2, column])
        label_rows(grid[:, 0], ("pixel mix", "EoREN from\nmixed gradients", "EoREN minus\npixel mix"))
        drawing.colorbar(error, ax=grid[2, :], label="intensity", shrink=0.8)


def _conclude(measurements: _Measurements) -> list[str]:
    mixes, pair = measurements.mixes, measurements.pair
    means = {share: [float(np.mean(measurements.values(share, key))) for key in _KEYS] for share in mixes}
    eoren = [mean[_KEYS.index("eoren")] for mean in means.values()]
    difference = max(_gradient_difference(share, *pair, mix) for share, mix in mixes.items())
    text = (
        f"EoREN, fitted to the mixed gradients, is {np.mean(eoren):.2f} dB from the pixel mix in the mean over "
        f"lambda (lowest {min(eoren):.2f}, highest {max(eoren):.2f}). The mix of the adjusted gradients and the "
        f"gradient of the pixel mix differ by at most {difference:.1e} per pixel, so they are the same target. The "
        "PSNR therefore measures how well a field can be fitted to gradients at all; SIREN + pixels, fitted to the "
        "pixel mix, is the method to compare it with."
    )
    header = ["lambda", *(f"{METHODS[key].label}, PSNR (dB)" for key in _KEYS)]
    table = markdown_table(header, [[f"{share:g}", *mean] for share, mean in means.items()])
    return [text, table, "![PSNR over lambda](composition.png)", "![Images](composition-pictures.png)"]


def _gradient_difference(share: float, first: Image, second: Image, mix: Image) -> float:
    """Compare the mix of the gradients with the gradient of the mix, intensity per pixel."""
    height, width, _ = mix.shape
    extent = (float(width), float(height))
    a, b, mixed = (adjusted_gradient(image, extent=extent) for image in (first, second, mix))
    return float(np.abs(share * a + (1 - share) * b - mixed).max())


EXPERIMENT = Experiment(
    name="composition",
    title="Composition: Fig. 10",
    datasets=(),
    protocols={
        "small": Protocol(NETWORKS["small"], side=96, seeds=3),
        "paper": Protocol(NETWORKS["paper"], side=256, seeds=1),
    },
    measure=_measure,
    figures={"": _draw_curve, "-pictures": _draw_images},
    conclude=_conclude,
)
