"""Collection: the images of a store as fields, or as rows of weights."""

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

from eoren.dataset.store import Store
from eoren.errors import EorenError
from eoren.evaluation.metrics import METRICS
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.provenance import Provenance

# Longest label that counts as a number: Python refuses to parse thousands of digits.
_MAX_DIGITS = 100


class Collection:
    """The fields of a store, in the order of the images that they were fitted to.

    Images that could not be fitted are left out; :attr:`index` contains them.

    Args:
        store: folder that ``eoren fit-many`` or :func:`eoren.fit_many` wrote, complete or not.

    Attributes:
        store: the :class:`eoren.dataset.store.Store`.
        index: a pyarrow table with one row per image, failed ones included; its columns are
            :data:`eoren.dataset.index.COLUMNS`.

    Raises:
        EorenError: the folder is not a store, or the store is empty or damaged.

    Example:
        >>> import eoren, numpy as np, tempfile
        >>> images = [(np.full((12, 12), value), name) for value, name in ((0.2, "dark"), (0.9, "light"))]
        >>> folder = tempfile.mkdtemp()
        >>> _ = eoren.fit_many(images, store=folder, steps=1, same_start=True)
        >>> collection = eoren.Collection(folder)
        >>> len(collection), collection.labels, collection[0].size, collection.weights(1).shape
        (2, ['dark', 'light'], (12, 12), (609,))
        >>> weights, label = collection.dataset()[1]
        >>> collection.classes[label]
        'light'
    """

    def __init__(self, store: str | PathLike[str]) -> None:
        self.store = Store(Path(store))
        import pyarrow
        import pyarrow.compute

        shards = self.store.shards()
        if not shards:
            raise EorenError(f"{store}: has no images yet; run the same 'eoren fit-many' again")
        self.index: pyarrow.Table = pyarrow.concat_tables([self.store.rows(shard) for shard in shards])
        self._done = self.index.filter(pyarrow.compute.equal(self.index["status"], "done"))
        self._locations = self._columns("shard", "group", "offset")
        # The group of weights that was read last, by its shard and number.
        self._cached: tuple[tuple[int, int], Tensor] | None = None

    def __repr__(self) -> str:
        """Describe the store, for example ``Collection('store', 70,000 images, 28x28, 1 channel)``."""
        sizes = [f"{width}x{height}, {n} channel{'s' * (n > 1)}" for width, height, n in self._sizes()]
        size = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes"
        return f"Collection({str(self.store.folder)!r}, {len(self):,} image{'s' * (len(self) != 1)}, {size})"

    def __len__(self) -> int:
        return len(self._locations)

    def __getitem__(self, number: int) -> Field:
        """Read the field of one image."""
        number = self._checked(number)
        shard, group, offset = self._locations[number]
        mosaic = self.store.networks(shard, group, offset, count=1)
        row = self._done.slice(number, 1).to_pylist()[0]
        manifest = self.store.manifest
        provenance = Provenance(
            manifest.settings.as_dict(),
            row["seed"],
            row["steps"],
            source_sha256=row["sha256"],
            metrics={name: None if row[name] == float("inf") else row[name] for name in METRICS},
            version=manifest.version,
        )
        return Field(mosaic, provenance)

    def __iter__(self) -> Iterator[Field]:
        return (self[number] for number in range(len(self)))

    @cached_property
    def names(self) -> list[str]:
        """The names of the images."""
        return list(self._done["name"].to_pylist())

    @cached_property
    def labels(self) -> list[str | None]:
        """The labels of the images, None where an image has no label."""
        return list(self._done["label"].to_pylist())

    @cached_property
    def classes(self) -> list[str]:
        """The distinct labels: numbers in numerical order, then words in alphabetical order."""

        def key(label: str) -> tuple[int, int, str]:
            is_number = label.isdecimal() and len(label) <= _MAX_DIGITS
            return (0, int(label), label) if is_number else (1, 0, label)

        return sorted({label for label in self.labels if label is not None}, key=key)

    def weights(self, number: int) -> Float[np.ndarray, " parameters"]:
        """Return all parameters of an image as one row: weights layer by layer, then biases, tile by tile.

        Channel tuning is part of the last layer: ``alpha (z W + b) + beta = z (alpha W) + (alpha b + beta)``.

        Args:
            number: number of the image in the collection.
        """
        shard, group, offset = self._locations[self._checked(number)]
        if self._cached is not None and self._cached[0] == (shard, group):
            return self._cached[1][offset].numpy()
        return _flatten(self.store.networks(shard, group, offset, count=1))[0].numpy()

    def matrix(self) -> Float[np.ndarray, "images parameters"]:
        """Return :meth:`weights` of all images, one row each.

        Raises:
            EorenError: A file is damaged.
            ValueError: the networks differ in shape or number.
        """
        return np.stack([self._row(number).numpy() for number in range(len(self))])

    def dataset(self) -> "WeightDataset":
        """Return a PyTorch data set of ``(weights, class)`` for all images with a label; see :attr:`classes`.

        Raises:
            EorenError: no image has a label, or the networks differ in shape.
        """
        return WeightDataset(self)

    def summary(self) -> dict[str, Any]:
        """Return counts, sizes and the means of metrics over the images where they are finite, for ``eoren info``."""
        means: dict[str, float | None] = {}
        for name in METRICS:
            values = self.index[name].drop_null().to_numpy().astype(np.float64)
            finite = values[np.isfinite(values)]
            means[name] = float(finite.mean()) if len(finite) else None
        manifest = self.store.manifest
        return {
            "pictures": self.index.num_rows,
            "failed": self.index.num_rows - len(self),
            "exact": sum(value == float("inf") for value in self._done["psnr"].to_pylist()),
            "labels": len(self.classes),
            "sizes": [[*size, count] for size, count in self._sizes().most_common()],
            "networks": sum(self._done["networks"].to_pylist()),
            "parameters": sum(self._done["parameters"].to_pylist()),
            "bytes": self.store.bytes(),
            **means,
            "seed": manifest.seed,
            "same_start": manifest.same_start,
            "settings": manifest.settings.as_dict(),
            "version": manifest.version,
        }

    def _sizes(self) -> Counter[tuple[int, int, int]]:
        return Counter(self._columns("width", "height", "channels"))

    def _columns(self, *names: str) -> list[Any]:
        """Return the values of some columns, one tuple for each fitted image."""
        return list(zip(*(self._done[name].to_pylist() for name in names), strict=True))

    def _row(self, number: int) -> Tensor:
        """Return weights, and cache their group, because neighbours usually follow."""
        shard, group, offset = self._locations[number]
        if self._cached is None or self._cached[0] != (shard, group):
            self._cached = (shard, group), _flatten(self.store.networks(shard, group))
        return self._cached[1][offset]

    def _checked(self, number: int) -> int:
        if not -len(self) <= number < len(self):
            raise IndexError(f"image {number} is out of range, the collection has {len(self)}")
        return number % len(self)


class WeightDataset(Dataset[tuple[Tensor, int]]):
    """The weights of labelled images as a PyTorch data set of ``(weights, class)``.

    All rows are in memory, because shuffled access would read whole groups again and again: ``weights`` of shape
    ``(images, parameters)``, and ``labels``, indices into :attr:`Collection.classes`.
    """

    def __init__(self, collection: Collection) -> None:
        classes = {label: number for number, label in enumerate(collection.classes)}
        labelled = [number for number, label in enumerate(collection.labels) if label is not None]
        if not labelled:
            raise EorenError(f"{collection.store.folder}: its images have no labels; use matrix() or weights()")
        rows = [collection._row(number) for number in labelled]
        if len({len(row) for row in rows}) > 1:
            raise EorenError(f"{collection.store.folder}: its networks differ in shape; use weights()")
        self.weights = torch.stack(rows)
        self.labels = torch.tensor([classes[str(collection.labels[number])] for number in labelled])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.weights[number], int(self.labels[number])


def _flatten(mosaic: SirenMosaic) -> Float[Tensor, "images parameters"]:
    """Return the parameters of each image, with the channel tuning in the last layer."""
    siren, tuning = mosaic.siren, mosaic.tuning
    weights = [*siren.weights[:-1], siren.weights[-1] * tuning.alpha]
    biases = [*siren.biases[:-1], siren.biases[-1] * tuning.alpha + tuning.beta]
    return torch.cat([t.flatten(1) for t in (*weights, *biases)], 1).reshape(siren.batch // mosaic.tiling.count, -1)
