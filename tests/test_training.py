from math import ceil

import numpy as np
import pytest
import torch

from eoren import field, training
from eoren.gradients import adjusted_gradient, reference_gradient
from eoren.presets import resolve
from eoren.training import Trainer

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


def picture(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).random((height, width, channels)).astype(np.float32)


def settings(preset="paper", **changes):
    return resolve(preset, **({"width": 10, "depth": 3, "steps": 100} | changes))


def trainer_of(image, seed=0, device=CPU, **changes):
    return Trainer(image, settings(**changes), seed=seed, device=device)


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 16 points, whatever the device."""
    monkeypatch.setattr(field, "_CHUNK_BYTES", {})
    monkeypatch.setattr(field, "_CHUNK_BYTES_ACCELERATOR", 1)


@pytest.fixture
def calls(monkeypatch):
    """What the trainer asks of its networks: ``(local points, axes)`` per chunk."""
    seen = []
    original = training.propagate_for_training

    def spy(siren, points, *, axes=(), scale=(1.0, 1.0)):
        seen.append((points.detach().clone(), axes))
        return original(siren, points, axes=axes, scale=scale)

    monkeypatch.setattr(training, "propagate_for_training", spy)
    return seen


def snapshot(trainer):
    return [t.clone() for t in trainer.state()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# The loss of one full-batch step, as one would write it without chunks, tiles in batches or forward derivatives.


def tile_geometry(trainer):
    """Per tile: its pixels ``(column, row)``, each tile given as many as the largest has, and its middle."""
    tiling, halo = trainer.tiling, trainer.tiling.halo
    edges = [
        [k * size // count for k in range(count + 1)]
        for size, count in ((tiling.width, tiling.columns), (tiling.height, tiling.rows))
    ]
    tiles = []
    for row in range(tiling.rows):
        for column in range(tiling.columns):
            (x0, x1), (y0, y1) = edges[0][column : column + 2], edges[1][row : row + 2]
            pixels = [
                (j, i)
                for i in range(tiling.height)
                for j in range(tiling.width)
                if x0 - halo <= j + 0.5 <= x1 + halo and y0 - halo <= i + 0.5 <= y1 + halo
            ]
            tiles.append((pixels, ((x0 + x1) / 2, (y0 + y1) / 2)))
    most = max(len(pixels) for pixels, _ in tiles)
    half = max(ceil(tiling.width / tiling.columns), ceil(tiling.height / tiling.rows)) / 2 + halo
    return [([pixels[k % len(pixels)] for k in range(most)], middle) for pixels, middle in tiles], half


def plain_step(trainer, image, axes_weights, shift=0.0):
    """Parameter gradients, mean squared colour error (tuned where colours are not fitted) and gradient error.

    Args:
        axes_weights: per axis, what its squared error counts in ``|grad f - grad Phi|^2``; 0 leaves it away.
        shift: of the points where an axis is compared, along it, in pixels.
    """
    chosen, objective = trainer.settings, trainer.settings.weights()
    height, width, channels = image.shape
    extent = (float(width), float(height))
    if chosen.filter == "spline":
        slopes = reference_gradient(image, extent=extent)
    else:
        slopes = adjusted_gradient(image, chosen.filter, extent=extent)
    colors, slopes = torch.from_numpy(image).double(), torch.from_numpy(slopes).double()
    parameters = [p.detach().cpu().double().requires_grad_() for p in trainer.siren.tensors()]
    layers = len(parameters) // 2
    tiles, half = tile_geometry(trainer)

    def network(tile, positions, middle, alpha, beta):
        z = (positions - torch.tensor(middle)) / half
        for layer in range(layers - 1):
            z = torch.sin(30 * (z @ parameters[layer][tile] + parameters[layers + layer][tile]))
        return alpha * (z @ parameters[layers - 1][tile] + parameters[-1][tile]) + beta

    total, of_color, of_slope = 0.0, [], []
    for tile, (pixels, middle) in enumerate(tiles):
        column, row = torch.tensor(pixels).unbind(1)
        color, slope = colors[row, column], slopes[row, column]
        alpha, beta = torch.ones(channels).double(), torch.full((channels,), 0.5).double()
        if chosen.standardize:
            alpha, beta = color.std(0, correction=0).clamp(min=1 / 255), color.mean(0)
        centres = torch.stack([column, row], 1).double() + 0.5
        said = network(tile, centres, middle, alpha, beta)
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
            said = network(tile, positions, middle, alpha, beta)
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
    return gradients, sum(of_color) / len(of_color), sum(of_slope) / max(1, len(of_slope))


def assert_step_is_plain(trainer, image, axes_weights, shift=0.0):
    errors = trainer.step(0.0)  # accumulates, moves nothing
    gradients, color, slope = plain_step(trainer, image, axes_weights, shift)
    for found, expected in zip(trainer._gradients, gradients, strict=True):
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
    pytest.param({"tile": 9, "halo": 0.7}, id="some"),
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
    image = picture(11, 14)
    trainer = trainer_of(image, device=device, **objective, **tiles)
    assert_step_is_plain(trainer, image, axes_weights)
    assert len(calls) >= 4
    assert all(points.shape[0] * points.shape[1] <= 16 for points, _ in calls)


@pytest.mark.parametrize("chunk_bytes", [1 << 11, 1 << 13, 1 << 20])
def test_chunks_of_any_size_give_the_same_step(monkeypatch, calls, chunk_bytes):
    image = picture(13, 16, channels=2)
    monkeypatch.setattr(field, "_CHUNK_BYTES", {"cpu": chunk_bytes})
    trainer = trainer_of(image, objective="sobolev", tile=5, halo=1.0)
    assert_step_is_plain(trainer, image, (1, 1))
    assert (len(calls) == 1) == (chunk_bytes == 1 << 20)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_batches_of_points_are_means_over_their_points(optimizer):
    """Over an epoch of batches of one size, the mean of the batches' gradients is the full batch's."""
    image = picture(8, 12)
    trainer = trainer_of(image, optimizer=optimizer, batch=0.25, objective="sobolev")
    expected, *_ = plain_step(trainer, image, (1, 1))
    total = [torch.zeros_like(g) for g in expected]
    for _ in range(4):
        trainer.step(0.0)
        for part, g in zip(total, trainer._gradients, strict=True):
            part += g / 4
    for found, own in zip(total, expected, strict=True):
        torch.testing.assert_close(found, own, rtol=1e-3, atol=3e-5 * float(own.abs().max()))


# Which axes, and where.


@pytest.mark.parametrize("tiles", TILES)
def test_alternating_steps_fit_one_axis_at_a_time_for_both(small_chunks, calls, tiles):
    image = picture(9, 14)
    trainer = trainer_of(image, objective="sobolev", alternate=True, **tiles)
    for axes_weights in ((2, 0), (0, 2), (2, 0)):
        calls.clear()
        assert_step_is_plain(trainer, image, axes_weights)
        assert {axes for _, axes in calls} == {(axes_weights.index(2),)}


@pytest.mark.parametrize("tiles", TILES)
def test_alternating_forward_differences_are_compared_half_a_pixel_off(small_chunks, tiles):
    image = picture(9, 14)
    trainer = trainer_of(image, filter="forward", alternate=True, **tiles)
    assert_step_is_plain(trainer, image, (2, 0), shift=0.5)
    assert_step_is_plain(trainer, image, (0, 2), shift=0.5)


@pytest.mark.parametrize("tiles", TILES)
def test_forward_differences_are_compared_half_a_pixel_off(small_chunks, tiles):
    image = picture(9, 14)
    assert_step_is_plain(trainer_of(image, filter="forward", **tiles), image, (1, 1), shift=0.5)


def places(trainer, points):
    """Local points of a single network back in pixels of the picture."""
    tiling = trainer.tiling
    return points[0].double() * (max(tiling.width, tiling.height) / 2) + torch.tensor(
        [tiling.width / 2, tiling.height / 2]
    )


def test_the_points_of_forward_differences(calls):
    trainer = trainer_of(picture(4, 7), filter="forward")
    trainer.step(1.0)
    rows, columns = np.mgrid[:4, :7]
    for (points, axes), axis in zip(calls, (0, 1), strict=True):
        assert axes == (axis,)
        expected = np.stack([columns.ravel(), rows.ravel()], -1) + 0.5
        expected[:, axis] += 0.5
        np.testing.assert_allclose(places(trainer, points), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["forward", "central", "spline"])
def test_a_quadratic_is_fitted_where_the_filter_measures(name):
    """What training aims at is the true derivative at the points that it compares: slopes 2x, to rounding."""
    width, height = 9, 6
    x = (np.arange(width) + 0.5) / width
    image = np.broadcast_to((x**2)[None, :, None], (height, width, 1)).astype(np.float32)
    trainer = trainer_of(image, filter=name)
    target = trainer.gradient_target
    aside = 0.5 if name == "forward" else 0.0
    inner = target.reshape(height, width, 2)[:, 1:-1, 0]
    expected = 2 * (np.arange(width) + 0.5 + aside) / width / width
    np.testing.assert_allclose(inner, np.broadcast_to(expected[1:-1], inner.shape), atol=1e-6)


# Epochs.


@pytest.mark.parametrize("share", [1.0, 0.5, 0.3, 0.01, 0.999, 1e-9])
def test_every_pixel_has_its_turn_once_an_epoch(calls, share):
    trainer = trainer_of(picture(7, 9), objective="pixel", batch=share)
    size = trainer.points_per_step
    assert size == max(1, round(63 * share))
    orders = []
    for _ in range(2):
        calls.clear()
        for _ in range(ceil(63 / size)):
            trainer.step(0.0)
        assert [points.shape[1] for points, _ in calls[:-1]] == [size] * (len(calls) - 1)
        seen = torch.cat([places(trainer, points) for points, _ in calls]).numpy() - 0.5
        whole = np.rint(seen).astype(int)
        np.testing.assert_allclose(seen, whole, atol=1e-5)
        assert sorted(map(tuple, whole)) == [(j, i) for j in range(9) for i in range(7)]
        orders.append(whole)
    assert np.array_equal(*orders) == (size == 63)  # shuffled afresh, unless order does not matter


def test_every_pixel_of_every_tile_has_its_turn_and_none_from_elsewhere(calls):
    trainer = trainer_of(picture(11, 17), objective="pixel", batch=0.3, tile=6, halo=1.0)
    tiles, half = tile_geometry(trainer)
    most = len(tiles[0][0])
    for _ in range(ceil(most / trainer.points_per_step)):
        trainer.step(0.0)
    local = torch.cat([points for points, _ in calls], 1).double()
    assert local.abs().max() <= 1
    for (pixels, middle), own in zip(tiles, local, strict=True):
        seen = np.rint((own * half + torch.tensor(middle)).numpy() - 0.5).astype(int)
        assert sorted(map(tuple, seen)) == sorted(pixels)


# Seeds, abandoned steps, resumed runs.


def run(trainer, steps, rate=1.0):
    for _ in range(steps):
        trainer.step(rate)
    return trainer


VARIANTS = [
    pytest.param({"optimizer": "adam", "batch": 0.3}, id="adam"),
    pytest.param({"optimizer": "muon", "batch": 0.3, "tile": 6, "halo": 1.0}, id="muon"),
    pytest.param({"optimizer": "muon", "alternate": True, "objective": "sobolev"}, id="alternate"),
    pytest.param({"optimizer": "muon", "depth": 1, "filter": "forward"}, id="shallow"),
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_seed_decides_everything(changes):
    image = picture(10, 13)
    one, same_seed = (run(trainer_of(image, seed=5, **changes), 5) for _ in range(2))
    other = run(trainer_of(image, seed=6, **changes), 5)
    assert same(one.state(), same_seed.state())
    assert not torch.equal(one.siren.weights[0], other.siren.weights[0])


def test_the_seed_decides_the_order_of_the_pixels(calls):
    for seed in (1, 1, 2):
        trainer_of(picture(10, 13), seed=seed, batch=0.3).step(0.0)
    (first, _), (again, _), (other, _) = calls
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("device", DEVICES[1:], ids=str)
def test_networks_are_drawn_alike_on_every_device(device):
    image = picture(5, 6)
    here, there = trainer_of(image), trainer_of(image, device=device)
    assert same([t.cpu() for t in there.siren.tensors()], here.siren.tensors())


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_abandoned_step_changes_nothing(small_chunks, changes, after):
    image = picture(17, 20)
    trainer, twin = (run(trainer_of(image, **changes), 3) for _ in range(2))
    before = snapshot(trainer)
    asked = []

    def stop():
        asked.append(True)
        return len(asked) > after

    assert trainer.step(1.0, stop) is None
    assert len(asked) == after + 1
    assert same(trainer.state(), before)
    assert trainer.steps_done == 3
    assert trainer.step(1.0) == twin.step(1.0)
    assert trainer.step(1.0) == twin.step(1.0)
    assert same(trainer.state(), twin.state())


def test_a_step_that_is_not_stopped_asks_before_every_chunk(small_chunks, calls):
    trainer, asked = trainer_of(picture(10, 13)), []
    assert trainer.step(1.0, lambda: asked.append(True)) is not None
    assert len(asked) == len(calls) > 4
    assert trainer.steps_done == 1


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("stopped_at", [1, 4])
def test_a_restored_run_goes_on_bit_for_bit(changes, stopped_at):
    image = picture(10, 13)
    straight = run(trainer_of(image, **changes), stopped_at)
    stored = snapshot(straight)
    resumed = trainer_of(image, **changes)
    resumed.restore(stored, stopped_at)
    assert resumed.steps_done == stopped_at
    for _ in range(4):  # through the end of an epoch
        assert straight.step(0.5) == resumed.step(0.5)
    assert same(straight.state(), resumed.state())
    assert same(straight.siren.tensors(), resumed.siren.tensors())


def test_a_state_of_other_shape_is_noticed():
    trainer = trainer_of(picture(5, 6))
    with pytest.raises(ValueError, match="zip"):
        trainer.restore(trainer.state()[:-1], 1)


# Optimisers and their rates.


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_muon_moves_hidden_matrices_and_adam_the_rest(depth):
    trainer = trainer_of(
        picture(6, 6), optimizer="muon", rate=0.02, adam_rate=0.003, depth=depth, objective="sobolev"
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
    trainer = trainer_of(picture(6, 6), rate=1e-3)
    before = [t.clone() for t in trainer.siren.tensors()]
    trainer.step(0.25)
    moved = max(float((b - a).abs().max()) for a, b in zip(before, trainer.siren.tensors(), strict=True))
    assert moved == pytest.approx(2.5e-4, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "streams"),
    [
        ({"objective": "pixel"}, 1),
        ({"objective": "gradient"}, 3),
        ({"objective": "sobolev"}, 3),
        ({"objective": "sobolev", "alternate": True}, 2),
        ({"filter": "forward"}, 2),
    ],
    ids=str,
)
def test_streams_of_a_step_are_counted(changes, streams):
    assert trainer_of(picture(4, 4), **changes).gradients_per_step == streams


# The whole.


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "gradient"},
        {"objective": "gradient", "filter": "forward", "alternate": True},
        {"objective": "pixel", "batch": 0.4},
        {"objective": "sobolev", "tile": 8, "halo": 1.5},
    ],
    ids=str,
)
def test_training_lowers_what_it_minimises(device, changes):
    x, y = np.meshgrid(np.linspace(0, 1, 16), np.linspace(0, 1, 12))
    image = (0.5 + 0.3 * np.sin(4 * x + 3 * y))[..., None].astype(np.float32)
    trainer = Trainer(image, settings("balanced", width=16, **changes), seed=0, device=device)
    first = trainer.step(1.0)
    for step in range(100):
        last = trainer.step(1 - step / 100)
    for name in ("color", "gradient"):
        if getattr(trainer.objective, name):
            assert getattr(last, name) < getattr(first, name) / 4, name


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_the_tuned_field_is_least_squares_over_all_pixels_of_the_rounded_networks(small_chunks, bits):
    image = picture(9, 11)
    trainer = run(trainer_of(image, bits=bits), 2)
    found = trainer.tuned()
    assert found.bits == bits
    assert found.size == (11, 9)
    assert bits != 32 or same(found.siren.tensors(), trainer.siren.tensors())
    rows, columns = np.mgrid[:9, :11]
    z = (np.stack([columns, rows], -1).reshape(-1, 2) + 0.5 - [5.5, 4.5]) / 5.5
    weights, biases = ([t[0].double().numpy() for t in each] for each in (found.siren.weights, found.siren.biases))
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        z = np.sin(30 * (z @ weight + bias))
    said = z @ weights[-1] + biases[-1]
    rendered = found.render()
    for c in range(3):
        matrix = np.stack([said[:, c], np.ones(len(said))], 1)
        best = np.linalg.lstsq(matrix, image[..., c].ravel(), rcond=None)[0]
        np.testing.assert_allclose(rendered[..., c].ravel(), matrix @ best, atol=1e-4)


def test_a_tile_is_tuned_to_its_own_pixels():
    image = picture(12, 12, channels=1)
    trainer = trainer_of(image, tile=6, halo=1.0)
    found = trainer.tuned()
    tiles, half = tile_geometry(trainer)
    for tile, (pixels, middle) in enumerate(tiles):
        column, row = np.array(pixels).T
        z = (np.array(pixels) + 0.5 - middle) / half
        for layer in range(3):
            weight, bias = (t[layer][tile].double().numpy() for t in (found.siren.weights, found.siren.biases))
            z = np.sin(30 * (z @ weight + bias))
        said = z @ found.siren.weights[3][tile].double().numpy() + found.siren.biases[3][tile].double().numpy()
        matrix = np.stack([said[:, 0], np.ones(len(said))], 1)
        alpha, beta = np.linalg.lstsq(matrix, image[row, column, 0], rcond=None)[0]
        assert float(found.tuning.alpha[tile]) == pytest.approx(alpha, rel=1e-3, abs=1e-4)
        assert float(found.tuning.beta[tile]) == pytest.approx(beta, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3)], ids=str)
@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "gradient", "filter": "central"},
        {"objective": "gradient", "filter": "forward", "alternate": True},
        {"objective": "pixel", "filter": "spline"},
        {"objective": "sobolev", "filter": "spline", "tile": 3, "halo": 0.5},
    ],
    ids=str,
)
def test_small_pictures_of_any_channels_are_trained(size, channels, changes):
    image = picture(*size, channels)
    trainer = trainer_of(image, optimizer="muon", standardize=True, batch=0.5, **changes)
    for _ in range(3):
        errors = trainer.step(1.0)
        assert all(e is None or np.isfinite(e) for e in (errors.color, errors.gradient))
    assert all(t.isfinite().all() for t in trainer.state())
    rendered = trainer.tuned().render()
    assert rendered.shape == image.shape
    assert np.isfinite(rendered).all()
    if size == (1, 1):
        np.testing.assert_allclose(rendered, image, atol=1e-6)


@pytest.mark.parametrize("objective", ["gradient", "pixel", "sobolev"])
def test_constant_pictures_are_met_and_stay_finite(objective):
    image = np.full((8, 8, 2), 0.3, np.float32)
    image[..., 1] = picture(8, 8, 1)[..., 0]
    trainer = run(trainer_of(image, objective=objective, optimizer="muon", standardize=True), 5)
    found = trainer.tuned()
    np.testing.assert_allclose(found.render()[..., 0], 0.3, atol=1e-5)
    assert np.abs(found.render(show="gradient")[..., 0, :]).max() < 1e-4
