"""The choice of a backend: native where it supports the networks, PyTorch everywhere else.

The environment variable ``EOREN_BACKEND=torch|native`` forces one of them (``EOREN_ENGINE`` is its earlier name).
What computes with PyTorch is imported when it is chosen: where the native library reads fields, nothing waits for it.
"""

import os
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eoren.backends.base import Backend, Training
from eoren.backends.block_coders import BlockCoder, NumpyCoder
from eoren.backends.latents.base import LatentBackend
from eoren.backends.latents.native import NativeLatentEvaluator
from eoren.backends.native import NOT_BUILT, SUPPORTED_WIDTHS, NativeBackend
from eoren.backends.native_coder import NativeCoder
from eoren.backends.native_library import library, thread_count
from eoren.backends.native_library import target as native_target
from eoren.errors import BackendWarning, EorenError
from eoren.model.latents.color_decoder import ColorDecoder
from eoren.model.latents.wavelet import Subbands
from eoren.model.siren import Siren

if TYPE_CHECKING:
    from eoren.model.latents.distortion import Distortion, DistortionTarget

BACKENDS = ("native", "torch")

_VARIABLE, _EARLIER_VARIABLE = "EOREN_BACKEND", "EOREN_ENGINE"
_NATIVE = NativeBackend()
_NATIVE_CODER, _NUMPY_CODER = NativeCoder(), NumpyCoder()


def choose_backend(siren: Siren, *, differentiable: bool = False, warn: bool = False) -> Backend:
    """Choose the backend that computes with some networks; PyTorch where it has to differentiate the result.

    With ``warn``, warn once per reason where PyTorch replaces the native backend on a CPU. An environment that
    forces a backend which is unknown, or cannot compute, raises an EorenError.
    """
    obstacle = _obstacle(lambda: NativeBackend.obstacle(siren), differentiable=differentiable)
    if obstacle is None:
        return _NATIVE
    if obstacle and warn and siren.device.type == "cpu":
        _warn_once(obstacle)

    from eoren.backends.torch import TorchBackend

    return TorchBackend()


def training_of(backend: Backend) -> Training:
    """Return what a backend trains networks with."""
    if backend.name == "native":
        from eoren.backends.native_training import TRAINING
    else:
        from eoren.backends.torch import TRAINING

    return TRAINING


def choose_coder(*, warn: bool = False) -> BlockCoder:
    """Choose the coder of latents: the native one unless it was not built, or the environment forces PyTorch.

    With ``warn``, warn once where the native backend was not built: NumPy codes then, and PyTorch does the rest.
    """
    obstacle = _obstacle(lambda: NOT_BUILT if library() is None else None, substitute="NumPy")
    if obstacle and warn:
        _warn_once(obstacle)
    return _NATIVE_CODER if obstacle is None else _NUMPY_CODER


def choose_distortion(target: "DistortionTarget") -> "Callable[[Subbands], Distortion]":
    """Choose the function that computes the distortion of coefficients; a fit should keep it for all its steps."""
    from eoren.backends.latents.native_distortion import NativeDistortion
    from eoren.model.latents.distortion import distortion

    obstacle = _obstacle(lambda: NativeDistortion.obstacle(target))
    return NativeDistortion(target) if obstacle is None else partial(distortion, target=target)


def choose_latent_evaluator(decoder: ColorDecoder, *, differentiable: bool = False) -> LatentBackend:
    """Choose the evaluator of compact fields for a color decoder; PyTorch where it has to differentiate results."""
    obstacle = _obstacle(lambda: NativeLatentEvaluator.obstacle(decoder), differentiable=differentiable)
    if obstacle is None:
        return NativeLatentEvaluator

    from eoren.backends.latents.torch import TorchLatentEvaluator

    return TorchLatentEvaluator


def _obstacle(
    find: Callable[[], str | None], *, differentiable: bool = False, substitute: str = "PyTorch"
) -> str | None:
    """Return why the native backend does not compute, or None if it does; "" if the substitute is required.

    An EorenError if the environment forces the native backend and it cannot compute.
    """
    forced = _forced_backend()
    if differentiable or forced == "torch":
        return ""
    obstacle = find()
    if obstacle is not None and forced == "native":
        raise EorenError(f"{_VARIABLE} is native, but {obstacle}; unset it to compute with {substitute}")
    return obstacle


def _forced_backend() -> str:
    """Return the backend that the environment forces, or an empty string."""
    for variable in (_VARIABLE, _EARLIER_VARIABLE):
        value = os.environ.get(variable, "")
        if value not in ("", *BACKENDS):
            raise EorenError(f"{variable} must be one of {', '.join(BACKENDS)}, got {value!r}; set one, or unset it")
        if value:
            return value
    return ""


@cache
def _warn_once(obstacle: str) -> None:
    message = f"PyTorch does the work, several times slower than the native backend: {obstacle}"
    warnings.warn(message, BackendWarning, stacklevel=3)


class BackendInfo(NamedTuple):
    """The backend that computes on the CPU here, and the reason in words."""

    backend: str
    target: str | None  # instruction set of the native library; None where it was not built
    threads: int
    reason: str


def backend_info() -> BackendInfo:
    """Describe the backend that computes with networks of a supported width on the CPU."""
    shapes = (2, 16), (16, 16), (16, 1)
    weights = tuple(np.zeros((1, *shape), np.float32) for shape in shapes)
    example = Siren(weights, tuple(w[:, :1] for w in weights), (30.0, 30.0))
    backend, forced = choose_backend(example), _forced_backend()
    if forced:
        variable = next(name for name in (_VARIABLE, _EARLIER_VARIABLE) if os.environ.get(name))
        reason = f"the environment forces it ({variable}={forced})"
    elif backend.name == "native":
        reason = f"it was built, and supports {SUPPORTED_WIDTHS}; PyTorch computes with the others"
    else:
        reason = NOT_BUILT
    return BackendInfo(backend.name, None if library() is None else native_target(), thread_count(), reason)
