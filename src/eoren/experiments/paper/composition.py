"""Fig. 10 of the paper: two images mixed in their gradients, beside the mix of their pixels.

EoREN is fitted to ``lambda grad A + (1 - lambda) grad B``. The adjusted filters are linear, so that is the gradient
of ``lambda A + (1 - lambda) B``: the pixel mix is what the field should show, and what its channel tuning, two
numbers, is taken from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from eoren.experiments.datasets import square
from eoren.experiments.methods import NETWORKS, TOGETHER, Networks, Scale, methods
from eoren.experiments.paper.figures import bare, curve, figure, picture
from eoren.experiments.results import Row, Table, Watch, counted, in_turn, markdown_table, summary
from eoren.experiments.trials import Image, run_all
from eoren.fs.files import make_folder, write_text
from eoren.image.gradients import adjusted_gradient
from eoren.image.io import read_image, write_image

PAIR = ("camera", "chelsea")
"""Photographs that come with scikit-image: nothing is downloaded."""

DATASETS: tuple[str, ...] = ()
"""What has to be at hand."""

_SHOWN = (0.2, 0.6, 0.9)
_KEYS = ("gradient", "eoren", "pixel", "ours")


@dataclass(frozen=True)
class Protocol:
    """How images are mixed and fitted.

    Attributes:
        networks: of the paper's methods, with their epochs.
        side: of the square images, in pixels.
        seeds: how many.
        steps: equal steps of lambda from 0 to 1.
    """

    networks: Networks
    side: int
    seeds: int
    steps: int = 10

    def __str__(self) -> str:
        return (
            f"{PAIR[0]} and {PAIR[1]}, {self.side} x {self.side} pixels, {self.networks}, "
            f"{counted(self.seeds, 'seed')}"
        )


PROTOCOLS: Mapping[Scale, Protocol] = MappingProxyType(
    {
        "small": Protocol(NETWORKS["small"], side=96, seeds=3),
        "paper": Protocol(NETWORKS["paper"], side=256, seeds=1),
    }
)


def reproduce(folder: Path, protocol: Protocol, *, seed: int, watch: Watch, command: str) -> Path:
    """Measure, draw ``composition.png`` and ``composition-pictures.png`` (and SVG), and conclude.

    Args:
        folder: where everything is written; what is there already is not measured again.
        protocol: of :data:`PROTOCOLS`, or one's own.
        seed: the first of the protocol's seeds.
        watch: see :data:`eoren.experiments.results.Watch`.
        command: that was given, for the record.

    Returns:
        The Markdown file.
    """
    first, second = (square(read_image(f"sample:{name}"), protocol.side) for name in PAIR)
    shares = [round(float(share), 4) for share in np.linspace(0, 1, protocol.steps + 1)]
    mixes = {share: (share * first + (1 - share) * second).astype(np.float32) for share in shares}
    table = Table(folder / "composition.csv", key=("mix", "method", "seed"), protocol=str(protocol))
    shown = folder / "composition"
    make_folder(shown)
    seeds = range(seed, seed + protocol.seeds)
    _measure(table, mixes, protocol, seeds, shown, watch)
    _draw_curve(table, shares, seeds, folder / "composition")
    _draw_pictures(table, mixes, seeds, shown, folder / "composition-pictures")
    path = folder / "composition.md"
    write_text(path, _concluded(table, mixes, first, second, seeds, protocol, command))
    return path


def _measure(
    table: Table, mixes: Mapping[float, Image], protocol: Protocol, seeds: range, shown: Path, watch: Watch
) -> None:
    every = methods(protocol.networks)
    rounds = [
        (f"seed {number}, {' and '.join(every[key].label for key in keys)}", (number, keys))
        for number in seeds
        for keys in TOGETHER
    ]
    for (number, keys), show in in_turn(rounds, watch):
        if all(table.find(mix=share, method=key, seed=number) for share in mixes for key in keys):
            continue
        found = run_all(
            [*mixes.values()],
            [every[key] for key in keys],
            epochs=protocol.networks.epochs,
            seed=number,
            samples=1,
            watch=show,
        )
        rows: list[Row] = []
        for key, trials in found.items():
            for share, trial in zip(mixes, trials, strict=True):
                rows.append({"mix": share, "method": key, "seed": number, **vars(trial.final)})
                if number == seeds[0]:
                    write_image(_file(shown, share, key, number), trial.field.render())
        table.add(rows)


def _file(folder: Path, share: float, method: str, seed: int) -> Path:
    return folder / f"{share:.2f}_{method}_{seed}.png"


def _values(table: Table, share: float, key: str, seeds: range, column: str) -> list[float]:
    rows = table.find(mix=share, method=key)
    return [float(row[column]) for row in rows if row["seed"] in seeds]


def _draw_curve(table: Table, shares: list[float], seeds: range, stem: Path) -> None:
    every = methods()
    with figure(stem, (8.0, 3.4)) as drawn:
        sides = drawn.subplots(1, 2)
        for axes, (column, label) in zip(
            sides, (("psnr", "PSNR (dB)"), ("gradient_psnr", "gradient PSNR (dB)")), strict=True
        ):
            for key in _KEYS:
                values = np.array([_values(table, share, key, seeds, column) for share in shares]).T
                curve(axes, shares, values, key, every[key].label, band="range")
            axes.set_xlabel(f"lambda: 0 is {PAIR[1]}, 1 is {PAIR[0]}")
            axes.set_ylabel(f"{label} against\nthe pixel mix")
        if len(seeds) > 1:
            drawn.suptitle("line: mean over the seeds; band: from the least to the greatest", fontsize=9)
        drawn.legend(*sides[0].get_legend_handles_labels(), ncols=4, loc="outside lower center")


def _draw_pictures(table: Table, mixes: Mapping[float, Image], seeds: range, shown: Path, stem: Path) -> None:
    shares = [share for share in _SHOWN if share in mixes] or list(mixes)[:3]
    with figure(stem, (1.9 * len(shares) + 1.6, 6.0)) as drawn:
        grid = drawn.subplots(3, len(shares), squeeze=False)
        for column, share in enumerate(shares):
            said = read_image(_file(shown, share, "eoren", seeds[0]))
            picture(grid[0, column], mixes[share], f"lambda = {share:g}")
            found = _values(table, share, "eoren", seeds, "psnr")[0]
            picture(grid[1, column], said, note=f"{found:.1f} dB")
            error = grid[2, column].imshow((said - mixes[share])[..., 0], cmap="RdBu_r", vmin=-0.1, vmax=0.1)
            bare(grid[2, column])
        for row, label in enumerate(("pixel mix", "EoREN from\nmixed gradients", "EoREN minus\npixel mix")):
            grid[row, 0].set_ylabel(label, rotation=0, ha="right", va="center")
        drawn.colorbar(error, ax=grid[2, :], label="intensity", shrink=0.8)


def _concluded(
    table: Table,
    mixes: Mapping[float, Image],
    first: Image,
    second: Image,
    seeds: range,
    protocol: Protocol,
    command: str,
) -> str:
    lines = [
        [f"{share:g}", *(float(np.mean(_values(table, share, key, seeds, "psnr"))) for key in _KEYS)]
        for share in mixes
    ]
    middle = [float(np.mean(_values(table, share, "eoren", seeds, "psnr"))) for share in mixes]
    apart = max(_disagreement(share, first, second, mix) for share, mix in mixes.items())
    text = (
        f"EoREN, fitted to the mixed gradients, is {np.mean(middle):.2f} dB from the pixel mix in the mean over "
        f"lambda (lowest {min(middle):.2f}, highest {max(middle):.2f}). The mix of the adjusted gradients and the "
        f"gradient of the pixel mix differ by {apart:.1e} per pixel at most: one target, two ways to say it. So the "
        "PSNR says how well a field of gradients can be fitted at all, and SIREN + pixels, fitted to the pixel mix, "
        "is what to compare it with."
    )
    header = ["lambda", *(f"{methods()[key].label}, PSNR (dB)" for key in _KEYS)]
    parts = [text, markdown_table(header, lines)]
    parts += ["![PSNR over lambda](composition.png)", "![Pictures](composition-pictures.png)"]
    return summary("Composition: Fig. 10", command, str(protocol), parts)


def _disagreement(share: float, first: Image, second: Image, mix: Image) -> float:
    """Between the mix of the gradients and the gradient of the mix, intensity per pixel."""
    height, width, _ = mix.shape
    extent = (float(width), float(height))
    mine, theirs, both = (adjusted_gradient(each, extent=extent) for each in (first, second, mix))
    return float(np.abs(share * mine + (1 - share) * theirs - both).max())
