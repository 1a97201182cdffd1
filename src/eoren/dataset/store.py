"""A store: a folder that holds the networks of many images, and an index of them that is true at any time.

::

    store.json                    settings, seed, shard size, version: what all shards have in common
    shards/0000000.safetensors    networks of some images, in groups of images of one size
    index/0000000.parquet         one row for each of them
    pieces/0000000-00000          groups of tiles of a very large image, until it is whole

A shard's file is written before its part of the index, each of them whole or not at all. So what the index names is
there, and what it does not name is fitted again after a kill. docs/file-format.md describes the content.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors

from eoren._version import __version__
from eoren.dataset.index import MOST_ROWS, parquet, read_rows, write_rows
from eoren.dataset.shards import Fitted, Work
from eoren.dataset.tile_jobs import TileGroupResult
from eoren.errors import EorenError
from eoren.field.mosaic import SirenMosaic
from eoren.field.schema import MosaicSchema, whole_number
from eoren.fs.files import (
    atomic_path,
    hold_lock,
    is_temporary,
    make_folder,
    open_regular,
    remove_stale_temporaries,
    write_text,
)
from eoren.fs.safetensors_layout import check_file
from eoren.training.settings import Settings, make_settings

if TYPE_CHECKING:
    import pyarrow

FORMAT_VERSION = 1
_KEY = "eoren-shard"
_MANIFEST = "store.json"
_PARTS = ("shards", "index", "pieces")
# What safetensors itself takes: a shard of many sizes has many tensors.
_MAX_HEADER = 100_000_000
_MAX_MANIFEST = 1 << 16
_MAX_SEED = 2**63 - 1
_MAX_VERSION = 40


@dataclass(frozen=True)
class Manifest:
    """What all shards of a store have in common.

    Attributes:
        settings: of every fit.
        seed: of all.
        same_start: whether all networks began alike.
        shard: images in a shard.
        version: of eoren.
    """

    settings: Settings
    seed: int
    same_start: bool
    shard: int
    version: str = __version__

    @classmethod
    def of(cls, work: Work, shard: int) -> "Manifest":
        """For some work."""
        return cls(work.settings, work.seed, work.same_start, shard)


class Store:
    """The files of a store.

    Args:
        folder: where they are.

    Attributes:
        manifest: what its shards have in common.

    Raises:
        EorenError: it is no store, or damaged, or pyarrow is missing.
    """

    def __init__(self, folder: Path) -> None:
        """Read the manifest."""
        parquet()
        self.folder = folder
        self.manifest = _read_manifest(folder)

    @classmethod
    @contextmanager
    def open_locked(cls, folder: Path, manifest: Manifest) -> Iterator["Store"]:
        """A new store, or one that goes on where it was left, in which nobody else writes meanwhile.

        What a killed run left behind is swept away.

        Raises:
            EorenError: the folder is something else, or a store of other settings, or somebody else is writing.
        """
        parquet()
        made = not os.path.exists(folder)  # noqa: PTH110  pathlib's raises where a name is too long
        new = not made and not is_store(folder)
        if new and (not folder.is_dir() or any(not _is_ours(path) for path in folder.iterdir())):
            raise EorenError(f"{folder}: exists and is no store; choose another --output")
        make_folder(folder, parents=True)
        try:
            # Before the manifest: of two first runs at once, one would fit by the settings of the other.
            with hold_lock(folder / ".lock", f"{folder}: another run is writing to it; wait for its end"):
                if not is_store(folder):
                    content = {"format_version": FORMAT_VERSION, **asdict(manifest)}
                    write_text(folder / _MANIFEST, json.dumps(content, indent=1))
                store = cls(folder)
                store._refuse_others(manifest)
                store._sweep()
                yield store
        finally:
            if made:
                with suppress(OSError):  # there is something in it, as usual
                    folder.rmdir()

    def _refuse_others(self, manifest: Manifest) -> None:
        mine, theirs = _flat(manifest), _flat(self.manifest)
        for name, value in mine.items():
            if theirs[name] != value:
                raise EorenError(
                    f"{self.folder}: a store with {name} {theirs[name]!r}, here it is {value!r}; "
                    "use the same options, or choose another --output"
                )

    def _sweep(self) -> None:
        """Remove what a killed run left behind, and make the folders that it, or who copied the store, left out."""
        for part in (self.folder, *(self.folder / name for name in _PARTS)):
            make_folder(part)
            remove_stale_temporaries(part)
        for shard in self.shards():
            self._forget_pieces(shard)

    def shards(self) -> list[int]:
        """Numbers of the shards that are done, in order."""
        found = (re.fullmatch(r"([0-9]{7,})\.parquet", path.name) for path in (self.folder / "index").glob("*"))
        numbers = sorted(int(name[1]) for name in found if name)
        # Who deletes a damaged file of networks wants them fitted again.
        return [number for number in numbers if self.shard_path(number).exists()]

    def rows(self, shard: int) -> "pyarrow.Table":
        """The part of the index that belongs to a shard.

        Raises:
            EorenError: it is damaged.
        """
        path = self.index_path(shard)
        try:
            return read_rows(path, shard, self.manifest.shard)
        except ValueError as error:
            raise _damaged(path, error) from None

    def write(self, fitted: Fitted) -> None:
        """Add a shard, or replace it. A kill leaves it out, or in."""
        data = dump_groups(fitted.groups)
        with atomic_path(self.shard_path(fitted.shard)) as temporary:
            temporary.write_bytes(data)
        write_rows(self.index_path(fitted.shard), fitted.rows)
        self._forget_pieces(fitted.shard)

    def keep(self, fragment: TileGroupResult) -> None:
        """Keep a piece of an image until :meth:`write` has the whole."""
        path = self.folder / "pieces" / f"{fragment.shard:07}-{fragment.group:05}.safetensors"
        with atomic_path(path) as temporary:
            temporary.write_bytes(fragment.dumps())

    def fragments(self, shard: int) -> Iterator[TileGroupResult]:
        """The pieces that were kept of an image; damaged ones are passed over, for they are fitted again."""
        for path in self._pieces(shard):
            with suppress(EorenError), open_regular(path) as (file, _):
                yield TileGroupResult.loads(file.read())

    def _pieces(self, shard: int) -> list[Path]:
        return sorted((self.folder / "pieces").glob(f"{shard:07}-*.safetensors"))

    def _forget_pieces(self, shard: int) -> None:
        for path in self._pieces(shard):
            with suppress(OSError):  # a folder of that name is none of ours
                path.unlink()

    def networks(self, shard: int, group: int, offset: int = 0, count: int | None = None) -> SirenMosaic:
        """Some images of a group as one field, see :class:`eoren.dataset.shards.Fitted`; nothing else is read.

        Args:
            shard: its number.
            group: its number in the shard.
            offset: of the first image in the group.
            count: of images; all that follow by default.

        Raises:
            EorenError: the file is missing or damaged.
        """
        path = self.shard_path(shard)
        try:
            with open_regular(path) as (file, size):
                texts = check_file(file, size, _MAX_HEADER)
            header = json.loads(texts[_KEY])
            if header["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format version {header['format_version']!r:.40}")
            description = MosaicSchema.from_header(header["groups"][group])
            prefix = f"{group}."
            with safe_open(path, framework="pt") as stored:
                tiling = description.tiling(stored.get_tensor(f"{prefix}tiles"))
                first = offset * tiling.count
                end = None if count is None else first + count * tiling.count
                tensors = {
                    name.removeprefix(prefix): stored.get_slice(name)[first:end]
                    for name in stored.keys()  # noqa: SIM118
                    if name.startswith(prefix) and name != f"{prefix}tiles"
                }
            description.check(tensors, {})
            batch = len(tensors["alpha"])
            if batch == 0 or batch % tiling.count or (count is not None and batch != count * tiling.count):
                raise ValueError(f"{batch} networks for tiles of {tiling.count}")
            siren, tuning = description.networks(tensors)
            return SirenMosaic(siren, tuning, tiling, description.bits)
        except (OSError, SafetensorError, LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise _damaged(path, error) from None

    def shard_path(self, shard: int) -> Path:
        """Where a shard's networks are."""
        return self.folder / "shards" / f"{shard:07}.safetensors"

    def index_path(self, shard: int) -> Path:
        """Where a shard's rows are."""
        return self.folder / "index" / f"{shard:07}.parquet"

    def bytes(self) -> int:
        """What all its files take."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def is_store(folder: Path) -> bool:
    """Whether a folder is a store."""
    return os.path.isfile(folder / _MANIFEST)  # noqa: PTH113  pathlib's raises where a name is too long


def dump_groups(groups: Sequence[SirenMosaic]) -> bytes:
    """The bytes of a shard's file."""
    tensors: dict[str, torch.Tensor] = {}
    headers = []
    for number, fields in enumerate(groups):
        tensors |= {f"{number}.{name}": tensor for name, tensor in fields.tensors().items()}
        headers.append(fields.header())
    return bytes(save_tensors(tensors, {_KEY: json.dumps({"format_version": FORMAT_VERSION, "groups": headers})}))


def _is_ours(path: Path) -> bool:
    """What a run leaves behind that was killed before it wrote the manifest."""
    empty = path.name in _PARTS and path.is_dir() and not any(path.iterdir())
    return empty or path.name == ".lock" or is_temporary(path.name)


def _flat(manifest: Manifest) -> dict[str, Any]:
    found = asdict(manifest)
    settings: dict[str, Any] = found.pop("settings")
    return {"eoren version": found.pop("version"), **settings, **found}


def _read_manifest(folder: Path) -> Manifest:
    path = folder / _MANIFEST
    if not is_store(folder):
        raise EorenError(f"{folder}: is no store; such folders are written by 'eoren fit-many'")
    with open_regular(path) as (file, size):
        try:
            if size > _MAX_MANIFEST:
                raise ValueError(f"{size} bytes are too many")
            stored = dict(json.loads(file.read(size)))
            version = stored.pop("format_version")
            if version != FORMAT_VERSION:
                raise EorenError(f"{path}: format version {version!r:.40} is not {FORMAT_VERSION}; upgrade eoren")
            found = Manifest(_settings(stored.pop("settings")), **stored)
            whole_number(stored, "seed", _MAX_SEED, minimum=0)
            whole_number(stored, "shard", MOST_ROWS)
            if (
                type(found.same_start) is not bool
                or type(found.version) is not str
                or len(found.version) > _MAX_VERSION
            ):
                raise ValueError("same_start or version is something else")
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise _damaged(path, error) from None
    return found


def _settings(stored: Mapping[str, Any]) -> Settings:
    try:
        return make_settings(**stored)
    except EorenError as refused:  # whose words are for who chose them
        raise ValueError(str(refused)) from None


def _damaged(path: Path, error: object) -> EorenError:
    kind = f"{type(error).__name__}: " if isinstance(error, Exception) else ""
    reason = " ".join(f"{kind}{error}".split())
    return EorenError(f"{path}: damaged ({reason:.200}); delete it and give the same 'eoren fit-many' again")
