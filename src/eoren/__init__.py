"""EoREN: images as small continuous functions whose edges are right (arXiv 2209.11697).

Packages, each built on those before it:

fs             atomic files, locks, decompression, safetensors layout
image          images as arrays: reading, writing, gradients of sampled images
model          SIRENs, tilings, channel tuning, loss
backends       computation with PyTorch or the native library
field          the field: an image as a continuous function, and its file
evaluation     quality of a field against its image
training       fitting one image
dataset        fitting many images into a store
composition    mixing, cloning, filling and retouching in the gradient domain
visualization  derivatives, errors and curves as images
export         ONNX, GLSL, HTML
viewer         fields in a browser, in notebooks, and as IIIF images
experiments    the paper's experiments and comparisons
cli            the command line

``errors`` and ``cancellation`` serve all of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from eoren._version import __version__

if TYPE_CHECKING:  # types and completion; at run time names are imported on first use
    from eoren.composition.operations import clone, fill, mix
    from eoren.composition.retouching import boost_detail, denoise, flatten_light, retouch
    from eoren.dataset.collection import Collection
    from eoren.dataset.fit_many import fit_many
    from eoren.errors import EorenError
    from eoren.evaluation.metrics import evaluate
    from eoren.field.field import Field
    from eoren.field.serialization import load, save
    from eoren.image.gradients import adjusted_gradient
    from eoren.image.io import read_image, write_image
    from eoren.image.spline import reference_gradient
    from eoren.training.fit import fit
    from eoren.training.result import FitResult
    from eoren.training.settings import Settings
    from eoren.viewer.notebook import show
else:
    _MODULES = {
        "Collection": "dataset.collection",
        "EorenError": "errors",
        "Field": "field.field",
        "FitResult": "training.result",
        "Settings": "training.settings",
        "adjusted_gradient": "image.gradients",
        "boost_detail": "composition.retouching",
        "clone": "composition.operations",
        "denoise": "composition.retouching",
        "evaluate": "evaluation.metrics",
        "fill": "composition.operations",
        "fit": "training.fit",
        "fit_many": "dataset.fit_many",
        "flatten_light": "composition.retouching",
        "load": "field.serialization",
        "mix": "composition.operations",
        "read_image": "image.io",
        "reference_gradient": "image.spline",
        "retouch": "composition.retouching",
        "save": "field.serialization",
        "show": "viewer.notebook",
        "write_image": "image.io",
    }

    def __getattr__(name: str) -> object:
        """Import a public name on first use: torch takes seconds, and ``eoren --help`` must not wait for it."""
        if name not in _MODULES:
            raise AttributeError(f"module 'eoren' has no attribute {name!r}")
        return getattr(import_module(f"eoren.{_MODULES[name]}"), name)

    def __dir__() -> list[str]:
        return sorted(__all__)


__all__ = [
    "Collection",
    "EorenError",
    "Field",
    "FitResult",
    "Settings",
    "__version__",
    "adjusted_gradient",
    "boost_detail",
    "clone",
    "denoise",
    "evaluate",
    "fill",
    "fit",
    "fit_many",
    "flatten_light",
    "load",
    "mix",
    "read_image",
    "reference_gradient",
    "retouch",
    "save",
    "show",
    "write_image",
]
