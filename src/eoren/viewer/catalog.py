"""Fields on display, the layers that show them, and the identifiers of both in addresses."""

import re
from collections.abc import Container
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from functools import cached_property
from itertools import count
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image as Pillow

from eoren.errors import EorenError
from eoren.evaluation.metrics import check_shape, uses_cell_averages
from eoren.field.field import Field
from eoren.fs.names import as_utf8
from eoren.image.arrays import Image
from eoren.image.cell_averages import point_values
from eoren.image.io import hash_pixels
from eoren.visualization.colormaps import as_8bit_image
from eoren.visualization.resampling import CubicSpline

MAX_MAGNIFICATION = 64  # largest factor by which a layer is offered enlarged


@dataclass(frozen=True)
class Layer:
    """One way to display a field."""

    name: str  # in addresses
    label: str  # on the page
    description: str  # meaning of the colours, shown on the page
    needs_image: bool = False
    pixels: Pillow.Image | None = None  # of a layer that is an image by itself
    profile: bytes = b""  # ICC profile of these pixels


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
    """A field on display, and the image that it was fitted to, if known."""

    name: str  # in addresses, without ~
    title: str  # on the page
    field: Field
    digest: str  # changes with the field or the image; part of cache keys
    image: Image | None = None
    image_sha256: str = ""  # digest of the image's file, if known
    file: str = ""  # path of the field, as the user gave it
    image_file: str = ""  # path of the image, or its name
    edits: dict[str, Layer] = dataclass_field(default_factory=dict)  # the last results of editing, by name

    def __post_init__(self) -> None:
        if self.image is not None:
            check_shape(self.field, self.image)

    @property
    def layers(self) -> list[Layer]:
        """The layers available for this entry, with the newest edit."""
        available = [layer for layer in LAYERS.values() if self.image is not None or not layer.needs_image]
        return available + list(self.edits.values())[-1:]

    def layer(self, name: str) -> Layer | None:
        """Return the layer of a name, or None; a page may still request the edit before the newest one."""
        return next((layer for layer in [*self.layers, *self.edits.values()] if layer.name == name), None)

    def add_edit(self, layer: Layer) -> None:
        """Display the result of an edit in place of earlier ones."""
        self.edits[layer.name] = layer
        for name in list(self.edits)[:-2]:
            del self.edits[name]

    @property
    def operand(self) -> str:
        """Path by which a command reads what an edit changes, the image or else the field; empty if unknown."""
        return self.file if self.image is None else self.image_file

    @cached_property
    def image_notice(self) -> str:
        """Statement that the image is not the one that the field was fitted to; empty if it may be."""
        stored = self.field.provenance
        if self.image is None or not self.image_sha256 or not stored.source_sha256 or stored.composition:
            return ""
        # A field that was fitted to an array has the digest of its values.
        if stored.source_sha256 == self.image_sha256 or stored.source_sha256 == hash_pixels(self.image):
            return ""
        return f"{self.title} was fitted to another file than this image: its source has another SHA-256 digest"

    @cached_property
    def image_8bit(self) -> Pillow.Image:
        """The image with 8 bits per channel."""
        return as_8bit_image(self._known_image)

    @cached_property
    def expected_colors(self) -> Image:
        """Colours that a perfect field has at the pixel centres."""
        averages = uses_cell_averages(self.field.provenance.settings)
        return point_values(self._known_image) if averages else self._known_image

    @cached_property
    def spline(self) -> CubicSpline:
        """Cubic spline through the pixels of the image."""
        return CubicSpline(self._known_image)

    def probe(self, x: float, y: float) -> dict[str, Any]:
        """Evaluate field, and image if known, at a point of the unit square; derivatives are per pixel."""
        width, height = self.field.size
        # A grid of one point takes the same code path as a tile.
        half = 1e-9
        color, gradient, laplacian = self.field.sample(
            *(1, 1, "color", "gradient", "laplacian"),
            region=(x - half, y - half, x + half, y + half),
            extent=(float(width), float(height)),
        )
        column, row = min(int(x * width), width - 1), min(int(y * height), height - 1)
        values = {"color": color[0, 0], "gradient": gradient[0, 0], "laplacian": laplacian[0, 0]}
        if self.image is not None:
            values["image"] = self.image[row, column]
            values["spline"] = self.spline(np.array([y * height - 0.5]), np.array([x * width - 0.5]))[0, 0]
        return {"pixel": [column, row], **{name: value.tolist() for name, value in values.items()}}

    @property
    def _known_image(self) -> Image:
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
        """Width and height in pixels, magnified."""
        width, height = self.entry.field.size
        return width * self.magnification, height * self.magnification

    @property
    def identifier(self) -> str:
        """``name~layer~64x`` without trailing defaults: ``name~gradient``, ``name``. Only the name needs escaping."""
        if self.magnification > 1:
            return f"{self.entry.name}~{self.layer.name}~{self.magnification}x"
        return self.entry.name if self.layer.name == "color" else f"{self.entry.name}~{self.layer.name}"


class FieldCatalog:
    """The entries by name, in the order of their addition. Thread-safe."""

    def __init__(self) -> None:
        self._entries: dict[str, FieldEntry] = {}
        self._lock = Lock()

    def add(
        self,
        title: str,
        field: Field,
        *,
        digest: str,
        image: Image | None = None,
        image_sha256: str = "",
        name: str | None = None,
        file: str = "",
        image_file: str = "",
    ) -> FieldEntry:
        """Display a field, under a name that is made unique and by default derived from the title."""
        with self._lock:
            unique = free_name(name or title, self._entries)
            paths = as_utf8(file), as_utf8(image_file)
            entry = FieldEntry(unique, as_utf8(title), field, digest, image, image_sha256, *paths)
            self._entries[entry.name] = entry
            return entry

    def set_file(self, entry: FieldEntry, file: str) -> None:
        """Record the file that an entry was written to."""
        with self._lock:
            self._entries[entry.name] = replace(entry, file=as_utf8(file))

    def remove(self, entry: FieldEntry) -> None:
        """Stop displaying an entry."""
        with self._lock:
            self._entries.pop(entry.name, None)

    def entries(self) -> list[FieldEntry]:
        """Return all entries."""
        with self._lock:
            return list(self._entries.values())

    def find(self, name: str) -> FieldEntry | None:
        """Return the entry of a name, or None."""
        with self._lock:
            return self._entries.get(name)

    def view(self, identifier: str) -> View | None:
        """Return the view of an identifier (see :attr:`View.identifier`), or None."""
        match = re.fullmatch("([^~]*)(?:~([^~]*)(?:~([1-9][0-9]{0,3})x)?)?", identifier, re.ASCII)
        entry = self.find(match[1]) if match else None
        if match is None or entry is None:
            return None
        name, magnification = "color" if match[2] is None else match[2], int(match[3] or 1)
        layer = entry.layer(name)
        if layer is None or magnification > MAX_MAGNIFICATION:
            return None
        return View(entry, layer, magnification)


def free_name(title: str, taken: Container[str]) -> str:
    """Derive an unused name for addresses from a title: letters, digits, ``_``, ``.`` and ``-``."""
    plain = re.sub(r"[^\w.-]+|~", "-", title).strip("-.") or "field"
    names = (plain if number == 1 else f"{plain}-{number}" for number in count(1))
    return next(name for name in names if name not in taken)
