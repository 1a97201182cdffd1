"""The images of a store as data sets of PyTorch: rows of weights, or latents."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from eoren.dataset.store import Store
from eoren.field.wavelet_siren import WaveletSiren


class WeightDataset(Dataset[Any]):
    """The weights of images as a PyTorch data set of ``(weights, class)``, or of weights alone without labels.

    All rows are in memory, because shuffled access would read whole groups again and again.

    Args:
        weights: ``(images, parameters)``.
        labels: class of each image, or None for each.

    Attributes:
        weights: ``(images, parameters)``.
        labels: ``(images,)``, indices into :attr:`eoren.Collection.classes`; None without labels.
    """

    def __init__(self, weights: Tensor, labels: Sequence[int | None]) -> None:
        self.weights = weights
        self.labels = None if None in labels else torch.tensor(labels, dtype=torch.int64)

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
    ``class`` is an index into :attr:`eoren.Collection.classes`, -1 for an image without a label.

    Fields are read and decoded on access, so that any number of workers of a loader share the work. Images of
    different sizes have latents of different shapes.
    """

    def __init__(self, store: Store, locations: Sequence[tuple[int, int, int]], labels: Sequence[int]) -> None:
        self._store, self._locations = store, locations
        self.labels = torch.tensor(labels, dtype=torch.int64)

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
