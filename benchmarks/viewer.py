"""The viewer: how soon a page shows its first picture, how long tiles take, and what watching costs a fit.

python -m benchmarks.viewer [--seconds S] [--rounds N]

Needs chromium, and EOREN_DATA for the Kodak picture. The field is fitted in S seconds. Tiles of 256 x 256 are asked
for over HTTP, at random places that were not asked for before, as PNG. "Watched" is steps made in a budget of seconds
with a browser that looks at the page, beside the same budget without, in turn.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from threading import Thread
from time import perf_counter, sleep
from typing import Any
from urllib.request import urlopen

import numpy as np

import eoren
from benchmarks.record import data, write_table
from eoren.viewer.exhibits import LAYERS, MAGNIFICATION, Exhibit, Gallery
from eoren.viewer.iiif import TILE
from eoren.viewer.server import serving
from eoren.viewer.tiles import Tiles

PICTURE = "kodak/kodim05.png"
SCALES = (64, 16, 4, 1)
CLIENTS = 10

Row = dict[str, object]


def row(what: str, seconds: list[float]) -> Row:
    """Of the table, in milliseconds."""
    found = quantiles(seconds, n=20, method="inclusive") if len(seconds) > 1 else seconds * 19
    return {
        "what": what,
        "n": len(seconds),
        "median_ms": round(1e3 * median(seconds), 1),
        "p5_ms": round(1e3 * found[0], 1),
        "p95_ms": round(1e3 * found[-1], 1),
    }


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


# Something of the picture is on the screen: OpenSeadragon's canvas is no longer empty.
_DRAWN = """(() => { const canvas = document.querySelector("#viewer canvas");
  if (!canvas || !canvas.width || typeof items === "undefined" || !items.left) return false;
  return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((v) => v); })()"""


def opening(exhibit: Exhibit, rounds: int) -> Row:
    """From asking for the page to the first of the picture on it, each time with a new server and an empty cache."""
    taken = []
    with chromium() as browser:
        for _ in range(rounds):
            gallery = Gallery()
            gallery.show("field", lambda _: exhibit)
            with serving(gallery, Tiles(1 << 28)) as address:
                context = browser.new_context(viewport={"width": 1280, "height": 800})
                page = context.new_page()
                start = perf_counter()
                page.goto(address, wait_until="commit")
                while not page.evaluate(_DRAWN):
                    sleep(0.005)
                taken.append(perf_counter() - start)
                context.close()
    return row("page open to first picture, 1280 x 800", taken)


def tile_path(exhibit: Exhibit, layer: str, scale: int, random: np.random.Generator) -> str:
    """A random tile's address at one of the zooms: ``scale`` pixels of the magnified picture for one."""
    width, height = (side * MAGNIFICATION for side in exhibit.field.size)
    side = TILE * scale
    x, y = (int(random.integers(0, max(1, whole - side))) for whole in (width, height))
    across, down = min(side, width - x), min(side, height - y)
    return (
        f"iiif/{exhibit.name}~{layer}~{MAGNIFICATION}x/{x},{y},{across},{down}/"
        f"{across // scale},{down // scale}/0/default.png"
    )


def timed(ask: Callable[[], object]) -> float:
    """Seconds that something takes."""
    start = perf_counter()
    ask()
    return perf_counter() - start


def fetch(address: str) -> bytes:
    """What lies there."""
    with urlopen(address, timeout=60) as answer:
        content: bytes = answer.read()
        return content


def tiles(exhibit: Exhibit, rounds: int) -> Iterator[Row]:
    """Tiles one after the other, by layer and zoom, then ten clients at once."""
    random = np.random.default_rng(0)
    gallery = Gallery()
    gallery.show("field", lambda _: exhibit)
    with serving(gallery, Tiles(1 << 28)) as address:
        for layer in LAYERS:
            fetch(address + tile_path(exhibit, layer, 1, random))
            for scale in SCALES:
                paths = [tile_path(exhibit, layer, scale, random) for _ in range(10 * rounds)]
                taken = [timed(lambda path=path: fetch(address + path)) for path in paths]  # type: ignore[misc]
                yield row(f"tile, {layer}, {MAGNIFICATION / scale:g} screen pixels a pixel", taken)
        paths = [tile_path(exhibit, "color", 4, random) for _ in range(20 * CLIENTS * rounds)]
        with ThreadPoolExecutor(CLIENTS) as clients:
            taken = list(clients.map(lambda path: timed(lambda: fetch(address + path)), paths))
        yield row(f"tile, color, {CLIENTS} clients at once", taken)


def steps_made(picture: Path, folder: Path, seconds: float, watched: bool, browser: Any) -> int:
    """Steps of a fit within its budget."""
    output = folder / "watched.eoren"
    fit = ["fit", str(picture), "-o", str(output), "--seconds", str(seconds), "--overwrite", "--json"]
    code = "import sys; from eoren.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *fit, *(["--watch", "--no-browser"] if watched else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if watched:
            found = next(m[1] for line in process.stderr if (m := re.search(r"page is at (\S+)", line)))
            Thread(target=process.stderr.read, daemon=True).start()
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(found)
            said = process.stdout.readline()
            page.close()
            process.terminate()
        else:
            said = process.communicate()[0]
    return int(json.loads(said)["steps"])


def watching(picture: Path, seconds: float, rounds: int) -> Row:
    """What a fit loses while a browser looks: in one row, per cent instead of milliseconds.

    Which of a pair comes first changes from round to round: machines grow slower and faster by themselves.
    """
    lost = []
    with chromium() as browser, tempfile.TemporaryDirectory() as name:
        for number in range(rounds):
            order = (False, True) if number % 2 == 0 else (True, False)
            made = {watched: steps_made(picture, Path(name), seconds, watched, browser) for watched in order}
            lost.append(1 - made[True] / made[False])
            print(f"steps alone {made[False]:,}, watched {made[True]:,}: {100 * lost[-1]:.1f} % lost", flush=True)
    per_cent = {
        key: round(100 * value, 1) for key, value in zip(("median", "least", "most"), _spread(lost), strict=True)
    }
    return {
        "what": f"steps lost by watching a fit of {seconds:g} s, in per cent (median, least, most)",
        "n": rounds,
        "median_ms": per_cent["median"],
        "p5_ms": per_cent["least"],
        "p95_ms": per_cent["most"],
    }


def _spread(values: list[float]) -> tuple[float, float, float]:
    return median(values), min(values), max(values)


def main() -> None:
    """Measure and write results/viewer.tsv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    picture = data() / PICTURE
    image = eoren.read_image(picture)
    field = eoren.fit(image, seconds=given.seconds, parameters=560_000).field
    exhibit = Exhibit("field", "field", field, "field", image)
    rows = [opening(exhibit, given.rounds), *tiles(exhibit, given.rounds)]
    rows.append(watching(picture, given.seconds, given.rounds))
    width, height = field.size
    note = f"{picture.name}, {width} x {height}, {field.parameters:,} parameters, fitted in {given.seconds:g} s"
    write_table("viewer", rows, [note, "the browser runs on the same cores"])


if __name__ == "__main__":
    main()
