"""Collection: the images of a store as fields, as rows of weights, or as latents."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import Dataset

from eoren.dataset.store import Store
from eoren.dataset.weights import flatten_weights, with_weights
from eoren.errors import EorenError, SourceWarning
from eoren.evaluation.metrics import METRICS
from eoren.field.field import Field
from eoren.field.provenance import Provenance
from eoren.field.wavelet_siren import WaveletSiren
from eoren.image.profiles import describe_profile
from eoren.model.isolation import isolated
from eoren.training.compact.settings import PRESETS as COMPACT_PRESETS
from eoren.training.compact.settings import CompactSettings

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
        >>> collection[-1:], collection["0"].size
        (Collection('...', 1 image, 12x12, 1 channel), (12, 12))
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

    @overload
    def __getitem__(self, key: int | str) -> Field: ...
    @overload
    def __getitem__(self, key: slice) -> "Collection": ...
    def __getitem__(self, key: int | str | slice) -> "Field | Collection":
        """Read the field of one image, or select several images as a collection that reads them when needed.

        Args:
            key: number of an image, its name, or a slice of numbers. A slice keeps :attr:`classes`, so that classes
                mean the same in all parts of a collection.

        Raises:
            IndexError: there is no image of this number.
            KeyError: there is no image of this name, or several.
        """
        if isinstance(key, slice):
            return self._select(range(len(self))[key])
        number = self._find(key) if isinstance(key, str) else self._checked(key)
        shard, group, offset = self._locations[number]
        representation = self.store.representation(shard, group, offset)
        row = self._done.slice(number, 1).to_pylist()[0]
        manifest = self.store.manifest
        provenance = Provenance(
            manifest.settings.as_dict(),
            row["seed"],
            row["steps"],
            source_sha256=row["sha256"],
            metrics={name: None if row[name] == float("inf") else row[name] for name in METRICS},
            version=manifest.version,
            profile=self.store.profile(row["profile"]) if row["profile"] else b"",
        )
        return Field(representation, provenance)

    def _select(self, numbers: Sequence[int]) -> "Collection":
        selected = copy(self)
        for name in ("names", "labels"):  # cached
            selected.__dict__.pop(name, None)
        selected.classes = self.classes
        selected.index = selected._done = self._done.take(np.array(numbers, np.int64))
        selected._locations = [self._locations[number] for number in numbers]
        return selected

    def _find(self, name: str) -> int:
        count = self.names.count(name)
        if count != 1:
            raise KeyError(f"{name!r} must name one image, got {count} images; give a number")
        return self.names.index(name)

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
        """Return all weights of an image as one row: weights layer by layer, then biases, tile by tile.

        Channel tuning is part of the last layer: ``alpha (z W + b) + beta = z (alpha W) + (alpha b + beta)``. Of a
        compact field these are the numbers of its color decoder: the matrix from features to colours, then the
        weights and biases of the SIREN, where it has one; :meth:`latents` gives the rest.

        Args:
            number: number of the image in the collection.
        """
        shard, group, offset = self._locations[self._checked(number)]
        if self._cached is not None and self._cached[0] == (shard, group):
            return self._cached[1][offset].numpy()
        return flatten_weights(self.store.representation(shard, group, offset))[0].numpy()

    def matrix(self) -> Float[np.ndarray, "images parameters"]:
        """Return :meth:`weights` of all images, one row each.

        Raises:
            EorenError: A file is damaged.
            ValueError: the networks differ in shape or number.
        """
        return np.stack([self._row(number).numpy() for number in range(len(self))])

    @isolated()
    def field(self, weights: ArrayLike | Tensor, *, like: int | str = 0) -> Field:
        """Build a field from a row of parameters, such as one that a model of weights predicts.

        Args:
            weights: ``(parameters,)``, in the order of :meth:`weights`. The field of a tensor that requires gradients
                is differentiable by it.
            like: number or name of the image whose size, profile and networks, or latents, the field has.

        Returns:
            A field with the parameters in 32 bits. Channel tuning of a network is part of its last layer.

        Raises:
            EorenError: the number of parameters is another one.

        Example:
            >>> import eoren, numpy as np, tempfile
            >>> folder = tempfile.mkdtemp()
            >>> _ = eoren.fit_many(np.random.default_rng(0).random((2, 12, 12)), store=folder, steps=1)
            >>> collection = eoren.Collection(folder)
            >>> between = collection.field((collection.weights(0) + collection.weights(1)) / 2)
            >>> between.color([[0.5, 0.5]]).shape
            (1, 1)
        """
        model = self[like]
        provenance = Provenance(self.store.manifest.settings.as_dict(), profile=model.provenance.profile)
        return Field(with_weights(model.representation, torch.as_tensor(weights)), provenance)

    def dataset(self) -> "WeightDataset":
        """Return a PyTorch data set of ``(weights, class)``, or of weights alone if no image has a label.

        If only some images have a label, the others are left out. See :attr:`classes`.

        Raises:
            EorenError: the networks differ in shape.

        Warns:
            SourceWarning: images without a label were left out.
        """
        return WeightDataset(self)

    def latents(self) -> "LatentDataset":
        """Return a PyTorch data set of ``(latents, class)`` for all images of a store of compact fields.

        Raises:
            EorenError: the store holds networks, which have no latents.

        Example:
            >>> import eoren, numpy as np, tempfile
            >>> images = [(np.eye(16), "eye"), (np.ones((16, 24, 3)), "white")]
            >>> folder = tempfile.mkdtemp()
            >>> _ = eoren.fit_many(images, store=folder, preset="fast")
            >>> latents, label = eoren.Collection(folder).latents()[1]
            >>> latents.shape, label
            (torch.Size([3, 16, 24]), 1)
        """
        if not isinstance(self.store.manifest.settings, CompactSettings):
            raise EorenError(
                f"{self.store.folder}: its fields are networks, which have no latents; use dataset(), or fit with a "
                f"preset of compact fields: {', '.join(COMPACT_PRESETS)}"
            )
        return LatentDataset(self)

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
            "profiles": self._profiles(),
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

    def _profiles(self) -> dict[str, int]:
        """Count the images by the names of their colour profiles."""
        counts: Counter[str] = Counter()
        for digest, count in Counter(self._done["profile"].drop_null().to_pylist()).items():
            counts[describe_profile(self.store.profile(digest))] += count
        return dict(counts)

    def _columns(self, *names: str) -> list[Any]:
        """Return the values of some columns, one tuple for each fitted image."""
        return list(zip(*(self._done[name].to_pylist() for name in names), strict=True))

    def _row(self, number: int) -> Tensor:
        """Return weights, and cache their group, because neighbours usually follow."""
        shard, group, offset = self._locations[number]
        if isinstance(self.store.manifest.settings, CompactSettings):
            return flatten_weights(self.store.representation(shard, group, offset))[0]
        if self._cached is None or self._cached[0] != (shard, group):
            self._cached = (shard, group), flatten_weights(self.store.networks(shard, group))
        return self._cached[1][offset]

    def _checked(self, number: int) -> int:
        if not -len(self) <= number < len(self):
            raise IndexError(f"image {number} is out of range, the collection has {len(self)}")
        return number % len(self)


class WeightDataset(Dataset[Any]):
    """The weights of images as a PyTorch data set of ``(weights, class)``, or of weights alone without labels.

    All rows are in memory, because shuffled access would read whole groups again and again.

    Attributes:
        weights: ``(images, parameters)``.
        labels: ``(images,)``, indices into :attr:`Collection.classes`; None without labels.
    """

    @isolated()
    def __init__(self, collection: Collection) -> None:
        classes = {label: number for number, label in enumerate(collection.classes)}
        labels = [None if label is None else classes[label] for label in collection.labels]
        numbers = [number for number, label in enumerate(labels) if label is not None] or [*range(len(labels))]
        if len(numbers) < len(labels):
            count = len(labels) - len(numbers)
            message = f"{collection.store.folder}: left out {count:,} of {len(labels):,} images, which have no label"
            warnings.warn(message, SourceWarning, stacklevel=3)
        rows = [collection._row(number) for number in numbers]
        if len({len(row) for row in rows}) > 1:
            raise EorenError(f"{collection.store.folder}: the numbers of its images differ in shape; use weights()")
        self.weights = torch.stack(rows)
        indices = [labels[number] for number in numbers]
        self.labels = None if None in indices else torch.tensor(indices, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, number: int) -> tuple[Tensor, int] | Tensor:
        weights = self.weights[number]
        return weights if self.labels is None else (weights, int(self.labels[number]))


class LatentDataset(Dataset[tuple[Tensor, int]]):
    """The latents of compact fields as a PyTorch data set of ``(latents, class)``.

    ``latents`` is float32 ``(C, H, W)``: the coefficients of the wavelet transform of C opponent colours, which are
    integers times the quantisation steps of the field. They are arranged as usual, with the coarse band at the top
    left and the horizontal, vertical and diagonal bands of each level to its right, below, and diagonal to it.
    ``class`` is an index into :attr:`Collection.classes`, -1 for an image without a label.

    Fields are read and decoded on access, so that any number of workers of a loader share the work. Images of
    different sizes have latents of different shapes.
    """

    def __init__(self, collection: Collection) -> None:
        classes = {label: number for number, label in enumerate(collection.classes)}
        self._store, self._locations = collection.store, collection._locations
        self.labels = torch.tensor(
            [-1 if label is None else classes[label] for label in collection.labels], dtype=torch.int64
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        field = self._store.representation(*self._locations[number])
        assert isinstance(field, WaveletSiren)
        return _arrange(field), int(self.labels[number])


def _arrange(field: WaveletSiren) -> Float[Tensor, "channels height width"]:
    """Arrange the dequantised latents of a field as one array of the size of its image."""
    steps = field.steps().astype(np.float32)[:, :, None, None]
    bands = [band * step for band, step in zip(field.latents.bands(), steps, strict=True)]
    plane = bands[0]
    for level in range(field.latents.levels, 0, -1):
        horizontal, vertical, diagonal = bands[3 * level - 2 : 3 * level + 1]
        plane = np.block([[plane, horizontal], [vertical, diagonal]])
    return torch.from_numpy(np.ascontiguousarray(plane, np.float32))
