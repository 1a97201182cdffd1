"""A store: a folder with the fields of many images and an index of them.

::

    store.json                    settings, seed, shard size and version of all shards
    shards/0000000.safetensors    fields of some images, see :mod:`eoren.dataset.groups`
    index/0000000.parquet         one row for each of these images
    profiles/0123...cdef.icc      the colour profiles of images, each once, named by their SHA-256 digests
    pieces/0000000-00000          groups of tiles of a very large image, until it is complete
    pieces/0000000-...resume      checkpoint of an image that is a shard of its own, until it is complete

The file of a shard and its profiles are written before its part of the index, each of them atomically. So the fields
of all rows exist, and images without a row are fitted again after a kill. docs/file-format.md describes the content.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

from eoren._version import __version__
from eoren.checks import MAX_SEED
from eoren.dataset.groups import is_compact, read_compact, read_networks
from eoren.dataset.index import MAX_ROWS, import_parquet, read_rows, write_rows
from eoren.dataset.shards import ShardResult
from eoren.dataset.tile_jobs import TileGroupResult
from eoren.errors import EorenError, format_error
from eoren.field.mosaic import SirenMosaic
from eoren.field.representation import Representation
from eoren.field.schema import whole_number
from eoren.fs.files import hold_lock, is_temporary, make_folder, open_regular, remove_stale_temporaries, write_file
from eoren.fs.safetensors_layout import openable_path, read_metadata
from eoren.image.profiles import MAX_PROFILE
from eoren.model.isolation import isolated
from eoren.training.compact.settings import CompactSettings
from eoren.training.presets import FORMER_NAMES, make_compact_settings, make_settings
from eoren.training.settings import Settings, current_names

if TYPE_CHECKING:
    import pyarrow

NETWORKS, COMPACT = 1, 2  # format versions of stores of networks, and of compact fields
_KEY = "eoren-shard"
_MANIFEST = "store.json"
_SUBFOLDERS = ("shards", "index", "profiles", "pieces")
# The limit of safetensors itself: a shard of many sizes has many tensors.
_MAX_HEADER = 100_000_000
_MAX_MANIFEST = 1 << 16
_MAX_VERSION = 40


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
    """The files of a store, which must exist."""

    def __init__(self, folder: Path) -> None:
        import_parquet()
        self.folder = folder
        self.manifest = _read_manifest(folder)

    @classmethod
    @contextmanager
    def open_locked(cls, folder: Path, manifest: Manifest) -> Iterator["Store"]:
        """Create or open a store, remove the leftovers of a killed run, and lock it against other writers.

        Raises EorenError if the folder is not a store, has another manifest, or is locked by another run.
        """
        import_parquet()
        is_new = not os.path.exists(folder)  # noqa: PTH110  pathlib raises for too long a name
        if (
            not is_new
            and not is_store(folder)
            and (not folder.is_dir() or any(not _is_leftover(path) for path in folder.iterdir()))
        ):
            raise EorenError(f"{folder}: exists and is not a store; choose another --output")
        make_folder(folder, parents=True)
        try:
            # Lock before the manifest is written: of two first runs, one would use the settings of the other.
            with hold_lock(folder / ".lock", f"{folder}: another run is writing to it; wait for its end"):
                if not is_store(folder):
                    content = {"format_version": manifest.format_version, **asdict(manifest)}
                    write_file(folder / _MANIFEST, json.dumps(content, indent=1))
                store = cls(folder)
                store._check_manifest(manifest)
                store._remove_leftovers()
                yield store
        finally:
            if is_new:
                with suppress(OSError):  # it is usually not empty
                    folder.rmdir()

    def _check_manifest(self, manifest: Manifest) -> None:
        stored = _flatten(self.manifest)
        for name, value in _flatten(manifest).items():
            if stored[name] != value:
                raise EorenError(
                    f"{self.folder}: is a store with {name} {stored[name]!r}, got {value!r}; "
                    "use the same options, or choose another --output"
                )

    def _remove_leftovers(self) -> None:
        """Remove the leftovers of a killed run, and create missing folders, which a copy may have omitted."""
        for folder in (self.folder, *(self.folder / name for name in _SUBFOLDERS)):
            make_folder(folder)
            remove_stale_temporaries(folder)
        for shard in self.shards():
            self._remove_pieces(shard)

    def shards(self) -> list[int]:
        """Return the numbers of all complete shards in order."""
        names = (re.fullmatch(r"([0-9]{7,})\.parquet", path.name) for path in (self.folder / "index").glob("*"))
        numbers = sorted(int(name[1]) for name in names if name)
        # Deleting a damaged file of fields is how a user requests to fit them again.
        return [number for number in numbers if self.shard_path(number).exists()]

    def rows(self, shard: int) -> "pyarrow.Table":
        """Read the rows of a shard."""
        path = self.index_path(shard)
        try:
            return read_rows(path, shard, self.manifest.shard)
        except ValueError as error:
            raise _damaged(path, error) from None

    def write(self, result: ShardResult) -> None:
        """Add or replace a shard. After a kill it is either complete or absent."""
        tensors: dict[str, np.ndarray] = {}
        for number, group in enumerate(result.groups):
            tensors |= {f"{number}.{name}": tensor for name, tensor in group.tensors().items()}
        header = {
            "format_version": self.manifest.format_version,
            "groups": [group.header() for group in result.groups],
        }
        write_file(self.shard_path(result.shard), save_tensors(tensors, {_KEY: json.dumps(header)}))
        for digest, profile in result.profiles.items():
            if not self._has_profile(digest):
                write_file(self._profile_path(digest), profile)
        write_rows(self.index_path(result.shard), result.rows)
        self._remove_pieces(result.shard)

    def profile(self, digest: str) -> bytes:
        """Read the ICC profile of a digest."""
        path = self._profile_path(digest)
        try:
            with open_regular(path) as (file, size):
                profile = file.read(min(size, MAX_PROFILE))
            if hashlib.sha256(profile).hexdigest() != digest:
                raise EorenError(f"{path}: has another digest than its name")
        except EorenError as error:
            raise EorenError(
                f"{error}; restore it, or delete {self.folder / 'index'} and run the same 'eoren fit-many' again"
            ) from None
        return profile

    def _has_profile(self, digest: str) -> bool:
        with suppress(EorenError):
            return bool(self.profile(digest))
        return False

    def _profile_path(self, digest: str) -> Path:
        return self.folder / "profiles" / f"{digest}.icc"

    @property
    def pieces(self) -> Path:
        """Folder of the parts and checkpoints of unfinished images."""
        return self.folder / "pieces"

    def save_tile_group(self, result: TileGroupResult) -> None:
        """Save a part of a large image until :meth:`write` stores the whole."""
        write_file(self.pieces / f"{result.shard:07}-{result.group:05}.safetensors", result.dumps())

    def tile_groups(self, shard: int) -> Iterator[TileGroupResult]:
        """Read the saved parts of a large image, except damaged ones, which are fitted again."""
        for path in sorted(self.pieces.glob(f"{shard:07}-*.safetensors")):
            with suppress(EorenError), open_regular(path) as (file, _):
                yield TileGroupResult.loads(file.read())

    def _remove_pieces(self, shard: int) -> None:
        for path in self.pieces.glob(f"{shard:07}-*"):
            with suppress(OSError):  # such as a folder of that name
                path.unlink()

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
        path = self.shard_path(shard)
        try:
            with open_regular(path) as (file, size):
                header = json.loads(read_metadata(file, size, _MAX_HEADER)[_KEY])
                if header["format_version"] != self.manifest.format_version:
                    raise ValueError(f"format version {header['format_version']!r:.40}")
                with safe_open(openable_path(path, file), framework="np") as stored:
                    yield dict(header["groups"][group]), stored
        except (OSError, SafetensorError, LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise _damaged(path, error) from None

    def shard_path(self, shard: int) -> Path:
        """Return the path of the fields of a shard."""
        return self.folder / "shards" / f"{shard:07}.safetensors"

    def index_path(self, shard: int) -> Path:
        """Return the path of the rows of a shard."""
        return self.folder / "index" / f"{shard:07}.parquet"

    def bytes(self) -> int:
        """Return the size of all files, in bytes."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def is_store(folder: Path) -> bool:
    """Check whether a folder is a store."""
    return os.path.isfile(folder / _MANIFEST)  # noqa: PTH113  pathlib raises for too long a name


def _is_leftover(path: Path) -> bool:
    """Check whether a run that was killed before it wrote the manifest may have left a file or folder."""
    is_empty = path.name in _SUBFOLDERS and path.is_dir() and not any(path.iterdir())
    return is_empty or path.name == ".lock" or is_temporary(path.name)


def _flatten(manifest: Manifest) -> dict[str, Any]:
    values = asdict(manifest)
    settings: dict[str, Any] = values.pop("settings")
    return {"eoren version": values.pop("version"), **settings, **values}


def _read_manifest(folder: Path) -> Manifest:
    path = folder / _MANIFEST
    if not is_store(folder):
        raise EorenError(f"{folder}: is not a store; give a folder that 'eoren fit-many' wrote")
    with open_regular(path) as (file, size):
        try:
            if size > _MAX_MANIFEST:
                raise ValueError(f"it has {size} bytes, more than the limit of {_MAX_MANIFEST}")
            stored = dict(json.loads(file.read(size)))
            version = stored.pop("format_version")
            if version not in (NETWORKS, COMPACT):
                raise EorenError(
                    f"{path}: format version must be {NETWORKS} or {COMPACT}, got {version!r:.40}; upgrade eoren"
                )
            manifest = Manifest(_make_settings(stored.pop("settings"), version), **stored)
            whole_number(stored, "seed", MAX_SEED, minimum=0)
            whole_number(stored, "shard", MAX_ROWS)
            if {type(manifest.same_start), type(manifest.to_srgb)} != {bool} or type(manifest.version) is not str:
                raise ValueError("same_start, to_srgb or version has the wrong type")
            if len(manifest.version) > _MAX_VERSION:
                raise ValueError("version is too long")
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise _damaged(path, error) from None
    return manifest


def _make_settings(stored: Mapping[str, Any], version: int) -> Settings | CompactSettings:
    try:
        settings = current_names(stored)
        if version == COMPACT:
            return make_compact_settings(**settings)
        return make_settings(**{**settings, "preset": FORMER_NAMES.get(settings["preset"], settings["preset"])})
    except EorenError as error:  # its remedy is for a caller who chose the settings
        raise ValueError(str(error)) from None


def _damaged(path: Path, error: Exception) -> EorenError:
    reason = format_error(f"{type(error).__name__}: {error}")
    return EorenError(f"{path}: damaged ({reason}); delete it and run the same 'eoren fit-many' again")
