from dataclasses import replace
from math import ceil

import numpy as np
import pytest
import torch

from eoren.backends.backpropagation import Backpropagation
from eoren.errors import EorenError
from eoren.image.gradients import adjusted_gradient
from eoren.image.spline import reference_gradient
from eoren.model.tiling import Tiling
from eoren.training.assembly import assemble_field, build_tiling, image_seed
from eoren.training.presets import make_settings
from eoren.training.trainer import Trainer

DEVICES = [
    torch.device(name)
    for name, there in (
        ("cpu", True),
        ("cuda", torch.cuda.is_available()),
        ("mps", torch.backends.mps.is_available()),
    )
    if there
]
CPU = torch.device("cpu")


def random_image(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).random((height, width, channels)).astype(np.float32)


def uneven_image(height, width, channels=3):
    """Busy at the upper left, the calmer the farther from there: tiles of many sizes."""
    y, x = np.mgrid[:height, :width]
    amplitude = np.exp(-(x + y) / 8).astype(np.float32)[..., None]
    return 0.5 + amplitude * (random_image(height, width, channels) - 0.5)


def settings(preset="paper", **changes):
    return make_settings(preset, **({"width": 10, "depth": 3, "steps": 100} | changes))


def trainer_of(image, seed=0, device=CPU, **changes):
    """A trainer, with the tiling that it was given."""
    chosen = settings(**changes)
    tiling = build_tiling(image, chosen)
    trainer = Trainer.of_image(image, chosen, seed=seed, device=device, tiling=tiling)
    trainer.tiling = tiling
    return trainer


def tuned_field(trainer, image):
    return assemble_field(trainer.networks(), trainer.tiling, image, bits=trainer.settings.bits)


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 16 points, whatever the device."""
    monkeypatch.setattr("eoren.backends.base._CHUNK_BYTES", {})
    monkeypatch.setattr("eoren.backends.base._CHUNK_BYTES_ACCELERATOR", 1)


@pytest.fixture
def calls(monkeypatch):
    """What the trainer asks of its networks: ``(local points, axes)`` per chunk."""
    seen = []
    original = Backpropagation.forward

    def spy(self, networks, points, *, axes, scale):
        seen.append((points.clone(), axes))
        return original(self, networks, points, axes=axes, scale=scale)

    monkeypatch.setattr(Backpropagation, "forward", spy)
    return seen


def snapshot(trainer):
    return {name: t.clone() for name, t in trainer.state_dict().items()}


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# The loss of one full-batch step, as one would write it without chunks, tiles in batches or forward derivatives.


def tile_geometry(trainer):
    """Per tile: its pixels ``(column, row)``, its middle and its half."""
    tiling, halo = trainer.tiling, trainer.tiling.halo
    tiles = []
    for x0, y0, x1, y1 in tiling.boxes.tolist():
        columns = [j for j in range(tiling.width) if x0 - halo <= j + 0.5 <= x1 + halo]
        rows = [i for i in range(tiling.height) if y0 - halo <= i + 0.5 <= y1 + halo]
        pixels = [(j, i) for i in rows for j in columns]
        middle = (columns[0] + columns[-1] + 1) / 2, (rows[0] + rows[-1] + 1) / 2
        tiles.append((pixels, middle, max(len(columns), len(rows)) / 2))
    return tiles


def plain_step(trainer, image, axes_weights, shift=0.0):
    """Parameter gradients, mean squared colour error (tuned where colours are not fitted) and gradient error.

    Args:
        axes_weights: per axis, what its squared error counts in ``|grad f - grad Phi|^2``; 0 leaves it away.
        shift: of the points where an axis is compared, along it, in pixels.
    """
    chosen, objective = trainer.settings, trainer.settings.loss
    height, width, channels = image.shape
    extent = (float(width), float(height))
    if chosen.filter == "spline":
        slopes = reference_gradient(image, extent=extent)
    else:
        slopes = adjusted_gradient(image, chosen.filter, extent=extent)
    colors, slopes = torch.from_numpy(image).double(), torch.from_numpy(slopes).double()
    parameters = [p.detach().cpu().double().requires_grad_() for p in trainer.siren.tensors()]
    layers = len(parameters) // 2

    def network(tile, positions, middle, half, alpha, beta):
        z = (positions - torch.tensor(middle)) / half
        for layer in range(layers - 1):
            z = torch.sin(30 * (z @ parameters[layer][tile] + parameters[layers + layer][tile]))
        return alpha * (z @ parameters[layers - 1][tile] + parameters[-1][tile]) + beta

    total, of_color, of_slope = 0.0, [], []
    tiles = tile_geometry(trainer)
    most = max(len(pixels) for pixels, _, _ in tiles)
    for tile, (own, middle, half) in enumerate(tiles):
        alpha, beta = torch.ones(channels).double(), torch.full((channels,), 0.5).double()
        if chosen.standardize:
            column, row = torch.tensor(own).unbind(1)
            alpha, beta = colors[row, column].std(0, correction=0).clamp(min=1 / 255), colors[row, column].mean(0)
        # In a step every tile has as many points as the largest: a smaller one begins again.
        pixels = [own[k % len(own)] for k in range(most)]
        column, row = torch.tensor(pixels).unbind(1)
        color, slope = colors[row, column], slopes[row, column]
        centres = torch.stack([column, row], 1).double() + 0.5
        said = network(tile, centres, middle, half, alpha, beta)
        error = (said - color).square()
        total = total + objective.color * error.mean()
        if objective.color:
            of_color.append(float(error.detach().mean()))
        else:
            for c in range(channels):
                matrix = torch.stack([said[:, c].detach(), torch.ones(len(pixels)).double()], 1).numpy()
                best = np.linalg.lstsq(matrix, color[:, c].numpy(), rcond=None)[0]
                of_color.append(float(np.mean((matrix @ best - color[:, c].numpy()) ** 2)))
        for axis, weight in enumerate(axes_weights):
            if not weight:
                continue
            aside = torch.zeros(2).double()
            aside[axis] = shift
            positions = (centres + aside).requires_grad_()
            said = network(tile, positions, middle, half, alpha, beta)
            derivative = torch.stack(
                [
                    torch.autograd.grad(said[:, c].sum(), positions, create_graph=True)[0][:, axis]
                    for c in range(channels)
                ],
                1,
            )
            error = (derivative - slope[..., axis]).square()
            total = total + objective.gradient * weight * error.mean()
            of_slope.append(float(error.detach().mean()))
    found = torch.autograd.grad(total, parameters, allow_unused=True)
    gradients = [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]
    # Tiles count by their area, halos not included.
    areas = (trainer.tiling.boxes[:, 2:] - trainer.tiling.boxes[:, :2]).prod(1).astype(float)
    by_tile = [np.reshape(each, (len(tiles), -1)).mean(1) if each else 0.0 * areas for each in (of_color, of_slope)]
    return gradients, *(float(areas @ errors / areas.sum()) for errors in by_tile)


def assert_step_is_plain(trainer, image, axes_weights, shift=0.0):
    errors = trainer.step(0.0)  # accumulates, moves nothing
    gradients, color, slope = plain_step(trainer, image, axes_weights, shift)
    for found, expected in zip(trainer.gradients, gradients, strict=True):
        scale = float(expected.abs().max())
        torch.testing.assert_close(found.cpu().double(), expected, rtol=1e-3, atol=3e-5 * scale + 1e-12)
    if not shift:
        assert errors.color == pytest.approx(color, rel=1e-4)
    else:
        assert errors.color is None
    if any(axes_weights):
        assert errors.gradient == pytest.approx(slope, rel=1e-4)
    else:
        assert errors.gradient is None


TILES = [
    pytest.param({}, id="one"),
    pytest.param({"tile": 6, "halo": 2.0}, id="many"),
    pytest.param({"tile": 8, "halo": 0.7}, id="some"),
]
OBJECTIVES = [
    pytest.param({"objective": "gradient"}, (1, 1), id="gradient"),
    pytest.param({"objective": "gradient", "standardize": True, "filter": "sobel"}, (1, 1), id="sobel"),
    pytest.param({"objective": "pixel", "standardize": True}, (0, 0), id="pixel"),
    pytest.param({"objective": "sobolev", "filter": "spline", "gradient_weight": 0.3}, (1, 1), id="sobolev"),
]


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize(("objective", "axes_weights"), OBJECTIVES)
@pytest.mark.parametrize("tiles", TILES)
def test_a_full_batch_step_is_autograds_on_the_plain_loss(
    small_chunks, calls, device, objective, axes_weights, tiles
):
    image = random_image(11, 14)
    trainer = trainer_of(image, device=device, **objective, **tiles)
    assert_step_is_plain(trainer, image, axes_weights)
    assert len(calls) >= 4
    assert all(points.shape[0] * points.shape[1] <= 16 for points, _ in calls)


@pytest.mark.parametrize(("objective", "axes_weights"), OBJECTIVES)
def test_tiles_of_unequal_sizes_each_see_their_own_pixels(small_chunks, calls, objective, axes_weights):
    image = uneven_image(24, 30)
    trainer = trainer_of(image, tile=8, halo=1.5, **objective)
    sides = (trainer.tiling.pixel_boxes[:, 2:] - trainer.tiling.pixel_boxes[:, :2]).tolist()
    assert trainer.tiling.count >= 5
    assert len({width * height for width, height in sides}) >= 4
    assert max(width * height for width, height in sides) > 2 * min(width * height for width, height in sides)
    assert_step_is_plain(trainer, image, axes_weights)
    assert all(points.shape[0] * points.shape[1] <= 16 for points, _ in calls)


def test_a_batch_of_unequal_tiles_is_what_the_order_says(calls):
    """Pixel k of the order is pixel k modulo its own pixels for every tile."""
    trainer = trainer_of(uneven_image(24, 30), objective="pixel", tile=8, halo=1.5, batch=50)
    order = trainer._points_of_step(0).tolist()
    assert 40 <= len(set(order)) == len(order) <= 50
    assert max(order) >= 2 * min(len(pixels) for pixels, _, _ in tile_geometry(trainer))
    trainer.step(0.0)
    local = torch.cat([points for points, _ in calls], 1).double()
    for (pixels, middle, half), own in zip(tile_geometry(trainer), local, strict=True):
        expected = (np.array([pixels[k % len(pixels)] for k in order]) + 0.5 - middle) / half
        np.testing.assert_allclose(own, expected, atol=1e-6)


def far_tiling(far, upright):
    """An image of four lines with a small tile at the far end."""
    cuts = [(int(upright), far - 1000), (-1, 0), (int(upright), far - 41), (-1, 0), (-1, 0)]
    return Tiling(*((4, far) if upright else (far, 4)), 2.5, np.array(cuts, np.int32))


def assert_far_points_are_exact(trainer, tiling, shift):
    """To the rounding of the quotient alone: float64's quotient rounded to float32 is the same number."""
    x0, y0, x1, y1 = tiling.pixel_boxes[2].tolist()
    positions = torch.tensor([[[j, i] for i in range(y0, y1) for j in range(x0, x1)]])
    found = trainer.tile_pixels.local(positions, slice(2, 3), shift)
    assert found.dtype == torch.float32
    numerator = positions.double() + 0.5 + torch.tensor(shift).double() - torch.from_numpy(tiling.centres[2])
    assert torch.equal(found, (numerator / float(tiling.half_extents[2])).float())
    assert found.abs().max() <= 1


SHIFTS = pytest.mark.parametrize("shift", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5)], ids=str)


@SHIFTS
@pytest.mark.parametrize("upright", [False, True])
def test_local_coordinates_are_exact_far_out_in_a_large_image(shift, upright):
    tiling = far_tiling(60_000, upright)
    image = np.zeros((tiling.height, tiling.width, 1), np.float32)
    trainer = Trainer.of_image(image, settings(objective="pixel", width=2), seed=0, device=CPU, tiling=tiling)
    assert_far_points_are_exact(trainer, tiling, shift)


@SHIFTS
@pytest.mark.parametrize("upright", [False, True])
def test_local_coordinates_are_exact_far_out_in_a_huge_image(shift, upright):
    tiling = far_tiling(8_000_000, upright)
    trainer = trainer_of(random_image(4, 4), objective="pixel", width=2)
    trainer.tile_pixels.centres, trainer.tile_pixels.half_extents = (
        torch.from_numpy(tiling.centres).float(),
        torch.from_numpy(tiling.half_extents).float(),
    )
    assert_far_points_are_exact(trainer, tiling, shift)


@pytest.mark.parametrize("chunk_bytes", [1 << 11, 1 << 13, 1 << 20])
def test_chunks_of_any_size_give_the_same_step(monkeypatch, calls, chunk_bytes):
    image = random_image(13, 16, channels=2)
    monkeypatch.setattr("eoren.backends.base._CHUNK_BYTES", {"cpu": chunk_bytes})
    trainer = trainer_of(image, objective="sobolev", tile=5, halo=1.0)
    assert_step_is_plain(trainer, image, (1, 1))
    assert (len(calls) == 1) == (chunk_bytes == 1 << 20)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_batches_of_points_are_means_over_their_points(optimizer):
    """Over an epoch of batches of one size, the mean of the batches' gradients is the full batch's."""
    image = random_image(8, 12)
    trainer = trainer_of(image, optimizer=optimizer, batch=24, objective="sobolev")
    expected, *_ = plain_step(trainer, image, (1, 1))
    total = [torch.zeros_like(g) for g in expected]
    for _ in range(4):
        trainer.step(0.0)
        for part, g in zip(total, trainer.gradients, strict=True):
            part += g / 4
    for found, own in zip(total, expected, strict=True):
        torch.testing.assert_close(found, own, rtol=1e-3, atol=3e-5 * float(own.abs().max()))


# Which axes, and where.


@pytest.mark.parametrize("tiles", TILES)
def test_alternating_steps_fit_one_axis_at_a_time_for_both(small_chunks, calls, tiles):
    image = random_image(9, 14)
    trainer = trainer_of(image, objective="sobolev", alternate=True, **tiles)
    for axes_weights in ((2, 0), (0, 2), (2, 0)):
        calls.clear()
        assert_step_is_plain(trainer, image, axes_weights)
        assert {axes for _, axes in calls} == {(axes_weights.index(2),)}


@pytest.mark.parametrize("tiles", TILES)
def test_alternating_forward_differences_are_compared_half_a_pixel_off(small_chunks, tiles):
    image = random_image(9, 14)
    trainer = trainer_of(image, filter="forward", alternate=True, **tiles)
    assert_step_is_plain(trainer, image, (2, 0), shift=0.5)
    assert_step_is_plain(trainer, image, (0, 2), shift=0.5)


@pytest.mark.parametrize("tiles", TILES)
def test_forward_differences_are_compared_half_a_pixel_off(small_chunks, tiles):
    image = random_image(9, 14)
    assert_step_is_plain(trainer_of(image, filter="forward", **tiles), image, (1, 1), shift=0.5)


def places(trainer, points):
    """Local points of a single network back in pixels of the image."""
    tiling = trainer.tiling
    return points[0].double() * (max(tiling.width, tiling.height) / 2) + torch.tensor(
        [tiling.width / 2, tiling.height / 2]
    )


def test_the_points_of_forward_differences(calls):
    trainer = trainer_of(random_image(4, 7), filter="forward")
    trainer.step(1.0)
    rows, columns = np.mgrid[:4, :7]
    for (points, axes), axis in zip(calls, (0, 1), strict=True):
        assert axes == (axis,)
        expected = np.stack([columns.ravel(), rows.ravel()], -1) + 0.5
        expected[:, axis] += 0.5
        np.testing.assert_allclose(places(trainer, points), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "reach"), [("forward", 1), ("central", 1), ("spline", 14)])
def test_a_quadratic_is_fitted_where_the_filter_measures(name, reach):
    """What training aims at is the true derivative at the points that it compares: slopes 2x, to rounding.

    Not at the border: a quadratic's second derivative is not zero there, and what a filter takes it for reaches as
    far inside as the stencil, and on a spline falls by 0.43 a pixel.
    """
    width, height = 36, 6
    x = (np.arange(width) + 0.5) / width
    image = np.broadcast_to((x**2)[None, :, None], (height, width, 1)).astype(np.float32)
    trainer = trainer_of(image, filter=name)
    target = trainer.gradient_target
    aside = 0.5 if name == "forward" else 0.0
    inner = target.reshape(height, width, 2)[:, reach:-reach, 0]
    expected = 2 * (np.arange(width) + 0.5 + aside) / width / width
    assert inner.shape == (height, width - 2 * reach)
    np.testing.assert_allclose(inner, np.broadcast_to(expected[reach:-reach], inner.shape), rtol=0, atol=1e-6)


# Epochs.


@pytest.mark.parametrize("batch", [None, 1, 19, 21, 62, 63, 2048])
def test_every_pixel_has_its_turn_once_an_epoch(calls, batch):
    trainer = trainer_of(random_image(7, 9), objective="pixel", batch=batch)
    most = trainer.points_per_step
    assert most == min(batch or 63, 63)
    orders = []
    for _ in range(2):
        calls.clear()
        for _ in range(ceil(63 / most)):
            trainer.step(0.0)
        sizes = [points.shape[1] for points, _ in calls]
        assert len(sizes) == ceil(63 / most)
        assert max(sizes) <= most
        assert max(sizes) - min(sizes) <= 1  # even
        seen = torch.cat([places(trainer, points) for points, _ in calls]).numpy() - 0.5
        whole = np.rint(seen).astype(int)
        np.testing.assert_allclose(seen, whole, atol=1e-5)
        assert sorted(map(tuple, whole)) == [(j, i) for j in range(9) for i in range(7)]
        orders.append(whole)
    assert np.array_equal(*orders) == (most == 63)  # shuffled afresh, unless order does not matter


def test_every_pixel_of_every_tile_has_its_turn_and_none_from_elsewhere(calls):
    trainer = trainer_of(random_image(11, 17), objective="pixel", batch=17, tile=6, halo=1.0)
    tiles = tile_geometry(trainer)
    most = max(len(pixels) for pixels, _, _ in tiles)
    assert len(tiles) > 4
    for _ in range(ceil(most / trainer.points_per_step)):
        trainer.step(0.0)
    local = torch.cat([points for points, _ in calls], 1).double()
    assert local.abs().max() <= 1
    for (pixels, middle, half), own in zip(tiles, local, strict=True):
        seen = np.rint((own * half + torch.tensor(middle)).numpy() - 0.5).astype(int)
        assert len(seen) == most
        assert sorted(set(map(tuple, seen))) == sorted(pixels)


# Seeds, abandoned steps, resumed runs.


def run(trainer, steps, rate=1.0):
    for _ in range(steps):
        trainer.step(rate)
    return trainer


VARIANTS = [
    pytest.param({"optimizer": "adam", "batch": 40}, id="adam"),
    pytest.param({"optimizer": "muon", "batch": 18, "tile": 6, "halo": 1.0}, id="muon"),
    pytest.param({"optimizer": "muon", "alternate": True, "objective": "sobolev"}, id="alternate"),
    pytest.param({"optimizer": "muon", "depth": 1, "filter": "forward"}, id="shallow"),
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_seed_decides_everything(changes):
    image = random_image(10, 13)
    one, same_seed = (run(trainer_of(image, seed=5, **changes), 5) for _ in range(2))
    other = run(trainer_of(image, seed=6, **changes), 5)
    assert same(one.state_dict().values(), same_seed.state_dict().values())
    assert not torch.equal(one.siren.weights[0], other.siren.weights[0])


def test_the_seed_decides_the_order_of_the_pixels(calls):
    for seed in (1, 1, 2):
        trainer_of(random_image(10, 13), seed=seed, batch=40).step(0.0)
    (first, _), (again, _), (other, _) = calls
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("device", DEVICES[1:], ids=str)
def test_networks_are_drawn_alike_on_every_device(device):
    image = random_image(5, 6)
    here, there = trainer_of(image), trainer_of(image, device=device)
    assert same([t.cpu() for t in there.siren.tensors()], here.siren.tensors())


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_abandoned_step_changes_nothing(small_chunks, changes, after):
    image = random_image(17, 20)
    trainer, twin = (run(trainer_of(image, **changes), 3) for _ in range(2))
    before = snapshot(trainer)
    asked = []

    def stop():
        asked.append(True)
        return len(asked) > after

    assert trainer.step(1.0, stop) is None
    assert len(asked) == after + 1
    assert same(trainer.state_dict().values(), before.values())
    assert trainer.steps_done == 3
    assert trainer.step(1.0) == twin.step(1.0)
    assert trainer.step(1.0) == twin.step(1.0)
    assert same(trainer.state_dict().values(), twin.state_dict().values())


def test_a_step_that_is_not_stopped_asks_before_every_chunk(small_chunks, calls):
    trainer, asked = trainer_of(random_image(10, 13)), []
    assert trainer.step(1.0, lambda: asked.append(True)) is not None
    assert len(asked) == len(calls) > 4
    assert trainer.steps_done == 1


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("stopped_at", [1, 4])
def test_a_restored_run_goes_on_bit_for_bit(changes, stopped_at):
    image = random_image(10, 13)
    straight = run(trainer_of(image, **changes), stopped_at)
    stored = snapshot(straight)
    resumed = trainer_of(image, **changes)
    resumed.restore(stored, stopped_at)
    assert resumed.steps_done == stopped_at
    for _ in range(4):  # through the end of an epoch
        assert straight.step(0.5) == resumed.step(0.5)
    assert same(straight.state_dict().values(), resumed.state_dict().values())
    assert same(straight.siren.tensors(), resumed.siren.tensors())


def test_a_state_without_a_tensor_is_refused():
    trainer = trainer_of(random_image(5, 6))
    state = snapshot(trainer)
    del state["scheduler.steps"]
    with pytest.raises(KeyError, match=r"scheduler\.steps"):
        trainer.restore(state, 1)


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_the_state_has_names_in_the_order_of_earlier_checkpoints(optimizer):
    trainer = trainer_of(random_image(5, 6), optimizer=optimizer, depth=2)
    names = [*trainer.state_dict()]
    parameters = [f"parameters.{k}" for k in range(6)]
    if optimizer == "muon":
        adam, own = "optimizer.1", ["optimizer.0.momentum_buffer.0"]
    else:
        adam, own = "optimizer.0", []
    moved = range(6 - len(own))
    own += [f"{adam}.step", *(f"{adam}.exp_avg.{k}" for k in moved), *(f"{adam}.exp_avg_sq.{k}" for k in moved)]
    # The monitor keeps what belongs to single networks: all but the count of steps.
    kept = [f"monitor.good.{k}" for k in range(len(parameters) + len(own) - 1 + 2)]
    assert names == [
        *parameters, *own, "monitor.best", "monitor.lr_scale", *kept, "errors",
        "scheduler.errors", "scheduler.credit", "scheduler.selected", "scheduler.steps",
    ]  # fmt: skip


# Optimisers and their rates.


def test_the_first_layer_gets_the_frequency_that_suits_the_largest_tile():
    by_tile = {"omega_first": None, "objective": "pixel", "width": 3, "seconds": 1.0, "steps": None, "tile": None}
    for changes in ({}, {"tile": 100, "halo": 4.0}):
        trainer = trainer_of(random_image(20, 1000, 1), preset="mosaic", **(by_tile | changes))
        half = max(half for _, _, half in tile_geometry(trainer))
        assert half == 500 if trainer.tiling.count == 1 else 75 < half < 500
        assert trainer.siren.omegas == (pytest.approx(0.4 * half), 20.0, 20.0)
    trainer = Trainer.of_image(random_image(3, 20, 1), settings("mosaic", **by_tile), seed=0, device=CPU)
    assert trainer.siren.omegas == (30.0, 20.0, 20.0)
    trainer = Trainer.of_image(random_image(3, 200, 1), settings("mosaic", omega_first=7.0), seed=0, device=CPU)
    assert trainer.siren.omegas == (7.0, 20.0, 20.0)


@pytest.mark.parametrize(("size", "tile", "count"), [((64, 96), 16, 24), ((64, 96), 32, 6), ((20, 20), 64, 1)])
def test_tiles_are_as_many_as_their_average_size_says(size, tile, count):
    trainer = trainer_of(random_image(*size, 1), objective="pixel", tile=tile, halo=1.25)
    assert trainer.tiling.count == trainer.siren.batch == count
    assert trainer.tiling.halo == (1.25 if count > 1 else 0)
    assert (trainer.tiling.boxes[:, 2:] - trainer.tiling.boxes[:, :2]).min() >= tile // 4
    assert trainer_of(random_image(*size, 1), objective="pixel").tiling.count == 1


def test_tiles_have_equal_shares_of_the_gradients_magnitude():
    image = np.full((128, 128, 2), 0.5, np.float32)
    image[:, :] += 0.2 * np.sin(np.arange(128) ** 2 / 150)[None, :, None].astype(np.float32)
    slope = reference_gradient(image, extent=(128.0, 128.0)).astype(np.float64)
    magnitude = np.sqrt((slope**2).sum((-1, -2)) + 1e-4)
    trainer = trainer_of(image, objective="pixel", tile=32)
    assert trainer.tiling.count == 16
    shares = [magnitude[y0:y1, x0:x1].sum() for x0, y0, x1, y1 in trainer.tiling.boxes.tolist()]
    assert np.array(shares) / np.mean(shares) == pytest.approx(1, abs=0.25)
    plain = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in trainer.tiling.boxes.tolist()]
    assert max(plain) > 1.5 * min(plain)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_muon_moves_hidden_matrices_and_adam_the_rest(depth):
    trainer = trainer_of(
        random_image(6, 6),
        optimizer="muon",
        learning_rate=0.02,
        adam_learning_rate=0.003,
        depth=depth,
        objective="sobolev",
    )
    before = [t.clone() for t in trainer.siren.tensors()]
    trainer.step(0.5)
    moved = [(b - a).abs() for a, b in zip(before, trainer.siren.tensors(), strict=True)]
    for layer in range(1, depth):
        # 0.5 * 0.02 times a matrix whose singular values lie between about 0.6 and 1.3.
        size = torch.linalg.svdvals(trainer.siren.weights[layer][0] - before[layer][0]) / 0.01
        assert size.max() < 1.3
        assert size.median() > 0.6
    # Adam's first step has one length for all numbers that matter: the rate.
    for each in [moved[0], *moved[depth:]]:
        assert float(each.max()) == pytest.approx(0.0015, rel=1e-3)
        assert float(each.median()) == pytest.approx(0.0015, rel=1e-2)


def test_the_rate_of_the_step_scales_that_of_the_settings():
    trainer = trainer_of(random_image(6, 6), learning_rate=1e-3)
    before = [t.clone() for t in trainer.siren.tensors()]
    trainer.step(0.25)
    moved = max(float((b - a).abs().max()) for a, b in zip(before, trainer.siren.tensors(), strict=True))
    assert moved == pytest.approx(2.5e-4, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "axes"),
    [
        ({"objective": "pixel"}, [()]),
        ({"objective": "gradient"}, [(0, 1)]),
        ({"objective": "sobolev"}, [(0, 1)]),
        ({"objective": "sobolev", "alternate": True}, [(0,)]),
        ({"filter": "forward"}, [(0,), (1,)]),
        ({"filter": "forward", "alternate": True}, [(0,)]),
    ],
    ids=str,
)
def test_a_step_propagates_the_derivatives_it_compares_and_no_others(calls, changes, axes):
    trainer = trainer_of(random_image(4, 4), **changes)
    trainer.step(1.0)
    assert [found for _, found in calls] == axes


# The whole.


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "gradient"},
        {"objective": "gradient", "filter": "forward", "alternate": True},
        {"objective": "pixel", "batch": 77},
        {"objective": "sobolev", "tile": 8, "halo": 1.5},
    ],
    ids=str,
)
def test_training_lowers_what_it_minimises(device, changes):
    x, y = np.meshgrid(np.linspace(0, 1, 16), np.linspace(0, 1, 12))
    image = (0.5 + 0.3 * np.sin(4 * x + 3 * y))[..., None].astype(np.float32)
    trainer = Trainer.of_image(image, settings("mosaic", width=16, **changes), seed=0, device=device)
    first = trainer.step(1.0)
    for step in range(100):
        last = trainer.step(1 - step / 100)
    for name in ("color", "gradient"):
        if getattr(trainer.objective, name):
            assert getattr(last, name) < getattr(first, name) / 4, name


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_the_tuned_field_is_least_squares_over_all_pixels_of_the_rounded_networks(small_chunks, bits):
    image = random_image(9, 11)
    trainer = run(trainer_of(image, bits=bits), 2)
    found = tuned_field(trainer, image)
    siren = found.representation.siren
    assert found.representation.bits == bits
    assert found.size == (11, 9)
    assert bits != 32 or same(siren.tensors(), trainer.siren.tensors())
    rows, columns = np.mgrid[:9, :11]
    z = (np.stack([columns, rows], -1).reshape(-1, 2) + 0.5 - [5.5, 4.5]) / 5.5
    weights, biases = ([t[0].double().numpy() for t in each] for each in (siren.weights, siren.biases))
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        z = np.sin(30 * (z @ weight + bias))
    said = z @ weights[-1] + biases[-1]
    rendered = found.render()
    for c in range(3):
        matrix = np.stack([said[:, c], np.ones(len(said))], 1)
        best = np.linalg.lstsq(matrix, image[..., c].ravel(), rcond=None)[0]
        np.testing.assert_allclose(rendered[..., c].ravel(), matrix @ best, atol=1e-4)


def test_a_tile_is_tuned_to_its_own_pixels():
    image = random_image(12, 12, channels=1)
    trainer = trainer_of(image, tile=6, halo=1.0)
    representation = tuned_field(trainer, image).representation
    siren, tuning = representation.siren, representation.tuning
    for tile, (pixels, middle, half) in enumerate(tile_geometry(trainer)):
        column, row = np.array(pixels).T
        z = (np.array(pixels) + 0.5 - middle) / half
        for layer in range(3):
            weight, bias = (t[layer][tile].double().numpy() for t in (siren.weights, siren.biases))
            z = np.sin(30 * (z @ weight + bias))
        said = z @ siren.weights[3][tile].double().numpy() + siren.biases[3][tile].double().numpy()
        matrix = np.stack([said[:, 0], np.ones(len(said))], 1)
        alpha, beta = np.linalg.lstsq(matrix, image[row, column, 0], rcond=None)[0]
        assert float(tuning.alpha[tile]) == pytest.approx(alpha, rel=1e-3, abs=1e-4)
        assert float(tuning.beta[tile]) == pytest.approx(beta, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3)], ids=str)
@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "gradient", "filter": "central"},
        {"objective": "gradient", "filter": "forward", "alternate": True},
        {"objective": "pixel", "filter": "spline"},
        {"objective": "sobolev", "filter": "spline", "tile": 1, "halo": 0.5},
    ],
    ids=str,
)
def test_small_images_of_any_channels_are_trained(size, channels, changes):
    image = random_image(*size, channels)
    trainer = trainer_of(image, optimizer="muon", standardize=True, batch=2, **changes)
    for _ in range(3):
        errors = trainer.step(1.0)
        assert all(e is None or np.isfinite(e) for e in (errors.color, errors.gradient))
    assert all(t.isfinite().all() for t in trainer.state_dict().values())
    rendered = tuned_field(trainer, image).render()
    assert rendered.shape == image.shape
    assert np.isfinite(rendered).all()
    if size == (1, 1):
        np.testing.assert_allclose(rendered, image, atol=1e-6)


@pytest.mark.parametrize("objective", ["gradient", "pixel", "sobolev"])
def test_constant_images_are_met_and_stay_finite(objective):
    image = np.full((8, 8, 2), 0.3, np.float32)
    image[..., 1] = random_image(8, 8, 1)[..., 0]
    trainer = run(trainer_of(image, objective=objective, optimizer="muon", standardize=True), 5)
    found = tuned_field(trainer, image)
    np.testing.assert_allclose(found.render()[..., 0], 0.3, atol=1e-5)
    assert np.abs(found.render(show="gradient")[..., 0, :]).max() < 1e-4


# Many images at once.


@pytest.mark.parametrize("preset", ["paper", "mosaic"])
def test_images_of_a_batch_are_fitted_as_if_alone(preset):
    images = np.stack([random_image(9, 12, 2, seed=k) * 10.0**-k for k in range(3)])
    chosen = settings(preset, width=16, tile=None, batch=None)
    batch = Trainer.of_images(images, chosen, seed=4, device=CPU)
    alone = [Trainer.of_image(image, chosen, seed=image_seed(image, 4), device=CPU) for image in images]
    for trainer in (batch, *alone):
        run(trainer, 30)
    assert len(alone) == batch.siren.batch
    for number, one in enumerate(alone):
        for whole, part in zip(batch.siren.tensors(), one.siren.tensors(), strict=True):
            torch.testing.assert_close(whole[number], part[0], rtol=2e-4, atol=2e-5)


def test_a_images_network_depends_neither_on_the_others_nor_on_its_place():
    images = np.stack([random_image(8, 8, 1, seed=k) for k in range(4)])
    drawn = Trainer.of_images(images, settings(), seed=1, device=CPU).siren.weights[0]
    turned = Trainer.of_images(images[[3, 1]], settings(), seed=1, device=CPU).siren.weights[0]
    assert torch.equal(drawn[[3, 1]], turned)
    assert len({float(weight[0, 0]) for weight in drawn}) == 4
    assert not torch.equal(Trainer.of_images(images, settings(), seed=2, device=CPU).siren.weights[0], drawn)


def test_a_images_target_ends_at_its_border():
    """White beside black in the stack, flat by themselves."""
    images = np.stack([np.full((6, 5, 1), value, np.float32) for value in (0, 1, 0)])
    for filter in ("central", "spline"):
        trainer = Trainer.of_images(images, settings(filter=filter), seed=0, device=CPU)
        assert float(trainer.gradient_target.abs().max()) < 1e-6


def test_a_halo_far_wider_than_the_tiles_is_refused():
    wide = make_settings("mosaic", tile=4, halo=40.0, steps=1)
    with pytest.raises(EorenError, match=r"at most 64 tiles may overlap at one point, got \d+ with halo 40"):
        build_tiling(random_image(40, 60), wide)
    assert build_tiling(random_image(40, 60), replace(wide, halo=4.0)).count > 64
