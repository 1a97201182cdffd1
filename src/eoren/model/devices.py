"""Where to compute."""

import torch

from eoren.errors import EorenError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name; ``auto`` takes CUDA or MPS where there is one, else the CPU.

    Raises:
        EorenError: an unknown name, or a device that this machine or this PyTorch lacks.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in present.items() if there))
    if name not in present:
        raise EorenError(f"device {name!r} is unknown; choose one of {', '.join(DEVICES)}")
    if not present[name]:
        have = ", ".join(kind for kind, there in present.items() if there)
        raise EorenError(f"device {name!r} is not available to PyTorch {torch.__version__} here; there is: {have}")
    return torch.device(name)


def widest_float_dtype(device: torch.device) -> torch.dtype:
    """The most precise numbers of a device: float64, float32 where Apple's has no others.

    Example:
        >>> widest_float_dtype(torch.device("cpu")), widest_float_dtype(torch.device("mps"))
        (torch.float64, torch.float32)
    """
    return torch.float32 if device.type == "mps" else torch.float64
