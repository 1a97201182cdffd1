"""Sources of images: folders, patterns, archives, IDX files, data sets and iterables.

Images come in a fixed order, each with a name and an optional label. Listing them is cheap: an image is read by
:attr:`Item.load` and decoded by :func:`decode_content`, in the process that fits it.
"""

import glob
import os
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import IterableDataset

from eoren.dataset.archives import Member, constant, is_tar, tar_members, zip_members
from eoren.errors import EorenError, ImageError, SourceWarning, format_error
from eoren.fs.decompression import GZIP
from eoren.fs.files import is_folder, open_regular
from eoren.fs.names import as_utf8
from eoren.image.decoders import Decoded
from eoren.image.idx import IDX_MAGIC, read_idx
from eoren.image.io import SourceImage, as_samples, as_source_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".avif", ".heic", ".gif", ".npy")
"""Suffixes of image files; other files in folders and archives are left out."""

# Names of Hugging Face data sets; WebDataset uses suffixes.
_IMAGE_KEYS = ("image", "img", *(suffix.removeprefix(".") for suffix in SUFFIXES))
_LABEL_KEYS = ("label", "labels", "fine_label", "cls")
_PACKED = ("", ".gz", ".bz2", ".xz")


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
    """A sequence of images in a fixed order, which is iterated once; ``count`` is None if its length is unknown."""

    def __init__(self, items: Iterable[Item], count: int | None) -> None:
        self._items, self.count = items, count

    def __iter__(self) -> Iterator[Item]:
        return (Item(as_utf8(name), load) for name, load in self._items)


def open_source(*sources: Any) -> Source:
    """Open one or more sources of images, one after the other.

    Args:
        sources: each a folder (searched recursively, through links to folders, too; the folder of an image is its
            label), a pattern such as ``"photos/*.png"``, a zip or tar archive, an IDX file as of MNIST (gzipped or
            not; labels are read from the label file beside it), or an image file; or a data set with a length and an
            index, as those of torchvision and Hugging Face; or any iterable, such as an ``IterableDataset`` or a
            WebDataset. An element is an image, ``(image, label)``, ``(name, image, label)``, or a mapping with
            ``image`` (or a suffix, such as ``png``) and optionally ``label`` (or ``cls``). Images are as in
            :func:`eoren.fit`, or the bytes of a file; PyTorch tensors have their channels first.

    Raises:
        EorenError: A source cannot be read or has no images.

    Warns:
        SourceWarning: files without the suffix of an image, or folders that cannot be searched, were left out. Hidden
            files and those that macOS adds to archives are left out without a warning.

    Example:
        >>> source = open_source([np.zeros((2, 2)), (np.ones((2, 2)), 7)])
        >>> [(item.name, item.load().label) for item in source]
        [('0', None), ('1', '7')]
    """
    if not sources:
        raise EorenError("there is no source; give a folder, an archive, an IDX file or images")
    opened = [_open(source) for source in sources]
    counts = [source.count for source in opened]
    known = [count for count in counts if count is not None]
    return Source((item for source in opened for item in source), sum(known) if len(known) == len(counts) else None)


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


def _open(source: Any) -> Source:
    if not isinstance(source, str | PathLike):
        return _open_dataset(source)
    path = Path(source)
    if is_folder(path):
        return _open_folder(path)
    if glob.has_magic(str(source)) and not os.path.exists(path):  # noqa: PTH110  pathlib raises for too long a name
        paths = [Path(name) for name in sorted(glob.glob(str(source), recursive=True))]  # noqa: PTH207
        if not paths:
            raise EorenError(f"{source}: no file matches the pattern; check it")
        _warn(source, [path.name for path in paths if path.is_dir()], "folder")
        return open_source(*(path for path in paths if not path.is_dir()))
    with open_regular(path) as (file, _):
        start = file.read(tarfile.BLOCKSIZE)
    if path.suffix.lower() in SUFFIXES:
        return Source([Item(str(source), partial(_read_file, path, root=path.parent))], 1)
    if start.startswith(IDX_MAGIC) or (start.startswith(GZIP) and "idx" in path.name):
        return _open_idx(path)
    if is_tar(start):
        return Source(map(_archive_item, _select(tar_members, path)), None)
    if zipfile.is_zipfile(path):
        return _source_of([_archive_item(member) for member in _select(zip_members, path)], path)
    raise EorenError(f"{source}: is not an image, folder, zip, tar or IDX file; give one of these")


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _select(members: Callable[[Path, Callable[[str], bool]], Iterable[Member]], path: Path) -> Iterator[Member]:
    """List the images of an archive, then warn of its other files."""
    others: list[str] = []

    def select(name: str) -> bool:
        if _is_hidden(name):
            return False
        if not (is_image := _is_image(name)):
            others.append(name)
        return is_image

    yield from members(path, select)
    _warn(path, others)


def _warn(source: Any, others: Sequence[str], kind: str = "file without the suffix of an image") -> None:
    """Warn of parts of a source that are left out, if there are any."""
    if others:
        message = f"{source}: left out {len(others):,} x {kind}: {others[0]}{' ...' if len(others) > 1 else ''}"
        warnings.warn(message, SourceWarning, stacklevel=2)


def _folder_label(name: str) -> str | None:
    return as_utf8(PurePosixPath(name).parent.name) or None


def _read_file(path: Path, label: str | None = None, *, root: Path) -> Content:
    """Read a file; a missing one is an error of its image, unless its whole source has disappeared."""
    try:
        with open_regular(path) as (file, _):
            return Content(file.read(), label)
    except EorenError as error:
        if not root.is_dir():  # a disk was removed, or a network failed
            raise EorenError(f"{root}: has disappeared; restore it and run the same 'eoren fit-many' again") from None
        return Content(EorenError(str(error).removeprefix(f"{path}: ")), label)


def _source_of(items: list[Item], path: Path) -> Source:
    if not items:
        raise EorenError(f"{path}: has no images ({', '.join(SUFFIXES)})")
    return Source(items, len(items))


def _open_folder(folder: Path) -> Source:
    names = sorted(_list_files(folder))
    items = [
        Item(name, partial(_read_file, folder / name, _folder_label(name), root=folder))
        for name in names
        if _is_image(name)
    ]
    source = _source_of(items, folder)
    _warn(folder, [name for name in names if not _is_image(name)])
    return source


def _list_files(folder: Path) -> Iterator[str]:
    """Yield the paths of the visible files below a folder, and below links in it to folders elsewhere."""
    Identity = tuple[int, int]
    waiting: list[tuple[str, frozenset[Identity]]] = [("", frozenset())]
    loops, unreadable = [], []
    while waiting:
        name, above = waiting.pop()
        try:
            status = (folder / name).stat()
            identity = status.st_dev, status.st_ino
            if identity in above:  # a link to a folder above it
                loops.append(name)
                continue
            entries = [*os.scandir(folder / name)]
        except OSError as error:
            if not name:
                raise EorenError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from None
            unreadable.append(name)
            continue
        for entry in entries:
            path = f"{name}/{entry.name}" if name else entry.name
            if _is_hidden(entry.name):
                continue
            if entry.is_dir():
                waiting.append((path, above | {identity}))
            else:
                yield path
    _warn(folder, sorted(loops), "link to a folder above it")
    _warn(folder, sorted(unreadable), "folder that cannot be read")


def _archive_item(member: Member) -> Item:
    name, read = member
    return Item(name, lambda: Content(read(), _folder_label(name)))


def _open_idx(path: Path) -> Source:
    images = read_idx(path)
    if images.ndim not in (3, 4):
        raise EorenError(f"{path}: images must have 3 or 4 axes, got {images.ndim}; give a *-images-idx3-ubyte file")
    labels = _label_file(path)
    classes = None if labels is None else read_idx(labels)
    if classes is not None and classes.shape != images.shape[:1]:
        raise EorenError(f"{labels}: must have {len(images)} labels, got {len(classes)}; replace or rename it")
    stem = path.name.removesuffix(".gz")
    digits = len(str(len(images) - 1))

    def load(number: int) -> Content:
        return Content(images[number], None if classes is None else str(classes[number]))

    items = (Item(f"{stem}/{number:0{digits}}", partial(load, number)) for number in range(len(images)))
    return Source(items, len(images))


def _label_file(images: Path) -> Path | None:
    """Return the file of labels beside a file of images, packed as this one or in another way, or None."""
    suffix = images.suffix if images.suffix in _PACKED else ""
    name = images.name.removesuffix(suffix).replace("images", "labels").replace("idx3", "idx1")
    candidates = [images.with_name(name + packed) for packed in (suffix, *_PACKED)]
    return next((path for path in candidates if path != images and path.exists()), None)


def _open_dataset(source: Any) -> Source:
    if isinstance(source, Mapping) or not (isinstance(source, Iterable) or hasattr(source, "__getitem__")):
        raise EorenError(f"a {type(source).__name__} is not a source of images; give a path, data set or iterable")
    # An IterableDataset inherits an index that raises.
    is_indexed = hasattr(source, "__getitem__") and not isinstance(source, IterableDataset)
    count = _length(source)
    # Elements of a sequence are in memory; a data set would have to read them for their names.
    if isinstance(source, Sequence) or not is_indexed or count is None:
        return Source((_parse_element(element, number) for number, element in enumerate(source)), count)

    def load(number: int) -> Content:
        try:
            return _parse_element(source[number], number).load()
        except Exception as error:  # a foreign data set may raise anything
            return Content(EorenError(f"cannot be read ({type(error).__name__}: {format_error(error)})"))

    return Source((Item(str(number), partial(load, number)) for number in range(count)), count)


def _length(source: Any) -> int | None:
    try:
        return len(source)
    except (TypeError, NotImplementedError):  # of a stream
        return None


def _parse_element(element: Any, number: int) -> Item:
    """Split an element of a data set into its name and its content."""
    name, label = str(number), None
    if isinstance(element, Mapping):
        label = next((element[key] for key in _LABEL_KEYS if key in element), None)
        key = next((key for key in _IMAGE_KEYS if element.get(key) is not None), None)
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
    return Item(name, constant(Content(_as_data(image), _as_label(label))))


def _as_label(label: Any) -> str | None:
    if isinstance(label, bytes):
        label = label.decode("utf-8", "surrogateescape")
    return None if label is None else as_utf8(str(label.item() if hasattr(label, "item") else label))


def _as_data(image: Any) -> bytes | Decoded | EorenError:
    if isinstance(image, Mapping) and isinstance(image.get("bytes"), bytes):  # of Hugging Face, not decoded
        image = image["bytes"]
    if isinstance(image, bytes):
        return image
    try:
        decoded = as_samples(image)
    except EorenError as error:
        return EorenError(str(error).removeprefix("image: "))
    is_tensor = type(image).__module__.partition(".")[0] == "torch"
    if is_tensor and decoded.samples.ndim == 3:
        return decoded._replace(samples=np.moveaxis(decoded.samples, 0, -1))
    return decoded
