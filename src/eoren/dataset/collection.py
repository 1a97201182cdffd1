"""Collection: many images as networks, one after the other or as rows of numbers."""

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from eoren.dataset.shards import METRICS
from eoren.dataset.store import Store
from eoren.errors import EorenError
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.provenance import Provenance

_LONGEST_NUMBER = 100
"""Digits of a label that counts as a number: Python refuses to read thousands of them."""


class Collection:
    """The networks of a store, in the order of the images they were fitted to.

    Images that failed are left out; :attr:`index` has them.

    Args:
        store: a folder that ``eoren fit-many`` or :func:`eoren.fit_many` wrote; it may still be growing.

    Raises:
        EorenError: it is no store, or damaged.

    Example:
        >>> import eoren, numpy as np, tempfile
        >>> images = [(np.full((12, 12), value), name) for value, name in ((0.2, "dark"), (0.9, "light"))]
        >>> folder = tempfile.mkdtemp()
        >>> _ = eoren.fit_many(images, store=folder, steps=1, same_start=True)
        >>> found = eoren.Collection(folder)
        >>> len(found), found.labels, found[0].size, found.weights(1).shape
        (2, ['dark', 'light'], (12, 12), (609,))
        >>> weights, label = found.dataset()[1]
        >>> found.classes[label]
        'light'
    """

    def __init__(self, store: str | PathLike[str]) -> None:
        """Read the index."""
        self.store = Store(Path(store))
        import pyarrow
        import pyarrow.compute

        shards = self.store.shards()
        if not shards:
            raise EorenError(f"{store}: has no images yet; give the same 'eoren fit-many' again")
        self.index: pyarrow.Table = pyarrow.concat_tables([self.store.rows(shard) for shard in shards])
        """One row per image, failed ones included; columns: :data:`eoren.dataset.index.COLUMNS`."""
        self._done = self.index.filter(pyarrow.compute.equal(self.index["status"], "done"))
        self._place = {name: self._done[name].to_pylist() for name in ("shard", "group", "offset")}
        self._held: tuple[tuple[int, int], Tensor] | None = None

    def __len__(self) -> int:
        return int(self._done.num_rows)

    def __getitem__(self, number: int) -> Field:
        """One image's field; nothing else is read."""
        number = self._checked(number)
        row = self._done.slice(number, 1).to_pylist()[0]
        manifest = self.store.manifest
        metrics = {name: row[name] if row[name] not in (None, float("inf")) else None for name in METRICS}
        origin = Provenance(
            manifest.settings.as_dict(),
            row["seed"],
            row["steps"],
            source_sha256=row["sha256"],
            metrics=metrics,
            version=manifest.version,
        )
        return Field(self.store.networks(*self._at(number), count=1), origin)

    def __iter__(self) -> Iterator[Field]:
        return (self[number] for number in range(len(self)))

    @cached_property
    def names(self) -> list[str]:
        """Of the images."""
        return list(self._done["name"].to_pylist())

    @cached_property
    def labels(self) -> list[str | None]:
        """Of the images; none where there is none."""
        return list(self._done["label"].to_pylist())

    @cached_property
    def classes(self) -> list[str]:
        """The labels that there are, numbers in their order and words in theirs."""
        found = {label for label in self.labels if label is not None}
        return sorted(found, key=lambda label: (0, int(label), label) if _is_number(label) else (1, 0, label))

    def weights(self, number: int) -> Float[np.ndarray, " parameters"]:
        """All that an image's networks are, as one row: weights layer by layer, then biases, one network's first.

        The channel tuning is in the last layer: ``alpha (z W + b) + beta = z (alpha W) + (alpha b + beta)``.

        Args:
            number: of the image in the collection.
        """
        number = self._checked(number)
        shard, group, offset = self._at(number)
        if self._held is not None and self._held[0] == (shard, group):
            return self._held[1][offset].numpy()
        fields = self.store.networks(shard, group, offset, count=1)
        return _flat(fields)[0].numpy()

    def matrix(self) -> Float[np.ndarray, "pictures parameters"]:
        """:meth:`weights` of all images, a row each.

        Raises:
            EorenError: their networks differ in shape or number.
        """
        return np.stack([self._row(number).numpy() for number in range(len(self))])

    def dataset(self) -> "Dataset[tuple[Tensor, int]]":
        """``(weights, label)`` of every image that has a label, for PyTorch: labels index :attr:`classes`."""
        return _Weights(self)

    def summary(self) -> dict[str, Any]:
        """What ``eoren info`` says of it: counts, sizes, and metrics as means over images, exact ones left out."""
        means: dict[str, float | None] = {}
        for name in METRICS:
            values = self.index[name].drop_null().to_numpy().astype(np.float64)
            finite = values[np.isfinite(values)]
            means[name] = float(finite.mean()) if len(finite) else None
        sizes = Counter(zip(*(self._done[name].to_pylist() for name in ("width", "height", "channels")), strict=True))
        manifest = self.store.manifest
        return {
            "pictures": self.index.num_rows,
            "failed": self.index.num_rows - len(self),
            "exact": sum(value == float("inf") for value in self._done["psnr"].to_pylist()),
            "labels": len(self.classes),
            "sizes": [[*size, count] for size, count in sizes.most_common()],
            "networks": sum(self._done["networks"].to_pylist()),
            "parameters": sum(self._done["parameters"].to_pylist()),
            "bytes": self.store.bytes(),
            **means,
            "seed": manifest.seed,
            "same_start": manifest.same_start,
            "settings": manifest.settings.as_dict(),
            "version": manifest.version,
        }

    def _row(self, number: int) -> Tensor:
        """Weights, keeping the group they are in at hand: neighbours are asked for next."""
        shard, group, offset = self._at(number)
        if self._held is None or self._held[0] != (shard, group):
            self._held = (shard, group), _flat(self.store.networks(shard, group))
        return self._held[1][offset]

    def _at(self, number: int) -> tuple[int, int, int]:
        return self._place["shard"][number], self._place["group"][number], self._place["offset"][number]

    def _checked(self, number: int) -> int:
        if not -len(self) <= number < len(self):
            raise IndexError(f"picture {number} of {len(self)}")
        return number % len(self)


class _Weights(Dataset[tuple[Tensor, int]]):
    """Every row, in memory: shuffled access would read whole groups again and again."""

    def __init__(self, collection: Collection) -> None:
        numbers = {label: number for number, label in enumerate(collection.classes)}
        chosen = [number for number, label in enumerate(collection.labels) if label is not None]
        if not chosen:
            raise EorenError(f"{collection.store.folder}: its images have no labels; use matrix() or weights()")
        rows = [collection._row(number) for number in chosen]
        if len({len(row) for row in rows}) > 1:
            raise EorenError(f"{collection.store.folder}: its networks differ in shape; use weights()")
        self.weights = torch.stack(rows)
        self.labels = torch.tensor([numbers[str(collection.labels[number])] for number in chosen])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.weights[number], int(self.labels[number])


def _is_number(label: str) -> bool:
    return label.isdecimal() and len(label) <= _LONGEST_NUMBER


def _flat(fields: SirenMosaic) -> Float[Tensor, "pictures parameters"]:
    siren, tuning = fields.siren, fields.tuning
    weights = [*siren.weights[:-1], siren.weights[-1] * tuning.alpha]
    biases = [*siren.biases[:-1], siren.biases[-1] * tuning.alpha + tuning.beta]
    return torch.cat([t.flatten(1) for t in (*weights, *biases)], 1).reshape(siren.batch // fields.tiling.count, -1)
