import pytest
from tests.clients.conftest import assert_close

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_colors_and_gradients(graph, level):
    path, points, color, gradient = graph
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert [(item.name, item.type) for item in session.get_inputs()] == [("xy", "tensor(double)")]
    values = dict(zip(("color", "gradient"), session.run(["color", "gradient"], {"xy": points}), strict=True))
    assert_close(values["color"], color)
    assert_close(values["gradient"], gradient)


def test_one_point_and_none(graph):
    path, points, color, _ = graph
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert_close(session.run(["color"], {"xy": points[:1]})[0], color[:1])
    assert session.run(["color"], {"xy": points[:0]})[0].shape == (0, 3)
