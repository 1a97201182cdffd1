"""The graph in ONNX Runtime, compared with the field in float64."""

import sys
from dataclasses import replace

import numpy as np
import onnx
import onnx.compose
import onnx.utils
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization.shape_inference import quant_pre_process
from tests.fields import TILINGS, doubled, field_of, with_parts

from eoren.errors import EorenError
from eoren.export import onnx as module
from eoren.export.onnx import onnx_model, write_onnx
from eoren.model.quantization import rounded

# Relative to the largest value: float32 rounding in the sums of a network, about ten units in the last place.
CLOSE = 1e-5


def run_model(model, points):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"xy": points})


def run_graph(field, points, **options):
    return run_model(onnx_model(field, **options), points)


def points_around(seed=0, count=500):
    return np.random.default_rng(seed).uniform(-0.1, 1.1, (count, 2))


def assert_same(field, points, **options):
    exact = doubled(field).jet(torch.from_numpy(points), gradient=True)
    outputs = run_graph(field, points, **options)
    for output, expected in zip(outputs, (exact.color.numpy(), exact.gradient.numpy()), strict=True):
        assert output.dtype == np.float32
        assert output.shape == expected.shape
        assert np.abs(output - expected).max() <= CLOSE * np.abs(expected).max()


@pytest.mark.parametrize("tiling", TILINGS.values(), ids=TILINGS)
@pytest.mark.parametrize("loops", [True, False])
def test_the_graph_equals_the_field_on_every_tiling(tiling, loops):
    assert_same(field_of(tiling, seed=1), points_around(), loops=loops)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("width", "depth"), [(5, 1), (16, 3)])
def test_the_graph_equals_the_field_for_every_shape(channels, width, depth):
    assert_same(field_of(TILINGS["grid"], channels, width=width, depth=depth), points_around())


@pytest.mark.parametrize("bits", [32, 16, 8])
@pytest.mark.parametrize("loops", [True, False])
def test_weights_keep_their_bits(bits, loops):
    field = field_of(TILINGS["tree"], width=16, depth=3)
    field = with_parts(field, siren=rounded(field.representation.siren, bits), bits=bits)
    assert_same(field, points_around(), loops=loops)
    types = {tensor.name: tensor.data_type for tensor in onnx_model(field, loops=loops).graph.initializer}
    expected = {32: onnx.TensorProto.FLOAT, 16: onnx.TensorProto.FLOAT16, 8: onnx.TensorProto.INT8}
    assert types["weight_1"] == expected[bits]


@pytest.mark.parametrize(("tiling", "loops"), [("single", True), ("grid", False)])
def test_graphs_without_loops(tiling, loops, tmp_path):
    """They have no sizes that depend on the data either, and tools that cut or merge graphs handle them."""
    model, points = onnx_model(field_of(TILINGS[tiling]), loops=loops), points_around(count=20)
    nodes = {node.op_type for node in model.graph.node}
    assert not nodes & {"If", "Loop", "Scan", "Compress", "NonZero", "Unique"}
    assert not any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute)
    color, _ = run_model(model, points)
    onnx.save(model, tmp_path / "a.onnx")
    onnx.utils.extract_model(tmp_path / "a.onnx", tmp_path / "b.onnx", ["xy"], ["color"])
    np.testing.assert_array_equal(run_model(onnx.load(tmp_path / "b.onnx"), points)[0], color)
    prefixed = onnx.compose.add_prefix(model, "a_")
    session = onnxruntime.InferenceSession(prefixed.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(["a_color"], {"a_xy": points})[0], color)
    quant_pre_process(tmp_path / "a.onnx", tmp_path / "c.onnx")
    np.testing.assert_array_equal(run_model(onnx.load(tmp_path / "c.onnx"), points)[0], color)


@pytest.mark.parametrize("loops", [True, False])
def test_graphs_of_colours_alone(loops):
    field, points = field_of(TILINGS["grid"]), points_around()
    (color,) = run_graph(field, points, loops=loops, gradient=False)
    np.testing.assert_allclose(color, run_graph(field, points)[0], atol=1e-6)
    assert "Cos" not in str(onnx_model(field, loops=loops, gradient=False))


@pytest.mark.parametrize("loops", [True, False])
def test_points_that_are_not_finite_give_nan_and_leave_the_others_alone(loops):
    field, points = field_of(TILINGS["grid"]), points_around(count=6)
    whole = run_graph(field, points, loops=loops)
    points[1, 0], points[2, 1], points[4] = np.nan, np.inf, -np.inf
    for output, before in zip(run_graph(field, points, loops=loops), whole, strict=True):
        assert np.isnan(output[[1, 2, 4]]).all()
        np.testing.assert_allclose(output[[0, 3, 5]], before[[0, 3, 5]], rtol=1e-5, atol=1e-5)


def test_nodes_have_names_and_no_tensor_is_unused():
    for loops in (True, False):
        graph = onnx_model(field_of(TILINGS["grid"]), loops=loops, gradient=False).graph
        bodies = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
        nodes = [node for part in (graph, *bodies) for node in part.node]
        assert len(bodies) == 2 * loops
        assert len({node.name for node in nodes} - {""}) == len(nodes)
        assert {tensor.name for tensor in graph.initializer} <= {name for node in nodes for name in node.input}


@pytest.mark.parametrize(("tiling", "loops"), [("single", True), ("grid", False)])
def test_the_reference_interpreter_gives_the_same(tiling, loops):
    model, points = onnx_model(field_of(TILINGS[tiling]), loops=loops), points_around(count=20)
    for output, expected in zip(
        ReferenceEvaluator(model).run(None, {"xy": points}), run_model(model, points), strict=True
    ):
        np.testing.assert_allclose(output, expected, atol=1e-4)


@pytest.mark.parametrize("tiling", ["single", "grid"])
def test_pytorch_gives_the_same(tiling):
    converter = pytest.importorskip("onnx2torch", reason="onnx2torch is not installed")
    model, points = onnx_model(field_of(TILINGS[tiling]), loops=False), points_around(count=20)
    outputs = converter.convert(model)(torch.from_numpy(points))
    for output, expected in zip(outputs, run_model(model, points), strict=True):
        np.testing.assert_allclose(output.detach().numpy(), expected, atol=1e-4)


def test_openvino_gives_the_same():
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    model, points = onnx_model(field_of(TILINGS["single"])), points_around(count=20)
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    outputs = compiled({"xy": points})
    for name, expected in zip(("color", "gradient"), run_model(model, points), strict=True):
        np.testing.assert_allclose(outputs[name], expected, atol=1e-4)


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
