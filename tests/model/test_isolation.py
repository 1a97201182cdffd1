import pytest
import torch

from eoren.model.isolation import isolated

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
