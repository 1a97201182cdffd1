"""Progress reports of work that consists of parts."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Task = TypeVar("Task")
ProgressCallback = Callable[[str, float], object]
"""Called with a label and the share of the work that is done, 0..1. An exception that it raises stops the work."""


def subtasks(tasks: Sequence[tuple[str, Task]], watch: ProgressCallback) -> Iterator[tuple[Task, ProgressCallback]]:
    """Iterate over labelled tasks of equal weight, and yield each with a callback for its own progress.

    Example:
        >>> for number, report in subtasks([("first", 1), ("second", 2)], print):
        ...     _ = report("halfway", 0.5)
        first 0.0
        first, halfway 0.25
        first 0.5
        second 0.5
        second, halfway 0.75
        second 1.0
    """
    for index, (label, task) in enumerate(tasks):

        def report(detail: str, share: float, index: int = index, label: str = label) -> object:
            return watch(", ".join(filter(None, (label, detail))), (index + share) / len(tasks))

        report("", 0.0)
        yield task, report
        report("", 1.0)
