"""A store: a folder, on this machine or in object storage, with the fields of many images and an index of them.

::

    store.json                    settings, seed, shard size and version of all shards
    shards/0000000.safetensors    fields of some images, see :mod:`eoren.dataset.groups`
    index/0000000.parquet         one row for each of these images
    progress.json                 how far a run is that has not ended
    profiles/0123...cdef.icc      the colour profiles of images, each once, named by their SHA-256 digests
    pieces/0000000-00000          groups of tiles of a very large image, until it is complete
    pieces/0000000-...resume      checkpoint of an image that is a shard of its own, until it is complete

The file of a shard and its profiles are written before its part of the index, each of them atomically. So the fields
of all rows exist, and images without a row are fitted again after a kill. docs/file-format.md describes the content.
In object storage each of these files is an object; :mod:`eoren.fs.folders` has what differs there.
"""

import hashlib
import json
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save as save_tensors

from eoren._version import __version__
from eoren.checks import MAX_SEED
from eoren.dataset.groups import ShardResult, is_compact, read_compact, read_networks
from eoren.dataset.index import MAX_FILE, MAX_ROWS, decode_rows, encode_rows, import_parquet
from eoren.errors import EorenError, format_error
from eoren.field.mosaic import SirenMosaic
from eoren.field.representation import Representation
from eoren.field.schema import whole_number
from eoren.fs.folders import Folder, LocalFolder, RemoteFolder, open_folder
from eoren.image.profiles import MAX_PROFILE
from eoren.model.isolation import isolated
from eoren.training.compact.settings import CompactSettings
from eoren.training.presets import FORMER_NAMES, make_compact_settings, make_settings
from eoren.training.settings import Settings, current_names

if TYPE_CHECKING:
    import pyarrow

Location: TypeAlias = str | PathLike[str] | LocalFolder | RemoteFolder
"""A folder, or its path or address."""

NETWORKS, COMPACT = 1, 2  # format versions of stores of networks, and of compact fields
_KEY = "eoren-shard"
_MANIFEST = "store.json"
_RECORD = "progress.json"
_SUBFOLDERS = ("shards", "index", "profiles", "pieces")
# The limit of safetensors itself: a shard of many sizes has many tensors.
_MAX_HEADER = 100_000_000
_MAX_MANIFEST = 1 << 16
_MAX_VERSION = 40
_MAX_PIECE = 1 << 30
_MOST_AT_ONCE = 64  # parts of the index that are read at the same time


@dataclass(frozen=True)
class Manifest:
    """The content of ``store.json``: what all shards of a store have in common."""

    settings: Settings | CompactSettings
    seed: int  # the seeds of the images are derived from it
    same_start: bool  # whether all images were initialised with the same network
    shard: int  # number of images in a shard
    to_srgb: bool = False  # whether colours were converted from the profiles of the images
    version: str = __version__

    @property
    def format_version(self) -> int:
        """Version of the format of the store's files."""
        return COMPACT if isinstance(self.settings, CompactSettings) else NETWORKS


class Store:
    """The files of a store, which must exist.

    Args:
        store: its folder, or the address of one.
    """

    def __init__(self, store: Location) -> None:
        import_parquet()
        self.folder = open_folder(store)
        self.manifest = _read_manifest(self.folder)
        self._outdated: set[int] = set()  # parts of the index that a run found, and may replace

    @classmethod
    @contextmanager
    def open_locked(cls, store: Location, manifest: Manifest) -> Iterator["Store"]:
        """Create or open a store, remove the leftovers of a killed run, and lock it against other writers.

        Raises EorenError if the folder is not a store, has another manifest, or is locked by another run.
        """
        import_parquet()
        folder = open_folder(store)
        if not is_store(folder) and not folder.is_free(_SUBFOLDERS):
            raise EorenError(f"{folder}: exists and is not a store; choose another --output")
        # Lock before the manifest is written: of two first runs, one would use the settings of the other.
        with folder.locked(f"{folder}: another run is writing to it; wait for its end"):
            if not is_store(folder):
                content = {"format_version": manifest.format_version, **asdict(manifest)}
                folder.add(_MANIFEST, json.dumps(content, indent=1).encode())
            opened = cls(folder)
            opened._check_manifest(manifest)
            folder.prepare(_SUBFOLDERS)
            opened._outdated = opened._numbers("index", "parquet")
            opened._remove_pieces({*opened.shards()})
            yield opened

    def _check_manifest(self, manifest: Manifest) -> None:
        stored = _flatten(self.manifest)
        for name, value in _flatten(manifest).items():
            if stored[name] != value:
                raise EorenError(
                    f"{self.folder}: is a store with {name} {stored[name]!r}, got {value!r}; "
                    "use the same options, or choose another --output"
                )

    def shards(self) -> list[int]:
        """Return the numbers of all complete shards in order."""
        # Deleting a damaged file of fields is how a user requests to fit them again.
        return sorted(self._numbers("index", "parquet") & self._numbers("shards", "safetensors"))

    def _numbers(self, subfolder: str, suffix: str) -> set[int]:
        names = (re.fullmatch(rf"([0-9]{{7,}})\.{suffix}", name) for name in self.folder.names(subfolder))
        return {int(name[1]) for name in names if name}

    def rows(self, shards: Iterable[int]) -> Iterator["pyarrow.Table"]:
        """Read the rows of shards, one table for each; many at a time where that is faster."""
        waiting, count = iter(shards), 1
        while numbers := [*islice(waiting, count)]:
            for number, content in zip(
                numbers, self.folder.read_many([index_name(number) for number in numbers], MAX_FILE), strict=True
            ):
                if isinstance(content, EorenError):
                    raise content
                try:
                    if isinstance(content, Exception):
                        raise content
                    yield decode_rows(content, number, self.manifest.shard)
                except ValueError as error:
                    raise self._damaged(index_name(number), error) from None
            count = min(2 * count, _MOST_AT_ONCE)

    def write(self, result: ShardResult) -> None:
        """Add or replace a shard. After a kill it is either complete or absent."""
        if result.shard in self._outdated:  # its rows do not describe the new fields
            self.folder.remove(index_name(result.shard))
        tensors: dict[str, np.ndarray] = {}
        for number, group in enumerate(result.groups):
            tensors |= {f"{number}.{name}": tensor for name, tensor in group.tensors().items()}
        header = {
            "format_version": self.manifest.format_version,
            "groups": [group.header() for group in result.groups],
        }
        self.folder.write(shard_name(result.shard), save_tensors(tensors, {_KEY: json.dumps(header)}))
        for digest, profile in result.profiles.items():
            if not self._has_profile(digest):
                self.folder.write(_profile_name(digest), profile)
        self.folder.add(index_name(result.shard), encode_rows(result.rows))
        self._remove_pieces({result.shard})

    def profile(self, digest: str) -> bytes:
        """Read the ICC profile of a digest."""
        name = _profile_name(digest)
        try:
            profile = self.folder.read(name, MAX_PROFILE)
            if hashlib.sha256(profile).hexdigest() != digest:
                raise ValueError("has another digest than its name")
        except (EorenError, ValueError) as error:
            problem = str(error) if isinstance(error, EorenError) else f"{self.folder}/{name}: {error}"
            raise EorenError(
                f"{problem}; restore it, or delete {self.folder}/index and run the same 'eoren fit-many' again"
            ) from None
        return profile

    def _has_profile(self, digest: str) -> bool:
        with suppress(EorenError):
            return bool(self.profile(digest))
        return False

    def write_record(self, content: bytes | None) -> None:
        """Write the record of the run that is at work, see :mod:`eoren.dataset.progress`; None removes it."""
        if content is None:
            self.folder.remove(_RECORD)
        else:
            self.folder.write(_RECORD, content)

    def read_record(self) -> bytes | None:
        """Read the record of a run, None if there is no such file."""
        return self.folder.read(_RECORD, _MAX_MANIFEST) if self.folder.has(_RECORD) else None

    @property
    def is_remote(self) -> bool:
        """Whether it is in object storage."""
        return self.folder.path is None

    @property
    def pieces(self) -> Path | None:
        """Folder of the parts and checkpoints of unfinished images; None in object storage."""
        return self.folder.path and self.folder.path / "pieces"

    def save_piece(self, shard: int, group: int, piece: bytes) -> None:
        """Save a part of a large image until :meth:`write` stores the whole."""
        self.folder.write(f"pieces/{shard:07}-{group:05}.safetensors", piece)

    def pieces_of(self, shard: int) -> Iterator[bytes]:
        """Read the saved parts of a large image, except those that cannot be read."""
        for name in sorted(self.folder.names("pieces")):
            if name.startswith(f"{shard:07}-") and name.endswith(".safetensors"):
                with suppress(EorenError, ValueError):
                    yield self.folder.read(f"pieces/{name}", _MAX_PIECE)

    def _remove_pieces(self, shards: Container[int]) -> None:
        for name in self.folder.names("pieces"):
            number, hyphen, _ = name.partition("-")
            if hyphen and number.isdecimal() and int(number) in shards:
                self.folder.remove(f"pieces/{name}")

    @isolated()
    def representation(self, shard: int, group: int, offset: int) -> Representation:
        """Read the function of one image."""
        with self._open_group(shard, group) as (header, stored):
            if is_compact(header):
                return read_compact(stored, group, offset)
            return read_networks(stored, header, group, offset, count=1)

    @isolated()
    def networks(self, shard: int, group: int) -> SirenMosaic:
        """Read the networks of all images of a group."""
        with self._open_group(shard, group) as (header, stored):
            return read_networks(stored, header, group)

    @contextmanager
    def _open_group(self, shard: int, group: int) -> Iterator[tuple[Mapping[str, Any], Any]]:
        """Open the file of a shard, and yield the header of a group and the file; damage gives an EorenError."""
        try:
            with self.folder.tensors(shard_name(shard), _MAX_HEADER) as (metadata, stored):
                header = json.loads(metadata[_KEY])
                if header["format_version"] != self.manifest.format_version:
                    raise ValueError(f"format version {header['format_version']!r:.40}")
                yield dict(header["groups"][group]), stored
        except (OSError, SafetensorError, LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise self._damaged(shard_name(shard), error) from None

    def _damaged(self, name: str, error: Exception) -> EorenError:
        return _damaged(f"{self.folder}/{name}", error)

    def bytes(self) -> int:
        """Return the size of all files, in bytes."""
        return self.folder.bytes()


def shard_name(shard: int) -> str:
    """Return the name of the file of the fields of a shard."""
    return f"shards/{shard:07}.safetensors"


def index_name(shard: int) -> str:
    """Return the name of the file of the rows of a shard."""
    return f"index/{shard:07}.parquet"


def _profile_name(digest: str) -> str:
    return f"profiles/{digest}.icc"


def is_store(folder: Location) -> bool:
    """Check whether a folder, or an address, is a store."""
    return open_folder(folder).has(_MANIFEST)


def _flatten(manifest: Manifest) -> dict[str, Any]:
    values = asdict(manifest)
    settings: dict[str, Any] = values.pop("settings")
    return {"eoren version": values.pop("version"), **settings, **values}


def _read_manifest(folder: Folder) -> Manifest:
    name = f"{folder}/{_MANIFEST}"
    if not folder.has(_MANIFEST):
        raise EorenError(f"{folder}: is not a store; give a folder that 'eoren fit-many' wrote")
    try:
        stored = dict(json.loads(folder.read(_MANIFEST, _MAX_MANIFEST)))
        version = stored.pop("format_version")
        if version not in (NETWORKS, COMPACT):
            raise EorenError(
                f"{name}: format version must be {NETWORKS} or {COMPACT}, got {version!r:.40}; upgrade eoren"
            )
        manifest = Manifest(_make_settings(stored.pop("settings"), version), **stored)
        whole_number(stored, "seed", MAX_SEED, minimum=0)
        whole_number(stored, "shard", MAX_ROWS)
        if {type(manifest.same_start), type(manifest.to_srgb)} != {bool} or type(manifest.version) is not str:
            raise ValueError("same_start, to_srgb or version has the wrong type")
        if len(manifest.version) > _MAX_VERSION:
            raise ValueError("version is too long")
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _damaged(name, error, "restore it from a copy, or choose another --output") from None
    return manifest


def _make_settings(stored: Mapping[str, Any], version: int) -> Settings | CompactSettings:
    try:
        settings = current_names(stored)
        if version == COMPACT:
            return make_compact_settings(**settings)
        return make_settings(**{**settings, "preset": FORMER_NAMES.get(settings["preset"], settings["preset"])})
    except EorenError as error:  # its remedy is for a caller who chose the settings
        raise ValueError(str(error)) from None


def _damaged(
    name: str, error: Exception, remedy: str = "delete it and run the same 'eoren fit-many' again"
) -> EorenError:
    reason = format_error(f"{type(error).__name__}: {error}")
    return EorenError(f"{name}: damaged ({reason}); {remedy}")
