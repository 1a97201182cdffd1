"""The shader of a compact field in Chromium's WebGL, compared pixel by pixel with the field in float64."""

import numpy as np
import pytest
import torch
from tests.export.shaders import BY_X, BY_Y, COLOR, MAGNITUDE, ShaderRunner
from tests.fields import compact_field, doubled

from eoren.errors import EorenError
from eoren.export.compact import glsl as module
from eoren.export.compact.glsl import spline_coefficients
from eoren.export.glsl import data_path, field_shader, write_glsl
from eoren.model.latents.edge_prior import VERSION
from eoren.model.latents.spline_basis import coefficient_matrix
from eoren.visualization.derivatives import magnitude_image

# Of the largest value: rounding in float32, and arguments of sines of up to fifty in these random fields.
CLOSE = 3e-5


@pytest.fixture(scope="module")
def draw_shader(browser, tmp_path_factory):
    """Function that draws layers of a field from its files; see :class:`tests.export.shaders.ShaderRunner`."""
    return ShaderRunner(browser, tmp_path_factory.mktemp("shader"))


def reference(field, x, y):
    """Colour and derivatives per pixel on a grid of positions in pixels, as the shader returns them."""
    grid = np.stack(np.meshgrid(np.asarray(x) / field.size[0], np.asarray(y) / field.size[1]), -1)
    jet = doubled(field).jet(
        torch.from_numpy(grid.reshape(-1, 2)), gradient=True, extent=tuple(map(float, field.size))
    )
    color, gradient = (
        values.reshape(*grid.shape[:2], *values.shape[1:]).numpy() for values in (jet.color, jet.gradient)
    )
    return color, gradient[..., 0], gradient[..., 1]


def assert_same(drawn, expected):
    for one, other in zip(drawn, expected, strict=True):
        assert np.abs(one[..., : other.shape[-1]] - other).max() <= CLOSE * max(1, np.abs(other).max())


def with_alpha(color):
    """Colours as the shader draws them: gray in three channels, and alpha."""
    channels = color.shape[-1]
    rgb, alpha = (color[..., :3], color[..., 3:]) if channels > 2 else (color[..., :1], color[..., 1:])
    return np.concatenate([np.broadcast_to(rgb, (*color.shape[:2], 3)), alpha], -1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("siren_width", "prior"), [(0, 0), (16, 0), (32, 0), (0, VERSION), (16, VERSION)])
def test_the_shader_equals_the_field(draw_shader, channels, siren_width, prior):
    field = compact_field(45, 37, channels, siren_width=siren_width, prior=prior)
    x, y = ((np.arange(n) + 0.5) * side / n for n, side in zip((13, 11), field.size, strict=True))
    color, by_x, by_y = reference(field, x, y)
    drawn = draw_shader(field, [COLOR, BY_X, BY_Y])
    assert_same(drawn, [with_alpha(color), by_x, by_y])
    if channels in (1, 3):
        assert (drawn[0, ..., 3] == 1).all()


@pytest.mark.parametrize("size", [(64, 48), (1, 40), (40, 1), (5, 7), (1, 1)], ids=str)
def test_any_size(draw_shader, size):
    field = compact_field(*size, 3, siren_width=16, prior=VERSION)
    x, y = ((np.arange(n) + 0.5) * side / n for n, side in zip((13, 11), field.size, strict=True))
    assert_same(draw_shader(field, [COLOR, BY_X, BY_Y]), reference(field, x, y))


@pytest.mark.parametrize("prior", [0, VERSION])
def test_beyond_the_borders(draw_shader, prior):
    """From two and a half pixels outside on one side to two and a half outside on the other."""
    field = compact_field(8, 6, 3, prior=prior)
    x, y = np.arange(13) + 0.25 - 2.5, np.arange(11) + 0.25 - 2.5
    drawn = draw_shader(field, [COLOR, BY_X, BY_Y], base=(-3, -3), offset=(0.25, 0.25), step=(1.0, 1.0))
    assert_same(drawn, reference(field, x, y))


def test_magnitude_is_that_of_eoren(draw_shader):
    field = compact_field(26, 22, 3, siren_width=16)
    x, y = 2 * np.arange(13) + 1, 2 * np.arange(11) + 1
    gradient = np.stack(reference(field, x, y)[1:], -1).astype(np.float32)
    np.testing.assert_allclose(draw_shader(field, [MAGNITUDE])[0, ..., :1], magnitude_image(gradient), rtol=1e-4)


@pytest.mark.parametrize("prior", [0, VERSION])
def test_zoom_far_into_a_large_image(draw_shader, prior):
    """Steps of a millionth of a pixel: one point for float32 alone."""
    field, step = compact_field(3000, 9, 1, prior=prior), 2.0**-20
    drawn = draw_shader(field, [COLOR, BY_X], base=(2777, 4), offset=(0.25, 0.5), step=(step, step))
    columns, rows = ((np.arange(n) + 0.5) * step for n in (13, 11))
    color, by_x, _ = reference(field, 2777.25 + columns, 4.5 + rows)
    assert_same(drawn[:1, ..., :1], [color])
    assert_same(drawn[1:], [by_x])


@pytest.mark.parametrize("length", [1, 2, 5, 40, 100])
def test_spline_coefficients_are_those_of_the_matrix(length):
    samples = np.random.default_rng(length).random((length, 3)).astype(np.float32)
    expected = coefficient_matrix(length) @ samples @ coefficient_matrix(3).T
    np.testing.assert_allclose(spline_coefficients(samples), expected, atol=2e-6)


def test_textures_are_written_beside_the_shader(tmp_path):
    field = compact_field(20, 12, 3, siren_width=16)
    assert write_glsl(tmp_path / "a.glsl", field) == data_path(tmp_path / "a.glsl")
    shader = field_shader(field)
    assert (tmp_path / "a.glsl.bin").read_bytes() == shader.spline.tobytes() + shader.decoder.tobytes()
    assert shader.spline.shape == (3, 20, 28, 4)
    assert (tmp_path / "a.glsl").read_text() == shader.source
    with_prior = compact_field(20, 12, 3, siren_width=16, prior=VERSION)
    details = field_shader(with_prior).details
    assert details.shape == (4, 16, 24, 4)
    write_glsl(tmp_path / "a.glsl", with_prior)
    assert (tmp_path / "a.glsl.bin").read_bytes().endswith(shader.decoder.tobytes() + details.tobytes())


def test_fields_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(module, "_MAX_SIDE", 27)
    with pytest.raises(EorenError, match="sides of at most 19 pixels for textures, got 20 x 12"):
        field_shader(compact_field(20, 12, 3))
