"""Fit one very large image as many jobs: groups of tiles are fitted independently and assembled at the end.

A group trains as :mod:`eoren.training.loop` trains it, so with a budget in steps the field is that of
:func:`eoren.fit`. A job carries only the pixels around its tiles.
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

from eoren.dataset.groups import ShardResult
from eoren.dataset.shards import FitPlan, ShardJob, ShareCallback, failure, profile_by_digest
from eoren.dataset.sources import decode_content
from eoren.errors import EorenError, ImageError
from eoren.evaluation.metrics import METRICS, evaluate
from eoren.field.mosaic import SirenMosaic
from eoren.field.provenance import Provenance
from eoren.field.schema import whole_number
from eoren.fs.safetensors_layout import parse_metadata
from eoren.image.cell_averages import point_values
from eoren.image.gradients import crop_with_margin
from eoren.image.io import SourceImage
from eoren.model.devices import choose_device
from eoren.model.quantization import pack, unpack
from eoren.model.siren import Siren
from eoren.model.tiling import Tiling
from eoren.training.assembly import TILES_AT_ONCE, assemble_field, build_tiling, init_networks
from eoren.training.budget import Budget, train
from eoren.training.trainer import Trainer

_KEY = "eoren-piece"
_MAX_NUMBER = 2**53


@dataclass(frozen=True, eq=False)
class TileGroupResult:
    """The networks of a group of tiles."""

    shard: int  # the image is the whole shard
    group: int
    digest: str  # SHA-256 of the image
    steps: int
    siren: Siren | None  # on the CPU; None if the networks diverged
    error: str = ""

    def dumps(self) -> bytes:
        """Serialize the result without rounding."""
        header = {name: getattr(self, name) for name in ("shard", "group", "digest", "steps", "error")}
        tensors = {} if self.siren is None else pack(self.siren, 32)
        header["omegas"] = None if self.siren is None else self.siren.omegas
        return bytes(save_tensors(tensors, {_KEY: json.dumps(header)}))

    @classmethod
    def loads(cls, data: bytes) -> "TileGroupResult":
        """Deserialize a result; raise :class:`EorenError` if the data are damaged."""
        try:
            header = json.loads(parse_metadata(data, len(data))[_KEY])
            omegas = header.pop("omegas")
            tensors = load_tensors(data)
            for name in ("shard", "group", "steps"):
                whole_number(header, name, _MAX_NUMBER, minimum=0)
            if not all(type(header[name]) is str for name in ("digest", "error")):
                raise ValueError("digest or error is not text")
            if len(tensors) != (0 if omegas is None else 2 * len(omegas) + 2):
                raise ValueError("it has another number of tensors")
            return cls(**header, siren=None if omegas is None else unpack(tensors, tuple(omegas)))
        except (SafetensorError, LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise EorenError(f"a damaged group of tiles ({type(error).__name__})") from None


@dataclass(frozen=True, eq=False)
class TileGroupJob:
    """A group of tiles to fit; see :class:`TileGroupResult`."""

    shard: int
    group: int
    digest: str
    pixels: Float[np.ndarray, "rows columns channels"]  # around the tiles
    at: tuple[int, int]  # column and row of the first of these pixels
    tiling: Tiling  # of the whole image
    tiles: slice  # tiles of the group
    seed: int

    @property
    def name(self) -> str:
        """Numbers of the shard and of the group of tiles."""
        return f"shard {self.shard}, tile group {self.group}"

    @property
    def images(self) -> float:
        """Share of the tiles of the image, 0 to 1."""
        return float(self.tiles.stop - self.tiles.start) / self.tiling.count

    def run(self, plan: FitPlan, watch: ShareCallback) -> TileGroupResult:
        """Train the group."""
        trainer = Trainer.of_image(
            self.pixels,
            plan.network_settings,
            seed=self.seed,
            device=choose_device(plan.device),
            tiling=self.tiling,
            tiles=self.tiles,
            at=self.at,
        )
        limit = plan.network_settings.time_limit(self.tiling.width, self.tiling.height)
        try:
            train(trainer, Budget(plan.network_settings.steps, None if limit is None else limit * self.images), watch)
            siren = trainer.networks().to(torch.device("cpu"))
        except ImageError as error:
            return TileGroupResult(self.shard, self.group, self.digest, trainer.steps_done, None, str(error))
        return TileGroupResult(self.shard, self.group, self.digest, trainer.steps_done, siren)


class LargeImageAssembly:
    """The results of the groups of tiles of one large image; ``share`` is that of the tiles with a result, 0 to 1."""

    def __init__(self, job: ShardJob, image: SourceImage, plan: FitPlan) -> None:
        self.share = 0.0
        self._job, self._image, self._plan = job, image, plan
        pixels = image.pixels
        self._points = point_values(pixels) if plan.network_settings.pixel_model == "cell_average" else pixels
        self._tiling = build_tiling(self._points, plan.network_settings)
        self._groups = self._tiling.groups(TILES_AT_ONCE)
        self._seed = plan.seed_of(pixels)
        self._template = init_networks(plan.network_settings, self._tiling, pixels.shape[2], count=1, seed=0)
        self._results: dict[int, TileGroupResult] = {}

    def missing_jobs(self) -> Iterator[TileGroupJob]:
        """Create the jobs of all groups without a result."""
        for group, tiles in enumerate(self._groups):
            if group not in self._results:
                pixels, at = crop_with_margin(self._points, self._tiling.box(tiles))
                digest = self._image.sha256
                yield TileGroupJob(self._job.shard, group, digest, pixels, at, self._tiling, tiles, self._seed)

    def add(self, result: TileGroupResult) -> bool:
        """Add the result of a group, unless it is of another image or fit, or the group has one already."""
        if result.digest != self._image.sha256 or result.group in self._results or result.group >= len(self._groups):
            return False
        tiles = self._groups[result.group]
        if result.siren is not None and not self._is_compatible(result.siren, tiles.stop - tiles.start):
            return False
        self._results[result.group] = result
        self.share += (tiles.stop - tiles.start) / self._tiling.count
        return True

    def _is_compatible(self, siren: Siren, count: int) -> bool:
        """Check whether networks, possibly from a file, are finite and of the shape of this fit."""
        shapes = [(count, *t.shape[1:]) for t in self._template.tensors()]
        same = siren.omegas == self._template.omegas and [t.shape for t in siren.tensors()] == shapes
        return same and all(bool(t.isfinite().all()) for t in siren.tensors())

    @property
    def is_complete(self) -> bool:
        """Whether every group has a result."""
        return len(self._results) == len(self._groups)

    def assemble(self) -> ShardResult:
        """Assemble and measure the field of the whole image."""
        plan, tiling = self._plan, self._tiling
        row, profiles = self._job.row(0, self._image, self._seed), profile_by_digest(self._image)
        results = [self._results[group] for group in range(len(self._groups))]
        sirens = [result.siren.tensors() for result in results if result.siren is not None]
        try:
            for result in results:
                if result.siren is None:
                    raise ImageError(result.error)
            siren = self._template.with_tensors([torch.cat(tensors) for tensors in zip(*sirens, strict=True)])
            field = assemble_field(siren, tiling, self._points, bits=plan.network_settings.bits)
        except ImageError as error:  # networks diverged, or weights are too large for their bits
            return ShardResult(self._job.shard, [], [row | failure(error)], profiles)
        steps = max(result.steps for result in results)
        provenance = Provenance(plan.network_settings.as_dict(), self._seed, steps, 0.0, self._image.sha256)
        metrics = evaluate(replace(field, provenance=provenance), self._image.pixels)
        row |= {"networks": tiling.count, "parameters": field.parameters, "steps": steps}
        row |= {name: getattr(metrics, name) for name in METRICS}
        assert isinstance(field.representation, SirenMosaic)
        row |= {"status": "done", "group": 0, "offset": 0}
        return ShardResult(self._job.shard, [field.representation], [row], profiles)


def split_large_image(job: ShardJob, plan: FitPlan) -> LargeImageAssembly | None:
    """Split a shard of one image with too many networks to be trained at once; return None for any other shard."""
    if len(job.contents) > 1 or plan.is_compact:
        return None
    try:
        image = decode_content(job.names[0], job.contents[0], to_srgb=plan.to_srgb)
        if plan.tile_count(image.pixels.shape) <= TILES_AT_ONCE:
            return None
    except ImageError:
        return None  # ShardJob.run() writes the row with the reason
    return LargeImageAssembly(job, image, plan)
