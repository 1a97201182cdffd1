"""Reading fields imports neither PyTorch nor scikit-image where the native backend computes."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.fields import TILINGS, compact_field, field_of

from eoren.backends.native_library import library
from eoren.dataset.fit_many import fit_many
from eoren.model.latents.edge_prior import VERSION

pytestmark = pytest.mark.skipif(
    library() is None or os.environ.get("EOREN_BACKEND") == "torch", reason="needs the native backend"
)

# Prints, for each heavy package that was imported, the lines of our modules and of this code that imported it.
WATCHED = """
import atexit, sys, traceback

class Watch:
    chains = {}

    def find_spec(self, name, path=None, target=None):
        if name in HEAVY:
            stack = [f for f in traceback.extract_stack()[:-1] if "eoren" in f.filename or f.filename == "<string>"]
            self.chains[name] = [f"{f.filename}:{f.lineno}: {f.line}" for f in stack]

    def report(self):
        for name in self.chains.keys() & sys.modules.keys():
            print(f"{name} was imported by", *self.chains[name], sep="\\n  ")

watch = Watch()
atexit.register(watch.report)
sys.path[:] = PATH
sys.meta_path.insert(0, watch)
"""


def with_prior(field):
    return replace(field, representation=replace(field.representation, prior=VERSION))


FIELDS = {
    "compact": lambda: compact_field(40, 30, siren_width=16),
    "compact-linear": lambda: compact_field(41, 29, channels=1),
    "compact-prior": lambda: with_prior(compact_field(43, 31, channels=4)),
    "compact-siren-prior": lambda: with_prior(compact_field(33, 37, siren_width=16)),
    "mosaic": lambda: field_of(TILINGS["tree"], width=16),
    "network": lambda: field_of(TILINGS["single"], width=32, depth=3),
}


def run(code, *, heavy=("torch", "skimage")):
    """Run code in a fresh interpreter; fail with the chain of imports if it imports a heavy package."""
    head = WATCHED.replace("HEAVY", repr(heavy)).replace("PATH", repr(sys.path))
    done = subprocess.run(
        [sys.executable, "-c", head + code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert " was imported by" not in done.stdout, done.stdout
    return done.stdout


def command(*arguments, **options):
    return run(f"from eoren.cli import main; main({[str(argument) for argument in arguments]!r})", **options)


@pytest.fixture(scope="module", params=FIELDS)
def file(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("light") / f"{request.param}.eoren"
    field = FIELDS[request.param]()
    field.save(path)
    Image.fromarray(field.render_image()).save(path.with_suffix(".png"))
    return path


def test_the_watch_sees_an_import():
    with pytest.raises(AssertionError, match=r"skimage was imported by\n +<string>:\d+"):
        run("import skimage")


def test_info(file):
    assert "parameters" in command("info", file, heavy=("torch", "skimage", "scipy", "matplotlib"))


@pytest.mark.parametrize(
    "options", [{"preset": "fast"}, {"preset": "small", "steps": 1}], ids=["compact", "networks"]
)
def test_a_store(options, tmp_path):
    images = np.random.default_rng(0).random((2, 12, 14))
    fit_many(images, store=tmp_path / "store", **options)
    heavy = ("torch", "skimage", "matplotlib")
    assert "pictures" in command("info", tmp_path / "store", heavy=heavy)
    command("render", tmp_path / "store", "--name", "1", "-o", tmp_path / "output.png", heavy=heavy)
    assert (tmp_path / "output.png").stat().st_size > 100
    run(f"import eoren; assert len(eoren.Collection({str(tmp_path / 'store')!r}).matrix()) == 2", heavy=heavy)


@pytest.mark.parametrize("show", ["color", "gradient", "laplacian"])
def test_render(file, show, tmp_path):
    output = tmp_path / "output.png"
    heavy = ("torch", "skimage", "scipy", "matplotlib")
    command("render", file, "-o", output, "--scale", "1.5", "--show", show, heavy=heavy)
    assert output.stat().st_size > 100


def test_evaluate(file):
    assert "gradient_psnr" in command("evaluate", file, file.with_suffix(".png"))


def test_view(file):
    pytest.importorskip("fastapi")
    run(f"""
from pathlib import Path
from unittest import mock
from urllib.request import urlopen
from eoren.cli import console, main, signals

def look(notice):
    for path in ("", "iiif/{file.stem}/full/9,/0/default.png", "iiif/{file.stem}~difference/full/9,/0/default.png"):
        assert urlopen(addresses[0] + path).status == 200

addresses = []
with (
    mock.patch.object(console, "notice", lambda text: addresses.append(text.split()[-1])),
    mock.patch.object(signals, "wait_for_interruption", look),
):
    main(["view", {str(file)!r}, "--no-browser", "--compare", {str(file.with_suffix(".png"))!r}])
""")


def test_library(file):
    heavy = ("torch", "skimage", "scipy", "matplotlib", "pydantic", "typer")
    run(
        f"""
import eoren
import numpy as np

field = eoren.load({str(file)!r})
xy = np.random.default_rng(0).random((50, 2))
for values in (field.color(xy), field.gradient(xy), field.laplacian([[0.5, 0.25]]), *field.color_and_gradient(xy)):
    assert type(values) is np.ndarray and values.dtype == np.float32
assert field.render(7, 5, show="gradient").shape == (5, 7, field.channels, 2)
field.render_image()
field._repr_png_()
field._repr_html_()
field.save({str(file.with_name("again.eoren"))!r})
""",
        heavy=heavy,
    )
    assert file.with_name("again.eoren").read_bytes() == file.read_bytes()


def test_samples_of_scikit_image_are_read_without_it():
    run("import eoren; assert eoren.read_image('sample:camera').shape == (512, 512, 1)")


def test_tensors_are_followed_once_torch_is_there(file):
    import eoren

    field, torch = eoren.load(file), pytest.importorskip("torch")
    xy = torch.rand(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    color = field.color(xy)
    (slope,) = torch.autograd.grad(color[:, 0].sum(), xy)
    expected = field.gradient(xy.detach().numpy())
    np.testing.assert_allclose(slope, expected[:, 0], atol=2e-4 * max(1, abs(expected).max()))
    np.testing.assert_allclose(color.detach(), field.color(xy.detach().numpy()), atol=1e-4)
