import pytest
from tests.clients.conftest import assert_close

openvino = pytest.importorskip("openvino", reason="openvino is not installed")


def test_colors_and_gradients(graph):
    path, points, color, gradient = graph
    model = openvino.Core().compile_model(path, "CPU")
    values = model({"xy": points})
    assert_close(values["color"], color)
    assert_close(values["gradient"], gradient)
