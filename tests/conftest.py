import json
import os
import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest
from tests import array_checks
from tests.browser import chromium

array_checks.install()


@pytest.fixture(scope="session")
def data():
    """The folder of real images."""
    if "EOREN_DATA" not in os.environ:
        pytest.skip("set EOREN_DATA to the folder of real pictures")
    return Path(os.environ["EOREN_DATA"])


@pytest.fixture
def unchecked(monkeypatch):
    """Functions as users run them: without the run-time checks of types that the tests switch on."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def python():
    """Run Python code without the run-time type checks of the tests, JSON in on stdin, JSON out on stdout."""

    def run(code, given):
        strict = ["-W", "error", "-W", "ignore:PyTorch does the work"]
        done = subprocess.run(
            [sys.executable, *strict, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium for the tests of one module: Playwright's event loop must not outlive it."""
    with chromium() as found:
        yield found
