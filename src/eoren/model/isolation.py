"""Isolation from the modes of PyTorch that a caller may have switched on.

Modes of a thread (autocast, inference mode, a default device) are switched off while EoREN computes. The default
dtype belongs to all threads, so it is never touched: the code gives the dtype of every new tensor.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from eoren.errors import EorenError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_AUTOCAST_DEVICES = ("cpu", "cuda", "mps")
_PROCESS = os.getpid()


@contextmanager
def isolated() -> Iterator[None]:
    """Compute as in a new thread, whatever modes this one is in; they are as before at the end.

    Whether PyTorch follows operations for their derivatives is left as it is. A process that was forked computes on
    one thread: OpenMP's threads exist in the parent only, and a parallel loop would wait for them without end.

    Example:
        >>> import torch
        >>> with torch.autocast("cpu"), isolated():
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.float32
    """
    torch: Any = sys.modules.get("torch")
    with ExitStack() as modes, np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
        if not hasattr(torch, "set_num_threads"):  # without PyTorch, or while another thread imports it
            yield
            return
        for device in _AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        if torch.is_inference_mode_enabled():
            follows = torch.is_grad_enabled()
            modes.enter_context(torch.inference_mode(False))  # switches derivatives on
            modes.enter_context(torch.set_grad_enabled(follows))
        if torch.empty(0, dtype=torch.uint8).device.type != "cpu":
            modes.enter_context(torch.device("cpu"))
        if os.getpid() != _PROCESS:
            modes.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
        yield


def not_compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let ``torch.compile`` call a function as it is, without a look into it: that would take a minute.

    Raises:
        EorenError: the function is called within ``torch.export``, which cannot call it.
    """

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        torch: Any = sys.modules.get("torch")
        if not hasattr(torch, "compiler") or not torch.compiler.is_compiling():
            return function(*args, **kwargs)
        if getattr(torch.compiler, "is_exporting", lambda: False)():
            raise EorenError("torch.export cannot hold a field; write an ONNX file with field.export('field.onnx')")
        # PyTorch imports it here only: that takes a second.
        return cast("_R", torch._dynamo.disable(function)(*args, **kwargs))

    return call


@contextmanager
def untransformed() -> Iterator[None]:
    """Compute what later calls use again outside of the transformations of torch.func that this call is in.

    Tensors that are made within a transformation must not be used when it has ended.
    """
    torch: Any = sys.modules.get("torch")
    if not hasattr(torch, "func") or torch._C._functorch.maybe_current_level() is None:
        yield
        return

    from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

    with temporarily_clear_interpreter_stack():
        yield
