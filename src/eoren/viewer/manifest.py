"""IIIF Presentation API 3.0 (https://iiif.io/api/presentation/3.0/): a manifest of one field, for other viewers."""

from collections.abc import Sequence
from typing import Any

from eoren.viewer.iiif import PROFILE

CONTEXT = "http://iiif.io/api/presentation/3/context.json"


def manifest(address: str, title: str, size: tuple[int, int], images: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Describe a field as a manifest of one canvas, on which a viewer shows one layer at a time.

    Args:
        address: address of the field below the server's ``/iiif/``; that of the manifest is ``/manifest.json`` below.
        title: name to display.
        size: width and height of the canvas in pixels.
        images: label and address of the image service of every layer; all have the size of the canvas.
    """
    width, height = size
    shape = {"width": width, "height": height}
    layers = [
        {
            "id": f"{service}/full/max/0/default.png",
            "type": "Image",
            "format": "image/png",
            **shape,
            "label": {"en": [label]},
            "service": [{"id": service, "type": "ImageService3", "profile": PROFILE.rsplit("/", 1)[1][:-5]}],
        }
        for label, service in images
    ]
    canvas = f"{address}/canvas"
    painting = {
        "id": f"{canvas}/image",
        "type": "Annotation",
        "motivation": "painting",
        "target": canvas,
        "body": {"type": "Choice", "items": layers},
    }
    page = {"id": f"{canvas}/page", "type": "AnnotationPage", "items": [painting]}
    return {
        "@context": CONTEXT,
        "id": f"{address}/manifest.json",
        "type": "Manifest",
        "label": {"none": [title]},
        "items": [{"id": canvas, "type": "Canvas", **shape, "items": [page]}],
    }
