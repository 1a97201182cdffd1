import pytest

from eoren.cancellation import Cancelled
from eoren.training.budget import Budget, train
from eoren.training.presets import make_settings


class Counter:
    """A trainer that counts its steps and records their learning rate factors."""

    def __init__(self):
        self.settings = make_settings("mosaic", steps=4)
        self.steps_done, self.scales = 0, []

    def step(self, lr_scale, should_stop):
        if should_stop():
            return None
        self.steps_done += 1
        self.scales.append(lr_scale)
        return ()


def test_the_limit_that_is_reached_first_ends_the_training():
    budget = Budget(steps=10, seconds=5.0)
    assert budget.used(2, 4.0) == 0.8
    assert budget.used(9, 1.0) == 0.9
    assert budget.used(10, 1.0) == 1


def test_one_step_is_granted_however_short_the_time():
    assert Budget(seconds=1.0).used(0, 100.0) < 1 <= Budget(seconds=1.0).used(1, 100.0)
    assert Budget(seconds=-1.0).used(0, 0.0) < 1 <= Budget(seconds=-1.0).used(1, 0.0)
    assert Budget(steps=0).used(0, 0.0) == 1


def test_total_steps_follow_the_pace_without_the_preparation():
    assert Budget(steps=7).total_steps(3, used=0.1) == 7
    assert Budget(seconds=10.0).total_steps(0, used=0.0) == 1000
    assert Budget(steps=300, seconds=10.0).total_steps(0, used=0.0) == 300
    prepared = Budget(seconds=10.0).paced_from(0, 5.0)
    assert prepared.total_steps(10, used=0.6) == pytest.approx(50)
    resumed = Budget(seconds=10.0).paced_from(20, 5.0)
    assert resumed.total_steps(30, used=0.6) == pytest.approx(70)


@pytest.mark.usefixtures("unchecked")
def test_train_follows_the_schedule():
    trainer, shares = Counter(), []
    train(trainer, Budget(steps=4), lambda used: shares.append(used) or False)
    assert shares == [0.0, 0.25, 0.5, 0.75]
    assert trainer.scales == [trainer.settings.schedule(used, 4.0) for used in shares]


@pytest.mark.usefixtures("unchecked")
def test_train_can_be_cancelled():
    trainer = Counter()
    with pytest.raises(Cancelled):
        train(trainer, Budget(steps=4), lambda used: used >= 0.5)
    assert trainer.steps_done == 2
