import pytest
import torch

from eoren.errors import EorenError
from eoren.model.isolation import isolated, not_compiled

ONES = torch.ones(2, 2)


def state():
    modes = torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    return *modes, torch.empty(0).device.type, (ONES @ ONES).dtype


PLAIN = (False, False, True, "cpu", torch.float32)


@pytest.mark.parametrize(
    ("mode", "within"),
    [
        (lambda: torch.autocast("cpu"), PLAIN),
        (torch.inference_mode, (False, False, False, "cpu", torch.float32)),
        (torch.no_grad, (False, False, False, "cpu", torch.float32)),
        (lambda: torch.device("meta"), PLAIN),
    ],
)
def test_modes_are_off_within_and_restored_after(mode, within):
    with mode():
        before = state()
        with isolated():
            assert state() == within
            with isolated():
                assert state() == within
            assert state() == within
        assert state() == before
        with pytest.raises(KeyError), isolated():
            raise KeyError
        assert state() == before
    assert state() == PLAIN


def test_tensors_made_within_inference_mode_can_be_trained():
    with torch.inference_mode(), isolated():
        weight = torch.ones(2)
    assert not weight.is_inference()
    weight.requires_grad_()
    (weight * 2).sum().backward()
    assert weight.grad.tolist() == [2.0, 2.0]


def test_it_can_decorate():
    @isolated()
    def dtype():
        return (ONES @ ONES).dtype

    with torch.autocast("cpu"):
        assert [dtype(), dtype()] == [torch.float32] * 2


@pytest.mark.filterwarnings("ignore")  # those of torch.compile itself
@pytest.mark.usefixtures("unchecked")
def test_compiled_programs_call_what_is_not_compiled():
    calls = []

    @not_compiled
    def doubled(x):
        calls.append(torch.compiler.is_compiling())
        return 2 * x

    graphs = []

    def compiler(graph, _):
        graphs.append([str(node.target) for node in graph.graph.nodes])
        return graph

    torch._dynamo.reset()
    loss = torch.compile(lambda x: doubled(x.sin()).cos().sum(), backend=compiler)
    for _ in range(3):
        assert loss(ONES) == (2 * ONES.sin()).cos().sum()
    assert calls == [False] * 3
    assert len(graphs) == 2  # before and after it, compiled once
    assert not any("mul" in name for names in graphs for name in names)
    torch._dynamo.reset()
    with pytest.raises(EorenError, match=r"^torch\.export cannot hold a field; write an ONNX file"):
        torch.export.export(Called(doubled), (ONES,), strict=False)


class Called(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)
