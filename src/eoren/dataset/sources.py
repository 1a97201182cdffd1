"""Where many images come from: folders, patterns, archives, IDX files, data sets and anything that can be iterated.

Images come in a fixed order, each with a name and perhaps a label. Naming one costs little; it is read when
:attr:`Item.load` is called, and decoded later still (:func:`decoded`), wherever it is fitted.
"""

import glob
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from eoren.dataset.archives import Member, is_tar, itself, tar_members, zip_members
from eoren.errors import EorenError, ImageError
from eoren.fs.decompression import GZIP
from eoren.fs.files import is_folder, open_regular
from eoren.image.idx import IDX_MAGIC, read_idx
from eoren.image.io import SourceImage, as_image, read_source_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif", ".npy")
"""Of the files that count as images, in folders and archives; what else there is, is passed over."""

_IMAGE_KEYS, _LABEL_KEYS = ("image", "img"), ("label", "labels", "fine_label")


class Content(NamedTuple):
    """An image as it was found.

    Attributes:
        data: bytes of a file, an array, or why there is neither.
        label: of the image, if it has one.
    """

    data: bytes | np.ndarray | EorenError
    label: str | None = None


class Item(NamedTuple):
    """One image of a source.

    Attributes:
        name: what to call it: its path in a folder or an archive, its number elsewhere.
        load: reads it.
    """

    name: str
    load: Callable[[], Content]


class Source:
    """Pictures in a fixed order.

    Args:
        items: one after the other; iterated once.
        count: how many there are; none if nobody knows.
    """

    def __init__(self, items: Iterable[Item], count: int | None) -> None:
        """Nothing is read yet."""
        self._items, self.count = items, count

    def __iter__(self) -> Iterator[Item]:
        return (Item(printable(name), load) for name, load in self._items)


def printable(text: str) -> str:
    r"""A text with escapes for what is no UTF-8, as names of files can be, and Parquet's texts cannot.

    Example:
        >>> print(printable(b"p\xe9.png".decode("utf-8", "surrogateescape")))
        p\udce9.png
    """
    return text.encode("utf-8", "backslashreplace").decode()


def open_source(*sources: Any) -> Source:
    """The images of some sources, one source after the other.

    Args:
        sources: each a folder (searched with what is below it; an image's folder is its label), a pattern such as
            ``"photos/*.png"``, a zip or tar archive, an IDX file of MNIST's kind (gzipped or not; labels are taken
            from the file of labels beside it), an image file; or a data set: anything with a length and an index,
            as torchvision and Hugging Face have them, or any iterable. Their elements are an image, or
            ``(image, label)``, or ``(name, image, label)``, or a mapping with ``image`` and perhaps ``label``.
            Images are as :func:`eoren.fit` takes them; PyTorch's tensors have their channels first.

    Raises:
        EorenError: a source that cannot be read, or has no images.

    Example:
        >>> source = open_source([np.zeros((2, 2)), (np.ones((2, 2)), 7)])
        >>> [(item.name, item.load().label) for item in source]
        [('0', None), ('1', '7')]
    """
    if not sources:
        raise EorenError("there is no source; give a folder, an archive, an IDX file or pictures")
    opened = [_open(source) for source in sources]
    counts = [source.count for source in opened]
    known = [count for count in counts if count is not None]
    return Source((item for source in opened for item in source), sum(known) if len(known) == len(counts) else None)


def decoded(name: str, content: Content) -> SourceImage:
    """The image itself.

    Raises:
        ImageError: it is damaged, or no image. The message does not repeat the name.
        EorenError: there is no room for the file that decoders want.
    """
    data = content.data
    if isinstance(data, EorenError):
        raise ImageError(str(data))
    if isinstance(data, bytes):
        with _as_file(data, PurePosixPath(name).suffix) as path:
            try:
                return replace(read_source_image(path), name=name)
            except EorenError as error:
                raise ImageError(str(error).removeprefix(f"{path}: ")) from None
    try:
        pixels = as_image(data)
    except EorenError as error:
        raise ImageError(str(error)) from None
    return SourceImage(pixels, 32, array_sha256(pixels), name)


@contextmanager
def _as_file(data: bytes, suffix: str) -> Iterator[str]:
    """Decoders want files; this one lies in memory on most systems. In a folder, for Windows opens no file twice."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="eoren-", ignore_cleanup_errors=True)
    except OSError as error:
        raise _no_room(error) from None
    with folder as name:
        path = Path(name, f"picture{suffix}")
        try:
            path.write_bytes(data)
        except OSError as error:
            raise _no_room(error) from None
        yield str(path)


def _no_room(error: OSError) -> EorenError:
    reason = error.strerror or str(error)
    return EorenError(f"temporary files cannot be written ({reason}); free space, or set TMPDIR to another folder")


def array_sha256(pixels: Float[np.ndarray, "height width channels"]) -> str:
    """Digest of an array's shape and numbers, where there is no file."""
    return sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def _open(source: Any) -> Source:
    if not isinstance(source, str | PathLike):
        return _dataset(source)
    path = Path(source)
    if is_folder(path):
        return _folder(path)
    if glob.has_magic(str(source)) and not os.path.exists(path):  # noqa: PTH110  pathlib's raises where a name is too long
        found = sorted(glob.glob(str(source), recursive=True))  # noqa: PTH207
        if not found:
            raise EorenError(f"{source}: no file matches the pattern; check it")
        return open_source(*(Path(each) for each in found if not Path(each).is_dir()))
    with open_regular(path) as (file, _):
        magic = file.read(tarfile.BLOCKSIZE)
    if path.suffix.lower() in SUFFIXES:
        return Source([Item(str(source), partial(_file, path, root=path.parent))], 1)
    if magic.startswith(IDX_MAGIC) or (magic.startswith(GZIP) and "idx" in path.name):
        return _idx(path)
    if is_tar(magic):
        return Source(map(_member, tar_members(path, _is_picture)), None)
    if zipfile.is_zipfile(path):
        return _listed([_member(each) for each in zip_members(path, _is_picture)], path)
    raise EorenError(f"{source}: is no image, folder, zip, tar or IDX file; give one of these")


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _label_of(name: str) -> str | None:
    return printable(PurePosixPath(name).parent.name) or None


def _file(path: Path, label: str | None = None, *, root: Path) -> Content:
    """A file; if it is gone with all that was beside it, that is no fault of this one image.

    Raises:
        EorenError: the source's folder has vanished: a disk was taken out, or a network failed.
    """
    try:
        with open_regular(path) as (file, _):
            return Content(file.read(), label)
    except EorenError as error:
        if not root.is_dir():
            raise EorenError(
                f"{root}: has vanished; bring it back and give the same 'eoren fit-many' again"
            ) from None
        return Content(EorenError(str(error).removeprefix(f"{path}: ")), label)


def _listed(found: list[Item], where: Path) -> Source:
    if not found:
        raise EorenError(f"{where}: has no images ({', '.join(SUFFIXES)})")
    return Source(found, len(found))


def _folder(folder: Path) -> Source:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    items = [
        Item(name, partial(_file, folder / name, _label_of(name), root=folder)) for name in names if _is_picture(name)
    ]
    return _listed(items, folder)


def _member(member: Member) -> Item:
    def load() -> Content:
        return Content(member.read(), _label_of(member.name))

    return Item(member.name, load)


def _idx(path: Path) -> Source:
    images = read_idx(path)
    if images.ndim not in (3, 4):
        raise EorenError(f"{path}: holds {images.ndim} axes, so no images; give a file such as *-images-idx3-ubyte")
    labels = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    classes = read_idx(labels) if labels != path and labels.exists() else None
    if classes is not None and classes.shape != images.shape[:1]:
        raise EorenError(f"{labels}: has {len(classes)} labels for {len(images)} images; replace or rename it")
    stem = path.name.removesuffix(".gz")
    digits = len(str(len(images) - 1))

    def one(number: int) -> Content:
        return Content(images[number], None if classes is None else str(classes[number]))

    items = (Item(f"{stem}/{number:0{digits}}", partial(one, number)) for number in range(len(images)))
    return Source(items, len(images))


def _dataset(source: Any) -> Source:
    if isinstance(source, Mapping) or not (isinstance(source, Iterable) or hasattr(source, "__getitem__")):
        raise EorenError(f"a {type(source).__name__} is no source of images; give a path, a data set or an iterable")
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        found = (_element(element, number) for number, element in enumerate(source))
        return Source((Item(name, partial(itself, content)) for name, content in found), None)

    def one(number: int) -> Content:
        try:
            return _element(source[number], number)[1]
        except Exception as error:  # whatever a foreign data set raises for one of its images
            return Content(EorenError(f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())})"))

    def name(number: int) -> str:
        # A sequence holds its elements; a data set would have to read them.
        return _element(source[number], number)[0] if isinstance(source, Sequence) else str(number)

    return Source((Item(name(number), partial(one, number)) for number in range(len(source))), len(source))


def _element(element: Any, number: int) -> tuple[str, Content]:
    """Name, pixels and label of whatever a data set gives."""
    name, label = str(number), None
    if isinstance(element, Mapping):
        label = next((element[key] for key in _LABEL_KEYS if key in element), None)
        image = next((element[key] for key in _IMAGE_KEYS if key in element), None)
        if image is None:
            return name, Content(EorenError(f"has no image, but {', '.join(map(str, element))}"))
    elif isinstance(element, tuple) and len(element) == 3:
        name, image, label = str(element[0]), element[1], element[2]
    elif isinstance(element, tuple) and len(element) == 2:
        image, label = element
    else:
        image = element
    label = None if label is None else printable(str(label.item() if hasattr(label, "item") else label))
    return name, Content(_array(image), label)


def _array(image: Any) -> np.ndarray | EorenError:
    try:
        pixels = np.asarray(image)
    except Exception as error:  # whatever the __array__ of a foreign type may raise
        return EorenError(f"{type(image).__name__} is no array ({type(error).__name__})")
    is_tensor = type(image).__module__.partition(".")[0] == "torch"
    return np.moveaxis(pixels, 0, -1) if is_tensor and pixels.ndim == 3 else pixels
