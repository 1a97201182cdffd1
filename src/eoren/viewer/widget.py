"""The widget of notebooks: the page of a cell requests the part in view, the kernel draws it."""

from importlib.resources import files
from math import ceil, floor
from typing import Any

import anywidget
import traitlets

from eoren.cancellation import CancelToken
from eoren.export.common import render_template
from eoren.viewer.catalog import LAYERS, MAX_MAGNIFICATION, FieldEntry, View
from eoren.viewer.iiif import MAX_AREA, ImageRequest, Region
from eoren.viewer.layers import render

_OVERVIEW = 768  # longest side of the image of the whole, in pixels


class FieldWidget(anywidget.AnyWidget):
    """A field to zoom and pan in a notebook; see :func:`eoren.show`.

    Args:
        entry: field to show, and the image that it was fitted to, if known.

    Attributes:
        size: width and height of the image in pixels.
        layers: name, label and meaning of each layer.
        layer: name of the layer in view.
        overview: the whole field as PNG, which shows without a kernel, too.
    """

    _esm = render_template("gestures.js") + files("eoren.viewer").joinpath("widget.js").read_text(encoding="utf-8")
    _css = files("eoren.viewer").joinpath("widget.css").read_text(encoding="utf-8")
    size = traitlets.List(traitlets.Int()).tag(sync=True)
    layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    layer = traitlets.Unicode("color").tag(sync=True)
    overview = traitlets.Bytes().tag(sync=True)

    def __init__(self, entry: FieldEntry) -> None:
        self._entry = entry
        width, height = entry.field.size
        scale = min(1.0, _OVERVIEW / max(width, height))
        whole = {"box": [0, 0, 1, 1], "size": [max(1, round(scale * side)) for side in (width, height)]}
        layers = [{"name": each.name, "label": each.label, "meaning": each.description} for each in entry.layers]
        _, overview = self.draw({"layer": "color", **whole})
        super().__init__(size=[width, height], layers=layers, overview=overview)
        self.on_msg(FieldWidget._answer)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._entry.field!r})"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Add the image of the whole, for exported notebooks and programs that show no widgets."""
        bundle = super()._repr_mimebundle_(**options)
        assert bundle is not None  # anywidget gives None to widgets without a view
        data, metadata = bundle
        return {"image/png": self._entry.field._repr_png_(), **data}, metadata

    def draw(self, request: dict[str, Any]) -> tuple[list[float], bytes]:
        """Draw a part of a layer.

        Args:
            request: ``layer``; ``box``, the part ``[x0, y0, x1, y1]`` of the unit square; and ``size``, the width and
                height of the drawing in pixels.

        Returns:
            the part that is drawn, with sides on 64ths of a pixel, and the drawing as PNG.
        """
        view = View(self._entry, LAYERS[request["layer"]], MAX_MAGNIFICATION)
        (width, height), (columns, rows) = view.size, request["size"]
        x0, y0, x1, y1 = (min(1.0, max(0.0, float(side))) for side in request["box"])
        left, top = min(floor(x0 * width), width - 1), min(floor(y0 * height), height - 1)
        right, bottom = max(left + 1, ceil(x1 * width)), max(top + 1, ceil(y1 * height))
        shrink = min(1.0, (MAX_AREA / (columns * rows)) ** 0.5)
        columns, rows = max(1, int(shrink * columns)), max(1, int(shrink * rows))
        region = Region(left, top, right - left, bottom - top)
        png = render(view, ImageRequest(region, columns, rows, 0, "default", "png", ""), CancelToken())
        return [left / width, top / height, right / width, bottom / height], png

    def _answer(self, request: dict[str, Any], _buffers: list[memoryview]) -> None:
        answer = {"id": request["id"], "layer": request["layer"]}
        try:
            box, png = self.draw(request)
        except BaseException:
            self.send(answer)  # the page waits for an answer before it requests anything else
            raise
        self.send({**answer, "box": box}, [png])
