"""The budget of a training, in steps and seconds, and the plain loop that uses it up."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic

from eoren.cancellation import Cancelled
from eoren.training.trainer import Trainer

# Share of the budget that time alone uses up before the first step: an untrained network is no result.
_BEFORE_FIRST_STEP = 0.999
# Steps assumed until the first step gives a pace.
_UNKNOWN_STEPS = 1000.0


@dataclass(frozen=True)
class Budget:
    """Limits of one training; the first limit that is reached ends it. At least one step is granted by time.

    ``steps`` and ``seconds`` are None for no limit. ``pace_origin`` holds the steps made and the share used from
    which the pace is measured, so that the preparation of targets does not count as slow steps.
    """

    steps: float | int | None = None
    seconds: float | int | None = None
    pace_origin: tuple[int, float] = (0, 0.0)

    def used(self, steps: int, seconds: float) -> float:
        """Compute the share of the budget that is used up; 1 or more ends the training."""
        by_steps = 0.0 if self.steps is None else steps / self.steps if self.steps else 1.0
        by_time = self.time_used(seconds)
        return max(by_steps, by_time if steps else min(by_time, _BEFORE_FIRST_STEP))

    def time_used(self, seconds: float) -> float:
        """Compute the share of the time that is used up, 0 without a time limit."""
        if self.seconds is None:
            return 0.0
        return seconds / self.seconds if self.seconds > 0 else 1.0

    def paced_from(self, steps: int, seconds: float) -> "Budget":
        """Return the same budget with its pace measured from now on."""
        return replace(self, pace_origin=(steps, self.used(steps, seconds)))

    def total_steps(self, steps: int, used: float) -> float:
        """Project how many steps the whole budget allows at the pace so far, from the steps and the share used."""
        if self.seconds is None:
            return float(self.steps or 1)
        first_step, first_used = self.pace_origin
        if steps > first_step and used > first_used:
            return steps + (1 - used) * (steps - first_step) / (used - first_used)
        return steps / used if steps else float(self.steps or _UNKNOWN_STEPS)


def train(trainer: Trainer, budget: Budget, should_stop: Callable[[float], bool] = lambda used: False) -> None:
    """Make all steps of a budget, whose time starts with this call.

    ``should_stop`` is called with the share used before every chunk of work; Cancelled is raised if it returns true.
    """
    start = monotonic()
    while (used := budget.used(trainer.steps_done, monotonic() - start)) < 1:
        lr_scale = trainer.settings.schedule(used, budget.total_steps(trainer.steps_done, used))
        if trainer.step(lr_scale, partial(should_stop, used)) is None:
            raise Cancelled
