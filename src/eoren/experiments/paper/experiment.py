"""What every experiment consists of: measurements, figures and conclusions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from eoren.experiments.methods import Scale
from eoren.experiments.progress import ProgressCallback
from eoren.experiments.results import summary
from eoren.fs.files import write_text

P = TypeVar("P")
M = TypeVar("M")


@dataclass(frozen=True)
class Experiment(Generic[P, M]):
    """An experiment of the paper, with its protocol ``P`` and its measurements ``M``.

    Attributes:
        name: name of the command and stem of all files.
        title: title of the summary.
        datasets: data sets that must be available, see :func:`eoren.experiments.datasets.file_names`.
        protocols: protocol by scale; ``str(protocol)`` identifies the measurements in tables.
        measure: measure what the tables in a folder do not have yet, given folder, protocol, first seed and progress
            callback.
        figures: functions that draw a figure to a path without suffix, by the end of the file's stem.
        conclude: format the parts of the Markdown summary.
    """

    name: str
    title: str
    datasets: tuple[str, ...]
    protocols: Mapping[Scale, P]
    measure: Callable[[Path, P, int, ProgressCallback], M]
    figures: Mapping[str, Callable[[M, Path], None]]
    conclude: Callable[[M], list[str]]

    def reproduce(self, folder: Path, protocol: P, *, seed: int, watch: ProgressCallback, command: str) -> Path:
        """Measure, draw the figures (PNG and SVG), and write the summary.

        Args:
            folder: output folder; measurements that its tables contain are not repeated.
            protocol: one of ``protocols``, or another one.
            seed: first of the protocol's seeds.
            watch: progress callback. An exception that it raises stops the work; finished measurements are kept.
            command: command line for the record.

        Returns:
            The Markdown file.
        """
        measurements = self.measure(folder, protocol, seed, watch)
        for suffix, draw in self.figures.items():
            draw(measurements, folder / f"{self.name}{suffix}")
        path = folder / f"{self.name}.md"
        write_text(path, summary(self.title, command, str(protocol), self.conclude(measurements)))
        return path
