"""Evaluation with PyTorch: at tensors of points, whose results it can differentiate, and where it has to compute."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from eoren.errors import EorenError
from eoren.field.grid import check_points
from eoren.field.representation import Quantity, Representation
from eoren.model.arrays import as_numpy, as_tensor
from eoren.model.devices import widest_float_dtype


def evaluate(representation: Representation, xy: Tensor, *quantities: Quantity) -> tuple[Tensor, ...]:
    """Evaluate quantities at points ``(..., 2)``, on the device of the representation."""
    if _is_batched(xy):
        raise EorenError("torch.func.vmap over points is not supported; evaluate all in one call, shape (N, 2)")
    check_points(xy)
    device = representation.device
    points = xy.to(device, widest_float_dtype(device)).reshape(-1, 2)
    wanted: Any = {name: name in quantities for name in ("gradient", "laplacian")}
    # The outermost of nested transformations does not show what the others follow.
    is_transformed = torch._C._functorch.is_functorch_wrapped_tensor(xy)
    follows = torch.is_grad_enabled() and (xy.requires_grad or is_transformed or representation.requires_grad)
    with torch.set_grad_enabled(follows):
        jet = representation.jet(points, **wanted, differentiable=is_followed(points))
    values = [getattr(jet, quantity) for quantity in quantities]
    return tuple(value.reshape(*xy.shape[:-1], *value.shape[1:]) for value in values)


def evaluate_arrays(
    representation: Representation, xy: Float64[np.ndarray, "..."], *quantities: Quantity
) -> tuple[np.ndarray, ...]:
    """Evaluate quantities at arrays of points with PyTorch."""
    with torch.no_grad():
        return tuple(map(as_numpy, evaluate(representation, as_tensor(xy), *quantities)))


def is_followed(points: Tensor) -> bool:
    """Whether PyTorch follows what is computed from points now, backward or forward."""
    return torch.is_grad_enabled() or unpack_dual(points).tangent is not None


def _is_batched(tensor: Tensor) -> bool:
    """Whether ``torch.func.vmap`` maps over the tensor."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False
