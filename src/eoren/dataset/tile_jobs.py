"""One very large image as many jobs: groups of its tiles, fitted by whoever is free, put together at the end.

A group is trained as :mod:`eoren.training.loop` trains it, so with a budget in steps the field is that of
:func:`eoren.fit`. A piece takes with it the pixels around its tiles and nothing else of the image.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from eoren.dataset.shards import METRICS, Fitted, Row, Task, Watch, Work, described, failed, train
from eoren.dataset.sources import decoded
from eoren.errors import EorenError, ImageError
from eoren.evaluation.metrics import evaluate
from eoren.field.field import Provenance
from eoren.field.schema import whole
from eoren.fs.safetensors_layout import check_layout
from eoren.image.cell_averages import point_values
from eoren.image.gradients import around
from eoren.image.io import SourceImage
from eoren.model.devices import choose_device
from eoren.model.quantization import pack, unpack
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling
from eoren.training.trainer import TILES_AT_ONCE, Trainer, assemble_field, build_tiling, init_networks

_KEY = "eoren-piece"
_MOST = 2**53


@dataclass(frozen=True, eq=False)
class TileGroupResult:
    """The networks of a piece.

    Attributes:
        shard: that the image is.
        group: of its tiles.
        digest: of the image.
        steps: that were made.
        siren: the networks, on the CPU; none if they diverged.
        error: why there are none.
    """

    shard: int
    group: int
    digest: str
    steps: int
    siren: Siren | None
    error: str = ""

    def dumps(self) -> bytes:
        """As a file, numbers unrounded."""
        header = {name: getattr(self, name) for name in ("shard", "group", "digest", "steps", "error")}
        tensors = {} if self.siren is None else pack(self.siren, 32)
        header["omegas"] = None if self.siren is None else self.siren.omegas
        return bytes(save_tensors(tensors, {_KEY: json.dumps(header)}))

    @classmethod
    def loads(cls, data: bytes) -> "TileGroupResult":
        """Back from a file.

        Raises:
            EorenError: it is damaged.
        """
        try:
            header = json.loads(check_layout(data, len(data))[_KEY])
            omegas = header.pop("omegas")
            tensors = load_tensors(data)
            for name in ("shard", "group", "steps"):
                whole(header, name, _MOST, least=0)
            if not all(type(header[name]) is str for name in ("digest", "error")):
                raise ValueError("a text is none")
            if len(tensors) != (0 if omegas is None else 2 * len(omegas) + 2):
                raise ValueError("it has other tensors")
            return cls(**header, siren=None if omegas is None else unpack(tensors, tuple(omegas)))
        except (SafetensorError, LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise EorenError(f"a damaged piece ({type(error).__name__})") from None


@dataclass(frozen=True, eq=False)
class TileGroupJob:
    """A group of tiles to fit.

    Attributes:
        shard: that the image is.
        group: number of the group.
        digest: of the image.
        pixels: of the image around the tiles.
        at: column and row of the first of them.
        tiling: of the whole image.
        tiles: which of them.
        seed: of the image's networks.
    """

    shard: int
    group: int
    digest: str
    pixels: Float[np.ndarray, "rows columns channels"]
    at: tuple[int, int]
    tiling: Tiling
    tiles: slice
    seed: int

    @property
    def share(self) -> float:
        """Of the image's tiles."""
        return float(self.tiles.stop - self.tiles.start) / self.tiling.count

    def run(self, work: Work, watch: Watch) -> TileGroupResult:
        """Train the group.

        Raises:
            GivenUp: ``watch`` said so.
        """
        trainer = Trainer.of_picture(
            self.pixels,
            work.settings,
            seed=self.seed,
            device=choose_device(work.device),
            tiling=self.tiling,
            tiles=self.tiles,
            at=self.at,
        )
        limit = work.settings.time_limit(self.tiling.width, self.tiling.height)
        try:
            train(trainer, work.settings, None if limit is None else limit * self.share, watch)
            siren = trainer.networks().to(torch.device("cpu"))
        except ImageError as error:
            return TileGroupResult(self.shard, self.group, self.digest, trainer.steps_done, None, str(error))
        return TileGroupResult(self.shard, self.group, self.digest, trainer.steps_done, siren)


class LargeImageJob:
    """An image while its pieces are being fitted.

    Args:
        task: a shard of this one image.
        picture: the image itself.
        work: what all shards have in common.

    Attributes:
        share: of the image that is fitted, 0..1.
    """

    def __init__(self, task: Task, picture: SourceImage, work: Work) -> None:
        """Cut it into tiles."""
        self.task, self.share = task, 0.0
        self._picture, self._work = picture, work
        image = picture.pixels
        self._points = point_values(image) if work.settings.pixels == "areas" else image
        self._tiling = build_tiling(self._points, work.settings)
        self._groups = self._tiling.groups(TILES_AT_ONCE)
        self._seed = work.seed_of(image)
        self._like = init_networks(work.settings, self._tiling, image.shape[2], count=1, seed=0)
        self._fragments: dict[int, TileGroupResult] = {}

    def pieces(self) -> Iterator[TileGroupJob]:
        """Those that are missing still."""
        for group, tiles in enumerate(self._groups):
            if group in self._fragments:
                continue
            some, at = around(self._points, self._tiling.box(tiles))
            yield TileGroupJob(
                self.task.shard, group, self._picture.sha256, some, at, self._tiling, tiles, self._seed
            )

    def add(self, fragment: TileGroupResult) -> bool:
        """Take in what was fitted; fragments of another image are refused, and a group that has one already."""
        known = fragment.digest == self._picture.sha256 and fragment.group < len(self._groups)
        if not known or fragment.group in self._fragments:
            return False
        tiles = self._groups[fragment.group]
        if fragment.siren is not None and not self._fits(fragment.siren, tiles.stop - tiles.start):
            return False
        self._fragments[fragment.group] = fragment
        self.share += (tiles.stop - tiles.start) / self._tiling.count
        return True

    def _fits(self, siren: Siren, count: int) -> bool:
        """Whether these are networks that such a fit makes: a file may hold others."""
        shapes = [(count, *t.shape[1:]) for t in self._like.tensors()]
        same = siren.omegas == self._like.omegas and [t.shape for t in siren.tensors()] == shapes
        return same and all(bool(t.isfinite().all()) for t in siren.tensors())

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return len(self._fragments) == len(self._groups)

    def joined(self) -> Fitted:
        """The image, tuned and measured as one field."""
        work, image, tiling = self._work, self._picture.pixels, self._tiling
        row: Row = described(self.task, 0, self._picture, self._seed)
        found = [self._fragments[group] for group in range(len(self._groups))]
        error = next((fragment.error for fragment in found if fragment.siren is None), None)
        if error is not None:
            return Fitted(self.task.shard, [], [row | failed(error)])
        parts = [fragment.siren.tensors() for fragment in found if fragment.siren is not None]
        siren = self._like.with_tensors([torch.cat(each) for each in zip(*parts, strict=True)])
        try:
            field = assemble_field(siren, tiling, self._points, bits=work.settings.bits)
        except ImageError as refused:  # weights too large for their bits
            return Fitted(self.task.shard, [], [row | failed(str(refused))])
        steps = max(fragment.steps for fragment in found)
        origin = Provenance(work.settings.as_dict(), self._seed, steps, 0.0, self._picture.sha256)
        measured = evaluate(replace(field, provenance=origin), image, stored_bytes=0)
        row |= {"networks": tiling.count, "parameters": field.parameters, "steps": steps}
        row |= {name: getattr(measured, name) for name in METRICS}
        return Fitted(self.task.shard, [field], [row | {"status": "done", "group": 0, "offset": 0}])


def spread(task: Task, work: Work) -> LargeImageJob | None:
    """A shard as pieces, if it is one image of so many tiles that they are not trained together anyway."""
    if len(task.contents) > 1:
        return None
    try:
        picture = decoded(task.names[0], task.contents[0])
        height, width, channels = picture.pixels.shape
        count, _ = work.settings.architecture(width, height, channels)
    except ImageError:
        return None  # a row that says so is written like any other
    return LargeImageJob(task, picture, work) if count > TILES_AT_ONCE else None
