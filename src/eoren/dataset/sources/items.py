"""Images of a source before they are decoded.

Images come in a fixed order, each with a name and an optional label. Listing them is cheap, and takes little memory
for each: an image is read by :attr:`Item.load` and decoded by :func:`decode_content`, in the process
that fits it.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import prod
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypeVar

import numpy as np

from eoren.errors import EorenError, ImageError, SourceWarning
from eoren.fs.names import as_utf8
from eoren.image.decoders import Decoded
from eoren.image.io import SourceImage, as_source_image

_Value = TypeVar("_Value")

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".avif", ".heic", ".gif", ".npy")
"""Suffixes of image files; other files in folders and archives are left out."""

# Names of Hugging Face data sets; WebDataset uses suffixes.
IMAGE_KEYS = ("image", "img", *(suffix.removeprefix(".") for suffix in SUFFIXES))
LABEL_KEYS = ("label", "labels", "fine_label", "cls")


class Content(NamedTuple):
    """An image before it is decoded."""

    # Bytes of a file, an array, samples of an image in memory, or the error that prevented reading.
    data: bytes | np.ndarray | Decoded | EorenError
    label: str | None = None


class Item(NamedTuple):
    """One image of a source."""

    name: str  # path in a folder or an archive, otherwise the number of the image
    load: Callable[[], Content]


class Source:
    """A sequence of images in a fixed order, which is iterated once.

    ``count`` is None if its length is unknown; then ``share``, if it is known, returns the share that was read.
    """

    def __init__(self, items: Iterable[Item], count: int | None, share: Callable[[], float] | None = None) -> None:
        self._items, self.count, self.share = items, count, share

    def __iter__(self) -> Iterator[Item]:
        return (Item(as_utf8(name), load) for name, load in self._items)


class LeftOut:
    """Counts the parts of a source of one kind that are left out, for a warning."""

    def __init__(self, kind: str = "file without the suffix of an image") -> None:
        self._kind, self._count, self._first = kind, 0, ""

    def add(self, name: str) -> None:
        """Count a part."""
        self._first = self._first or name
        self._count += 1

    def warn(self, source: Any) -> None:
        """Warn, if there are any."""
        if self._count:
            message = f"{source}: left out {self._count:,} x {self._kind}: {self._first}"
            warnings.warn(f"{message} ..." if self._count > 1 else message, SourceWarning, stacklevel=2)


def decode_content(name: str, content: Content, *, to_srgb: bool = False) -> SourceImage:
    """Decode an image; raise :class:`ImageError` without the name of the image if it is damaged or not an image.

    With ``to_srgb``, colours are converted from the profile of the image to sRGB.
    """
    data = content.data
    if isinstance(data, EorenError):
        raise ImageError(str(data))
    try:
        return replace(as_source_image(data, to_srgb=to_srgb), name=name)
    except EorenError as error:
        raise ImageError(str(error).removeprefix("bytes: ")) from None


def constant(value: _Value) -> Callable[[], _Value]:
    """Create a function that returns a value that was read already."""
    return lambda: value


def is_image(name: str) -> bool:
    """Whether a file has the suffix of an image."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder that it is in, is hidden, or was added to an archive by macOS."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def folder_label(name: str) -> str | None:
    """Return the name of the folder of a file as its label."""
    return as_utf8(PurePosixPath(name).parent.name) or None


def as_label(label: Any) -> str | None:
    """Return a label of a data set, a text, a number or an array of one, as text; None for other targets and None."""
    if hasattr(label, "item") and prod(getattr(label, "shape", (0,))) == 1:
        label = label.item()
    if isinstance(label, bytes):
        label = label.decode("utf-8", "surrogateescape")
    return as_utf8(str(label)) if isinstance(label, str | int | float) else None


def no_images(source: Any) -> EorenError:
    """Return the error to raise for a source without images."""
    return EorenError(f"{source}: has no images ({', '.join(SUFFIXES)})")
