"""Run the tutorial, write its outputs into the page, and draw its images.

    python -m tools.run_tutorial

Every block of commands or Python of docs/tutorial.md runs, in order and in one empty folder; a block of text after it
is replaced by what it printed. `eoren view` and reports are opened in Chromium, which must be installed.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "tutorial.md"
PICTURES = ROOT / "docs" / "pictures"
BLOCK = re.compile(r"```(sh|python)\n(.*?)```\n(?:\n```text\n.*?```\n)?", re.DOTALL)
SIZE = {"width": 1200, "height": 760}


def run(command: list[str], folder: Path) -> str:
    """Run a command, and return what it prints to stdout."""
    print("$", *command)
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout


def run_block(kind: str, code: str, folder: Path, browser: Browser) -> str:
    """Run a block of code, and return its output."""
    if kind == "python":
        return run([sys.executable, "-c", code], folder)
    output = ""
    for line in code.splitlines():
        program, *words = shlex.split(line, comments=True)
        if program == "python":
            output += run([sys.executable, str(ROOT / words[0]), *words[1:]], folder)
        elif words[0] == "view":
            draw_view([sys.executable, "-m", "eoren", *words], folder, browser)
        else:
            output += run([sys.executable, "-m", "eoren", *words], folder)
    return output


@contextmanager
def served(command: list[str], folder: Path) -> Iterator[str]:
    """Yield the address of a page that a command serves until Ctrl-C."""
    with subprocess.Popen([*command, "--no-browser"], cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            yield next(match[0] for line in process.stderr if (match := re.search(r"http://\S+", line)))
        finally:
            process.send_signal(signal.SIGINT)


def draw_view(command: list[str], folder: Path, browser: Browser) -> None:
    """Take a picture of the viewer: field and pixels, left and right of the line."""
    with served(command, folder) as address:
        page = browser.new_page(viewport=SIZE)
        page.goto(address + "#xywh=205,108,90,57")
        page.wait_for_timeout(1000)
        for side, layer in (("left", "Field"), ("right", "Image")):
            page.locator(f"#{side}").select_option(label=layer)
        page.wait_for_timeout(3000)
        save(page.screenshot(), "tutorial-view.png")
        page.close()


def save(png: bytes, name: str) -> None:
    """Save a picture of a page with few colours, to keep the repository small."""
    path = PICTURES / name
    path.write_bytes(png)
    with Image.open(path) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def draw(folder: Path, browser: Browser) -> None:
    """Draw the images of the page from the files that it made."""
    for name in ("head", "edges"):
        with Image.open(folder / f"{name}.png") as image:
            image.convert("L").save(PICTURES / f"tutorial-{name}.jpg", quality=88)
    page = browser.new_page(viewport=SIZE)
    page.goto((folder / "report.html").as_uri())
    page.get_by_role("link", name="At equal epochs").click()
    page.wait_for_timeout(1000)
    save(page.screenshot(), "tutorial-report.png")


def main() -> None:
    """Run the script."""
    os.environ["COLUMNS"] = "100"
    os.environ["PYTHONPATH"] = f"{ROOT / 'src'}"
    executable = which("chromium") or which("chromium-browser") or which("google-chrome")
    with TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])

        def with_output(match: re.Match[str]) -> str:
            output = run_block(match[1], match[2], folder, browser)
            block = f"```{match[1]}\n{match[2]}```\n"
            return f"{block}\n```text\n{output}```\n" if output else block

        text = BLOCK.sub(with_output, PAGE.read_text(encoding="utf-8"))
        PAGE.write_text(text, encoding="utf-8")
        draw(folder, browser)
        browser.close()


if __name__ == "__main__":
    main()
