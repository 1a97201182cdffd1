"""Divergence: noticed, taken back, slower, said; and fits that do well know nothing of it."""

import warnings

import numpy as np
import pytest
import torch

from eoren.errors import DivergenceWarning, EorenError
from eoren.training.divergence import CHECK_EVERY, DivergenceMonitor
from eoren.training.fit import fit
from eoren.training.presets import make_settings
from eoren.training.trainer import Trainer

ENGINES = ["torch", "native"]
CPU = torch.device("cpu")
MOSAIC = {"preset": "mosaic", "width": 16, "depth": 2, "tile": 12, "halo": 1.0, "batch": 64}


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    from eoren.backends import native

    if request.param == "native" and native.library() is None:
        pytest.skip("the native engine is not built")
    monkeypatch.setenv("EOREN_ENGINE", request.param)
    return request.param


def random_image(height=24, width=36, channels=1):
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    waves = 0.5 + 0.3 * np.sin(columns / 3 + rows / 4)
    return np.repeat(waves[..., None], channels, 2).astype(np.float32)


def trainer(**changes):
    settings = make_settings(**{**MOSAIC, "steps": 200, **changes})
    return Trainer.of_image(random_image(), settings, seed=0, device=CPU)


def blow_up(networks, which, factor=1e3):
    """What a rate that is far too large does to some networks."""
    for weight in networks.siren.weights:
        weight[which] *= factor


# One monitor.


def test_a_network_is_judged_by_its_own_best():
    weights, memory = torch.arange(6.0).view(3, 2), torch.ones(3, 1, 1)
    monitor = DivergenceMonitor([weights], [memory])
    assert monitor.check_and_rollback(torch.tensor([1.0, 1e-3, 1e-9]), step=0).tolist() == []
    kept = weights.clone()
    weights += 10
    memory += 1
    with pytest.warns(DivergenceWarning, match="1 of 3 networks diverged at step 50"):
        # 8 times the best and more; what is as small as the third is no matter.
        found = monitor.check_and_rollback(torch.tensor([7.9, 8.1e-3, 1e-5]), step=50)
    assert found.tolist() == [1]
    assert weights.tolist() == [(kept[0] + 10).tolist(), kept[1].tolist(), (kept[2] + 10).tolist()]
    assert memory.flatten().tolist() == [2, 1, 2]


@pytest.mark.parametrize("error", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_divergence_at_once(error):
    weights = torch.ones(1, 2)
    monitor = DivergenceMonitor([weights], [])
    weights.fill_(5.0)
    with pytest.warns(DivergenceWarning, match="^the fit diverged at step 0: .* a quarter of the rate$"):
        monitor.check_and_rollback(torch.tensor([error]), step=0)
    assert weights.tolist() == [[1.0, 1.0]]


def test_only_states_near_the_best_are_kept():
    weights = torch.zeros(2, 1)
    monitor = DivergenceMonitor([weights], [])
    for value, errors in ((1.0, [1.0, 1.0]), (2.0, [0.5, 1.4]), (3.0, [0.8, 1.6])):
        weights.fill_(value)
        monitor.check_and_rollback(torch.tensor(errors), step=0)
    weights.fill_(9.0)
    with pytest.warns(DivergenceWarning):
        monitor.check_and_rollback(torch.tensor([99.0, 99.0]), step=0)
    # 0.8 is more than 1.5 times 0.5; 1.4 is not more than 1.5 times 1.0, and 1.6 is.
    assert weights.flatten().tolist() == [2.0, 2.0]


def test_a_quarter_of_the_rate_each_time_for_those_alone():
    weights = torch.zeros(3, 1, 2)
    monitor = DivergenceMonitor([weights], [])
    for errors in ([1.0, torch.nan, 1.0], [torch.nan, torch.nan, 1.0]):
        with pytest.warns(DivergenceWarning):
            monitor.check_and_rollback(torch.tensor(errors), step=0)
    with monitor.scaled_updates():
        weights += 16.0
    assert weights[:, 0, 0].tolist() == [4.0, 1.0, 16.0]


def test_there_is_an_end_to_it():
    monitor = DivergenceMonitor([torch.zeros(1, 1)], [])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for step in range(20):
            monitor.check_and_rollback(torch.tensor([torch.nan]), step=step)
    with pytest.raises(EorenError, match="diverges at step 20 even with the smallest steps"):
        monitor.check_and_rollback(torch.tensor([torch.nan]), step=20)
    assert len(said) == 20


def test_well_is_what_stands_but_for_those_that_have_diverged():
    weights = torch.ones(3, 2)
    monitor = DivergenceMonitor([weights], [])
    monitor.check_and_rollback(torch.ones(3), step=0)
    assert monitor.last_finite_parameters(torch.ones(3))[0] is weights
    weights.fill_(2.0)
    weights[2, 1] = torch.inf
    assert monitor.last_finite_parameters(torch.tensor([1.0, 9.0, 1.0]))[0].tolist() == [
        [2.0, 2.0],
        [1.0, 1.0],
        [1.0, 1.0],
    ]
    assert weights[1].tolist() == [2.0, 2.0]  # nothing has moved


# In training.


@pytest.mark.parametrize(
    ("case", "how"),
    [
        ({}, 1e3),
        ({"objective": "pixel"}, torch.nan),
        ({"objective": "gradient"}, 1e30),
        ({"optimizer": "adam", "learning_rate": 0.003}, 1e3),
    ],
)
def test_a_network_that_blows_up_comes_back_and_the_others_go_on(engine, case, how):
    hit = trainer(**case)
    count = hit.siren.batch
    assert count > 3
    for _ in range(40):
        hit.step(1.0)
    before = hit._scheduler.errors.clone()
    blow_up(hit, 1, how)
    with pytest.warns(DivergenceWarning, match=f"1 of {count} networks"):
        [hit.step(1.0) for _ in range(CHECK_EVERY)]
    for _ in range(25):
        assert all(error is None or np.isfinite(error) for error in vars(hit.step(1.0)).values())
    assert (hit._scheduler.errors < 1.2 * before).all()
    assert all(own.isfinite().all() for own in hit.networks().tensors())
    assert hit._monitor.state_dict()["lr_scale"].tolist() == [1.0, 0.25, *[1.0] * (count - 2)]


def test_the_step_of_a_slowed_network_is_a_quarter(engine):
    one, other = trainer(), trainer()
    for each in (one, other):
        for _ in range(3):
            each.step(1.0)
    other._monitor.state_dict()["lr_scale"][2] = 0.25
    other._monitor.find_slowed()
    before = [p.clone() for p in one.siren.tensors()]
    one.step(1.0)
    other.step(1.0)
    for start, full, quarter in zip(before, one.siren.tensors(), other.siren.tensors(), strict=True):
        # Rounding: a step is a difference of larger numbers.
        torch.testing.assert_close(quarter[2] - start[2], (full[2] - start[2]) / 4, rtol=1e-3, atol=1e-7)
        assert torch.equal(quarter[:2], full[:2])


def test_a_rate_that_is_far_too_large_ends_in_a_image(engine):
    case = {**MOSAIC, "steps": 300, "learning_rate": 1.0, "adam_learning_rate": 1.0, "tile": None}
    with pytest.warns(DivergenceWarning, match="the fit diverged"):
        result = fit(random_image(), device="cpu", **case)
    mean = -10 * np.log10(random_image().var())
    assert result.metrics.psnr >= mean - 0.01


def test_a_fit_too_short_to_be_taken_back_ends_all_the_same(engine):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = fit(
            random_image(), device="cpu", **{**MOSAIC, "steps": 3, "learning_rate": 1e6, "adam_learning_rate": 1e6}
        )
    assert result.metrics.psnr >= -10 * np.log10(random_image().var()) - 0.01
    assert {each.category for each in said} <= {DivergenceWarning}


def test_a_diverging_fit_is_taken_up_bit_for_bit(engine, tmp_path):
    case = {**MOSAIC, "device": "cpu", "steps": 80, "learning_rate": 0.5, "adam_learning_rate": 0.5}
    path = tmp_path / "a.checkpoint"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        whole = fit(random_image(), **case)
        for stop in (30, 60):
            fit(random_image(), **case, checkpoint=path, watch=lambda at, stop=stop: at.steps >= stop)
        again = fit(random_image(), **case, checkpoint=path)
    for own, other in zip(
        again.field.representation.siren.tensors(), whole.field.representation.siren.tensors(), strict=True
    ):
        assert torch.equal(own, other)
    with pytest.warns(DivergenceWarning):
        fit(random_image(), **case)


@pytest.mark.parametrize("objective", ["sobolev", "pixel", "gradient"])
def test_fits_that_do_well_are_left_alone(engine, objective):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DivergenceWarning)
        fit(random_image(), **MOSAIC, objective=objective, steps=4 * CHECK_EVERY, device="cpu")
