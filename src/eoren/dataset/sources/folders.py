"""Images below a folder. Folders are listed one by one, and the names are kept compressed."""

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from eoren.dataset.sources.items import Content, Item, LeftOut, Source, folder_label, is_hidden, is_image, no_images
from eoren.errors import EorenError
from eoren.fs.files import open_regular
from eoren.fs.objects import MissingObjectError, ObjectPath, read_objects

_Identities: TypeAlias = frozenset[tuple[int, int]]
"""Devices and numbers of folders."""

_BLOCK = 1000  # names that are compressed together
_AT_ONCE = 32  # objects that are read at the same time


def open_local_folder(folder: Path) -> Source:
    """Open a folder of this machine."""
    others, loops = LeftOut(), LeftOut("link to a folder above it")
    unreadable = LeftOut("folder that cannot be read")
    names = _Names(_list_files(folder, loops.add, unreadable.add), others)
    if not names.count:
        raise no_images(folder)
    for left_out in (loops, unreadable, others):
        left_out.warn(folder)
    items = (Item(name, partial(read_file, folder / name, folder_label(name), root=folder)) for name in names)
    return Source(items, names.count)


def open_remote_folder(folder: ObjectPath) -> Source:
    """Open a folder of objects."""
    others = LeftOut()
    names = _Names((name for name, _ in folder.files() if not is_hidden(name)), others)
    if not names.count:
        raise no_images(folder)
    others.warn(folder)
    return Source(read_ahead((name, folder / name, folder_label(name)) for name in names), names.count)


def read_file(path: Path, label: str | None = None, *, root: Path) -> Content:
    """Read a file; a missing one is an error of its image, unless its whole source has disappeared."""
    try:
        with open_regular(path) as (file, _):
            return Content(file.read(), label)
    except EorenError as error:
        if not root.is_dir():  # a disk was removed, or a network failed
            raise EorenError(f"{root}: has disappeared; restore it and run the same 'eoren fit-many' again") from None
        return Content(EorenError(str(error).removeprefix(f"{path}: ")), label)


class _Names:
    """The names of the images among files, compressed: those of a million take about ten megabytes."""

    def __init__(self, files: Iterator[str], others: LeftOut) -> None:
        self.count, self._blocks = 0, list[bytes]()
        block: list[str] = []
        for name in files:
            if not is_image(name):
                others.add(name)
                continue
            block.append(name)
            self.count += 1
            if len(block) == _BLOCK:
                self._blocks.append(self._packed(block))
                block.clear()
        self._blocks += [self._packed(block)] if block else []

    @staticmethod
    def _packed(names: list[str]) -> bytes:
        return zlib.compress("\0".join(names).encode("utf-8", "surrogateescape"))

    def __iter__(self) -> Iterator[str]:
        for block in self._blocks:
            yield from zlib.decompress(block).decode("utf-8", "surrogateescape").split("\0")


def _list_files(
    folder: Path,
    on_loop: Callable[[str], None],
    on_unreadable: Callable[[str], None],
) -> Iterator[str]:
    """Yield the paths of the visible files below a folder, and below links to folders, in the order of the paths."""

    def entries(name: str, above: _Identities) -> Iterator[tuple[str, _Identities | None]]:
        """List a folder: paths of files with None, paths of folders with the identities of all folders above."""
        try:
            status = (folder / name).stat()
            identity = status.st_dev, status.st_ino
            if identity in above:  # a link to a folder above it
                on_loop(name)
                return iter(())
            found = [(entry.name, entry.is_dir()) for entry in os.scandir(folder / name) if not is_hidden(entry.name)]
        except OSError as error:
            if not name:
                raise EorenError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from None
            on_unreadable(name)
            return iter(())
        found.sort(key=lambda entry: entry[0] + "/" * entry[1])
        prefix = f"{name}/" if name else ""
        return iter([(prefix + entry, above | {identity} if is_dir else None) for entry, is_dir in found])

    waiting = [entries("", frozenset())]
    while waiting:
        path, above = next(waiting[-1], (None, None))
        if path is None:
            waiting.pop()
        elif above is None:
            yield path
        else:
            waiting.append(entries(path, above))


def read_ahead(objects: Iterable[tuple[str, ObjectPath, str | None]]) -> Iterator[Item]:
    """Yield objects with names and labels. They are read in batches, each when the first of it is needed."""
    waiting = iter(objects)
    while batch := [*islice(waiting, _AT_ONCE)]:
        paths = [path for _, path, _ in batch]
        contents: list[bytes | EorenError] = []

        def load(
            number: int,
            label: str | None,
            paths: list[ObjectPath] = paths,
            contents: list[bytes | EorenError] = contents,
        ) -> Content:
            if not contents:
                contents += read_objects(paths)
            content = contents[number]
            if isinstance(content, MissingObjectError):  # of this image alone
                content = EorenError(str(content).removeprefix(f"{paths[number]}: "))
            elif isinstance(content, EorenError):
                raise content
            return Content(content, label)

        yield from (Item(name, partial(load, number, label)) for number, (name, _, label) in enumerate(batch))
