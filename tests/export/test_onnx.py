"""The graph in ONNX Runtime, compared with the field in float64."""

import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tests.fields import TILINGS, doubled, field_of, with_parts

from eoren.errors import EorenError
from eoren.export import onnx as module
from eoren.export.onnx import onnx_model, write_onnx
from eoren.model.quantization import rounded

# Relative to the largest value: float32 rounding in the sums of a network, about ten units in the last place.
CLOSE = 1e-5


def run_graph(field, points):
    session = onnxruntime.InferenceSession(onnx_model(field).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["color", "gradient"], {"xy": points})


def points_around(seed=0, count=500):
    return np.random.default_rng(seed).uniform(-0.1, 1.1, (count, 2))


def assert_same(field, points):
    exact = doubled(field).jet(torch.from_numpy(points), gradient=True)
    for output, expected in zip(run_graph(field, points), (exact.color.numpy(), exact.gradient.numpy()), strict=True):
        assert output.dtype == np.float32
        assert output.shape == expected.shape
        assert np.abs(output - expected).max() <= CLOSE * np.abs(expected).max()


@pytest.mark.parametrize("tiling", TILINGS.values(), ids=TILINGS)
def test_the_graph_equals_the_field_on_every_tiling(tiling):
    assert_same(field_of(tiling, seed=1), points_around())


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("width", "depth"), [(5, 1), (16, 3)])
def test_the_graph_equals_the_field_for_every_shape(channels, width, depth):
    assert_same(field_of(TILINGS["grid"], channels, width=width, depth=depth), points_around())


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_weights_keep_their_bits(bits):
    field = field_of(TILINGS["tree"], width=16, depth=3)
    field = with_parts(field, siren=rounded(field.representation.siren, bits), bits=bits)
    assert_same(field, points_around())
    types = {tensor.name: tensor.data_type for tensor in onnx_model(field).graph.initializer}
    expected = {32: onnx.TensorProto.FLOAT, 16: onnx.TensorProto.FLOAT16, 8: onnx.TensorProto.INT8}
    assert types["weight_1"] == expected[bits]


def test_gradient_is_the_derivative_of_the_colour():
    field, points, h = field_of(TILINGS["grid"]), points_around(count=100), 1e-3
    _, gradient = run_graph(field, points)
    for axis in range(2):
        ends = [run_graph(field, points + sign * h * np.eye(2)[axis])[0].astype(np.float64) for sign in (1, -1)]
        np.testing.assert_allclose(
            gradient[..., axis], (ends[0] - ends[1]) / (2 * h), atol=0.02 * abs(gradient).max()
        )


@pytest.mark.parametrize("count", [0, 1])
def test_any_number_of_points(count):
    color, gradient = run_graph(field_of(TILINGS["grid"], 2), np.full((count, 2), 0.5))
    assert color.shape == (count, 2)
    assert gradient.shape == (count, 2, 2)


def test_points_of_large_images_keep_double_precision():
    """Points within hundredths of a pixel of a cut in an image of 100,000 pixels."""
    tiling = replace(TILINGS["single"], width=100_000, height=100_000)
    tiling = type(tiling)(100_000, 100_000, 0.01, np.array([[0, 77_777], [-1, 0], [-1, 0]], np.int32))
    points = np.stack([np.linspace(0.77776985, 0.77777015, 101), np.full(101, 0.3)], 1)
    assert_same(field_of(tiling), points)


def test_the_file_is_valid(tmp_path):
    write_onnx(tmp_path / "a.onnx", field_of(TILINGS["grid"]))
    onnx.checker.check_model(tmp_path / "a.onnx", full_check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_a_missing_package_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EorenError, match=r"ONNX export needs the onnx package; pip install 'eoren\[onnx\]'"):
        onnx_model(field_of(TILINGS["single"]))


def test_fields_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(module, "_MAX_BYTES", 1000)
    with pytest.raises(EorenError, match="do not fit into the 2 GiB"):
        onnx_model(field_of(TILINGS["grid"]))
