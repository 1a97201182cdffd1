"""Every block of commands and of Python in the documents runs, page by page, as a reader would run it.

The blocks of a page run in order, in one folder, with small images in place of the reader's own; fits of networks get
two steps instead of a time. Lines that need more than this are listed in ELSEWHERE, each with the reason.
"""

import io
import re
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eoren
from eoren.cli import console, main
from eoren.image import io as image_io

pytestmark = [
    pytest.mark.filterwarnings("ignore::eoren.errors.FitWarning"),
    pytest.mark.filterwarnings("ignore::eoren.errors.SourceWarning"),
]

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
BLOCK = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)

# Lines that do not run here, by a pattern, with the reason or the test of them.
ELSEWHERE = {
    r"pip install|python3 -m venv": "installs packages; .ci/packages does",
    r"python -m benchmarks": "takes hours",
    r"eoren view|--watch": "serves until Ctrl-C: tests/viewer",
    r"eoren reproduce": "takes minutes: tests/experiments",
    r"s3://": "needs a server of objects: tests/dataset/test_object_storage.py",
    r"--executor ray": "starts a cluster: tests/dataset/test_executors.py",
    r"python examples/": "tests/test_examples.py",
    r"curl|\| |xargs|\.eoren - ": "a shell with pipes and a network: tests/clients/test_shell.py",
}
# Pages whose masks and offsets belong to whole samples; those of the others have half the width and height.
WHOLE_SAMPLES = ("composition.md", "cloning.md")
NETWORKS = ("mosaic-fast", "mosaic", "mosaic-best", "single", "paper")


def photograph(width, height, seed):
    """Waves and noise, 8 bits, RGB."""
    y, x = np.mgrid[:height, :width] / 40
    waves = 0.5 + 0.3 * np.sin(x[..., None] * [3, 4, 5] + y[..., None] * [6, 3, 4])
    noise = np.random.default_rng(seed).normal(0, 0.08, waves.shape)
    return Image.fromarray(np.uint8(255 * (waves + noise).clip(0, 1)))


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Write the images that a reader has into the current folder."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("photo.jpg", "photo.png", "sea.jpg", "one.jpg", "two.jpg")):
        photograph(224, 160, number).save(name, quality=95)
    photograph(80, 60, 7).save("cat.png")
    y, x = np.mgrid[:60, :80]
    eoren.write_image("cat-mask.png", np.hypot(x - 40, y - 30) < 20)
    for folder, suffix in (("photos", "jpg"), ("scans", "tiff")):
        Path(folder).mkdir()
        for number in range(2):
            photograph(24, 20, number).save(f"{folder}/{number}.{suffix}")
    for archive in ("digits.zip", "more.zip"):
        with zipfile.ZipFile(archive, "w") as file:
            for number in range(2):
                png = io.BytesIO()
                photograph(20, 20, number).convert("L").save(png, "PNG")
                file.writestr(f"{number}/{number}.png", png.getvalue())
    digits = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    header = np.array([0x803, *digits.shape], ">i4").tobytes()
    Path("t10k-images-idx3-ubyte.gz").write_bytes(header + digits.tobytes())  # the suffix is no promise
    return tmp_path


def smaller(words):
    """Replace the time of a command by two steps, and give comparisons small images."""
    command, *rest = words
    if "--seconds" in rest:
        place = rest.index("--seconds")
        rest[place : place + 2] = ["--steps", "2"]
    if command == "compare":
        rest += ["--size", "24", "--epochs", "1", "--seconds", "0.1"]
    is_of_networks = any(f"--preset {name}" in " ".join(rest) for name in NETWORKS)
    return [command, *rest, *(["--steps", "2"] if is_of_networks and "--steps" not in rest else [])]


def run_commands(code):
    """Run the lines of a block; return how many of them ran."""
    lines = [line for line in code.replace("\\\n", "").splitlines() if shlex.split(line, comments=True)]
    here = [line for line in lines if not any(re.search(pattern, line) for pattern in ELSEWHERE)]
    for line in here:
        program, *words = shlex.split(line, comments=True)
        assert program == "eoren", f"no test runs {line!r}; give the reason in ELSEWHERE"
        with pytest.raises(SystemExit) as ended:
            main(smaller(words))
        assert ended.value.code == 0, line
    return len(here)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_blocks_of_a_page_run(path, images, monkeypatch):
    blocks = BLOCK.findall(path.read_text(encoding="utf-8"))
    if not blocks:
        pytest.skip("no code")
    if "photo.heic" in path.read_text(encoding="utf-8"):
        pytest.importorskip("pillow_heif").register_heif_opener()
        photograph(48, 32, 0).save("photo.heic")
    monkeypatch.setattr(console, "LINE_EVERY", float("inf"))
    if path.name not in WHOLE_SAMPLES:
        _use_small_samples(monkeypatch, images)
    namespace = {"__name__": "__main__"}
    for kind, code in blocks:
        if kind == "sh":
            run_commands(code)
        else:
            exec(compile(re.sub(r"seconds=\d+", "steps=2", code), path.name, "exec"), namespace)


def _use_small_samples(monkeypatch, folder):
    """Let samples have half their width and height."""
    find = image_io._sample

    def small(name):
        path = folder / f"small-{name}.png"
        if not path.exists():
            with Image.open(find(name)) as image:
                image.reduce(2).save(path)
        return path

    monkeypatch.setattr(image_io, "_sample", small)


def test_most_commands_run():
    """The list of exceptions does not hide what the pages are for."""
    lines = [line for path in PAGES for _, code in BLOCK.findall(path.read_text()) for line in code.splitlines()]
    commands = [line for line in lines if line.startswith("eoren ")]
    elsewhere = [line for line in commands if any(re.search(pattern, line) for pattern in ELSEWHERE)]
    assert len(elsewhere) < 0.3 * len(commands)
    for pattern in ELSEWHERE:
        assert any(re.search(pattern, line) for line in lines), f"no page needs {pattern!r}"
