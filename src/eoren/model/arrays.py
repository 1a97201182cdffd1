"""NumPy arrays and PyTorch tensors alike: what functions of both need, and conversions at their border.

Parameters that were read from a file are NumPy arrays; those that PyTorch fits, differentiates or keeps on a device
are tensors. A program that only reads fields does not import PyTorch: nothing here does, but :func:`as_tensor`.
"""

import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeIs

    Tensor = torch.Tensor
else:  # annotations of shapes are checked for any array
    Tensor = Any

Array: TypeAlias = Any
"""A NumPy array or a tensor. Functions of arrays return the kind that they are given."""


def is_tensor(value: object) -> "TypeIs[Tensor]":
    """Whether a value is a tensor of PyTorch, without importing PyTorch."""
    kind = getattr(sys.modules.get("torch"), "Tensor", None)
    return kind is not None and isinstance(value, kind)


def namespace(array: Array) -> Any:
    """Return the module of an array's functions, ``numpy`` or ``torch``.

    They share, under one name: concatenate, stack, tile, zeros_like, matmul, amax, clip, sin, cos and more.

    Example:
        >>> namespace(np.zeros(3)).__name__
        'numpy'
    """
    return sys.modules["torch"] if is_tensor(array) else np


def cast(array: Array, dtype: str) -> Array:
    """Convert an array to the type of a name, such as ``float32``; values too large become infinite."""
    if is_tensor(array):
        return array.to(getattr(sys.modules["torch"], dtype))
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)


def as_numpy(array: Array) -> np.ndarray:
    """Convert an array to NumPy, without its gradient; memory is shared where a tensor is on the CPU."""
    return array.detach().cpu().numpy() if is_tensor(array) else np.asarray(array)


def as_tensor(array: Array) -> "Tensor":
    """Convert an array to a tensor, which shares memory with a writeable NumPy array."""
    import torch

    if is_tensor(array):
        return array
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def like(array: Array, values: Any) -> Array:
    """Convert numbers to the kind of an array: in its precision, and tensors on its device."""
    if is_tensor(array):
        return (values if is_tensor(values) else as_tensor(np.asarray(values))).to(array)
    return np.asarray(values, array.dtype)
