"""Devices that PyTorch computes on."""

import torch

from eoren.checks import check_choice
from eoren.errors import EorenError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name; ``auto`` is CUDA or MPS where available, else the CPU."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, is_available in available.items() if is_available))
    check_choice("device", name, DEVICES)
    if not available[name]:
        others = ", ".join(kind for kind, is_available in available.items() if is_available)
        raise EorenError(f"device {name!r} is not available to PyTorch {torch.__version__}; choose from: {others}")
    return torch.device(name)


def widest_float_dtype(device: torch.device) -> torch.dtype:
    """Return the most precise floating-point type of a device: float64, or float32 on MPS."""
    return torch.float32 if device.type == "mps" else torch.float64
