"""The same image, options and seed give the same file, byte for byte, where steps end the fit."""

import hashlib
import json
import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from PIL import Image

from eoren.backends import native

TILES = ["--preset", "mosaic", "--set", "width=16", "--set", "depth=2", "--set", "tile=16"]
NETWORKS = {
    "native": TILES,
    "single": ["--preset", "single", "--set", "width=16"],
    "torch": TILES,
}

CHILD = """
import json, os, sys
sys.path[:], fits = json.load(sys.stdin)
from eoren.cli import main
for kind, arguments in fits:
    if kind == "torch":
        os.environ["EOREN_ENGINE"] = "torch"
    try:
        main(arguments)
    except SystemExit as ended:
        assert not ended.code, ended.code
"""


@pytest.fixture(scope="module")
def digests(tmp_path_factory):
    """Fit all networks from two seeds in one process; SHA-256 of the files by kind and seed."""
    folder = tmp_path_factory.mktemp("fits")
    y, x = np.mgrid[:40, :56] / 8
    Image.fromarray(np.uint8(127 + 60 * np.stack([np.sin(x), np.cos(y), np.sin(x * y)], -1))).save(folder / "a.png")

    @cache
    def fitted(hash_seed="0", threads=2):
        outputs = {(kind, seed): folder / f"{kind}-{seed}.eoren" for kind in NETWORKS for seed in (5, 6)}
        fits = []
        for (kind, seed), path in outputs.items():
            arguments = [
                "fit",
                folder / "a.png",
                "-o",
                path,
                "--overwrite",
                "--steps",
                12,
                "--quiet",
                "--device",
                "cpu",
            ]
            fits.append((kind, [*map(str, arguments), "--seed", str(seed), *NETWORKS[kind]]))
        several = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CHILD], env={**os.environ, "PYTHONHASHSEED": hash_seed, **several},
            input=json.dumps([sys.path, fits]), capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in outputs.items()}

    return fitted


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_same_again(digests, kind):
    if kind != "torch" and native.library() is None:
        pytest.skip("the native engine is not built here")
    assert digests()[kind, 5] == digests(hash_seed="123456")[kind, 5] != digests()[kind, 6]


@pytest.mark.skipif(native.library() is None, reason="the native engine is not built here")
@pytest.mark.parametrize("kind", ["native", "single"])
def test_the_native_engine_cares_for_no_number_of_threads(digests, kind):
    assert digests(threads=1)[kind, 5] == digests()[kind, 5] == digests(threads=3)[kind, 5]
