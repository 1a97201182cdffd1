import pytest
import torch

from eoren.backends.optimizers import Adam, Muon, Optimizer, orthogonalize


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def noise(shapes, step, dtype=torch.float64):
    """Gradients that differ in size from number to number."""
    return [
        drawn(*shape, seed=100 * step + k, dtype=dtype) * 10.0 ** drawn(*shape, seed=k, dtype=dtype)
        for k, shape in enumerate(shapes)
    ]


# Adam.


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
@pytest.mark.parametrize("epsilon", [1e-12, 1e-8, 1e-2])
def test_adam_is_pytorchs(betas, epsilon):
    shapes = [(2, 3, 4), (2, 1, 4), (5,)]
    own = [drawn(*shape) for shape in shapes]
    theirs = [p.clone().requires_grad_() for p in own]
    adam = Adam(own, betas, epsilon)
    reference = torch.optim.Adam(theirs, betas=betas, eps=epsilon)
    for step in range(30):
        rate = 0.01 / (1 + step)
        gradients = noise(shapes, step)
        adam.step(gradients, rate)
        reference.param_groups[0]["lr"] = rate
        for p, gradient in zip(theirs, gradients, strict=True):
            p.grad = gradient.clone()
        reference.step()
        for p, q in zip(own, theirs, strict=True):
            torch.testing.assert_close(p, q.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1e-9, 1e-4, 1.0, 1e6])
def test_adams_first_step_has_the_length_of_the_rate_whatever_the_gradients_size(size):
    p = torch.zeros(4)
    Adam([p]).step([size * torch.tensor([1.0, -2.0, 0.5, 0.0])], 0.1)
    torch.testing.assert_close(p, 0.1 * torch.tensor([-1.0, 1.0, -1.0, 0.0]), rtol=2e-3, atol=0)


def test_adam_leaves_what_has_no_gradient_and_what_it_is_given():
    p, g = drawn(3), torch.zeros(3, dtype=torch.float64)
    before = p.clone()
    Adam([p]).step([g], 0.5)
    assert torch.equal(p, before)
    g = drawn(3, seed=1)
    given = g.clone()
    Adam([p]).step([g], 0.5)
    assert torch.equal(g, given)


# Muon and its orthogonalisation.


def conditioned(n, smallest, seed=0, dtype=torch.float64):
    """A random matrix with singular values spread evenly, in ratio, from 1 down to ``smallest``."""
    u, _, v = torch.linalg.svd(drawn(n, n, seed=seed))
    s = torch.logspace(0, torch.log10(torch.tensor(smallest)).item(), n, dtype=torch.float64)
    return (u @ torch.diag(s) @ v).to(dtype)


def quintic(s, iterations=5):
    """What the iteration does to singular values: s / |s|, then 3.4445 s - 4.775 s^3 + 2.0315 s^5."""
    s = s / s.norm()
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return s


@pytest.mark.parametrize("n", [1, 2, 7, 40])
@pytest.mark.parametrize("iterations", [1, 5])
def test_orthogonalize_acts_on_singular_values_alone(n, iterations):
    matrices = drawn(3, n, n)
    found = orthogonalize(matrices, iterations)
    for matrix, result in zip(matrices, found, strict=True):
        u, s, v = torch.linalg.svd(matrix)
        torch.testing.assert_close(result, u @ torch.diag(quintic(s, iterations)) @ v, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("n", [2, 16, 64, 256])
@pytest.mark.parametrize("smallest", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_orthogonalize_makes_singular_values_about_one_and_keeps_singular_vectors(n, smallest, dtype):
    matrix = conditioned(n, smallest, dtype=dtype)
    found = orthogonalize(matrix[None])[0].double()
    u, _, v = torch.linalg.svd(matrix.double())
    middle = u.mT @ found @ v.mT
    assert middle.diagonal().min() > 0.6
    assert middle.diagonal().max() < 1.3
    assert (middle - torch.diag(middle.diagonal())).abs().max() < 1e-3


def test_orthogonalize_lifts_small_singular_values():
    """At most 3.4445^5 = 485 times: those of 1/1000 of the largest do not come all the way."""
    found = torch.linalg.svdvals(orthogonalize(conditioned(8, 1e-3)[None])[0])
    assert found.min() > 0.4
    assert found.max() < 1.3


@pytest.mark.parametrize("size", [1e-35, 1e-25, 1e-15, 1e-6, 1e6, 1e15, 1e25, 1e35])
def test_orthogonalize_takes_matrices_of_any_scale(size):
    matrices = drawn(2, 8, 8, dtype=torch.float32)
    torch.testing.assert_close(orthogonalize(size * matrices), orthogonalize(matrices), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [1e-44, 1e-40, 1e-38, 1e37])
def test_orthogonalize_stays_bounded_at_the_ends_of_float32(size):
    found = orthogonalize(size * drawn(2, 8, 8, dtype=torch.float32))
    assert found.isfinite().all()
    assert torch.linalg.svdvals(found).max() < 1.3


def test_a_zero_matrix_stays_zero_beside_others():
    matrices = drawn(3, 5, 5, dtype=torch.float32)
    matrices[1] = 0
    found = orthogonalize(matrices)
    assert not found[1].any()
    assert found[[0, 2]].abs().sum() > 1


@pytest.mark.parametrize("batch", [(1,), (6,), (0,), (2, 3), (2, 1, 3)], ids=str)
def test_a_batch_is_orthogonalized_one_by_one(batch):
    matrices = drawn(*batch, 6, 6)
    found = orthogonalize(matrices)
    assert found.shape == matrices.shape
    flat = matrices.reshape(-1, 6, 6)
    alone = torch.cat([flat[:0], *(orthogonalize(matrix[None]) for matrix in flat)])
    torch.testing.assert_close(found.reshape(-1, 6, 6), alone, rtol=1e-12, atol=1e-12)


def test_a_single_matrix_needs_no_batch():
    matrix = drawn(6, 6)
    torch.testing.assert_close(orthogonalize(matrix), orthogonalize(matrix[None])[0], rtol=1e-12, atol=1e-12)


def test_muon_is_nesterov_momentum_through_the_quintic():
    shapes = [(2, 6, 6), (2, 6, 6)]
    own = [drawn(*shape) for shape in shapes]
    expected = [p.clone() for p in own]
    momenta = [torch.zeros_like(p) for p in own]
    muon = Muon(own, momentum=0.9)
    for step in range(4):
        gradients = noise(shapes, step)
        given = [g.clone() for g in gradients]
        muon.step(gradients, 0.02)
        assert all(torch.equal(a, b) for a, b in zip(gradients, given, strict=True))
        for p, m, g in zip(expected, momenta, gradients, strict=True):
            m.copy_(0.9 * m + 0.1 * g)
            u, s, v = torch.linalg.svd(0.1 * g + 0.9 * m)
            p -= 0.02 * u @ torch.diag_embed(torch.stack([quintic(each) for each in s])) @ v
        for p, q in zip(own, expected, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-7, atol=1e-7)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
def test_muon_is_pytorchs():
    own = conditioned(16, 0.3, dtype=torch.float32)[None].clone()
    theirs = own[0].clone().requires_grad_()
    muon = Muon([own])
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.0, momentum=0.95, nesterov=True)
    for step in range(5):
        gradient = conditioned(16, 0.3, seed=step, dtype=torch.float32)
        muon.step([gradient[None]], 0.02)
        theirs.grad = gradient.clone()
        reference.step()
    moved = own[0] - conditioned(16, 0.3, dtype=torch.float32)
    # PyTorch iterates in bfloat16, which has three digits.
    assert (own[0] - theirs.detach()).norm() < 0.03 * moved.norm()


def test_muon_without_matrices_does_nothing():
    muon = Muon([])
    muon.step([], 0.1)
    assert muon.state_dict() == {}


@pytest.mark.parametrize("kind", [Adam, Muon])
def test_state_put_back_goes_on_bit_for_bit(kind):
    shapes = [(2, 4, 4), (2, 4, 4)]
    straight = [drawn(*shape) for shape in shapes]
    optimizer = kind(straight)
    for step in range(3):
        optimizer.step(noise(shapes, step), 0.05)
    resumed = [p.clone() for p in straight]
    other = kind(resumed)
    for own, stored in zip(
        other.state_dict().values(), [t.clone() for t in optimizer.state_dict().values()], strict=True
    ):
        own.copy_(stored)
    for step in range(3, 6):
        optimizer.step(noise(shapes, step), 0.05)
        other.step(noise(shapes, step), 0.05)
    assert all(torch.equal(a, b) for a, b in zip(straight, resumed, strict=True))


@pytest.mark.parametrize("kind", [Adam, Muon])
def test_parameters_move_in_place_and_networks_on_their_own(kind):
    both = drawn(2, 4, 4)
    alone = both[:1].clone()
    address = both.data_ptr()
    together, single = kind([both]), kind([alone])
    for step in range(4):
        gradient = drawn(2, 4, 4, seed=step)
        gradient[1] *= 1e6  # a neighbour in trouble
        together.step([gradient], 0.1)
        single.step([gradient[:1].clone()], 0.1)
    assert both.data_ptr() == address
    torch.testing.assert_close(both[:1], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [Adam, Muon])
def test_kinds_are_optimizers(kind):
    assert isinstance(kind([drawn(1, 2, 2)]), Optimizer)
    assert not isinstance(drawn(1), Optimizer)


@pytest.mark.parametrize("kind", [Adam, Muon])
def test_a_missing_gradient_is_noticed(kind):
    with pytest.raises(ValueError, match="zip"):
        kind([drawn(1, 2, 2), drawn(1, 2, 2)]).step([drawn(1, 2, 2)], 0.1)


# Some networks of a batch.


@pytest.mark.parametrize("kind", [Adam, Muon])
def test_the_others_stay_and_forget_nothing(kind):
    """Networks that are chosen move as in a batch of their own; the rest is not touched."""
    shapes = [(5, 4, 4), (5, 4, 4)]
    chosen = torch.tensor([0, 3])
    together, alone = [drawn(*shape) for shape in shapes], [drawn(*shape)[chosen] for shape in shapes]
    one, other = kind(together), kind(alone)
    for step in range(4):
        gradients = noise(shapes, step)
        before = [p.clone() for p in together]
        memory = [t.clone() for t in one.state_dict().values() if t.ndim]
        one.step(gradients, 0.1, chosen)
        other.step([g[chosen] for g in gradients], 0.1)
        for p, q, old in zip(together, alone, before, strict=True):
            torch.testing.assert_close(p[chosen], q, rtol=1e-12, atol=1e-12)
            assert torch.equal(p[[1, 2, 4]], old[[1, 2, 4]])
        for now, old in zip([t for t in one.state_dict().values() if t.ndim], memory, strict=True):
            assert torch.equal(now[[1, 2, 4]], old[[1, 2, 4]])
