"""Loaders of PyTorch whose workers evaluate a field, with every way to start them."""

import multiprocessing

import numpy as np
import pytest
import torch
from tests.fields import compact_field
from torch.utils.data import DataLoader, Dataset

import eoren

METHODS = [name for name in ("fork", "forkserver", "spawn") if name in multiprocessing.get_all_start_methods()]


class Colors(Dataset):
    """Points and colours of a field that workers get as the bytes of its file."""

    def __init__(self, content):
        self.content = content

    def __len__(self):
        return 6

    def __getitem__(self, number):
        points = np.random.default_rng(number).random((50, 2))
        return points, eoren.load(self.content).color(points)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", METHODS)
def test_workers_evaluate_fields(tmp_path, method):
    field = compact_field(24, 20, siren_width=16)
    field.save(tmp_path / "a.eoren")
    data = Colors((tmp_path / "a.eoren").read_bytes())
    loader = DataLoader(data, batch_size=3, num_workers=2, multiprocessing_context=method)
    for points, colors in loader:
        np.testing.assert_allclose(colors.numpy(), field.color(points.numpy()), atol=1e-6)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", METHODS)
def test_workers_read_weights(store, method):
    data = eoren.Collection(store).dataset()
    batches = [*DataLoader(data, batch_size=4, num_workers=1, multiprocessing_context=method)]
    assert torch.equal(torch.cat([weights for weights, _ in batches]), data.weights)
