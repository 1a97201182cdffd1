"""The native distortion against the PyTorch reference in float64."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
import torch
from tests.backends.targets import needs_library, targets
from tests.model.latents.test_distortion import make_problem

from eoren.backends import native
from eoren.backends.dispatch import choose_distortion
from eoren.backends.latents.native_distortion import NativeDistortion
from eoren.coding.bands import Box
from eoren.errors import EorenError
from eoren.model.latents.distortion import DistortionTarget, distortion
from eoren.model.latents.wavelet import Subbands, flatten, unflatten

pytestmark = needs_library

SHAPES = (  # channels, rows, columns, levels
    (1, 1, 1, 0),
    (3, 7, 9, 0),
    (1, 1, 40, 3),
    (2, 40, 1, 3),
    (3, 2, 3, 1),
    (4, 17, 2, 1),
    (1, 9, 8, 2),
    (3, 37, 53, 2),
    (3, 64, 48, 3),
    (2, 45, 131, 3),
    (3, 100, 133, 6),
)


def in_single(target):
    return replace(target, image=target.image.float())


def single(bands):
    return unflatten([band.float() for band in flatten(bands)])


def differentiate(function, bands):
    tensors = [band.detach().requires_grad_() for band in flatten(bands)]
    result = function(unflatten(tensors))
    gradient = torch.autograd.grad(result.total, tensors, materialize_grads=True, allow_unused=True)
    return result._replace(total=result.total.detach()), torch.cat([by.flatten() for by in gradient])


@pytest.mark.parametrize("shape", SHAPES)
def test_errors_and_gradients_are_those_of_the_reference(target, shape):
    image, bands = make_problem(*shape)
    rows, columns = shape[1:3]
    for inner in (Box(0, 0, columns, rows), Box(columns // 3, rows // 4, columns - columns // 5, rows)):
        wanted = DistortionTarget(image, inner, 0.3)
        expected, gradient = differentiate(partial(distortion, target=wanted), bands)
        for name in targets():
            target(name)
            found, by_bands = differentiate(NativeDistortion(in_single(wanted)), single(bands))
            # Errors of about 0.1 are differences of numbers up to 1; sums of some 100 of them have 2**-24 each.
            assert found.color == pytest.approx(expected.color, rel=1e-5)
            assert found.gradient == pytest.approx(expected.gradient, rel=1e-5, abs=1e-12)
            assert float(found.total) == pytest.approx(float(expected.total), rel=1e-5)
            torch.testing.assert_close(by_bands.double(), gradient, rtol=0, atol=1e-5 * float(gradient.abs().max()))


@pytest.mark.parametrize("name", targets())
def test_results_do_not_depend_on_the_number_of_threads(target, threads, name):
    target(name)
    image, bands = make_problem(3, 150, 170, 4)
    function = NativeDistortion(DistortionTarget(image.float(), Box(5, 0, 170, 140), 0.1))
    threads(1)
    expected, gradient = differentiate(function, single(bands))
    for count in (2, 3, 5):
        threads(count)
        found, by_bands = differentiate(function, single(bands))
        assert found == expected
        assert torch.equal(by_bands, gradient)


def test_an_object_serves_several_threads():
    image, _ = make_problem(2, 50, 60, 3)
    inputs = [single(make_problem(2, 50, 60, 3, seed=seed)[1]) for seed in range(4)]
    function = NativeDistortion(DistortionTarget(image.float(), Box(0, 0, 60, 50), 0.1))
    expected = [function(bands).color for bands in inputs]
    with ThreadPoolExecutor(4) as pool:
        assert [result.color for result in pool.map(function, inputs * 5)] == expected * 5


def test_totals_are_scaled_and_bands_may_be_views():
    image, bands = make_problem(2, 32, 48, 2)
    function = NativeDistortion(DistortionTarget(image.float(), Box(0, 0, 48, 32), 0.1))
    _, gradient = differentiate(function, single(bands))
    tensors = [torch.stack([band.float(), band.float()], -1)[..., 0].requires_grad_() for band in flatten(bands)]
    (0.25 * function(unflatten(tensors)).total).backward()
    torch.testing.assert_close(torch.cat([t.grad.flatten() for t in tensors]), gradient / 4)
    assert not function(single(bands)).total.requires_grad


def test_shapes_are_checked():
    image, bands = make_problem(2, 21, 30, 1)
    function, bands = NativeDistortion(DistortionTarget(image.float(), Box(0, 0, 30, 21), 0.1)), single(bands)
    horizontal, vertical, diagonal = bands.details[0]
    for wrong in (
        bands._replace(coarse=bands.coarse[:, 1:]),
        Subbands(bands.coarse, (type(bands.details[0])(vertical, horizontal, diagonal),)),
        Subbands(bands.coarse, (type(bands.details[0])(horizontal, vertical, diagonal[:1]),)),
        Subbands(bands.coarse, ()),
    ):
        with pytest.raises(ValueError, match=r"^bands must have the shapes \[\(2, "):
            function(wrong)


@pytest.mark.parametrize("inner", [Box(-1, 0, 5, 5), Box(0, 0, 31, 21), Box(0, 0, 30, 22), Box(9, 0, 8, 21)])
def test_a_box_outside_of_the_image_is_refused(inner):
    with pytest.raises(ValueError, match=r"^inner must be a box of the 30 x 21 pixels, got "):
        NativeDistortion(DistortionTarget(torch.zeros(2, 21, 30), inner, 0.1))


def test_native_is_chosen_where_it_can_compute(monkeypatch):
    for variable in ("EOREN_BACKEND", "EOREN_ENGINE"):
        monkeypatch.delenv(variable, raising=False)
    image = torch.zeros(1, 8, 8)
    target = DistortionTarget(image, Box(0, 0, 8, 8), 0.1)
    assert isinstance(choose_distortion(target), NativeDistortion)
    for unsuitable, obstacle in (
        (image.double(), "the native backend computes in float32"),
        (image.to("meta"), "the native backend computes on the CPU, not on meta"),
        (image.expand(5, -1, -1), "channels must be at most 4, got 5"),
    ):
        other = replace(target, image=unsuitable)
        assert NativeDistortion.obstacle(other) == obstacle
        assert not isinstance(choose_distortion(other), NativeDistortion)
        with pytest.raises(ValueError, match=r"^the image must suit the native backend, but .*; use distortion$"):
            NativeDistortion(other)
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    assert not isinstance(choose_distortion(target), NativeDistortion)
    monkeypatch.setenv("EOREN_BACKEND", "native")
    with pytest.raises(EorenError, match=r"^EOREN_BACKEND is native, but .* float32; unset it"):
        choose_distortion(replace(target, image=image.double()))
    monkeypatch.delenv("EOREN_BACKEND")
    monkeypatch.setattr(native, "library", lambda: None)
    assert not isinstance(choose_distortion(target), NativeDistortion)
