"""Both backends against the plain loss in float64, differentiated by PyTorch; their optimizers; whole fits."""

import warnings
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from tests.backends.targets import needs_library, targets

import eoren
from eoren.backends import dispatch
from eoren.backends import native_library as native
from eoren.backends.base import StepBatch
from eoren.backends.dispatch import BACKENDS
from eoren.backends.native import NativeBackend
from eoren.backends.native_training import FusedAdam, FusedMuon, NativeLossGradient
from eoren.backends.optimizers import Adam, Muon, orthogonalize
from eoren.backends.torch import TorchBackend, TorchLossGradient
from eoren.cli import main
from eoren.errors import BackendWarning, EorenError
from eoren.model.channel_tuning import Tuning
from eoren.model.loss import OBJECTIVES, Pass
from eoren.model.moments import Moments
from eoren.model.siren import Siren
from eoren.model.tile_pixels import TilePixels
from eoren.model.tiling import Tiling
from eoren.training.presets import make_settings
from eoren.training.trainer import Trainer

CPU = torch.device("cpu")
both_engines = pytest.mark.parametrize(
    "engine",
    [pytest.param(TorchLossGradient, id="torch"), pytest.param(NativeLossGradient, id="native", marks=needs_library)],
)


BACKEND_OF = {TorchLossGradient: TorchBackend(), NativeLossGradient: NativeBackend()}


def never():
    return False


@pytest.fixture
def forced(monkeypatch):
    """Compute with one engine, until the end of the test."""
    return lambda name: monkeypatch.setenv("EOREN_BACKEND", name)


# A step's problem, and its answer as one would write it without blocks, parts or forward derivatives.


def uneven(count):
    """A tiling whose tiles differ in size, several to one."""
    detail = 0.01 + np.random.default_rng(count).random((41, 53)) ** 9
    return Tiling.by_detail(detail, count=count, halo=1.5, smallest=2)


ONE = Tiling.single(11, 83)
FEW = Tiling(23, 17, 1.5, np.array([[0, 9], [-1, 0], [1, 5], [-1, 0], [0, 14], [-1, 0], [1, 11], [-1, 0], [-1, 0]], np.int32))  # fmt: skip  # noqa: E501
MANY, JUST_MANY, NOT_MANY = uneven(37), uneven(32), uneven(31)
EVERY = slice(None)


@dataclass(frozen=True)
class Problem:
    """Tiles of a tiling, targets at the pixels of the whole image, and networks."""

    tiling: Tiling
    group: slice
    image: np.ndarray
    slopes: np.ndarray
    siren: object
    tuning: Tuning

    @classmethod
    def drawn(cls, tiling, group=EVERY, *, width, depth, channels, seed=0):
        rng = np.random.default_rng(seed)
        size = tiling.height, tiling.width, channels
        image = rng.random(size).astype(np.float32)
        slopes = rng.normal(0, 0.2, (*size, 2)).astype(np.float32)
        generator = torch.Generator().manual_seed(seed)
        count = len(range(tiling.count)[group])
        siren = Siren.init(count, width=width, depth=depth, channels=channels, generator=generator)
        # Every layer has its own, so that none can stand for another.
        siren = replace(siren, omegas=(20.0, 31.0, 27.0, 34.0, 29.0)[:depth])
        alpha, beta = torch.rand(2, count, 1, channels, generator=generator)
        return cls(tiling, group, image, slopes, siren, Tuning(alpha + 0.3, beta))

    def patches(self):
        return TilePixels.of_tiles(self.image, self.tiling, self.group, device=CPU)

    def engine(self, kind):
        patches = self.patches()
        x0, y0, x1, y1 = self.tiling.box(self.group)
        return kind(
            self.siren, patches, torch.from_numpy(self.slopes[y0:y1, x0:x1].reshape(-1, *self.slopes.shape[2:]))
        )

    def differentiate(self, engine, tiles, points, passes, stop=never):
        """Squared errors, and the moments."""
        moments = Moments(self.siren.batch, self.siren.channels, CPU)
        return engine(StepBatch(tiles, points, passes, self.tuning), moments, stop), moments

    def answer(self, tiles, points, passes):
        """Gradients of the tiles' networks, squared errors, and moments; in float64."""
        places, middles, halves = [], [], []
        for x0, y0, x1, y1 in self.tiling.boxes[self.group][tiles.numpy()].tolist():
            halo = self.tiling.halo
            columns = np.array([j for j in range(self.tiling.width) if x0 - halo <= j + 0.5 <= x1 + halo])
            rows = np.array([i for i in range(self.tiling.height) if y0 - halo <= i + 0.5 <= y1 + halo])
            within = points.numpy() % (len(columns) * len(rows))
            places.append(np.stack([columns[within % len(columns)], rows[within // len(columns)]], -1))
            middles.append([[(a[0] + a[-1] + 1) / 2 for a in (columns, rows)]])
            halves.append([[max(len(columns), len(rows)) / 2]])
        place, middle, half = (torch.tensor(np.array(each)) for each in (places, middles, halves))
        color = torch.from_numpy(self.image).double()[place[..., 1], place[..., 0]]
        slope = torch.from_numpy(self.slopes).double()[place[..., 1], place[..., 0]]
        parameters = [p[tiles].double().requires_grad_() for p in self.siren.tensors()]
        weights, biases = parameters[: self.siren.depth + 1], parameters[self.siren.depth + 1 :]
        alpha, beta = self.tuning.alpha[tiles].double(), self.tuning.beta[tiles].double()
        total, squares = 0.0, torch.zeros(len(tiles), 2, dtype=torch.float64)
        moments = Moments(len(tiles), self.siren.channels, CPU)
        for each in passes:
            where = (place + 0.5 + torch.tensor(each.offset).double()).requires_grad_()
            z = (where - middle) / half
            for layer, omega in enumerate(self.siren.omegas):
                z = torch.sin(omega * (z @ weights[layer] + biases[layer]))
            said = z @ weights[-1] + biases[-1]
            moments.add(EVERY, said, color)
            errors = [alpha * said + beta - color]
            for axis in each.axes:
                derivative = [
                    torch.autograd.grad(said[..., c].sum(), where, create_graph=True)[0][..., axis]
                    for c in range(said.shape[-1])
                ]
                errors.append(alpha * torch.stack(derivative, -1) - slope[..., axis])
            for stream, (error, weight) in enumerate(zip(errors, each.weights, strict=True)):
                total = total + weight * error.square().mean((1, 2)).sum()
                squares[:, min(stream, 1)] += error.detach().square().sum((1, 2))
        found = torch.autograd.grad(total, parameters, allow_unused=True)
        gradients = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
        return gradients, squares, moments


def passes_of(objective, way):
    weights = OBJECTIVES[objective].stream_weights
    return {
        "x": [Pass((0,), weights((0,)))],
        "y": [Pass((1,), weights((1,)))],
        "both": [Pass((0, 1), weights((0, 1)))],
        "swapped": [Pass((1, 0), (weights(())[0], 0.3, 0.7))],
        "color": [Pass((), weights(()))],
        "forward": [
            Pass((axis,), weights((axis,), in_turn=False), at) for axis, at in enumerate([(0.5, 0.0), (0.0, 0.5)])
        ],
    }[way]


@dataclass(frozen=True)
class Case:
    """Shape of the networks, how many points, which tiles of which, and what is asked of them."""

    width: int
    depth: int
    channels: int
    points: int
    way: str
    objective: str = "sobolev"
    tiling: Tiling = ONE
    group: tuple[int | None, int | None] = (None, None)
    tiles: tuple[int, ...] | None = None

    def __str__(self):
        shape = f"{self.width}-{self.depth}-{self.channels}"
        return f"{shape}-{self.points}-{self.way}-{self.objective}-{self.tiling.count}"

    def problem(self):
        return _problem(self)

    def chosen(self):
        every = torch.arange(self.problem().siren.batch)
        return every if self.tiles is None else every[list(self.tiles)]

    def seen(self):
        """Pixels of the largest tile in disorder, and if these are too few, again."""
        most = max(self.problem().patches().most, self.points)
        return torch.randperm(most, generator=torch.Generator().manual_seed(self.points))[: self.points]

    def passes(self):
        return passes_of(self.objective, self.way)

    def answer(self):
        return _answer(self)


@cache
def _problem(case):
    return Problem.drawn(case.tiling, slice(*case.group), width=case.width, depth=case.depth, channels=case.channels)


@cache
def _answer(case):
    return case.problem().answer(case.chosen(), case.seen(), case.passes())


CASES = [
    Case(16, 1, 1, 1, "color", "pixel"),
    Case(16, 3, 3, 1000, "both", tiling=FEW),
    Case(16, 2, 2, 4200, "x", tiling=FEW, tiles=(3,)),
    Case(16, 4, 2, 1000, "color", "pixel", FEW, tiles=(0, 3)),
    Case(16, 5, 1, 255, "y", "gradient", FEW),
    Case(16, 2, 4, 256, "swapped", tiling=FEW),
    Case(16, 3, 3, 31, "x", "gradient", MANY, (5, 9)),
    Case(32, 2, 4, 7, "y", tiling=FEW),
    Case(32, 3, 3, 33, "x", tiling=MANY),
    Case(32, 3, 1, 300, "both", "gradient", NOT_MANY),
    Case(32, 3, 1, 300, "both", "gradient", JUST_MANY),
    Case(32, 4, 2, 384, "both", "sobolev", MANY, (3, 11), (0, 1, 6)),
    Case(48, 1, 4, 1000, "forward", "gradient", FEW),
    Case(48, 2, 1, 100, "forward", "gradient", FEW, tiles=(1, 2, 4)),
    Case(48, 3, 3, 8, "x", tiling=MANY, tiles=tuple(range(0, 37, 2))),
    Case(64, 4, 1, 32, "both", tiling=MANY),
    Case(64, 3, 3, 7, "color", "pixel", MANY),
    Case(80, 2, 3, 31, "forward", "gradient", MANY, tiles=tuple(range(2, 36))),
    Case(80, 3, 1, 33, "y", tiling=FEW),
    Case(96, 5, 4, 8, "x", tiling=FEW),
    Case(112, 3, 2, 1000, "y", "gradient"),
    Case(112, 2, 4, 1, "both"),
    Case(128, 2, 3, 100, "both", tiling=MANY, tiles=(0, 17, 36)),
    Case(128, 4, 1, 33, "x", "gradient"),
    Case(256, 5, 3, 300, "forward", "gradient"),
    Case(256, 2, 2, 40, "color", "pixel", FEW),
]
# Few numbers for every point, all ways through the code: for what is tried again and again.
SOME = [CASES[k] for k in (1, 3, 6, 8, 11, 13, 19)]

# Half of float32's spacing at 1: the largest relative error of one rounding.
UNIT = 2.0**-24


def tolerance_of(case):
    """Compute the error that float32 allows, as a share of the largest number of a network's tensor.

    - A sine layer's angle reaches 33 in these cases and is a sum of rounded products, so it is off by up to 64 units;
      every layer passes on the errors of the ones before it.
    - A sum of n terms is off by about sqrt(n) units of the sum of their absolute values, in any order of addition
      (Higham and Mary 2019, doi:10.1137/18M1226312). The terms of a gradient cancel: 8 leaves room for that.

    An error in a formula is orders of magnitude larger.
    """
    terms = case.points * case.channels * sum(1 + len(each.axes) for each in case.passes())
    return UNIT * (64 * case.depth + 8 * terms**0.5)


def assert_gradients(found, expected, tolerance):
    for one, right in zip(found, expected, strict=True):
        largest = right.flatten(1).abs().amax(1).reshape(-1, *[1] * (right.ndim - 1))
        worst = float(((one.double() - right).abs() - tolerance * largest).max())
        assert worst <= 1e-12, (tuple(right.shape), float(((one - right).abs() / largest).max()))


def assert_case(case, engine):
    tiles = case.chosen()
    gradients, expected, sums = case.answer()
    squares, moments = case.problem().differentiate(engine, tiles, case.seen(), case.passes())
    assert_gradients([g[tiles] for g in engine.gradients], gradients, tolerance_of(case))
    assert squares.dtype == torch.float32
    torch.testing.assert_close(squares.double(), expected, rtol=2e-6, atol=1e-8)
    # A fit of few points is ill conditioned: what it says at those points is not.
    tuning, right = moments.tuning(), sums.tuning()
    if case.points > 10:
        torch.testing.assert_close(tuning.alpha[tiles], right.alpha, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(tuning.beta[tiles], right.beta, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moments.squared_errors()[tiles], sums.squared_errors(), rtol=1e-4, atol=2e-6)
    others = torch.ones(case.problem().siren.batch, dtype=torch.bool)
    others[tiles] = False
    assert bool((tuning.alpha[others] == 1).all())  # not seen
    return moments


@both_engines
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_gradient_is_autograds_of_the_plain_loss(engine, case):
    assert_case(case, case.problem().engine(engine))


@needs_library
@pytest.mark.parametrize("case", SOME, ids=str)
@pytest.mark.parametrize("name", targets())
def test_the_gradient_is_autograds_on_every_target(target, name, case):
    assert target(name)
    assert native.target() == name
    assert_case(case, case.problem().engine(NativeLossGradient))


@both_engines
def test_nothing_is_left_from_the_step_before(engine):
    case = CASES[11]
    own = case.problem().engine(engine)
    tiles, points = torch.tensor([1, 2, 7]), torch.arange(200)
    case.problem().differentiate(own, tiles, points, passes_of("pixel", "color"))
    assert_case(case, own)


@needs_library
@pytest.mark.parametrize("case", [CASES[3], CASES[14]], ids=str)
def test_networks_that_sit_a_step_out_keep_the_gradients_they_had(case):
    own = case.problem().engine(NativeLossGradient)
    for gradient in own.gradients:
        gradient.fill_(7.0)
    assert_case(case, own)
    others = [k for k in range(case.problem().siren.batch) if k not in case.chosen()]
    assert others
    assert all(bool((gradient[others] == 7).all()) for gradient in own.gradients)


@both_engines
def test_parameters_may_move_between_steps(engine):
    case = CASES[8]
    moved = replace(
        case.problem(), siren=case.problem().siren.with_tensors([t.clone() for t in case.problem().siren.tensors()])
    )
    own = moved.engine(engine)
    moved.differentiate(own, case.chosen(), case.seen(), case.passes())
    for k, parameter in enumerate(moved.siren.tensors()):
        parameter.mul_(1 - 0.02 * k)
    moved.differentiate(own, case.chosen(), case.seen(), case.passes())
    expected, _, _ = moved.answer(case.chosen(), case.seen(), case.passes())
    assert_gradients(own.gradients, expected, tolerance_of(case))


@both_engines
def test_without_moments_the_gradients_are_the_same(engine):
    case = CASES[1]
    one, other = case.problem().engine(engine), case.problem().engine(engine)
    tiles, points, passes = case.chosen(), case.seen(), case.passes()
    squares, _ = case.problem().differentiate(one, tiles, points, passes)
    assert torch.equal(squares, other(StepBatch(tiles, points, passes, case.problem().tuning), None, never))
    assert all(torch.equal(a, b) for a, b in zip(one.gradients, other.gradients, strict=True))


@needs_library
@pytest.mark.parametrize("case", [CASES[1], CASES[3], CASES[8], CASES[9]], ids=str)
def test_threads_change_no_bit_of_a_gradient(threads, case):
    found = []
    for count in (1, 2, 3, 5, 64):
        threads(count)
        own = case.problem().engine(NativeLossGradient)
        squares, moments = case.problem().differentiate(own, case.chosen(), case.seen(), case.passes())
        found.append([*own.gradients, squares, moments.squared_errors(), moments.tuning().alpha])
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


# Optimisers.


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noise(shapes, step):
    """Gradients that differ in size from number to number."""
    return [drawn(*shape, seed=100 * step + k) * 10 ** drawn(*shape, seed=k) for k, shape in enumerate(shapes)]


def assert_near(found, expected, share):
    """As near as a share of the largest number."""
    assert (found.double() - expected).abs().max() <= share * expected.abs().max()


SHAPES = [(4, 2, 16), (4, 16, 16), (4, 1, 16), (4, 16, 3), (4, 1, 3), (4, 1, 1)]


@needs_library
@pytest.mark.parametrize("name", targets())
@pytest.mark.parametrize(("betas", "epsilon"), [((0.9, 0.999), 1e-12), ((0.5, 0.9), 1e-8), ((0.9, 0.99), 1e-2)])
def test_fused_adam_is_pytorchs(target, name, betas, epsilon):
    assert target(name)
    own = [0.01 * drawn(*shape) for shape in SHAPES]
    theirs = [p.double().requires_grad_() for p in own]
    fused = FusedAdam(own, betas, epsilon)
    reference = torch.optim.Adam(theirs, betas=betas, eps=epsilon)
    for step in range(30):
        gradients, rate = noise(SHAPES, step), 0.01
        given = [g.clone() for g in gradients]
        fused.step(gradients, rate)
        assert all(torch.equal(a, b) for a, b in zip(gradients, given, strict=True))
        reference.param_groups[0]["lr"] = rate
        for p, gradient in zip(theirs, gradients, strict=True):
            p.grad = gradient.double()
        reference.step()
        for p, q in zip(own, theirs, strict=True):
            # 0.999 and 1 less that, from float32, are off by 1e-8 and 1e-5 of themselves.
            assert (p.double() - q.detach()).abs().max() <= 1e-5 * 0.01 * (step + 1)


@needs_library
@pytest.mark.parametrize(
    "networks", [torch.tensor([1, 3]), torch.tensor([2]), torch.tensor([], dtype=torch.int64), slice(1, 3)]
)
@pytest.mark.parametrize(
    ("plain", "fused", "shapes"), [(Adam, FusedAdam, SHAPES), (Muon, FusedMuon, [(4, 16, 16)] * 2)]
)
def test_fused_steps_of_some_networks_are_the_plain_ones(plain, fused, shapes, networks):
    own = [0.01 * drawn(*shape) for shape in shapes]
    doubles = [p.double() for p in own]
    one, other = fused(own), plain(doubles)
    for step in range(3):
        gradients = noise(shapes, step)
        for chosen in (networks, slice(None)) if step == 1 else (networks,):
            before = [t.clone() for t in [*own, *one.state_dict().values()]]
            one.step(gradients, 0.01, chosen)
            other.step([g.double() for g in gradients], 0.01, chosen)
            sat_out = torch.ones(4, dtype=torch.bool)
            sat_out[chosen] = False
            for old, new in zip(before, [*own, *one.state_dict().values()], strict=True):
                assert new.ndim == 0 or torch.equal(old[sat_out], new[sat_out])
    for a, b in zip([*own, *one.state_dict().values()], [*doubles, *other.state_dict().values()], strict=True):
        assert_near(a, b, 2e-5)


@needs_library
@pytest.mark.parametrize("name", targets())
@pytest.mark.parametrize("n", [16, 48, 80, 112, 256])
def test_fused_muon_is_muon_in_float64(target, name, n):
    assert target(name)
    shapes = [(3, n, n)] * 2 if n < 100 else [(1, n, n)]
    own = [0.01 * drawn(*shape) for shape in shapes]
    doubles = [p.double() for p in own]
    one, other = FusedMuon(own), Muon(doubles)
    for step in range(3):
        gradients = noise(shapes, step)
        one.step(gradients, 0.1)
        other.step([g.double() for g in gradients], 0.1)
    for a, b in zip([*own, *one.state_dict().values()], [*doubles, *other.state_dict().values()], strict=True):
        assert_near(a, b, 1e-5)


@needs_library
@pytest.mark.parametrize("size", [1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_fused_muon_takes_gradients_of_any_size(size):
    p, gradient = torch.zeros(2, 32, 32), drawn(2, 32, 32)
    FusedMuon([p]).step([size * gradient], 1.0)
    # In the first step the look ahead is the gradient times a number.
    torch.testing.assert_close(p.double(), -orthogonalize(gradient.double()), rtol=0, atol=2e-5)


@needs_library
@pytest.mark.parametrize("fused", [FusedAdam, FusedMuon])
def test_without_a_gradient_nothing_moves(fused):
    own = [drawn(3, 16, 16), drawn(3, 16, 16, seed=1)]
    before = [p.clone() for p in own]
    optimizer = fused(own)
    for _ in range(2):
        optimizer.step([torch.zeros(3, 16, 16)] * 2, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(own, before, strict=True))
    # One network has a gradient, of one matrix.
    gradients = [torch.zeros(3, 16, 16), torch.zeros(3, 16, 16)]
    gradients[1][2] = drawn(16, 16, seed=2)
    optimizer.step(gradients, 0.5)
    moved = [[not torch.equal(p[k], q[k]) for k in range(3)] for p, q in zip(own, before, strict=True)]
    assert moved == [[False, False, False], [False, False, True]]


@needs_library
def test_no_hidden_matrices_leave_muon_nothing_to_do():
    optimizer = FusedMuon([])
    optimizer.step([], 0.1)
    assert optimizer.state_dict() == {}


@needs_library
@pytest.mark.parametrize(("plain", "fused"), [(Adam, FusedAdam), (Muon, FusedMuon)])
def test_what_optimisers_remember_has_one_layout(plain, fused):
    def kinds(optimizer):
        return [(t.shape, t.dtype) for t in optimizer.state_dict().values()]

    assert kinds(plain([drawn(3, 16, 16)])) == kinds(fused([drawn(3, 16, 16)]))


@needs_library
def test_threads_change_no_bit_of_the_optimisers_steps(threads):
    found = []
    for count in (1, 2, 3, 5):
        threads(count)
        own = [drawn(7, 48, 48, seed=k) for k in range(4)]
        adam, muon = FusedAdam(own[:2]), FusedMuon(own[2:])
        for step in range(3):
            gradients = noise([(7, 48, 48)] * 4, step)
            adam.step(gradients[:2], 0.1)
            muon.step(gradients[2:], 0.1)
        found.append([*own, *adam.state_dict().values(), *muon.state_dict().values()])
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


# Trainers.


def picture(height=45, width=60, channels=3, seed=0):
    """Waves that a small network can learn, and some noise."""
    y, x = np.mgrid[:height, :width]
    waves = 0.5 + 0.3 * np.sin(x[..., None] / [3, 4, 5, 7][:channels] + y[..., None] / [6, 3, 4, 9][:channels])
    noisy = waves + np.random.default_rng(seed).normal(0, 0.03, waves.shape)
    return noisy.clip(0, 1).astype(np.float32)


def trainer(seed=0, *, image=None, **changes):
    changes = {"width": 16, "tile": 12, "steps": 50} | changes
    return Trainer.of_image(
        picture() if image is None else image, make_settings("mosaic", **changes), seed=seed, device=CPU
    )


def snapshot(of):
    return {name: t.clone() for name, t in of.state_dict().items()}


def difference(one, other):
    """The largest of two trainers' parameters, against the length of a step."""
    return (
        max(
            float((a - b).abs().max())
            for a, b in zip(one.networks().tensors(), other.networks().tensors(), strict=True)
        )
        / one.settings.learning_rate
    )


WAYS = {
    "mosaic": {},
    "many": {"tile": 8},
    "wide": {"width": 48, "tile": 20, "depth": 4},
    "adam": {"optimizer": "adam", "learning_rate": 0.001, "tile": 30},
    "gradient": {"objective": "gradient", "width": 32, "alternate": False},
    "pixel": {"objective": "pixel", "batch": 40, "tile": 40},
    "forward": {"objective": "gradient", "filter": "forward", "alternate": False, "tile": 25},
    "single": {"tile": None, "width": 64},
}


@needs_library
@pytest.mark.parametrize("changes", WAYS.values(), ids=WAYS)
def test_trainers_of_both_engines_go_the_same_way(forced, changes):
    found = {}
    for engine in BACKENDS:
        forced(engine)
        own = trainer(**changes)
        found[engine] = own, [own.step(1.0) for _ in range(4)]
    (one, errors), (other, others) = found.values()
    assert difference(one, other) < 1e-3
    for a, b in zip(errors, others, strict=True):
        assert (a.color, a.gradient) == (
            None if b.color is None else pytest.approx(b.color, rel=1e-5),
            None if b.gradient is None else pytest.approx(b.gradient, rel=1e-5),
        )


@needs_library
@pytest.mark.parametrize("order", [("native", "torch"), ("torch", "native")], ids="-".join)
@pytest.mark.parametrize("changes", [WAYS["mosaic"], WAYS["adam"], WAYS["pixel"]], ids=["mosaic", "adam", "pixel"])
def test_one_engine_goes_on_where_the_other_stopped(forced, changes, order):
    first, second = order
    forced(first)
    one = trainer(**changes)
    for _ in range(3):
        one.step(1.0)
    state = snapshot(one)
    forced(second)
    other = trainer(seed=0, **changes)
    assert [(t.shape, t.dtype) for t in other.state_dict().values()] == [(t.shape, t.dtype) for t in state.values()]
    other.restore(state, 3)
    assert difference(one, other) == 0
    for _ in range(3):
        a, b = one.step(1.0), other.step(1.0)
        assert a.color == pytest.approx(b.color, rel=1e-5)
    assert difference(one, other) < 1e-3


@needs_library
@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_threads_change_no_bit_of_training(forced, threads, optimizer):
    forced("native")
    found = []
    for count in (1, 2, 3, 5):
        threads(count)
        own = trainer(optimizer=optimizer)
        for _ in range(24):  # more than all tiles' first twenty
            own.step(1.0)
        found.append([*own.state_dict().values()])
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


@both_engines
def test_a_step_given_up_moves_nothing(monkeypatch, engine):
    monkeypatch.setattr("eoren.training.trainer.choose_backend", lambda siren, warn: BACKEND_OF[engine])
    own = trainer()
    own.step(1.0)
    before = snapshot(own)
    assert own.step(1.0, should_stop=lambda: True) is None
    assert (own.steps_done, own.siren.batch > 1) == (1, True)
    assert all(torch.equal(before[name], tensor) for name, tensor in own.state_dict().items())


LARGE = {
    "parts": {"tile": None, "width": 128, "depth": 5, "batch": None},
    "tiles": {"tile": 32, "width": 128, "depth": 5, "batch": None},
}


@both_engines
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("changes", LARGE.values(), ids=LARGE)
def test_a_large_step_is_given_up_in_the_midst_of_it(monkeypatch, threads, engine, changes, count):
    monkeypatch.setattr("eoren.training.trainer.choose_backend", lambda siren, warn: BACKEND_OF[engine])
    threads(count)
    own = trainer(image=picture(200, 300), **changes)
    before, asked = snapshot(own), []

    def stop():
        asked.append(None)
        return len(asked) > 2

    assert own.step(1.0, stop) is None
    assert len(asked) == 3
    assert own.steps_done == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in own.state_dict().items())


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(TorchLossGradient, id="torch"),
        pytest.param(NativeLossGradient, id="native", marks=needs_library),
    ],
)
@pytest.mark.parametrize("raised", [KeyboardInterrupt, ValueError])
def test_what_is_raised_within_a_step_reaches_the_caller(monkeypatch, engine, raised):
    """Ctrl-C is raised by whatever Python code runs next: what asks whether to stop."""
    monkeypatch.setattr("eoren.training.trainer.choose_backend", lambda siren, warn: BACKEND_OF[engine])
    own = trainer(image=picture(200, 300), **LARGE["parts"])
    asked = []

    def stop():
        asked.append(None)
        if len(asked) > 1:
            raise raised
        return False

    with pytest.raises(raised):
        own.step(1.0, stop)


# Whole fits.


FITS = {
    "small": {"width": 16, "tile": 15},
    "wide": {"width": 48, "tile": 30},
    "gradient": {"width": 16, "tile": 15, "objective": "gradient", "filter": "central"},
    "pixel": {"width": 16, "tile": 15, "objective": "pixel"},
    "forward": {"width": 16, "tile": 20, "objective": "gradient", "filter": "forward"},
    "paper": {"preset": "paper", "width": 16},
}


@needs_library
@pytest.mark.parametrize("changes", FITS.values(), ids=FITS)
def test_fits_of_both_engines_are_as_good(forced, changes):
    measured = []
    for engine in BACKENDS:
        forced(engine)
        result = eoren.fit(picture(), steps=15, seed=1, **{"preset": "mosaic", **changes})
        measured.append(result.metrics)
    one, other = measured
    assert one.psnr > 10
    assert one.psnr == pytest.approx(other.psnr, abs=0.01)
    assert one.gradient_psnr == pytest.approx(other.gradient_psnr, abs=0.01)
    assert one.ssim == pytest.approx(other.ssim, abs=1e-3)


@needs_library
def test_a_seed_means_the_same_bytes(forced, threads):
    forced("native")
    found = []
    for count in (1, 1, 3):
        threads(count)
        result = eoren.fit(picture(), preset="mosaic", steps=30, seed=7, width=16, tile=9)
        rendered = [result.field.render(70, 50, show=show) for show in ("color", "gradient", "laplacian")]
        found.append(
            (
                [t.numpy().tobytes() for t in result.field.representation.siren.tensors()],
                [r.tobytes() for r in rendered],
                result.metrics.as_dict(),
            )
        )
    assert found[0] == found[1] == found[2]


@needs_library
def test_a_longer_fit_learns(forced):
    forced("native")
    few, many = (eoren.fit(picture(), preset="mosaic", steps=steps, width=16, tile=15).metrics for steps in (5, 150))
    assert many.psnr > few.psnr + 5
    assert many.gradient_psnr > few.gradient_psnr + 5


# Which engine.


def chosen(**changes):
    return type(trainer(**changes)._backend)


def test_torch_is_chosen_where_requested_or_where_native_cannot(forced):
    assert chosen(width=20) is TorchBackend
    forced("torch")
    assert chosen(width=16) is TorchBackend


@needs_library
def test_native_is_taken_where_it_can(monkeypatch):
    monkeypatch.delenv("EOREN_BACKEND", raising=False)
    assert chosen(width=16) is NativeBackend
    assert chosen(width=256, depth=5, tile=None) is NativeBackend
    assert chosen(width=272, tile=None) is TorchBackend
    assert chosen(depth=6) is TorchBackend


def test_without_the_library_pytorch_does_it_all(monkeypatch):
    monkeypatch.delenv("EOREN_BACKEND", raising=False)
    monkeypatch.setattr("eoren.backends.native.library", lambda: None)
    assert chosen(width=16) is TorchBackend
    result = eoren.fit(picture(), preset="mosaic", steps=3, width=16)
    assert result.field.render(9, 7, show="laplacian").shape == (7, 9, 3)
    monkeypatch.setenv("EOREN_BACKEND", "native")
    with pytest.raises(EorenError, match=r"EOREN_BACKEND is native, but .* was not built.*installing"):
        trainer(width=16)


def test_the_slower_engine_is_said_once(monkeypatch, forced):
    monkeypatch.delenv("EOREN_BACKEND", raising=False)
    monkeypatch.setattr("eoren.backends.native.library", lambda: None)
    dispatch._warn_once.cache_clear()
    with pytest.warns(BackendWarning, match=r"PyTorch does the work, several times slower.*not built"):
        trainer(width=16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(width=16)
    dispatch._warn_once.cache_clear()
    forced("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(width=16)  # as it was asked for


def test_the_command_line_says_it_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("EOREN_BACKEND", raising=False)
    dispatch._warn_once.cache_clear()
    eoren.write_image(tmp_path / "a.png", picture(12, 13))
    options = ["--preset", "mosaic", "--set", "width=20", "--steps", "1"]
    arguments = ["fit", str(tmp_path / "a.png"), "-o", str(tmp_path / "a.eoren"), *options]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--quiet"])
    assert ended.value.code == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("eoren: PyTorch does the work, several times slower than the native backend: ")


@pytest.mark.parametrize(
    ("engine", "changes", "said"),
    [
        ("native", ["width=20"], "width must be one of 16, 32 ... 256, got 20"),
        ("native", ["depth=6", "width=16"], "depth must be at most 5 sine layers, got 6"),
        ("cuda", ["width=16"], "EOREN_BACKEND must be one of native, torch, got 'cuda'; set one, or unset it"),
    ],
)
def test_the_command_line_refuses_an_engine_that_cannot(monkeypatch, forced, tmp_path, capsys, engine, changes, said):
    if engine == "native" and native.library() is None:
        pytest.skip("the native engine is not built here")
    monkeypatch.chdir(tmp_path)
    np.save("tiny.npy", picture(20, 24))
    forced(engine)
    settings = [word for change in changes for word in ("--set", change)]
    with pytest.raises(SystemExit) as ended:
        main(["fit", "tiny.npy", "-o", "tiny.eoren", "--preset", "mosaic", "--steps", "2", *settings])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("eoren: ")
    assert said in err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.npy"]
