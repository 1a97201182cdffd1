"""Native convolutions, against those of PyTorch in float64."""

import pytest
import torch
from tests.backends.targets import needs_library, targets
from tests.model.latents.test_edge_prior import random_prior

from eoren.backends.latents.native import NativeLatentEvaluator
from eoren.model.latents.edge_prior import VERSION, edge_prior

pytestmark = needs_library


def compare(prior, rows, columns):
    pixels = torch.rand(prior.colors, rows, columns, generator=torch.Generator().manual_seed(rows))
    found, right = NativeLatentEvaluator.predict_details(prior, pixels), prior(pixels.double())
    assert found.shape == right.shape
    # float32 rounding of sums of some hundred products in each layer.
    assert float((found - right).abs().max()) < 1e-5 * float(right.abs().max())


@pytest.mark.parametrize("name", targets())
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 16), (17, 47), (8, 95)], ids=str)
def test_it_agrees_with_pytorch(target, threads, name, size):
    assert target(name)
    for prior in (edge_prior(VERSION, 3), edge_prior(VERSION, 1), random_prior(3, (3, 1, 5), width=13)):
        threads(1)
        compare(prior, *(side + 2 * prior.radius for side in size))


def test_threads_do_not_change_the_result(threads):
    prior, pixels = edge_prior(VERSION, 3), torch.rand(3, 70, 81)
    threads(1)
    one = NativeLatentEvaluator.predict_details(prior, pixels)
    threads(3)
    assert torch.equal(one, NativeLatentEvaluator.predict_details(prior, pixels))
