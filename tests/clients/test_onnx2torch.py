import pytest
import torch
from tests.clients.conftest import assert_close

try:
    import onnx2torch
except (ImportError, RuntimeError) as error:  # RuntimeError: its torchvision was built for another PyTorch
    pytest.skip(f"onnx2torch cannot be imported: {error}", allow_module_level=True)


def test_colors_and_gradients(graph):
    path, points, color, gradient = graph
    try:
        module = onnx2torch.convert(str(path))
    except NotImplementedError as error:  # mosaics have loops
        pytest.skip(f"onnx2torch does not support it: {error}")
    with torch.no_grad():
        values = module(torch.from_numpy(points))
    assert_close(values[0], color)
    assert_close(values[1], gradient)
