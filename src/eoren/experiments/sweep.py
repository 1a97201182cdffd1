"""Many images fitted by every method, at equal epochs and at equal time, every measurement kept once it is made.

The time is what EoREN takes for the epochs: it is the slower of the paper's two. So EoREN and SIREN + gradients have
the same numbers in both rounds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from eoren.evaluation.metrics import psnr
from eoren.experiments.methods import TOGETHER, Networks, methods
from eoren.experiments.results import Row, Table, Value, Watch, counted, in_turn
from eoren.experiments.trials import Image, Trial, run_all
from eoren.fs.files import make_folder
from eoren.image.io import read_image, write_image

EPOCHS, TIME = "epochs", "time"
"""The two budgets, as tables name them."""

_KEY = ("image", "method", "seed", "budget")

ORDER = ("gradient", "pixel", "eoren", "ours")
"""Of the methods in figures and tables: the paper's own, which has SIREN + gradients first."""


@dataclass(frozen=True)
class Protocol:
    """How a contest is held.

    Attributes:
        networks: of the paper's methods, with their epochs.
        side: of the square images, in pixels.
        seeds: how many.
        samples: measurements along every training.
        batch: images that are fitted at once: twenty cost each no more than a hundred do. An interruption loses the
            batch under way.
    """

    networks: Networks
    side: int
    seeds: int
    samples: int
    batch: int

    def __str__(self) -> str:
        return (
            f"{self.side} x {self.side} pixels, {self.networks}, {counted(self.seeds, 'seed')}, "
            "channel tuning in closed form"
        )


class Contest:
    """Measurements of images, methods, seeds and budgets, in two tables and a folder of reconstructions.

    Args:
        folder: for ``NAME.csv``, ``NAME-curves.csv`` and ``NAME/``, the first seed's reconstructions.
        name: of the experiment.
        protocol: how it is held.
        images: by name, ``(S, S, 1)``.
        columns: what the tables say of every image beside its name.
        seed: the first; the others follow.
        doubled: the images at twice the size, ``(2S, 2S, 1)``: what fields say between the pixels is compared with
            them, and kept as ``zoom_psnr``.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        protocol: Protocol,
        images: Mapping[str, Image],
        columns: Mapping[str, Row],
        *,
        seed: int,
        doubled: Mapping[str, Float[np.ndarray, "twice twice 1"]] | None = None,
    ) -> None:
        """Read what was measured before."""
        self.protocol, self.images, self._doubled = protocol, images, doubled
        self.seeds = range(seed, seed + protocol.seeds)
        self.methods = methods(protocol.networks)
        self.table = Table(folder / f"{name}.csv", key=_KEY, protocol=str(protocol))
        self.curves = Table(folder / f"{name}-curves.csv", key=(*_KEY, "sample"), protocol=str(protocol))
        self._folder, self._columns = folder / name, columns

    def hold(self, watch: Watch) -> None:
        """Measure what is missing.

        Args:
            watch: see :data:`eoren.experiments.results.Watch`.

        Raises:
            KeyboardInterrupt: ``watch`` said so. What was measured is kept.
        """
        make_folder(self._folder)
        names = list(self.images)
        batches = [names[k : k + self.protocol.batch] for k in range(0, len(names), self.protocol.batch)]
        rounds = [
            (self._label(number, keys, budget), (number, batch, budget, keys))
            for number in self.seeds
            for batch in batches
            for budget in (EPOCHS, TIME)
            for keys in TOGETHER
            if budget == EPOCHS or "eoren" not in keys
        ]
        for (number, batch, budget, keys), show in in_turn(rounds, watch):
            if not all(self.table.find(image=i, method=k, seed=number, budget=budget) for i in batch for k in keys):
                trials = run_all(
                    [self.images[name] for name in batch],
                    [self.methods[key] for key in keys],
                    epochs=self.protocol.networks.epochs if budget == EPOCHS else None,
                    seconds=self._seconds(batch, number) if budget == TIME else None,
                    seed=number,
                    samples=self.protocol.samples,
                    watch=show,
                )
                self._keep(batch, trials, number, budget)

    def _label(self, seed: int, keys: Sequence[str], budget: str) -> str:
        return f"seed {seed}, {' and '.join(self.methods[key].label for key in keys)}, equal {budget}"

    def rows(self, method: str, budget: str, **values: Value) -> list[Row]:
        """Measurements of a method; EoREN's and SIREN + gradients' time is their epochs'."""
        return self._find(self.table, method, budget, **values)

    def curve(self, method: str, budget: str, column: str) -> Float[np.ndarray, "pictures samples"]:
        """What was measured along the trainings, a row for every image, mean over seeds."""
        found = self._find(self.curves, method, budget)
        sizes = {name: k for k, name in enumerate(self.images)}
        sums = np.zeros((len(sizes), self.protocol.samples))
        counts = np.zeros_like(sums)
        for row in found:
            at = sizes[str(row["image"])], int(row["sample"])
            sums[at] += float(row[column])
            counts[at] += 1
        mean: np.ndarray = sums / counts
        return mean

    def reconstruction(self, image: str, method: str, budget: str = EPOCHS) -> Image:
        """What the field of the first seed shows at the pixels, in 8 bits."""
        return read_image(self._picture(image, method, _as_measured(method, budget)))

    def _find(self, table: Table, method: str, budget: str, **values: Value) -> list[Row]:
        """Of the images and seeds at hand: the file may have more."""
        found = table.find(method=method, budget=_as_measured(method, budget), **values)
        return [row for row in found if row["image"] in self.images and row["seed"] in self.seeds]

    def _seconds(self, batch: Sequence[str], seed: int) -> float:
        rows = [row for row in self.table.find(method="eoren", seed=seed, budget=EPOCHS) if row["image"] in batch]
        return float(np.mean([float(row["seconds"]) for row in rows]))

    def _keep(self, batch: Sequence[str], trials: Mapping[str, Sequence[Trial]], seed: int, budget: str) -> None:
        results: list[Row] = []
        curves: list[Row] = []
        for key, found in trials.items():
            for name, trial in zip(batch, found, strict=True):
                about = {"image": name, "method": key, "seed": seed, "budget": budget, **self._columns[name]}
                result = {**about, **vars(trial.final), "parameters": trial.field.parameters}
                if self._doubled is not None:
                    side = 2 * self.protocol.side
                    result["zoom_psnr"] = psnr(trial.field.render(side, side), self._doubled[name])
                results.append(result)
                curves += [{**about, "sample": k, **vars(each)} for k, each in enumerate(trial.samples)]
                if seed == self.seeds[0]:
                    write_image(self._picture(name, key, budget), trial.field.render())
        # The results say what is done, so they come last.
        self.curves.add(curves)
        self.table.add(results)

    def _picture(self, image: str, method: str, budget: str) -> Path:
        return self._folder / f"{image}_{method}_{budget}_{self.seeds[0]}.png"


def _as_measured(method: str, budget: str) -> str:
    return EPOCHS if method in ("gradient", "eoren") else budget
