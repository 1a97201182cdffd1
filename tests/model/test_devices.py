import pytest
import torch

from eoren.errors import EorenError
from eoren.model.devices import DEVICES, choose_device, widest_float_dtype


@pytest.fixture
def machine(monkeypatch):
    """A machine that has just these accelerators."""

    def have(cuda=False, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return have


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(False, False, "cpu"), (True, False, "cuda"), (False, True, "mps"), (True, True, "cuda")],
)
def test_auto_takes_the_accelerator_that_is_there(machine, cuda, mps, chosen):
    machine(cuda=cuda, mps=mps)
    assert choose_device("auto") == choose_device() == torch.device(chosen)


@pytest.mark.parametrize("name", ["cpu", "cuda", "mps"])
def test_a_device_that_is_there_is_taken(machine, name):
    machine(cuda=True, mps=True)
    assert choose_device(name) == torch.device(name)


def test_a_device_that_is_missing_is_refused_with_what_there_is(machine):
    machine(mps=True)
    with pytest.raises(EorenError, match=r"device 'cuda' is not available.*; choose from: mps, cpu$"):
        choose_device("cuda")
    machine()
    with pytest.raises(EorenError, match=r"device 'mps' is not available.*; choose from: cpu$"):
        choose_device("mps")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "CPU", "", "cuda:99", "auto "])
def test_unknown_names_are_refused_with_those_that_are_known(name):
    names = ", ".join(DEVICES)
    with pytest.raises(EorenError, match=rf"device must be one of {names}, got {name!r}(; did you mean .*)?$"):
        choose_device(name)


def test_what_auto_chooses_computes():
    assert float(torch.ones(3, device=choose_device()).sum()) == 3


@pytest.mark.parametrize(("name", "dtype"), [("cpu", torch.float64), ("cuda", torch.float64), ("mps", torch.float32)])
def test_apples_device_has_no_float64(name, dtype):
    assert widest_float_dtype(torch.device(name)) == dtype
