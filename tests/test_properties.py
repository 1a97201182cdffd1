"""Properties of all images, fields and points, tested by hypothesis with the same cases every time."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.fields import with_parts

from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.serialization import dumps, loads
from eoren.image.gradients import STENCILS, adjusted_gradient, pixel_gradient
from eoren.image.spline import reference_gradient
from eoren.model.channel_tuning import Tuning
from eoren.model.moments import Moments
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling

few_examples = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
GRADIENTS = ["spline", *STENCILS]
names = st.sampled_from(GRADIENTS)
sides = st.integers(1, 24)
slope = st.floats(-100, 100, width=32)
images = st.tuples(sides, sides, st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-8, 8, width=32))
)


def gradient(image, name, extent=(1.0, 1.0)):
    if name == "spline":
        return reference_gradient(image, extent=extent)
    return adjusted_gradient(image, name, extent=extent)


def assert_close(actual, expected, scale=1.0):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-11 * max(1.0, scale))


# Gradients of images.


@few_examples
@given(names, sides, sides, slope, slope, slope)
def test_ramp(name, width, height, a, b, c):
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    gradients = gradient((a * x + b * y[:, None] + c)[..., None], name)
    assert_close(gradients[..., 0], np.broadcast_to(a if width > 1 else 0.0, (height, width, 1)), 1e5)
    assert_close(gradients[..., 1], np.broadcast_to(b if height > 1 else 0.0, (height, width, 1)), 1e5)


@few_examples
@given(names, images, slope, st.integers(0, 2**32 - 1))
def test_linear(name, image, factor, seed):
    other = np.random.default_rng(seed).normal(size=image.shape)
    combined = gradient(image + factor * other, name)
    assert_close(combined, gradient(image, name) + factor * gradient(other, name), 1e5)


@few_examples
@given(names, images)
def test_flips_negate_the_derivative_along_their_axis(name, image):
    if name != "forward":  # its offset is half a pixel
        for axis, component in ((1, 0), (0, 1)):
            signs = np.where(np.arange(2) == component, -1, 1)
            assert_close(gradient(np.flip(image, axis), name), signs * np.flip(gradient(image, name), axis), 1e4)


@few_examples
@given(names, images)
def test_transposing_exchanges_the_axes(name, image):
    assert_close(gradient(image.swapaxes(0, 1), name), gradient(image, name).swapaxes(0, 1)[..., ::-1], 1e4)


@few_examples
@given(names, images, st.floats(0.1, 10), st.floats(0.1, 10))
def test_gradients_are_inversely_proportional_to_the_extent(name, image, wide, high):
    assert_close(gradient(image, name, (wide, high)) * [wide, high], gradient(image, name), 1e4)


@few_examples
@given(names, st.integers(60, 130), st.integers(60, 130), st.data())
def test_cropping_and_differentiating_commute(name, width, height, data):
    image = np.random.default_rng(width * height).random((height, width, 1))
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    assert_close(pixel_gradient(image, name, box=(x0, y0, x1, y1)), pixel_gradient(image, name)[y0:y1, x0:x1], 10)


@few_examples
@given(images, st.floats(0.01, 50), slope)
def test_tuning_inverts_every_affine_map(image, contrast, offset):
    g = torch.from_numpy(image).reshape(1, -1, image.shape[2]).float().double()
    moments = Moments(1, image.shape[2], torch.device("cpu"))
    moments.add(slice(None), g, contrast * g + offset)
    alpha, beta = moments.tuning().alpha.double(), moments.tuning().beta.double()
    scale = contrast * 8 + abs(offset)
    # The map is exact even if the image is constant.
    torch.testing.assert_close(alpha * g + beta, contrast * g + offset, rtol=0, atol=1e-5 * max(1, scale))


# Fields.


def random_field(width, height, count, channels, seed, dtype=torch.float32):
    """Return a field of untrained networks."""
    generator = torch.Generator().manual_seed(seed)
    tiling = Tiling.single(width, height)
    if count > 1:
        detail = np.random.default_rng(seed).random((height, width)) + 0.1
        tiling = Tiling.by_detail(detail, count=count, halo=1.5, smallest=4)
    siren = Siren.init(tiling.count, width=16, depth=2, channels=channels, omega_first=8.0, generator=generator)
    alpha = torch.rand(tiling.count, 1, channels, generator=generator) + 0.5
    return Field(SirenMosaic(siren.to(dtype), Tuning(alpha.to(dtype), alpha.to(dtype) / 3), tiling))


fields = st.tuples(
    st.integers(8, 40), st.integers(8, 40), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**20)
)
point_sets = arrays(np.float64, st.tuples(st.integers(1, 20), st.just(2)), elements=st.floats(0, 1))


@few_examples
@given(fields, point_sets)
def test_weights_of_the_tiles_sum_to_one_and_their_derivatives_to_zero(case, xy):
    field = random_field(*case)
    blend = field.representation.tiling.blend(torch.from_numpy(xy))
    count = len(xy)
    assert (blend.weight >= 0).all()
    assert_close(torch.zeros(count, dtype=torch.float64).index_add(0, blend.point, blend.weight), 1.0)
    assert_close(torch.zeros(count, 2, dtype=torch.float64).index_add(0, blend.point, blend.grad), 0.0, 1e3)
    assert_close(
        torch.zeros(count, 2, dtype=torch.float64).index_add(0, blend.point, blend.second_derivatives), 0.0, 1e5
    )


@few_examples
@given(st.integers(10, 40), st.integers(10, 40), st.integers(1, 6), st.integers(0, 2**20), point_sets)
def test_the_blended_derivative_equals_the_finite_difference(width, height, count, seed, xy):
    field, step = random_field(width, height, count, 2, seed, torch.float64), 1e-5
    gradients = field.gradient(xy)
    for axis in range(2):
        ahead = xy + step * np.eye(2)[axis]
        behind = xy - step * np.eye(2)[axis]
        difference = (field.color(ahead) - field.color(behind)) / (2 * step)
        np.testing.assert_allclose(gradients[..., axis], difference, rtol=1e-4, atol=1e-4)


@few_examples
@given(fields, st.sampled_from([32, 16, 8]))
def test_files_keep_fields(case, bits):
    field = random_field(*case)
    once = loads(dumps(with_parts(field, bits=bits)))
    assert dumps(once) == dumps(with_parts(field, bits=bits))
    assert dumps(loads(dumps(once))) == dumps(once)
    assert (once.size, once.channels, once.representation.bits) == (field.size, field.channels, bits)
    if bits == 32:
        networks, originals = once.representation.siren, field.representation.siren
        for loaded, original in zip(networks.tensors(), originals.tensors(), strict=True):
            assert np.array_equal(loaded, original)


@pytest.mark.parametrize("engine", ["torch", "native"])
@few_examples
@given(fields, st.data())
def test_regions_are_parts_of_the_whole_rendering(engine, case, data):
    """A region of a grid has the colours of the whole grid, up to the rounding of the points."""
    field = random_field(*case)
    with pytest.MonkeyPatch.context() as patch:
        if engine == "torch":  # without the native engine, both cases use PyTorch
            patch.setenv("EOREN_ENGINE", engine)
        width, height = (2 ** data.draw(st.integers(2, 6)) for _ in "xy")
        x = sorted(data.draw(st.lists(st.integers(1, width - 1), max_size=2, unique=True)))
        y = sorted(data.draw(st.lists(st.integers(1, height - 1), max_size=2, unique=True)))
        whole = field.render(width, height)
        columns, rows = [0, *x, width], [0, *y, height]
        strips = []
        for top, bottom in pairwise(rows):
            parts = [
                field.render(
                    right - left, bottom - top, region=(left / width, top / height, right / width, bottom / height)
                )
                for left, right in pairwise(columns)
            ]
            strips.append(np.concatenate(parts, 1))
        np.testing.assert_allclose(np.concatenate(strips), whole, rtol=0, atol=2e-6)
