"""Data sets and iterables of Python as sources: torchvision, Hugging Face, WebDataset, arrays."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

from eoren.dataset.sources.items import IMAGE_KEYS, LABEL_KEYS, Content, Item, Source, as_label, constant
from eoren.errors import EorenError, format_error
from eoren.image.decoders import Decoded
from eoren.image.io import as_samples


def open_dataset(source: Any) -> Source:
    """Open a data set with a length and an index, or any iterable."""
    if isinstance(source, Mapping) or not (isinstance(source, Iterable) or hasattr(source, "__getitem__")):
        raise EorenError(f"a {type(source).__name__} is not a source of images; give a path, data set or iterable")
    # An IterableDataset inherits an index that raises.
    is_indexed = hasattr(source, "__getitem__") and not isinstance(source, IterableDataset)
    count = _length(source)
    # Elements of a sequence are in memory; a data set would have to read them for their names.
    if isinstance(source, Sequence) or not is_indexed or count is None:
        # A generator may fill one array again and again.
        copied = not isinstance(source, Sequence)
        return Source((_parse_element(element, number, copied) for number, element in enumerate(source)), count)

    def load(number: int) -> Content:
        try:
            return _parse_element(source[number], number).load()
        except MemoryError:
            raise
        except Exception as error:  # a foreign data set may raise anything
            return Content(EorenError(f"cannot be read ({type(error).__name__}: {format_error(error)})"))

    return Source((Item(str(number), partial(load, number)) for number in range(count)), count)


def _length(source: Any) -> int | None:
    try:
        return len(source)
    except (TypeError, NotImplementedError):  # of a stream
        return None


def _parse_element(element: Any, number: int, copied: bool = False) -> Item:
    """Split an element of a data set into its name and its content."""
    name, label = str(number), None
    if isinstance(element, Mapping):
        label = next((element[key] for key in LABEL_KEYS if key in element), None)
        key = next((key for key in IMAGE_KEYS if element.get(key) is not None), None)
        image = element.get(key)
        name = f"{element['__key__']}.{key}" if "__key__" in element else name  # of WebDataset
        if image is None:
            error = EorenError(f"has no key 'image', only {', '.join(map(str, element))}")
            return Item(name, constant(Content(error)))
    elif isinstance(element, tuple) and len(element) == 3:
        name, image, label = str(element[0]), element[1], element[2]
    elif isinstance(element, tuple) and len(element) == 2:
        image, label = element
    else:
        image = element
    return Item(name, constant(Content(_as_data(image, copied), as_label(label))))


def _as_data(image: Any, copied: bool) -> bytes | Decoded | EorenError:
    if isinstance(image, Mapping) and isinstance(image.get("bytes"), bytes):  # of Hugging Face, not decoded
        image = image["bytes"]
    if isinstance(image, bytes):
        return image
    try:
        decoded = as_samples(image)
    except EorenError as error:
        return EorenError(str(error).removeprefix("image: "))
    if copied:
        decoded = decoded._replace(samples=decoded.samples.copy())
    is_tensor = type(image).__module__.partition(".")[0] == "torch"
    if is_tensor and decoded.samples.ndim == 3:
        return decoded._replace(samples=np.moveaxis(decoded.samples, 0, -1))
    return decoded
