"""The graph of a compact field in ONNX Runtime and in ONNX's reference interpreter, compared with float64."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from tests.compact import picture, rounded_field
from tests.fields import compact_field, doubled

from eoren._version import __version__
from eoren.export.compact.onnx import Axis
from eoren.export.onnx import onnx_model
from eoren.field.field import Field
from eoren.model.latents.edge_prior import VERSION
from eoren.model.latents.wavelet import analyze, synthesize

# Relative to the largest value: rounding in sums of float32, some ten units in the last place.
CLOSE = 1e-5

# Whole, odd and single sides, sides shorter than the splines reach, and no level of the transform at all.
SIZES = [(64, 48), (75, 51), (1, 40), (40, 1), (2, 300), (9, 13), (5, 7), (1, 1)]
CONTROL_FLOW = {"If", "Loop", "Scan", "SequenceMap"}
DATA_DEPENDENT = {"Compress", "NonMaxSuppression", "NonZero", "Unique"}


def run_graph(field, points):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 1
    session = onnxruntime.InferenceSession(
        onnx_model(field).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(["color", "gradient"], {"xy": points})


def points_around(seed=0, count=500):
    return np.random.default_rng(seed).uniform(-0.1, 1.1, (count, 2))


def assert_same(field, outputs, points):
    exact = doubled(field).jet(torch.from_numpy(points), gradient=True)
    least = (1.0, float(max(field.size)))  # of colours, and of one pixel's step from black to white
    for output, expected, largest in zip(outputs, (exact.color.numpy(), exact.gradient.numpy()), least, strict=True):
        assert output.dtype == np.float32
        assert output.shape == expected.shape
        assert np.abs(output - expected).max() <= CLOSE * max(largest, np.abs(expected).max())


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("siren_width", [0, 16])
def test_the_graph_equals_the_field_at_every_size(size, siren_width):
    field = compact_field(*size, 3, siren_width=siren_width)
    points = points_around()
    assert_same(field, run_graph(field, points), points)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("siren_width", [0, 16, 32])
def test_the_graph_equals_the_field_for_every_decoder(channels, siren_width):
    field = compact_field(45, 37, channels, siren_width=siren_width, seed=1)
    points = points_around()
    assert_same(field, run_graph(field, points), points)


def test_the_graph_of_an_image_gives_its_pixels():
    """From the pixels themselves: analysed, rounded finely, exported, and read at the pixel centres."""
    image = picture(40, 56, 3)
    field = Field(rounded_field(image, 1e-3))
    y, x = np.mgrid[:40, :56] + 0.5
    color, _ = run_graph(field, np.stack([x / 56, y / 40], -1).reshape(-1, 2))
    assert np.abs(color.reshape(image.shape) - image).max() < 3e-3


def test_points_on_borders_and_far_outside():
    field, edges = compact_field(33, 20, 3), [-3.0, -1 / 33, 0.0, 0.5 / 33, 0.5, 1 - 0.5 / 33, 1.0, 1 + 1 / 33, 4.0]
    points = np.stack(np.meshgrid(edges, edges), -1).reshape(-1, 2)
    outputs = run_graph(field, points)
    assert_same(field, outputs, points)
    assert not outputs[1][0].any()  # beyond the image, colours are constant


@pytest.mark.parametrize("siren_width", [0, 16])
def test_points_that_are_not_finite_give_nan_and_leave_the_others_alone(siren_width):
    field = compact_field(33, 20, 3, siren_width=siren_width)
    points = points_around(count=6)
    whole = run_graph(field, points)
    points[1, 0], points[2, 1], points[4] = np.nan, np.inf, -np.inf
    for output, before in zip(run_graph(field, points), whole, strict=True):
        assert np.isnan(output[[1, 2, 4]]).all()
        np.testing.assert_array_equal(output[[0, 3, 5]], before[[0, 3, 5]])


@pytest.mark.parametrize("count", [0, 1])
def test_any_number_of_points(count):
    color, gradient = run_graph(compact_field(20, 30, 2), np.full((count, 2), 0.5))
    assert color.shape == (count, 2)
    assert gradient.shape == (count, 2, 2)


@pytest.mark.parametrize("prior", [0, VERSION])
def test_another_runtime_gives_the_same(prior):
    field, points = compact_field(21, 18, 3, siren_width=16, prior=prior), points_around(count=50)
    outputs = ReferenceEvaluator(onnx_model(field)).run(["color", "gradient"], {"xy": points})
    assert_same(field, outputs, points)


@pytest.mark.parametrize("siren_width", [0, 16])
@pytest.mark.parametrize("prior", [0, VERSION])
def test_the_graph_has_neither_control_flow_nor_sizes_that_depend_on_data(siren_width, prior):
    model = onnx_model(compact_field(70, 50, 3, siren_width=siren_width, prior=prior))
    onnx.checker.check_model(model, full_check=True)
    assert not {node.op_type for node in model.graph.node} & (CONTROL_FLOW | DATA_DEPENDENT)
    assert not any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute)


def test_the_file_holds_latents_in_few_bytes():
    field = compact_field(200, 160, 3, amplitude=2)
    tensors = {tensor.name: tensor for tensor in onnx_model(field).graph.initializer}
    latents = [tensor for name, tensor in tensors.items() if name.startswith("stored_")]
    assert {onnx.TensorProto.INT8} <= {tensor.data_type for tensor in latents}
    assert sum(int(np.prod(tensor.dims)) for tensor in latents) == 200 * 160 * 3
    assert len(onnx_model(field).SerializeToString()) < 200 * 160 * 3 * 1.2 + 20_000


def test_metadata():
    values = {prop.key: prop.value for prop in onnx_model(compact_field(20, 30, 2)).metadata_props}
    assert (values["width"], values["height"], values["eoren_version"]) == ("20", "30", __version__)
    assert "per side of the unit square" in values["gradient"]


@pytest.mark.parametrize("length", range(2, 20))
def test_an_axis_is_that_of_the_inverse_wavelet_transform(length):
    samples = torch.from_numpy(np.random.default_rng(length).normal(size=(1, length, 1)))
    bands = analyze(samples, 1)
    axis, total = Axis.of(length), np.zeros(0)
    low, high = bands.coarse[0, :, 0].numpy(), bands.details[0].vertical[0, :, 0].numpy()
    total = np.zeros(2 * len(axis.low) + 16)
    for values, indices, kernel in ((low, axis.low, axis.kernels[0]), (high, axis.high, axis.kernels[1])):
        for k, value in enumerate(values[indices]):
            total[2 * k : 2 * k + len(kernel)] += value * kernel
    np.testing.assert_allclose(total[axis.first : axis.first + length], synthesize(bands)[0, :, 0], atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("siren_width", [0, 16])
def test_an_edge_prior_is_part_of_the_graph(channels, siren_width):
    field = compact_field(45, 37, channels, siren_width=siren_width, seed=1, prior=VERSION)
    points = points_around()
    outputs = run_graph(field, points)
    assert_same(field, outputs, points)
    without = compact_field(45, 37, channels, siren_width=siren_width, seed=1)
    assert np.abs(outputs[0] - doubled(without).jet(torch.from_numpy(points)).color.numpy()).max() > 1e-3


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_edge_prior_at_every_size(size):
    field = compact_field(*size, 3, prior=VERSION)
    points = np.concatenate(
        [points_around(), np.stack(np.meshgrid([-3, 0, 0.5, 1, 4], [-2, 0, 1]), -1).reshape(-1, 2)]
    )
    assert_same(field, run_graph(field, points), points)


@pytest.mark.parametrize("prior", [0, VERSION])
@pytest.mark.parametrize("siren_width", [0, 16])
def test_graphs_of_colours_alone(siren_width, prior):
    field, points = compact_field(45, 37, 3, siren_width=siren_width, prior=prior), points_around()
    model = onnx_model(field, gradient=False)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (color,) = session.run(None, {"xy": points})
    np.testing.assert_allclose(color, run_graph(field, points)[0], atol=1e-5)
    assert not any("slope" in node.name for node in model.graph.node)


def test_runtimes_compute_the_edge_prior_once(tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    model = onnx_model(compact_field(45, 37, 3, siren_width=16, prior=VERSION))
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    before, after = (
        {node.op_type for node in graph.graph.node} for graph in (model, onnx.load(tmp_path / "optimized.onnx"))
    )
    convolutions = {"Conv", "ConvTranspose", "LeakyRelu", "Pad", "DepthToSpace"}
    assert convolutions <= before
    assert not convolutions & after
