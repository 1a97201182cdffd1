"""Many images fitted by every method, at equal epochs and at equal time, resumable after an interruption.

Equal time is the time that EoREN takes for the epochs, the slower of the paper's two trainings. So EoREN and SIREN +
gradients have the same measurements under both budgets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from eoren.evaluation.metrics import psnr
from eoren.experiments.methods import TRAINING_GROUPS, Networks, methods
from eoren.experiments.progress import ProgressCallback, subtasks
from eoren.experiments.results import Interval, Row, Table, Value, counted, interval, paired_differences, per_image
from eoren.experiments.trials import Trial, run_trials
from eoren.fs.files import make_folder
from eoren.image.arrays import Image
from eoren.image.io import read_image, write_image

EPOCHS, TIME = "epochs", "time"  # the two budgets, as tables name them
METHOD_ORDER = ("gradient", "pixel", "eoren", "ours")  # in figures and tables, as in the paper
_KEY = ("image", "method", "seed", "budget")


@dataclass(frozen=True)
class Protocol:
    """Conditions of a sweep.

    An interruption loses the current batch; beyond twenty images, larger batches do not make an image cheaper.
    """

    networks: Networks
    side: int  # of the square images, in pixels
    seeds: int
    samples: int  # measurements along every training
    batch: int  # images that are fitted at once
    images: int | None = None  # images of each kind of digit, or of each data set; None for all

    def __str__(self) -> str:
        seeds = counted(self.seeds, "seed")
        return f"{self.side} x {self.side} pixels, {self.networks}, {seeds}, channel tuning in closed form"


class Sweep:
    """Measurements of images, methods, seeds and budgets.

    They lie in ``NAME.csv``, with additional ``columns`` of every image, ``NAME-curves.csv`` and ``NAME/``, the
    reconstructions. ``doubled`` has the images at twice the size, to compare the fields with between the pixels
    (``zoom_psnr``).
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
        self.protocol, self.images, self.columns, self._doubled = protocol, images, columns, doubled
        self.seeds = range(seed, seed + protocol.seeds)
        self.methods = methods(protocol.networks)
        self._table = Table(folder / f"{name}.csv", key=_KEY, protocol=str(protocol))
        self._curves = Table(folder / f"{name}-curves.csv", key=(*_KEY, "sample"), protocol=str(protocol))
        self._folder = folder / name

    def run(self, watch: ProgressCallback) -> None:
        """Measure what is missing in the tables, and save every batch when it is done."""
        make_folder(self._folder)
        names, size = list(self.images), self.protocol.batch
        batches = [names[start : start + size] for start in range(0, len(names), size)]
        tasks = [
            (f"seed {seed}, equal {budget}", (seed, batch, budget, keys))
            for seed in self.seeds
            for batch in batches
            for budget in (EPOCHS, TIME)
            for keys in TRAINING_GROUPS
            if budget == EPOCHS or "eoren" not in keys
        ]
        for (seed, batch, budget, keys), report in subtasks(tasks, watch):
            if not all(self._table.find(image=i, method=k, seed=seed, budget=budget) for i in batch for k in keys):
                trials = run_trials(
                    [self.images[name] for name in batch],
                    [self.methods[key] for key in keys],
                    epochs=self.protocol.networks.epochs if budget == EPOCHS else None,
                    seconds=self._seconds(batch, seed) if budget == TIME else None,
                    seed=seed,
                    samples=self.protocol.samples,
                    watch=report,
                )
                self._save(batch, trials, seed, budget)

    def rows(self, method: str, budget: str, **values: Value) -> list[Row]:
        """Return the final measurements of a method."""
        return self._find(self._table, method, budget, **values)

    def curve(self, method: str, budget: str, column: str) -> Float[np.ndarray, "images samples"]:
        """Return the measurements along the trainings, a row for every image, averaged over the seeds."""
        rows = self._find(self._curves, method, budget)
        samples = range(self.protocol.samples)
        means = [per_image((row for row in rows if row["sample"] == sample), column) for sample in samples]
        return np.array([[mean[name] for mean in means] for name in self.images])

    def gains(self, budget: str, column: str, baseline: str = "pixel") -> dict[Value, float]:
        """Compute EoREN minus another method, by image, in the order of the images."""
        found = paired_differences(self.rows("eoren", budget), self.rows(baseline, budget), column)
        return {name: found[name] for name in self.images if name in found}

    def mean_gain(self, budget: str, column: str, baseline: str = "pixel") -> Interval:
        """Compute EoREN minus another method, averaged over the images."""
        return interval([*self.gains(budget, column, baseline).values()])

    def reconstruction(self, image: str, method: str) -> Image:
        """Read the reconstruction of the first seed at equal epochs, in 8 bits."""
        return read_image(self._reconstruction_path(image, method, EPOCHS, self.seeds[0]))

    def _find(self, table: Table, method: str, budget: str, **values: Value) -> list[Row]:
        """Find the rows of this sweep's images and seeds: the file may contain more."""
        measured = EPOCHS if method in ("gradient", "eoren") else budget
        return table.find(method=method, budget=measured, **{"image": self.images, "seed": self.seeds, **values})

    def _seconds(self, batch: Sequence[str], seed: int) -> float:
        rows = self._table.find(method="eoren", seed=seed, budget=EPOCHS, image=batch)
        return float(np.mean([float(row["seconds"]) for row in rows]))

    def _save(self, batch: Sequence[str], trials: Mapping[str, Sequence[Trial]], seed: int, budget: str) -> None:
        results: list[Row] = []
        curves: list[Row] = []
        for key, method_trials in trials.items():
            for name, trial in zip(batch, method_trials, strict=True):
                labels = {"image": name, "method": key, "seed": seed, "budget": budget, **self.columns[name]}
                result = {**labels, **vars(trial.final), "parameters": trial.field.parameters}
                if self._doubled is not None:
                    side = 2 * self.protocol.side
                    result["zoom_psnr"] = psnr(trial.field.render(side, side), self._doubled[name])
                results.append(result)
                curves += [{**labels, "sample": k, **vars(sample)} for k, sample in enumerate(trial.samples)]
                write_image(self._reconstruction_path(name, key, budget, seed), trial.field.render())
        # The results decide what is skipped after an interruption, so they are written last.
        self._curves.add(curves)
        self._table.add(results)

    def _reconstruction_path(self, image: str, method: str, budget: str, seed: int) -> Path:
        return self._folder / f"{image}_{method}_{budget}_{seed}.png"
