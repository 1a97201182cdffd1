"""The parts of an experiment: measurements, figures and conclusions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from eoren.experiments.machine import machine
from eoren.experiments.progress import ProgressCallback
from eoren.fs.files import write_file

ExperimentScale = Literal["small", "paper-sample", "paper"]

P = TypeVar("P")
M = TypeVar("M")


@dataclass(frozen=True)
class Experiment(Generic[P, M]):
    """An experiment of the paper, with its protocol ``P`` and its measurements ``M``.

    ``measure`` gets a folder, a protocol, the first seed and a progress callback, and measures what the folder's
    tables do not have yet. ``figures`` draw to a path without suffix, by the end of its name. ``conclude`` formats
    the parts of the Markdown summary.
    """

    name: str  # of the command, and stem of all files
    title: str  # of the summary
    datasets: tuple[str, ...]  # that must be available
    protocols: Mapping[ExperimentScale, P]  # str(protocol) identifies the measurements in tables
    measure: Callable[[Path, P, int, ProgressCallback], M]
    figures: Mapping[str, Callable[[M, Path], None]]
    conclude: Callable[[M], list[str]]

    def reproduce(self, folder: Path, protocol: P, *, seed: int, watch: ProgressCallback, command: str) -> Path:
        """Measure, draw the figures (PNG and SVG), and write the summary with the command line; return its path.

        An exception of the callback stops the work; finished measurements are kept.
        """
        measurements = self.measure(folder, protocol, seed, watch)
        for suffix, draw in self.figures.items():
            draw(measurements, folder / f"{self.name}{suffix}")
        path = folder / f"{self.name}.md"
        conditions = {"command": f"`{command}`", "protocol": str(protocol), **machine()}
        lines = "\n".join(f"- {name}: {value}" for name, value in conditions.items())
        parts = [f"# {self.title}", *self.conclude(measurements), "## Conditions", lines]
        write_file(path, "\n\n".join(parts) + "\n")
        return path
