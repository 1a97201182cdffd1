"""Fixtures that change how the backends compute, until the end of a test."""

import pytest
import torch
from tests.backends.targets import choose

from eoren.backends import native_library


@pytest.fixture
def target():
    """Compute with another target of the native library."""
    before = native_library.target()
    yield choose
    assert choose(before)


@pytest.fixture
def threads():
    """Compute with a given number of threads."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
