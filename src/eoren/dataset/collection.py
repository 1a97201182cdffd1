"""Collection: the images of a store as fields, as rows of weights, or as latents."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property
from itertools import count
from os import PathLike
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from eoren.dataset.store import Store
from eoren.dataset.weights import flatten_weights, with_weights
from eoren.errors import EorenError, SourceWarning
from eoren.evaluation.metrics import METRICS
from eoren.field.field import Field
from eoren.field.provenance import Provenance
from eoren.fs.objects import MissingObjectError
from eoren.image.profiles import describe_profile
from eoren.model.arrays import Tensor, is_tensor
from eoren.model.isolation import isolated
from eoren.training.compact.settings import PRESETS as COMPACT_PRESETS
from eoren.training.compact.settings import CompactSettings

if TYPE_CHECKING:
    import pyarrow

    import eoren.dataset.torch_datasets

# Longest label that counts as a number: Python refuses to parse thousands of digits.
_MAX_DIGITS = 100


class Collection:
    """The fields of a store, in the order of the images that they were fitted to.

    Images that could not be fitted are left out; :attr:`index` contains them.

    Args:
        store: folder that ``eoren fit-many`` or :func:`eoren.fit_many` wrote, complete or not, or its address, such
            as ``s3://bucket/store``. Of a remote store only what is needed is read: opening it reads ``store.json``,
            and an image by its number its field and the parts of the index before it. Names, labels and slices need
            the whole index, which is read once.

    Attributes:
        store: the :class:`eoren.dataset.store.Store`.

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
        self.store = Store(store)
        # The group of weights that was read last, by its shard and number. Other threads replace it at any time.
        self._cached: tuple[tuple[int, int], np.ndarray] | None = None
        if not self.store.is_remote:
            _ = self.index  # a damaged store is refused at once

    @cached_property
    def index(self) -> "pyarrow.Table":
        """A pyarrow table with one row per image, failed ones included.

        Its columns are :data:`eoren.dataset.index.COLUMNS`.
        """
        import pyarrow

        shards = self.store.shards()
        if not shards:
            raise EorenError(f"{self.store.folder}: has no images yet; run the same 'eoren fit-many' again")
        return pyarrow.concat_tables(self.store.rows(shards))

    @cached_property
    def _done(self) -> "pyarrow.Table":
        return _fitted(self.index)

    @cached_property
    def _locations(self) -> list[tuple[int, int, int]]:
        return self._columns("shard", "group", "offset")

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

        Parameters are NumPy arrays, as those of :func:`eoren.load`; :meth:`eoren.Field.to` makes them tensors.

        Args:
            key: number of an image, its name, or a slice of numbers. A slice keeps :attr:`classes`, so that classes
                mean the same in all parts of a collection.

        Raises:
            IndexError: there is no image of this number.
            KeyError: there is no image of this name, or several.
        """
        if isinstance(key, slice):
            return self._select(range(len(self))[key])
        row = self._read_row(key)
        representation = self.store.representation(row["shard"], row["group"], row["offset"])
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

    def _class_numbers(self) -> list[int | None]:
        """Return the place of each image's label in the classes; None for an image without a label."""
        numbers = {label: number for number, label in enumerate(self.classes)}
        return [None if label is None else numbers[label] for label in self.labels]

    def _read_row(self, key: int | str) -> dict[str, Any]:
        """Return the row of an image; of a remote index that was not read yet, read its first parts up to it."""
        if "index" not in self.__dict__ and isinstance(key, int) and key >= 0:
            left = key
            try:
                for part in self.store.rows(count()):
                    done = _fitted(part)
                    if left < done.num_rows:
                        return dict(done.slice(left, 1).to_pylist()[0])
                    left -= done.num_rows
            except MissingObjectError:  # the first of them that is not there
                pass
        number = self._find(key) if isinstance(key, str) else self._checked(key)
        return dict(self._done.slice(number, 1).to_pylist()[0])

    def _select(self, numbers: Sequence[int]) -> "Collection":
        selected = copy(self)
        for name in ("names", "labels"):  # cached
            selected.__dict__.pop(name, None)
        selected.classes = self.classes
        selected.index = selected._done = self._done.take(np.array(numbers, np.int64))
        selected._locations = [self._locations[number] for number in numbers]
        return selected

    def _find(self, name: str) -> int:
        found = self.names.count(name)
        if found != 1:
            raise KeyError(f"{name!r} must name one image, got {found} images; give a number")
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
        cached = self._cached
        if cached is not None and cached[0] == (shard, group):
            return np.array(cached[1][offset])
        return np.asarray(flatten_weights(self.store.representation(shard, group, offset))[0])

    def matrix(self) -> Float[np.ndarray, "images parameters"]:
        """Return :meth:`weights` of all images, one row each.

        Raises:
            EorenError: A file is damaged.
            ValueError: the networks differ in shape or number.
        """
        return np.stack([self._row(number) for number in range(len(self))])

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
        row = weights if is_tensor(weights) else np.asarray(weights)
        model = self[like]
        provenance = Provenance(self.store.manifest.settings.as_dict(), profile=model.provenance.profile)
        return Field(with_weights(model.representation, row), provenance)

    @isolated()
    def dataset(self) -> "eoren.dataset.torch_datasets.WeightDataset":
        """Return a PyTorch data set of ``(weights, class)``, or of weights alone if no image has a label.

        If only some images have a label, the others are left out. See :attr:`classes`.

        Raises:
            EorenError: the networks differ in shape.

        Warns:
            SourceWarning: images without a label were left out.
        """
        import torch

        from eoren.dataset.torch_datasets import WeightDataset

        labels = self._class_numbers()
        numbers = [number for number, label in enumerate(labels) if label is not None] or [*range(len(labels))]
        if len(numbers) < len(labels):
            left_out = len(labels) - len(numbers)
            message = f"{self.store.folder}: left out {left_out:,} of {len(labels):,} images, which have no label"
            warnings.warn(message, SourceWarning, stacklevel=3)  # of the caller, beyond the isolation
        rows = [self._row(number) for number in numbers]
        if len({len(row) for row in rows}) > 1:
            raise EorenError(
                f"{self.store.folder}: the numbers of its images differ in shape; fit images of one size, or "
                "read them one by one with weights()"
            )
        return WeightDataset(torch.from_numpy(np.stack(rows)), [labels[number] for number in numbers])

    def latents(self) -> "eoren.dataset.torch_datasets.LatentDataset":
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
        from eoren.dataset.torch_datasets import LatentDataset

        if not isinstance(self.store.manifest.settings, CompactSettings):
            raise EorenError(
                f"{self.store.folder}: its fields are networks, which have no latents; use dataset(), or fit with a "
                f"preset of compact fields: {', '.join(COMPACT_PRESETS)}"
            )
        labels = [-1 if label is None else label for label in self._class_numbers()]
        return LatentDataset(self.store, self._locations, labels)

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
            "sizes": [[*size, images] for size, images in self._sizes().most_common()],
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
        for digest, images in Counter(self._done["profile"].drop_null().to_pylist()).items():
            counts[describe_profile(self.store.profile(digest))] += images
        return dict(counts)

    def _columns(self, *names: str) -> list[Any]:
        """Return the values of some columns, one tuple for each fitted image."""
        return list(zip(*(self._done[name].to_pylist() for name in names), strict=True))

    def _row(self, number: int) -> Float[np.ndarray, " parameters"]:
        """Return weights, and cache their group, because neighbours usually follow."""
        shard, group, offset = self._locations[number]
        if isinstance(self.store.manifest.settings, CompactSettings):
            return np.asarray(flatten_weights(self.store.representation(shard, group, offset))[0])
        cached = self._cached
        if cached is None or cached[0] != (shard, group):
            self._cached = cached = (shard, group), flatten_weights(self.store.networks(shard, group))
        return np.asarray(cached[1][offset])

    def _checked(self, number: int) -> int:
        if not -len(self) <= number < len(self):
            raise IndexError(f"image {number} is out of range, the collection has {len(self)}")
        return number % len(self)


def _fitted(index: "pyarrow.Table") -> "pyarrow.Table":
    import pyarrow.compute

    return index.filter(pyarrow.compute.equal(index["status"], "done"))
