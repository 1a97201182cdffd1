"""Fields on display, the layers that show them, and the identifiers of both in addresses."""

import re
from collections.abc import Container
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.image.cell_averages import point_values
from eoren.visualization.colormaps import as_8bit_image
from eoren.visualization.resampling import CubicSpline

Pixels = Float[np.ndarray, "height width channels"]

MAX_MAGNIFICATION = 64
"""Largest factor by which a layer is offered enlarged."""


@dataclass(frozen=True)
class Layer:
    """One way to display a field.

    Attributes:
        name: name in addresses.
        label: name on the page.
        description: meaning of the colours, shown on the page.
        needs_image: whether the layer needs the image that the field was fitted to.
    """

    name: str
    label: str
    description: str
    needs_image: bool = False


LAYERS = {
    layer.name: layer
    for layer in (
        Layer("color", "Field", "The field's colours, evaluated anew at every zoom."),
        Layer("gradient", "Gradient magnitude", "White: half the intensity range per pixel, or more."),
        Layer(
            "direction",
            "Gradient direction",
            "Hue: the direction in which brightness increases; red to the right, green down and left, blue up and "
            "left. Black: flat.",
        ),
        Layer("laplacian", "Laplacian", "Mid gray: zero. White and black: half the range per pixel squared."),
        Layer("original", "Image", "The image's own pixels, as squares.", needs_image=True),
        Layer("spline", "Cubic spline", "The cubic spline through the image's pixels.", needs_image=True),
        Layer(
            "difference",
            "Difference",
            "Error of the field at the pixel centres. Black: none. Pale yellow: a twentieth of the range, or more.",
            needs_image=True,
        ),
    )
}


@dataclass(frozen=True, eq=False)
class FieldEntry:
    """A field on display.

    Attributes:
        name: name in addresses, without ``~``.
        title: name on the page.
        field: the field itself.
        digest: string that changes when the field or the image changes; part of cache keys.
        image: ``(H, W, C)`` that the field was fitted to, or None if unknown.

    Raises:
        EorenError: the image differs from the field in size or channels.
    """

    name: str
    title: str
    field: Field
    digest: str
    image: Pixels | None = None

    def __post_init__(self) -> None:
        if self.image is None:
            return
        height, width, channels = self.image.shape
        expected = (*self.field.size, self.field.channels)
        if (width, height, channels) != expected:
            raise EorenError(
                f"the image must be {expected[0]}x{expected[1]} with {expected[2]} channels, as the field, got "
                f"{width}x{height} with {channels} channels; give the image that the field was fitted to"
            )

    @property
    def layers(self) -> list[Layer]:
        """Layers available for this entry."""
        return [layer for layer in LAYERS.values() if self.image is not None or not layer.needs_image]

    @cached_property
    def image_8bit(self) -> Image.Image:
        """The image with 8 bits per channel."""
        return as_8bit_image(self._known_image)

    @cached_property
    def expected_colors(self) -> Pixels:
        """Colours that a perfect field has at the pixel centres."""
        averages = self.field.provenance.settings.get("pixels") == "areas"
        return point_values(self._known_image) if averages else self._known_image

    @cached_property
    def spline(self) -> CubicSpline:
        """Cubic spline through the pixels of the image."""
        return CubicSpline(self._known_image)

    def probe(self, x: float, y: float) -> dict[str, Any]:
        """Evaluate field and image at a point of the unit square.

        Returns:
            ``pixel`` as ``[column, row]``, ``color`` per channel, ``gradient`` as ``[d/dx, d/dy]`` per channel in
            intensity per pixel, and ``laplacian`` per pixel squared; if the image is known, also its value ``image``
            in that pixel and the ``spline`` at the point.
        """
        width, height = self.field.size
        # A grid of one point takes the same code path as a tile.
        half = 1e-9
        color, gradient, laplacian = self.field.sample(
            *(1, 1, "color", "gradient", "laplacian"),
            region=(x - half, y - half, x + half, y + half),
            extent=(float(width), float(height)),
        )
        column, row = min(int(x * width), width - 1), min(int(y * height), height - 1)
        values: dict[str, Any] = {
            "pixel": [column, row],
            "color": color[0, 0].tolist(),
            "gradient": gradient[0, 0].tolist(),
            "laplacian": laplacian[0, 0].tolist(),
        }
        if self.image is not None:
            values["image"] = self.image[row, column].tolist()
            values["spline"] = self.spline(np.array([y * height - 0.5]), np.array([x * width - 0.5]))[0, 0].tolist()
        return values

    @property
    def _known_image(self) -> Pixels:
        if self.image is None:
            raise EorenError(f"{self.title}: the image is unknown; give it with --compare")
        return self.image


@dataclass(frozen=True)
class View:
    """A layer of an entry at a magnification: the image that an IIIF identifier names."""

    entry: FieldEntry
    layer: Layer
    magnification: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the magnified image in pixels."""
        width, height = self.entry.field.size
        return width * self.magnification, height * self.magnification

    @property
    def identifier(self) -> str:
        """``name~layer~64x`` without trailing defaults: ``name~gradient``, ``name``. Only the name needs escaping."""
        if self.magnification > 1:
            return f"{self.entry.name}~{self.layer.name}~{self.magnification}x"
        return self.entry.name if self.layer.name == "color" else f"{self.entry.name}~{self.layer.name}"


class FieldCatalog:
    """The entries by name, in the order in which they were added. Thread-safe."""

    def __init__(self) -> None:
        self._entries: dict[str, FieldEntry] = {}
        self._lock = Lock()

    def add(
        self, title: str, field: Field, *, digest: str, image: Pixels | None = None, name: str | None = None
    ) -> FieldEntry:
        """Display a field; see :class:`FieldEntry` for the arguments.

        The name is made unique by :func:`free_name`; by default it is derived from the title.

        Raises:
            EorenError: the image differs from the field in size or channels.
        """
        with self._lock:
            entry = FieldEntry(free_name(name or title, self._entries), title, field, digest, image)
            self._entries[entry.name] = entry
            return entry

    def remove(self, entry: FieldEntry) -> None:
        """Stop displaying an entry."""
        with self._lock:
            self._entries.pop(entry.name, None)

    def entries(self) -> list[FieldEntry]:
        """Return all entries."""
        with self._lock:
            return list(self._entries.values())

    def find(self, name: str) -> FieldEntry | None:
        """Return the entry of a name, None if there is none."""
        with self._lock:
            return self._entries.get(name)

    def view(self, identifier: str) -> View | None:
        """Return the view of an identifier (see :attr:`View.identifier`), None if there is none."""
        match = re.fullmatch("([^~]*)(?:~([^~]*)(?:~([1-9][0-9]{0,3})x)?)?", identifier, re.ASCII)
        entry = self.find(match[1]) if match else None
        if match is None or entry is None:
            return None
        layer, magnification = LAYERS.get(match[2] or "color"), int(match[3] or 1)
        if match[2] == "" or layer not in entry.layers or layer is None or magnification > MAX_MAGNIFICATION:
            return None
        return View(entry, layer, magnification)


def free_name(title: str, taken: Container[str]) -> str:
    """Derive an unused name for addresses from a title: letters, digits, ``_``, ``.`` and ``-``.

    Example:
        >>> free_name("kodim04", {"kodim04"}), free_name("a~b", set())
        ('kodim04-2', 'a-b')
    """
    plain = re.sub(r"[^\w.-]+|~", "-", title).strip("-.") or "field"
    names = (plain if number == 1 else f"{plain}-{number}" for number in count(1))
    return next(name for name in names if name not in taken)
