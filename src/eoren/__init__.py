"""EoREN: images as small continuous functions whose edges are right (arXiv 2209.11697)."""

from importlib import import_module
from typing import Any

from eoren._version import __version__

_HOME = {
    "Collection": "dataset.collection",
    "EorenError": "errors",
    "Field": "field.field",
    "FitResult": "training.fit",
    "adjusted_gradient": "image.gradients",
    "clone": "composition.operations",
    "evaluate": "evaluation.metrics",
    "fill": "composition.operations",
    "fit": "training.fit",
    "fit_many": "dataset.fit_many",
    "load": "field.serialization",
    "mix": "composition.operations",
    "read_image": "image.io",
    "reference_gradient": "image.spline",
    "retouch": "composition.retouching",
    "save": "field.serialization",
    "write_image": "image.io",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: torch takes seconds, and ``eoren --help`` must not wait for it."""
    if name not in _HOME:
        raise AttributeError(f"module 'eoren' has no attribute {name!r}")
    return getattr(import_module(f"eoren.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
