import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data():
    """The folder of real pictures."""
    if "EOREN_DATA" not in os.environ:
        pytest.skip("set EOREN_DATA to the folder of real pictures")
    return Path(os.environ["EOREN_DATA"])
