"""What is on show: fields, each with its image if that is known, under names that fit into addresses."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy.interpolate import BSpline
from scipy.ndimage import spline_filter
from scipy.sparse import csr_array

from eoren.errors import EorenError
from eoren.evaluation.metrics import uses_cell_averages
from eoren.field.field import Field
from eoren.image.cell_averages import point_values

MAGNIFICATION = 64
"""How many times its own width an image is offered at most, beside its own size."""


@dataclass(frozen=True)
class Layer:
    """One way to look at a field.

    Attributes:
        name: in addresses.
        label: for people.
        key: what its colours mean, for people.
        compares: it needs the image beside the field.
    """

    name: str
    label: str
    key: str
    compares: bool = False


LAYERS = {
    layer.name: layer
    for layer in (
        Layer("color", "Field", "The function's colours, computed afresh at every zoom."),
        Layer("gradient", "Gradient magnitude", "White where colours change by half their range a pixel, or more."),
        Layer(
            "direction",
            "Gradient direction",
            "Hue: where it gets brighter; red to the right, green down and left, blue up and left. Black: flat.",
        ),
        Layer("laplacian", "Laplacian", "Mid gray is zero; white and black are half the range a pixel squared."),
        Layer("original", "Picture", "The image's own pixels, as squares.", compares=True),
        Layer("spline", "Cubic spline", "The cubic spline through the image's pixels.", compares=True),
        Layer(
            "difference",
            "Difference",
            "Field against image, at the centres of pixels: black none, pale yellow a twentieth of the range, "
            "or more.",
            compares=True,
        ),
    )
}


@dataclass(frozen=True, eq=False)
class FieldEntry:
    """A field on show.

    Attributes:
        name: in addresses, without ``~``.
        title: for people.
        field: what is shown.
        digest: differs where the field or the image differs.
        picture: ``(H, W, C)`` that the field was fitted to, if it is known.

    Raises:
        EorenError: the image has another size, or other channels.
    """

    name: str
    title: str
    field: Field
    digest: str
    picture: Float[np.ndarray, "height width channels"] | None = None

    def __post_init__(self) -> None:
        """Refuse an image that the field cannot have been fitted to."""
        if self.picture is not None:
            height, width, channels = self.picture.shape
            own = (*self.field.size, self.field.channels)
            if (width, height, channels) != own:
                raise EorenError(
                    f"the image is {width}x{height} with {channels} channels, but the field was fitted to "
                    f"{own[0]}x{own[1]} with {own[2]}; give the image it was fitted to"
                )

    @property
    def layers(self) -> list[Layer]:
        """Ways to look at it."""
        return [layer for layer in LAYERS.values() if self.picture is not None or not layer.compares]

    @cached_property
    def samples(self) -> Image.Image:
        """The image in 8 bits."""
        bits = np.floor(self._known * 255 + 0.5).astype(np.uint8)
        return Image.fromarray(bits[..., 0] if bits.shape[2] == 1 else bits)

    @cached_property
    def targets(self) -> Float[np.ndarray, "height width channels"]:
        """What the field is to say at the centres of the pixels."""
        averaged = uses_cell_averages(self.field.provenance.settings)
        return point_values(self._known) if averaged else self._known

    @cached_property
    def coefficients(self) -> Float[np.ndarray, "rows columns channels"]:
        """Of the cubic spline through the pixels, mirrored beyond the border."""
        channels = range(self._known.shape[2])
        planes = [spline_filter(self._known[..., c], 3, np.float32, mode="mirror") for c in channels]
        return np.pad(np.stack(planes, -1), ((2, 2), (2, 2), (0, 0)), mode="reflect")

    def spline(
        self, y: Float[np.ndarray, " rows"], x: Float[np.ndarray, " columns"]
    ) -> Float[np.ndarray, "rows columns channels"]:
        """The cubic spline on a grid.

        Args:
            y: of the rows, in pixels, ascending; the centre of the first row of pixels is 0.
            x: of the columns, likewise.
        """
        (top, down), (left, across) = (_basis(at, side) for at, side in zip((y, x), self._known.shape, strict=False))
        part = self.coefficients[top : top + down.shape[1], left : left + across.shape[1]]
        rows = (down @ part.reshape(len(part), -1)).reshape(len(y), -1, part.shape[2])
        columns = across @ rows.swapaxes(0, 1).reshape(rows.shape[1], -1)
        return np.asarray(columns.reshape(len(x), len(y), -1).swapaxes(0, 1))

    def at(self, x: float, y: float) -> dict[str, Any]:
        """What there is to say of a point of the unit square, for people to read.

        Returns:
            ``color`` and ``spline`` of every channel, ``gradient`` as ``[d/dx, d/dy]`` of every channel in
            intensity per pixel, ``laplacian`` per pixel squared, ``pixel`` as ``[column, row]``, and the
            ``picture``'s value there; ``spline`` and ``picture`` where the image is known.
        """
        width, height = self.field.size
        sides = (float(width), float(height))
        # A grid of one point, so that the same code speaks as when a tile is drawn.
        half = 1e-9
        region = (x - half, y - half, x + half, y + half)
        color, gradient, laplacian = self.field.sample(
            1, 1, "color", "gradient", "laplacian", region=region, extent=sides
        )
        column, row = min(int(x * width), width - 1), min(int(y * height), height - 1)
        said: dict[str, Any] = {
            "pixel": [column, row],
            "color": color[0, 0].tolist(),
            "gradient": gradient[0, 0].tolist(),
            "laplacian": laplacian[0, 0].tolist(),
        }
        if self.picture is not None:
            said["picture"] = self.picture[row, column].tolist()
            said["spline"] = self.spline(np.array([y * height - 0.5]), np.array([x * width - 0.5]))[0, 0].tolist()
        return said

    @property
    def _known(self) -> Float[np.ndarray, "height width channels"]:
        if self.picture is None:
            raise EorenError(f"{self.title}: the image is not known; give it with --compare")
        return self.picture


@dataclass(frozen=True)
class View:
    """One layer of an exhibit at some magnification: what an IIIF identifier stands for."""

    exhibit: FieldEntry
    layer: Layer
    magnification: int = 1

    @property
    def width(self) -> int:
        """In pixels of the magnified image."""
        return self.exhibit.field.size[0] * self.magnification

    @property
    def height(self) -> int:
        """Likewise."""
        return self.exhibit.field.size[1] * self.magnification

    @property
    def identifier(self) -> str:
        """``name~layer~64x``; what is usual is left out at the end: ``name~gradient``, ``name``.

        What it is made of needs no escaping but the name.
        """
        if self.magnification > 1:
            return f"{self.exhibit.name}~{self.layer.name}~{self.magnification}x"
        return self.exhibit.name if self.layer.name == "color" else f"{self.exhibit.name}~{self.layer.name}"


class FieldCatalog:
    """The exhibits by name. Threads may share it.

    Example:
        >>> free_name("kodim04", {"kodim04"}), free_name("a~b", set())
        ('kodim04-2', 'a-b')
    """

    def __init__(self) -> None:
        """Nothing is on show."""
        self._exhibits: dict[str, FieldEntry] = {}
        self._lock = Lock()

    def show(self, title: str, make: Callable[[str], FieldEntry]) -> FieldEntry:
        """Put something on show.

        Args:
            title: that its name is made from.
            make: the exhibit of a name.
        """
        with self._lock:
            exhibit = make(free_name(title, self._exhibits.keys()))
            self._exhibits[exhibit.name] = exhibit
            return exhibit

    def remove(self, exhibit: FieldEntry) -> None:
        """Put something away."""
        with self._lock:
            self._exhibits.pop(exhibit.name, None)

    def exhibits(self) -> list[FieldEntry]:
        """In the order they were put on show."""
        with self._lock:
            return list(self._exhibits.values())

    def find(self, name: str) -> FieldEntry | None:
        """The exhibit of a name."""
        with self._lock:
            return self._exhibits.get(name)

    def view(self, identifier: str) -> View | None:
        """What an identifier stands for; none if nothing."""
        name, *rest = identifier.split("~")
        exhibit = self.find(name)
        layer = LAYERS.get(rest[0] if rest else "color")
        if exhibit is None or layer not in exhibit.layers or layer is None or len(rest) > 2:
            return None
        magnification = 1
        if len(rest) == 2:
            found = re.fullmatch("([1-9][0-9]{0,3})x", rest[1], re.ASCII)
            if found is None or int(found[1]) > MAGNIFICATION:
                return None
            magnification = int(found[1])
        return View(exhibit, layer, magnification)


def _basis(at: Float[np.ndarray, " n"], side: int) -> tuple[int, csr_array]:
    """The cubic B-splines at some places of an axis: the first of them that matters, and ``(n, those)`` values."""
    whole = csr_array(BSpline.design_matrix(at, np.arange(-4.0, side + 4), 3)).astype(np.float32)
    first, last = int(whole.indices.min()), int(whole.indices.max())
    return first, whole[:, first : last + 1]


def free_name(title: str, taken: Any) -> str:
    """A name for addresses that none has yet: of letters, digits, and few other signs."""
    plain = re.sub(r"[^\w.-]+|~", "-", title).strip("-.") or "field"
    names = (plain if number == 1 else f"{plain}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)
