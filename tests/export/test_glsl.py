"""The shader in Chromium's WebGL, compared pixel by pixel with the field in float64."""

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.export.shaders import BY_X, BY_Y, COLOR, DIRECTION, MAGNITUDE, ShaderRunner
from tests.fields import TILINGS, compact_field, doubled, field_of, tiling_of, with_parts

from eoren.errors import EorenError
from eoren.export import glsl
from eoren.export.glsl import data_path, field_shader, write_glsl
from eoren.field.grid import grid_lines
from eoren.model.latents.edge_prior import VERSION
from eoren.model.tiling import Tiling
from eoren.visualization.derivatives import magnitude_image

CLOSE = 1e-5  # of the largest value: rounding in float32
GRID = torch.from_numpy(np.stack(np.meshgrid(*grid_lines(13, 11)), -1))


@pytest.fixture(scope="module")
def draw_shader(browser, tmp_path_factory):
    """Function that draws layers of a field from its files; see :class:`tests.export.shaders.ShaderRunner`."""
    return ShaderRunner(browser, tmp_path_factory.mktemp("shader"))


def reference(field, points):
    """Colour and derivatives per pixel, as the shader returns them."""
    jet = doubled(field).jet(points.reshape(-1, 2), gradient=True, extent=tuple(map(float, field.size)))
    shape = points.shape[:-1]
    return [values.reshape(*shape, -1).numpy() for values in (jet.color, jet.gradient[..., 0], jet.gradient[..., 1])]


def assert_same(drawn, expected, close=CLOSE):
    for one, other in zip(drawn, expected, strict=True):
        assert np.abs(one[..., : other.shape[-1]] - other).max() <= close * max(1, np.abs(other).max())


@pytest.mark.parametrize("tiling", TILINGS.values(), ids=TILINGS)
def test_the_shader_equals_the_field_on_every_tiling(draw_shader, tiling):
    field = field_of(tiling, 4, seed=2)
    assert_same(draw_shader(field, [COLOR, BY_X, BY_Y]), reference(field, GRID))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("width", "depth"), [(2, 2), (5, 1), (16, 3)])
def test_the_shader_equals_the_field_for_every_shape(draw_shader, channels, width, depth):
    field = field_of(TILINGS["grid"], channels, width=width, depth=depth)
    color, by_x, by_y = reference(field, GRID)
    drawn = draw_shader(field, [COLOR, BY_X, BY_Y])
    assert_same(drawn[1:], [by_x, by_y])
    rgb, alpha = (color[..., :3], color[..., 3:]) if channels > 2 else (color[..., :1], color[..., 1:])
    assert_same(drawn[:1], [np.concatenate([np.broadcast_to(rgb, (11, 13, 3)), alpha], -1)])
    if channels in (1, 3):
        assert (drawn[0, ..., 3] == 1).all()


def test_fields_of_many_rows_of_texels(draw_shader):
    tiling = Tiling.by_detail(np.ones((64, 64)), count=64, halo=1.0, smallest=4)
    field = field_of(tiling, 3, width=24, depth=3)
    assert len(field_shader(field).networks) > 8
    assert_same(draw_shader(field, [COLOR]), reference(field, GRID)[:1])


def test_magnitude_is_that_of_eoren(draw_shader):
    field = field_of(TILINGS["tree"])
    jet = doubled(field).jet(GRID.reshape(-1, 2), gradient=True, extent=tuple(map(float, field.size)))
    gradient = jet.gradient.reshape(11, 13, 3, 2).float().numpy()
    np.testing.assert_allclose(draw_shader(field, [MAGNITUDE])[0, ..., :1], magnitude_image(gradient), rtol=1e-4)


@pytest.mark.parametrize(
    ("axis", "sign", "hue"), [(0, 1, "red"), (0, -1, "cyan"), (1, 1, "green-yellow"), (1, -1, "violet")]
)
def test_direction(draw_shader, axis, sign, hue):
    """A ramp: the first layer's sine near zero is a straight line."""
    field = field_of(TILINGS["single"], 1, width=4, depth=1)
    weights = [torch.zeros_like(weight) for weight in field.representation.siren.weights]
    weights[0][0, axis, 0] = 1e-3
    weights[1][0, 0, 0] = sign * 1e4
    field = with_parts(
        field,
        siren=field.representation.siren.with_tensors(
            [*weights, *map(torch.zeros_like, field.representation.siren.biases)]
        ),
    )
    red, green, blue, _ = draw_shader(field, [DIRECTION], size=(1, 1))[0, 0, 0]
    most = max(red, green, blue)
    expected = {"red": (1, 0, 0), "cyan": (0, 1, 1), "green-yellow": (0.5, 1, 0), "violet": (0.5, 0, 1)}[hue]
    np.testing.assert_allclose(np.array([red, green, blue]) / most, expected, atol=1e-3)


def test_sines_far_from_zero(draw_shader):
    """Pre-activations of hundreds have a precision of 3e-5 in float32; sines of GPUs may be off by 5e-4 there."""
    field = field_of(TILINGS["grid"], 1, width=8, depth=1)
    field = with_parts(field, siren=replace(field.representation.siren, omegas=(300.0,)))
    assert_same(draw_shader(field, [COLOR]), reference(field, GRID)[:1], close=1e-4)


def test_zoom_far_into_a_large_image(draw_shader):
    """Steps of a millionth of a pixel where two tiles overlap at pixel 777,777: one point for float32 alone."""
    tiling = tiling_of(1_000_000, 1_000_000, 2.0, "x777777", ". y5000", ". .")
    field = field_of(tiling, 1)
    step = 2.0**-20
    drawn = draw_shader(field, [COLOR, BY_X], base=(777_777, 1234), offset=(0.25, 0.5), step=(step, step))
    columns, rows = (np.arange(n) + 0.5 for n in (13, 11))
    x, y = np.meshgrid((777_777.25 + columns * step) / 1e6, (1234.5 + rows * step) / 1e6)
    color, by_x, _ = reference(field, torch.from_numpy(np.stack([x, y], -1)))
    assert_same(drawn, [color, by_x])
    difference = (drawn[0, 5, -1, 0] - drawn[0, 5, 0, 0]) / (12 * step)
    assert abs(difference - by_x[5, 6, 0]) < 0.02 * abs(by_x[5, 6, 0]) + 0.02


def test_textures_are_written_beside_the_shader(tmp_path):
    data = write_glsl(tmp_path / "a.frag", field_of(TILINGS["grid"]))
    assert data == data_path(tmp_path / "a.frag") == tmp_path / "a.frag.bin"
    shader = field_shader(field_of(TILINGS["grid"]))
    assert data.read_bytes() == shader.tiles.tobytes() + shader.networks.tobytes()
    assert (tmp_path / "a.frag").read_text() == shader.source


@pytest.mark.parametrize(
    "field", [field_of(TILINGS["grid"]), compact_field(20, 12, 3, siren_width=16, prior=VERSION)], ids=str
)
def test_the_function_alone_compiles_in_other_shaders(field, tmp_path):
    """GLSL ES 3.10 to SPIR-V, whose textures need bindings."""
    source = field_shader(field, function_only=True).source
    assert "#version" not in source
    assert "void main" not in source
    macros = set(re.findall(r"#define (\w+)", field_shader(field).source))
    assert all(name.startswith("EOREN_") for name in macros)
    compiler = shutil.which("glslangValidator")
    if compiler is None:
        pytest.skip("glslangValidator is not installed; apt-get install glslang-tools")
    main = """
        layout(location = 0) out vec4 o_color;
        void main() {
            vec4 color, by_x, by_y;
            eoren(ivec2(gl_FragCoord.xy), vec2(0.5), true, color, by_x, by_y);
            o_color = color + by_x + by_y;
        }"""
    (tmp_path / "a.frag").write_text(f"#version 310 es\n{source}{main}")
    command = [compiler, "-V", "-o", tmp_path / "a.spv", tmp_path / "a.frag"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_fields_that_do_not_fit_are_refused(monkeypatch):
    deep = tiling_of(200, 9, 0.5, *(f"x{k} ." for k in range(1, 80)), ".")
    with pytest.raises(EorenError, match="cuts deep for a shader, got 79"):
        field_shader(field_of(deep))
    monkeypatch.setattr(glsl, "_MAX_ROWS", 0)
    with pytest.raises(EorenError, match="do not fit into a texture"):
        field_shader(field_of(TILINGS["grid"]))
