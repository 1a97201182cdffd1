import numpy as np
import pytest
import torch

from eoren.training import tile_scheduler as module
from eoren.training.presets import make_settings
from eoren.training.tile_scheduler import TileScheduler
from eoren.training.trainer import Trainer


def run(scheduler, errors, steps, multiple=1):
    """Who was in which step, ``(steps, tiles)``, where every tile's error stays what it is."""
    seen = torch.zeros(steps, len(errors), dtype=torch.bool)
    for step in range(steps):
        selected = scheduler.select(multiple)
        seen[step, selected] = True
        scheduler.update(selected, errors[selected])
    return seen


def hardness(tiles=50, spread=1.0, seed=0):
    return torch.from_numpy(np.exp(spread * np.random.default_rng(seed).standard_normal(tiles))).float()


def test_steps_go_by_a_power_of_the_squared_error():
    errors, areas = hardness(), 100 * hardness(seed=1)
    counts = run(TileScheduler(areas), errors, 4000).float().mean(0).numpy()
    difficulty = (errors * areas).numpy() ** 0.75
    expected = np.clip(difficulty / np.quantile(difficulty, 0.8), 0.3, 1)
    np.testing.assert_allclose(counts, expected, atol=0.02)
    assert counts.min() < 0.35
    assert counts.max() > 0.99


@pytest.mark.parametrize("multiple", [1, 8, 64])
def test_work_comes_in_pieces_of_one_size(multiple):
    sizes = run(TileScheduler(torch.ones(50)), hardness(), 200, multiple).sum(1)
    assert bool(((sizes % multiple == 0) | (sizes == 50)).all())
    assert bool((sizes > 0).all())
    assert bool((sizes < 50).any()) == (multiple < 50)


def test_all_are_awake_until_something_is_known():
    seen = run(TileScheduler(torch.ones(50)), hardness(), 60)
    assert bool(seen[:20].all())
    assert not bool(seen[20:].all())


def test_all_tiles_are_trained_where_little_is_saved():
    assert bool(run(TileScheduler(torch.ones(50)), hardness(spread=0.3), 300).all())


def test_equal_tiles_are_never_at_rest():
    assert bool(run(TileScheduler(torch.ones(30)), torch.full((30,), 0.2), 100).all())
    assert bool(run(TileScheduler(torch.ones(30)), torch.zeros(30), 100)[:20].all())


def test_every_tile_is_in_steps_of_both_kinds_equally():
    """Axes of the gradient take turns; easy tiles must not see one alone."""
    seen = run(TileScheduler(torch.ones(50)), hardness(), 500)
    assert torch.equal(seen[::2], seen[1::2])


def test_a_lone_tile_is_always_awake():
    assert bool(run(TileScheduler(torch.ones(1)), torch.tensor([0.1]), 50).all())


def test_state_brings_everything_back():
    errors, straight = hardness(), TileScheduler(torch.ones(50))
    for steps in (3, 24, 33):
        run(straight, errors, steps, 4)
        other = TileScheduler(torch.ones(50))
        stored = {name: t.clone() for name, t in straight.state_dict().items()}
        for name, tensor in other.state_dict().items():
            tensor.copy_(stored[name])
        assert torch.equal(run(straight, errors, 20, 4), run(other, errors, 20, 4))
        for name, tensor in straight.state_dict().items():
            tensor.copy_(stored[name])


def test_a_step_that_is_abandoned_leaves_no_trace():
    errors, straight, other = hardness(), TileScheduler(torch.ones(50)), TileScheduler(torch.ones(50))
    for step in range(80):
        for scheduler in (straight, other):
            selected = scheduler.select(4)
            if scheduler is other and step % 3:
                assert torch.equal(scheduler.select(4), selected)
            scheduler.update(selected, errors[selected])
        for name, tensor in straight.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), (step, name)


def test_tiles_at_rest_do_not_move(monkeypatch):
    monkeypatch.setattr(module, "_WARM_UP", 2)
    monkeypatch.setattr("eoren.backends.base._CHUNK_BYTES", {"cpu": 1 << 12})
    image = np.full((48, 48, 1), 0.5, np.float32)
    image[:24, :24, 0] = np.random.default_rng(0).random((24, 24))
    chosen = make_settings("mosaic", steps=1, tile=6, width=8, depth=3, halo=1.0)
    trainer = Trainer.of_image(image, chosen, seed=0, device=torch.device("cpu"))
    rested = 0
    for step in range(30):
        before = [t.clone() for t in trainer.siren.tensors()]
        trainer.step(1.0)
        moved = torch.stack(
            [(a != b).flatten(1).any(1) for a, b in zip(before, trainer.siren.tensors(), strict=True)]
        )
        selected = trainer.state_dict()["scheduler.selected"]
        assert selected.dtype == torch.bool
        assert not bool(moved[:, ~selected].any())
        assert bool(moved.any(0)[selected].all()), step
        rested += int((~selected).sum())
    assert rested > 30
