"""The same image, options and seed give the same file, byte for byte, where steps end the fit."""

import hashlib
import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from PIL import Image

from eoren.backends import native

TILES = ["--set", "width=16", "--set", "depth=2", "--set", "tile=16"]
NETWORKS = {
    "native": TILES,
    "torch": TILES,
    "single": ["--preset", "single", "--set", "width=16"],
}


@pytest.fixture(scope="module")
def digest(tmp_path_factory):
    """Fit in a process of its own; SHA-256 of the file."""
    folder = tmp_path_factory.mktemp("fits")
    y, x = np.mgrid[:40, :56] / 8
    Image.fromarray(np.uint8(127 + 60 * np.stack([np.sin(x), np.cos(y), np.sin(x * y)], -1))).save(folder / "a.png")

    @cache
    def fitted(kind, *, seed=5, hash_seed="0", threads=2):
        out = folder / "a.eoren"
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            f"import sys; sys.path[:] = {sys.path!r}; import eoren.cli; eoren.cli.main()",
        ]
        command += ["fit", folder / "a.png", "-o", out, "--overwrite", "--steps", "12", "--quiet", "--device", "cpu"]
        command += ["--seed", seed, *NETWORKS[kind]]
        several = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        engine = {"EOREN_ENGINE": "torch"} if kind == "torch" else {}
        done = subprocess.run(
            [str(each) for each in command], env={**os.environ, "PYTHONHASHSEED": hash_seed, **several, **engine},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return hashlib.sha256(out.read_bytes()).hexdigest()

    return fitted


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_same_again(digest, kind):
    if kind != "torch" and native.library() is None:
        pytest.skip("the native engine is not built here")
    assert digest(kind) == digest(kind, hash_seed="123456") != digest(kind, seed=6)


@pytest.mark.skipif(native.library() is None, reason="the native engine is not built here")
@pytest.mark.parametrize("kind", ["native", "single"])
def test_the_native_engine_cares_for_no_number_of_threads(digest, kind):
    assert digest(kind, threads=1) == digest(kind, threads=2) == digest(kind, threads=3)
