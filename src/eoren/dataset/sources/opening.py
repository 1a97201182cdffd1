"""open_source(): what kind of source a path, an address or an object is."""

import glob
import os
import tarfile
import zipfile
from collections.abc import Iterable
from functools import partial
from itertools import groupby
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from eoren.dataset.sources.archives import is_tar
from eoren.dataset.sources.datasets import open_dataset
from eoren.dataset.sources.folders import open_local_folder, open_remote_folder, read_ahead, read_file
from eoren.dataset.sources.items import Item, LeftOut, Source, is_image
from eoren.dataset.sources.packed import open_idx, open_table, open_tar, open_zip
from eoren.errors import EorenError
from eoren.fs.decompression import GZIP
from eoren.fs.files import is_folder, open_regular
from eoren.fs.objects import ObjectPath, is_address, local_path, read_objects
from eoren.image.idx import IDX_MAGIC

_PARQUET = b"PAR1"
_File = TypeVar("_File")


def open_source(*sources: Any) -> Source:
    """Open one or more sources of images, one after the other.

    Args:
        sources: each a folder (searched recursively, through links to folders, too; the folder of an image is its
            label), a pattern such as ``"photos/*.png"``, a zip or tar archive (of WebDataset, too, with labels from
            ``.cls``), a Parquet file with a column of images, an IDX file as of MNIST (gzipped or not; labels are
            read from the label file beside it), or an image file; or the address of one of these, such as
            ``"s3://bucket/train/*.tar"``; or a data set with a length and an index, as those of torchvision and
            Hugging Face; or any iterable, such as an ``IterableDataset`` or a WebDataset. An element is an image,
            ``(image, label)``, ``(name, image, label)``, or a mapping with ``image`` (or a suffix, such as ``png``)
            and optionally ``label`` (or ``cls``). Images are as in :func:`eoren.fit`, or the bytes of a file; PyTorch
            tensors have their channels first. A label is a text, a number, or an array of one; other targets, such as
            masks and vectors of attributes, are left out.

    Raises:
        EorenError: A source cannot be read or has no images.

    Warns:
        SourceWarning: files without the suffix of an image, or folders that cannot be searched, were left out. Hidden
            files and those that macOS adds to archives are left out without a warning.

    Example:
        >>> import numpy as np
        >>> source = open_source([np.zeros((2, 2)), (np.ones((2, 2)), 7)])
        >>> [(item.name, item.load().label) for item in source]
        [('0', None), ('1', '7')]
    """
    if not sources:
        raise EorenError("there is no source; give a folder, an archive, an IDX file or images")
    return _joined([_open(source) for source in sources])


def _joined(opened: list[Source]) -> Source:
    counts = [source.count for source in opened]
    known = [count for count in counts if count is not None]
    items = (item for source in opened for item in source)
    if len(known) == len(counts):
        return Source(items, sum(known))
    shares = [source.share for source in opened if source.share]
    # Shards of one pattern have about the same size.
    is_known = len(shares) == len(opened)
    return Source(items, None, (lambda: sum(share() for share in shares) / len(shares)) if is_known else None)


def _open(source: Any) -> Source:
    if isinstance(source, ObjectPath) or is_address(source):
        local = None if isinstance(source, ObjectPath) else local_path(source)
        return _open_address(ObjectPath(str(source))) if local is None else _open(local)
    if not isinstance(source, str | PathLike):
        return open_dataset(source)
    path = Path(source)
    if is_folder(path):
        return open_local_folder(path)
    if glob.has_magic(str(source)) and not os.path.exists(path):  # noqa: PTH110  pathlib raises for too long a name
        paths = [Path(name) for name in sorted(glob.glob(str(source), recursive=True))]  # noqa: PTH207
        return open_source(*_files(source, ((path.name, None if path.is_dir() else path) for path in paths)))
    with open_regular(path) as (file, _):
        start = file.read(tarfile.BLOCKSIZE)
    if is_image(path.name):
        return Source([Item(str(source), partial(read_file, path, root=path.parent))], 1)
    return _open_packed(path, start, source)


def _open_address(address: ObjectPath) -> Source:
    if not glob.has_magic(str(address)):
        size = address.size()
        return open_remote_folder(address) if size is None else _open_objects([(address, size)])
    matches = address.matches()
    return _open_objects(
        _files(address, ((path.name, None if size is None else (path, size)) for path, size in matches))
    )


def _open_objects(files: list[tuple[ObjectPath, int]]) -> Source:
    """Open objects, which are given with their sizes. Neighbouring images are read ahead like those of a folder."""
    # A service refuses a part of an empty object.
    packed = [path for path, size in files if size and not is_image(path.name)]
    starts = dict(zip(map(str, packed), _read_starts(packed), strict=True))
    opened: list[Source] = []
    for are_images, neighbours in groupby(files, lambda file: is_image(file[0].name)):
        paths = [path for path, _ in neighbours]
        if are_images:
            opened.append(Source(read_ahead((str(path), path, None) for path in paths), len(paths)))
        else:
            opened += [_open_packed(path, starts.get(str(path), b""), path) for path in paths]
    return _joined(opened)


def _read_starts(paths: list[ObjectPath]) -> list[bytes]:
    starts = read_objects(paths, tarfile.BLOCKSIZE)
    for start in starts:
        if isinstance(start, EorenError):
            raise start
    return starts  # type: ignore[return-value]  # no errors are left


def _files(pattern: Any, matches: Iterable[tuple[str, _File | None]]) -> list[_File]:
    """Return the files that a pattern matches. Folders, which are None beside their name, are left out."""
    folders, files = LeftOut("folder"), []
    for name, file in matches:
        if file is None:
            folders.add(name)
        else:
            files.append(file)
    folders.warn(pattern)
    if not files:
        raise EorenError(f"{pattern}: no file matches the pattern; check it")
    return files


def _open_packed(path: Path | ObjectPath, start: bytes, source: Any) -> Source:
    """Open a file of images by its first bytes."""
    if start.startswith(IDX_MAGIC) or (start.startswith(GZIP) and "idx" in path.name):
        return open_idx(path)
    if start.startswith(_PARQUET):
        return open_table(path)
    if is_tar(start):
        return open_tar(path)
    with open_regular(path) as (file, _):
        is_zip = zipfile.is_zipfile(file)
    if is_zip:
        return open_zip(path)
    raise EorenError(f"{source}: is not an image, folder, zip, tar, Parquet or IDX file; give one of these")
