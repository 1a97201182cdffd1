import json
import os
import subprocess
import sys
from importlib.util import find_spec
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


@pytest.fixture(scope="session")
def axe():
    """Function that returns what the rules of axe-core find on a page: how many pass, and the violations."""
    found = find_spec("axe_playwright_python")
    if found is None:
        pytest.skip("pip install axe-playwright-python")
    code = Path(found.submodule_search_locations[0], "axe.min.js").read_text(encoding="utf-8")

    def run(page):
        page.evaluate(code)
        return page.evaluate(
            """axe.run(document).then(({ violations, passes }) => [passes.length,
            violations.map(({ id, nodes }) => [id, ...nodes.map(({ target }) => target.join(" "))])])"""
        )

    return run


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium for the tests of one module: Playwright's event loop must not outlive it."""
    with chromium() as found:
        yield found
