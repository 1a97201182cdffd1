"""Clone, fill and retouch of entries: the exact solution, as a layer of the entry."""

from dataclasses import dataclass
from itertools import count
from secrets import randbits
from time import perf_counter
from typing import Any, Literal

from eoren.errors import EorenError
from eoren.image.io import SourceImage, read_source_image
from eoren.viewer.catalog import FieldCatalog, FieldEntry, Layer
from eoren.visualization.colormaps import as_8bit_image

Operation = Literal["clone", "fill", "flatten-light", "boost-detail", "denoise-edges"]
Mode = Literal["import", "mixed", "average"]
Method = Literal["membrane", "biharmonic"]

# Browsers keep the results of servers before this one: no number may come again.
_numbers = count(randbits(40))


@dataclass(frozen=True)
class Edit:
    """An operation and its options, as those of the commands."""

    operation: Operation
    source: str = ""  # name of the entry to clone from
    offset: tuple[int, int] = (0, 0)
    mode: Mode = "import"
    keep_color: float = 0.0
    method: Method = "membrane"
    factor: float = 2.0


def edit(catalog: FieldCatalog, entry: FieldEntry, change: Edit, mask: bytes) -> dict[str, Any]:
    """Solve an edit of an entry at full size, and add the result to its layers; describe it as JSON.

    Raises:
        EorenError: the mask or an option is invalid, or the source is not open.
    """
    from eoren.composition.operations import clone, fill
    from eoren.composition.retouching import boost_detail, denoise, flatten_light

    start, image = perf_counter(), _operand(entry)
    if change.operation == "clone":
        source = catalog.find(change.source)
        if source is None:
            raise EorenError(f"{change.source or 'the source'}: is not open; choose another source")
        options: dict[str, Any] = {name: getattr(change, name) for name in ("offset", "mode", "keep_color")}
        composed = clone(_operand(source), image, read_source_image(mask), **options)
    elif change.operation == "fill":
        composed = fill(image, read_source_image(mask), method=change.method)
    elif change.operation == "boost-detail":
        composed = boost_detail(image, change.factor)
    else:
        composed = flatten_light(image) if change.operation == "flatten-light" else denoise(image)
    pixels = as_8bit_image(composed.colors)
    seconds = perf_counter() - start
    name, description = f"edited-{next(_numbers)}", "The image as the last edit made it, as squares."
    layer = Layer(name, "Edited", description, pixels=pixels, profile=composed.profile)
    entry.add_edit(layer)
    return {"layer": layer.name, "seconds": seconds, "notes": list(composed.notes)}


def _operand(entry: FieldEntry) -> Any:
    """Return the image of an entry, or else its field."""
    if entry.image is None:
        return entry.field
    return SourceImage(entry.image, 8, entry.image_sha256, entry.title, profile=entry.field.provenance.profile)
