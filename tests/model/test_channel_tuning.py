import numpy as np
import pytest
import torch

from eoren.model.channel_tuning import Tuning
from eoren.model.moments import Moments
from eoren.model.siren import Siren

ALL = slice(None)


def drawn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assemble_field(said, target):
    moments = Moments(said.shape[0], said.shape[2], said.device)
    moments.add(ALL, said, target)
    return moments


def least_squares(said, target):
    """alpha, beta and the residual's mean square, from numpy, one network and channel at a time, in float64."""
    batch, _, channels = said.shape
    found = np.zeros((3, batch, 1, channels))
    for b in range(batch):
        for c in range(channels):
            g, f = said[b, :, c].double().numpy(), target[b, :, c].double().numpy()
            middle = g.mean()  # numpy's solution loses digits of its own where the offset is large
            matrix = np.stack([g - middle, np.ones_like(g)], 1)
            (alpha, beta), *_ = np.linalg.lstsq(matrix, f, rcond=None)
            residual = f - matrix @ [alpha, beta]
            found[:, b, 0, c] = alpha, beta - alpha * middle, np.mean(residual**2)
    return found


@pytest.mark.parametrize(("batch", "points", "channels"), [(1, 2, 1), (1, 50, 3), (4, 33, 4)])
@pytest.mark.parametrize("offsets", [(0.0, 0.5), (100.0, -1000.0), (-1e4, 1e4)])
def test_tuning_is_numpys_least_squares(batch, points, channels, offsets):
    said = drawn(batch, points, channels) + offsets[0]
    target = 0.3 * said + drawn(batch, points, channels, seed=1) + offsets[1]
    alpha, beta, residual = least_squares(said, target)

    moments = assemble_field(said, target)
    tuning = moments.tuning()

    assert tuning.alpha.shape == tuning.beta.shape == (batch, 1, channels)
    assert tuning.alpha.dtype == tuning.beta.dtype == torch.float32
    np.testing.assert_allclose(tuning.alpha, alpha, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tuning.beta, beta, rtol=1e-5, atol=1e-6 * (1 + abs(offsets[0])))
    assert float(moments.squared_errors().mean()) == pytest.approx(residual.mean(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1.0, 1e6])
def test_tuning_does_not_depend_on_the_size_of_what_networks_say(size):
    said, target = drawn(1, 40, 2), drawn(1, 40, 2, seed=1)
    alpha, beta, _ = least_squares(said, target)
    tuning = assemble_field(size * said, target).tuning()
    np.testing.assert_allclose(size * tuning.alpha, alpha, rtol=1e-4)
    np.testing.assert_allclose(tuning.beta, beta, rtol=1e-4)


def test_a_small_contrast_beside_a_huge_offset_is_found():
    contrast = drawn(1, 400, 1, dtype=torch.float64)
    target = 0.5 + 0.2 * contrast
    tuning = assemble_field(1e4 + 0.1 * contrast, target).tuning()
    assert float(tuning.alpha) == pytest.approx(2.0, rel=1e-4)
    assert float(tuning.beta) == pytest.approx(0.5 - 2e4, rel=1e-4)


def test_sums_do_not_depend_on_the_pieces_they_come_in():
    said, target = drawn(3, 60, 2), drawn(3, 60, 2, seed=1)
    whole = assemble_field(said, target)
    pieces = Moments(3, 2, said.device)
    for networks in (slice(1, 3), slice(0, 1)):
        for points in (slice(40, 60), slice(0, 7), slice(7, 40)):
            pieces.add(networks, said[networks, points], target[networks, points])
    torch.testing.assert_close(pieces.tuning().alpha, whole.tuning().alpha)
    torch.testing.assert_close(pieces.tuning().beta, whole.tuning().beta)
    torch.testing.assert_close(pieces.squared_errors(), whole.squared_errors())


def sums_of(said, target):
    """Of g, f, gg, gf and ff, as :meth:`Moments.add_sums` takes them."""
    g, f = said.double(), target.double()
    return torch.stack([g, f, g * g, g * f, f * f], -1).sum(1)


@pytest.mark.parametrize("networks", [ALL, slice(1, 3), torch.tensor([0, 2, 3])], ids=["all", "slice", "numbers"])
def test_sums_that_come_ready_are_as_good_as_points(networks):
    said, target = drawn(4, 60, 2)[networks], drawn(4, 60, 2, seed=1)[networks]
    points, sums = Moments(4, 2, said.device), Moments(4, 2, said.device)
    points.add(networks, said, target)
    sums.add_sums(networks, sums_of(said[:, :25], target[:, :25]), 25)
    sums.add_sums(networks, sums_of(said[:, 25:], target[:, 25:]), 35)
    torch.testing.assert_close(sums.tuning().alpha, points.tuning().alpha)
    torch.testing.assert_close(sums.tuning().beta, points.tuning().beta)
    torch.testing.assert_close(sums.squared_errors(), points.squared_errors())
    alpha, beta, residual = least_squares(said, target)
    np.testing.assert_allclose(sums.tuning().alpha[networks], alpha, rtol=1e-5)
    np.testing.assert_allclose(sums.tuning().beta[networks], beta, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(sums.squared_errors()[networks], residual, rtol=1e-9)
    mean, deviation = sums.target_mean_and_deviation()
    np.testing.assert_allclose(mean[networks], target.double().mean(1, keepdim=True), rtol=1e-5)
    np.testing.assert_allclose(deviation[networks], target.double().std(1, correction=0, keepdim=True), rtol=1e-5)
    unseen = torch.ones(4, dtype=torch.bool)
    unseen[networks] = False
    assert not bool(sums.squared_errors()[unseen].any())


@pytest.mark.parametrize("level", [0.0, 0.1, 1.0, 255.0])
def test_constant_channels_have_no_slope(level):
    said = drawn(2, 77, 2) + 3
    target = torch.full_like(said, level)
    target[..., 1] = drawn(2, 77, seed=1)
    alpha, _, _ = least_squares(said, target)
    moments = assemble_field(said, target)
    tuning = moments.tuning()
    np.testing.assert_allclose(tuning.alpha[..., 0], 0, atol=1e-10)
    np.testing.assert_allclose(tuning.beta[..., 0], level, rtol=1e-6)
    np.testing.assert_allclose(tuning.alpha[..., 1], alpha[..., 1], rtol=1e-5)


@pytest.mark.parametrize("said", [0.0, 0.1, -3.3, 1234.567, 1e-20, 1e15])
@pytest.mark.parametrize("target_offset", [0.0, 0.7])
def test_dead_networks_say_the_mean(said, target_offset):
    target = drawn(1, 101, 3) + target_offset
    moments = assemble_field(torch.full((1, 101, 3), said), target)
    tuning = moments.tuning()
    assert torch.equal(tuning.alpha, torch.ones(1, 1, 3))
    mean = target.double().mean(1, keepdim=True)
    np.testing.assert_allclose(tuning.beta, mean - np.float32(said).astype(np.float64), rtol=1e-6, atol=1e-7)
    spread = float(target.double().var(1, correction=0).mean())
    assert float(moments.squared_errors().mean()) == pytest.approx(spread, rel=1e-6)


@pytest.mark.parametrize("said", [0.1, -3.3, 1234.567])
def test_networks_that_say_rounding_noise_are_dead(said):
    noise = torch.randint(0, 2, (1, 1000, 1), generator=torch.Generator().manual_seed(0))
    constant = torch.full((1, 1000, 1), said)
    noisy = torch.where(noise > 0, constant.nextafter(constant + 1), constant)
    target = 0.5 + 0.2 * noise.float()  # which follows the noise, so least squares would blow it up
    for level in (noisy, torch.full((1, 1000, 1), said, dtype=torch.float64)):
        tuning = assemble_field(level, target).tuning()
        assert float(tuning.alpha) == 1
        assert float(tuning.beta) == pytest.approx(float(target.mean()) - said, rel=1e-5, abs=1e-6)


def test_one_dead_network_leaves_the_others_alone():
    said, target = drawn(3, 50, 2), drawn(3, 50, 2, seed=1)
    said[1] = 0.25
    alpha, beta, _ = least_squares(said[::2], target[::2])
    tuning = assemble_field(said, target).tuning()
    np.testing.assert_allclose(tuning.alpha[::2], alpha, rtol=1e-5)
    np.testing.assert_allclose(tuning.beta[::2], beta, rtol=1e-5, atol=1e-6)
    assert torch.equal(tuning.alpha[1], torch.ones(1, 2))


def test_dead_networks_on_constant_channels_and_unseen_networks_are_finite():
    tuning = assemble_field(torch.full((1, 9, 1), 0.2), torch.full((1, 9, 1), 0.6)).tuning()
    assert float(tuning.alpha) == 0
    assert float(tuning.beta) == pytest.approx(0.6)
    nothing = Moments(2, 3, torch.device("cpu"))
    assert torch.equal(nothing.tuning().alpha, torch.ones(2, 1, 3))
    assert torch.equal(nothing.tuning().beta, torch.zeros(2, 1, 3))
    assert not bool(nothing.squared_errors().any())


def test_a_single_pixel_is_met_exactly():
    tuning = assemble_field(torch.tensor([[[0.3]]]), torch.tensor([[[0.8]]])).tuning()
    assert (float(tuning.alpha), float(tuning.beta)) == (0, pytest.approx(0.8))  # and has no slope


def test_sums_of_many_pixels_are_kept_exactly_and_on_their_device():
    """2^24 + 1 is no float32."""
    moments = Moments(1, 1, torch.device("cpu"))
    moments.add_sums(slice(None), torch.full((1, 1, 5), 2.0**24, dtype=torch.float64), 2**24)
    moments.add_sums(slice(None), torch.tensor([[[0.0, 1.0, 0.0, 0.0, 1.0]]], dtype=torch.float64), 1)
    assert float(moments.target_mean_and_deviation()[0]) == 1
    assert float(moments._count) == 2**24 + 1
    away = Moments(2, 3, torch.device("meta"))
    assert {away._sums.device.type, away._count.device.type} == {"meta"}
    assert (away._sums.dtype, away._count.dtype) == (torch.float64, torch.float64)


def test_tuning_moves_whole():
    moved = Tuning(torch.ones(1, 1, 3), torch.zeros(1, 1, 3)).to("meta")
    assert (moved.alpha.device.type, moved.beta.device.type) == ("meta", "meta")


def test_mean_and_deviation_are_those_of_the_target():
    target = drawn(2, 300, 3) * 0.1 + 0.4
    mean, deviation = assemble_field(drawn(2, 300, 3, seed=1), target).target_mean_and_deviation()
    assert mean.dtype == deviation.dtype == torch.float32
    np.testing.assert_allclose(mean, target.double().mean(1, keepdim=True), rtol=1e-6)
    np.testing.assert_allclose(deviation, target.double().std(1, correction=0, keepdim=True), rtol=1e-6)


def test_no_gradient_flows_through_the_moments():
    said = drawn(1, 20, 1).requires_grad_()
    tuning = assemble_field(said, drawn(1, 20, 1, seed=1)).tuning()
    assert not tuning.alpha.requires_grad
    assert not tuning.beta.requires_grad


# Application.


def test_beta_belongs_to_the_value_alone():
    said, alpha, beta = drawn(2, 4, 5, 3), drawn(2, 1, 3, seed=1), drawn(2, 1, 3, seed=2)
    found = Tuning(alpha, beta).apply(said)
    torch.testing.assert_close(found[:, 0], said[:, 0] * alpha + beta)
    for stream in (1, 2, 3):
        torch.testing.assert_close(found[:, stream], said[:, stream] * alpha)


def test_tuned_derivative_is_the_derivative_of_the_tuned_value():
    siren = Siren.init(2, width=6, depth=2, channels=2, generator=torch.Generator().manual_seed(0)).to(torch.float64)
    tuning = Tuning(drawn(2, 1, 2, dtype=torch.float64), drawn(2, 1, 2, seed=1, dtype=torch.float64))
    points = drawn(2, 7, 2, seed=2, dtype=torch.float64).requires_grad_()
    said = tuning.apply(siren(points, axes=(0, 1)))
    for channel in range(2):
        (expected,) = torch.autograd.grad(said[:, 0, :, channel].sum(), points, retain_graph=True)
        torch.testing.assert_close(said[:, 1:, :, channel].movedim(1, -1), expected, rtol=1e-10, atol=1e-10)


def test_selection_and_device():
    tuning = Tuning(drawn(4, 1, 2), drawn(4, 1, 2, seed=1))
    assert torch.equal(tuning.select(slice(1, 3)).alpha, tuning.alpha[1:3])
    assert torch.equal(tuning.select(torch.tensor([3, 3])).beta, tuning.beta[[3, 3]])
    assert torch.equal(tuning.to("cpu").alpha, tuning.alpha)
