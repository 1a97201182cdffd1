"""EoREN: images as small continuous functions whose edges are right (arXiv 2209.11697)."""

from importlib import import_module
from typing import Any

from eoren._version import __version__

_HOME = {
    "Collection": "many.collection",
    "EorenError": "errors",
    "Field": "field",
    "FitResult": "fitting",
    "adjusted_gradient": "gradients",
    "clone": "composition.operations",
    "evaluate": "metrics",
    "fill": "composition.operations",
    "fit": "fitting",
    "fit_many": "many.fitting",
    "load": "storage",
    "mix": "composition.operations",
    "read_image": "images",
    "reference_gradient": "gradients",
    "retouch": "composition.retouching",
    "save": "storage",
    "write_image": "images",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: torch takes seconds, and ``eoren --help`` must not wait for it."""
    if name not in _HOME:
        raise AttributeError(f"module 'eoren' has no attribute {name!r}")
    return getattr(import_module(f"eoren.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
