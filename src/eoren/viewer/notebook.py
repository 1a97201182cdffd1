"""Fields in notebooks: ``eoren.show``."""

from importlib.util import find_spec
from os import PathLike
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.image.io import SourceImage, as_source_image
from eoren.viewer.catalog import FieldEntry

if TYPE_CHECKING:
    from eoren.viewer.widget import FieldWidget


def show(field: Field, image: "ArrayLike | str | PathLike[str] | SourceImage | None" = None) -> "FieldWidget":
    """Show a field in a notebook, to zoom and pan, with the layers of ``eoren view``.

    At every zoom the kernel evaluates the field at the pixels of the screen. Without a kernel, and in exported
    notebooks, the image of the whole remains. Drag, or use the arrow keys, to pan; ``+`` and ``-``, a double click,
    or the wheel over the focused image zoom; ``0`` shows the whole image; digits choose the layer.

    Args:
        field: field to show.
        image: image that it was fitted to, as for :func:`eoren.fit`; it adds the layers image, cubic spline and
            difference.

    Returns:
        the widget, which a notebook displays if it is the last value of a cell.

    Raises:
        EorenError: anywidget is not installed, or the image has another size than the field.
    """
    if find_spec("anywidget") is None:
        raise EorenError("eoren.show needs anywidget; pip install 'eoren[notebook]'")

    from eoren.viewer.widget import FieldWidget

    pixels = None if image is None else as_source_image(image).pixels
    return FieldWidget(FieldEntry("field", "field", field, "", pixels))
