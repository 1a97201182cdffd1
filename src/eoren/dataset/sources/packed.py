"""Images in archives, WebDataset shards, Parquet tables and IDX files."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import BufferedReader
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from eoren.dataset.index import import_parquet
from eoren.dataset.sources.archives import Member, tar_members, zip_members
from eoren.dataset.sources.items import (
    IMAGE_KEYS,
    LABEL_KEYS,
    Content,
    Item,
    LeftOut,
    Source,
    as_label,
    constant,
    folder_label,
    is_hidden,
    is_image,
    no_images,
)
from eoren.errors import EorenError, format_error
from eoren.fs.files import open_regular
from eoren.fs.objects import ObjectPath
from eoren.image.idx import read_idx

if TYPE_CHECKING:
    import pyarrow

_COMPRESSED = ("", ".gz", ".bz2", ".xz")
_CLASS = ".cls"  # suffix of the label of an image in a WebDataset
_MOST_OF_A_KEY = 16  # images that wait for their label
_ROWS = 16  # rows of a table that are decoded at the same time
_BUFFER = 1 << 22
# Of the footer of a table, see pyarrow.
_MAX_TEXT, _MAX_LIST = 1 << 24, 1 << 20


def open_tar(path: Path | ObjectPath) -> Source:
    """Open a tar archive, which is read forwards. An image has the label of its ``.cls`` file, or of its folder."""
    shares = [0.0]

    def members(path: Path | ObjectPath, select: Callable[[str], bool]) -> Iterator[Member]:
        return tar_members(path, select, lambda share: shares.__setitem__(0, share))

    return Source(_with_labels(_select(members, path, more=_CLASS)), None, lambda: shares[0])


def open_zip(path: Path | ObjectPath) -> Source:
    """Open a zip archive."""
    members = [*_select(zip_members, path)]
    if not members:
        raise no_images(path)

    def load(name: str, read: Callable[[], bytes | EorenError]) -> Content:
        return Content(read(), folder_label(name))

    return Source((Item(name, partial(load, name, read)) for name, read in members), len(members))


def _select(
    members: Callable[[Any, Callable[[str], bool]], Iterable[Member]], path: Path | ObjectPath, more: str = ""
) -> Iterator[Member]:
    """List the images of an archive, and files of another suffix, then warn of its other files."""
    others = LeftOut()

    def select(name: str) -> bool:
        if is_hidden(name):
            return False
        if is_image(name) or (more and name.endswith(more)):
            return True
        others.add(name)
        return False

    yield from members(path, select)
    others.warn(path)


def _with_labels(members: Iterable[Member]) -> Iterator[Item]:
    """Join images and labels, which follow each other: the files of an element differ behind the first dot."""
    key, label = "", None
    images: list[Member] = []

    def items() -> Iterator[Item]:
        for name, read in images:
            yield Item(name, constant(Content(read(), folder_label(name) if label is None else label)))
        images.clear()

    for name, read in members:
        path = PurePosixPath(name)
        if (own := f"{path.parent}/{path.name.partition('.')[0]}") != key:
            yield from items()
            key, label = own, None
        if path.suffix != _CLASS:
            images.append((name, read))
            if len(images) == _MOST_OF_A_KEY:
                yield from items()
        elif isinstance(content := read(), bytes):
            label = as_label(content.strip())
    yield from items()


def open_table(path: Path | ObjectPath) -> Source:
    """Open a Parquet file with a column of images, which are bytes, or structs with ``bytes`` as of Hugging Face."""
    table = _Table(path)
    stem, digits = path.name.removesuffix(path.suffix), len(str(max(0, table.count - 1)))
    items = (Item(f"{stem}/{number:0{digits}}", partial(table.load, number)) for number in range(table.count))
    return Source(items, table.count)


class _Table:
    """A Parquet file, of which the rows that are loaded are read, in their order."""

    def __init__(self, path: Path | ObjectPath) -> None:
        import pyarrow

        self._path = path
        try:
            with open_regular(path) as (file, _):
                opened = self._open(file)
                metadata, schema = opened.metadata, opened.schema_arrow
            groups = range(metadata.num_row_groups)
            self._ends = [*accumulate(metadata.row_group(number).num_rows for number in groups)]  # of row groups
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise self._damaged(error) from None
        self.count = self._ends[-1] if self._ends else 0
        columns = [field.name for field in schema if _holds_images(field)]
        if not columns or not self.count:
            raise EorenError(f"{path}: has no column of images among {', '.join(schema.names)}; give another table")
        self._image = next((name for name in IMAGE_KEYS if name in columns), columns[0])
        self._label = next((name for name in LABEL_KEYS if name in schema.names), None)
        self._rows: Iterator[Content] = iter(())
        self._next = 0  # number of the row that comes next

    def load(self, number: int) -> Content:
        """Load a row; rows before it in its group are skipped."""
        import pyarrow

        group = bisect_right(self._ends, number)
        first = self._ends[group - 1] if group else 0
        try:
            if not first < self._next <= number:
                self._rows, self._next = self._read_group(group), first
            while self._next <= number:
                content = next(self._rows)
                self._next += 1
        except (OSError, ValueError, StopIteration, pyarrow.ArrowException) as error:
            raise self._damaged(error) from None
        return content

    def _read_group(self, group: int) -> Iterator[Content]:
        columns = [self._image, *([self._label] if self._label else [])]
        with open_regular(self._path) as (file, _):
            for batch in self._open(file).iter_batches(_ROWS, [group], columns, use_threads=False):
                for row in batch.to_pylist():
                    image = row[self._image]
                    data = image.get("bytes") if isinstance(image, dict) else image
                    error = EorenError("has no bytes in the table; embed the images")
                    yield Content(data if isinstance(data, bytes) else error, as_label(row.get(self._label)))

    @staticmethod
    def _open(file: BufferedReader) -> Any:
        return import_parquet().ParquetFile(
            file,
            thrift_string_size_limit=_MAX_TEXT,
            thrift_container_size_limit=_MAX_LIST,
            buffer_size=_BUFFER,
            pre_buffer=False,
        )

    def _damaged(self, error: Exception) -> EorenError:
        return EorenError(f"{self._path}: damaged table ({format_error(error)}); replace it")


def _holds_images(field: "pyarrow.Field") -> bool:
    import pyarrow.types as types

    kind = field.type
    if types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return field.name in IMAGE_KEYS and bool(types.is_binary(kind) or types.is_large_binary(kind))


def open_idx(path: Path | ObjectPath) -> Source:
    """Open an IDX file of images, with the labels of the file beside it."""
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


def _label_file(images: Path | ObjectPath) -> Path | ObjectPath | None:
    """Return the file of labels beside a file of images, packed as this one or in another way, or None."""
    suffix = images.suffix if images.suffix in _COMPRESSED else ""
    name = images.name.removesuffix(suffix).replace("images", "labels").replace("idx3", "idx1")
    candidates = [images.with_name(name + packed) for packed in (suffix, *_COMPRESSED)] if name != images.name else []
    return next((path for path in candidates if path.name != images.name and path.exists()), None)
