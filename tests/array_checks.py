"""Restrict the run-time type checks of the tests to functions that take or return arrays.

The option ``--jaxtyping-packages`` decorates every function, and a call of a decorated one takes some 50
microseconds: half the time of the tests. Shapes are what mypy cannot check, so the other functions are left to it.
"""

import dataclasses
import inspect
from typing import get_args

import jaxtyping
from jaxtyping import AbstractArray

_jaxtyped = jaxtyping.jaxtyped


def install():
    """Replace the decorator; modules that are imported later use it."""
    jaxtyping.jaxtyped = _checked


def _checked(fn=None, *, typechecker=None):
    if fn is None:
        return lambda decorated: _checked(decorated, typechecker=typechecker)
    if inspect.isclass(fn) and not dataclasses.is_dataclass(fn):
        return fn
    functions = [getattr(fn, name, None) for name in ("__init__" if inspect.isclass(fn) else "__func__", "fget")]
    annotated = [function for function in (*functions, fn) if hasattr(function, "__annotations__")]
    if any(_has_arrays(annotation) for function in annotated for annotation in function.__annotations__.values()):
        return _jaxtyped(fn, typechecker=typechecker)
    return fn


def _has_arrays(annotation):
    if isinstance(annotation, str):
        return "[" in annotation  # a forward reference, which may have one
    if inspect.isclass(annotation) and issubclass(annotation, AbstractArray):
        return True
    return any(map(_has_arrays, get_args(annotation)))
