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
from tests.s3 import serving

# Processes of tests share the processors. PyTorch's threads wait for each other in every operation, which takes ten
# times as long where another process has one of their processors. Both must be set before PyTorch is loaded, and
# processes of tests inherit what the one that starts them has set.
if (processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // processes))
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
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


@pytest.fixture(scope="session")
def s3_server():
    """A server of S3 on this machine, and the environment that leads clients to it."""
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "HTTP_PROXY", "http_proxy"):
            patch.delenv(name, raising=False)
        settings = {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": "us-east-1"}
        settings |= {"EC2_METADATA_DISABLED": "true", "ENDPOINT_URL_S3": f"http://127.0.0.1:{server.port}"}
        # Repeated requests of the client itself would only make the tests slower.
        for name, value in (settings | {"MAX_ATTEMPTS": "1"}).items():
            patch.setenv(f"AWS_{name}", value)
        yield server


@pytest.fixture
def s3(s3_server, monkeypatch):
    """The server with a new bucket, ``s3.bucket``, and a client whose requests meet no faults, ``s3.client``."""
    import s3fs

    monkeypatch.setattr("eoren.fs.objects._PAUSES", (0.01, 0.02, 0.03))
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3_server.fault, s3_server.latency, s3_server.buckets = None, 0.0, s3_server.buckets + 1
    s3_server.requests.clear()
    s3_server.bucket = f"s3://bucket-{s3_server.buckets}"
    s3_server.client = s3fs.S3FileSystem(
        client_kwargs={"endpoint_url": f"http://localhost:{s3_server.port}"}, use_listings_cache=False
    )
    s3_server.client.mkdir(s3_server.bucket)
    return s3_server
