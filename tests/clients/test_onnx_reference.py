import pytest
from tests.clients.conftest import assert_close

onnx = pytest.importorskip("onnx", reason="onnx is not installed")


def test_the_reference_interpreter(graph):
    from onnx.reference import ReferenceEvaluator

    path, points, color, gradient = graph
    values = ReferenceEvaluator(str(path)).run(["color", "gradient"], {"xy": points})
    assert_close(values[0], color)
    assert_close(values[1], gradient)


def test_the_checker_accepts_it(graph):
    onnx.checker.check_model(graph[0], full_check=True)
