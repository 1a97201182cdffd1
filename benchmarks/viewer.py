"""The viewer: how soon a page shows its first image, how long tiles take, and what watching costs a fit.

GOMP_SPINCOUNT=20000 python -m benchmarks.viewer [--seconds S] [--rounds N]
GOMP_SPINCOUNT=20000 python -m benchmarks.viewer --watching

(The command line sets that variable itself.) Needs chromium, and EOREN_DATA for the Kodak image. The field is
fitted in S seconds. Tiles of 256 x 256 are asked for over HTTP, at random places that were not asked for before, as
PNG. What watching costs, and opening the page, is measured within one fit, in which Chromium is halted and let go in
turn (Linux; no other Chromium may run).
"""

import argparse
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, sleep
from typing import Any
from urllib.request import urlopen

import numpy as np

import eoren
from benchmarks.record import data, write_table
from eoren.training.loop import Progress
from eoren.viewer.catalog import LAYERS, MAX_MAGNIFICATION, FieldCatalog, FieldEntry
from eoren.viewer.iiif import TILE
from eoren.viewer.live import LiveFit
from eoren.viewer.server import serve
from eoren.viewer.tile_cache import TileCache

PICTURE = "kodak/kodim05.png"
SCALES = (128, 64, 16, 4, 1)
CLIENTS = 10
SPAN = 8.0
"""Seconds for which the browser is halted, or let go."""
SPANS = 47
"""One more halted than let go."""

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


# Something of the image is on the screen: OpenSeadragon's canvas is no longer empty.
_DRAWN = """(() => { const canvas = document.querySelector("#viewer canvas");
  if (!canvas || !canvas.width || typeof items === "undefined" || !items.left) return false;
  return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((v) => v); })()"""


def opening(entry: FieldEntry, rounds: int) -> Row:
    """From asking for the page to the first of the image on it, each time with a new server and an empty cache."""
    taken = []
    with chromium() as browser:
        for _ in range(rounds):
            catalog = FieldCatalog()
            catalog.add(entry.title, entry.field, digest=entry.digest, image=entry.image)
            with serve(catalog, TileCache(1 << 28)) as address:
                context = browser.new_context(viewport={"width": 1280, "height": 800})
                page = context.new_page()
                start = perf_counter()
                page.goto(address, wait_until="commit")
                while not page.evaluate(_DRAWN):
                    sleep(0.005)
                taken.append(perf_counter() - start)
                context.close()
    return row("page open to first image, 1280 x 800", taken)


def tile_path(entry: FieldEntry, layer: str, scale: int, random: np.random.Generator) -> str:
    """A random tile's address at one of the zooms: ``scale`` pixels of the magnified image for one."""
    width, height = (side * MAX_MAGNIFICATION for side in entry.field.size)
    side = TILE * scale
    x, y = (int(random.integers(0, max(1, whole - side))) for whole in (width, height))
    across, down = min(side, width - x), min(side, height - y)
    return (
        f"iiif/{entry.name}~{layer}~{MAX_MAGNIFICATION}x/{x},{y},{across},{down}/"
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


def tiles(entry: FieldEntry, rounds: int) -> Iterator[Row]:
    """Tiles one after the other, by layer and zoom, then ten clients at once."""
    random = np.random.default_rng(0)
    catalog = FieldCatalog()
    catalog.add(entry.title, entry.field, digest=entry.digest, image=entry.image)
    with serve(catalog, TileCache(1 << 28)) as address:
        for layer in LAYERS:
            fetch(address + tile_path(entry, layer, 1, random))
            for scale in SCALES:
                paths = [tile_path(entry, layer, scale, random) for _ in range(10 * rounds)]
                taken = [timed(lambda path=path: fetch(address + path)) for path in paths]  # type: ignore[misc]
                yield row(f"tile, {layer}, {MAX_MAGNIFICATION / scale:g} screen pixels a pixel", taken)
        paths = [tile_path(entry, "color", 4, random) for _ in range(20 * CLIENTS * rounds)]
        with ThreadPoolExecutor(CLIENTS) as clients:
            taken = list(clients.map(lambda path: timed(lambda: fetch(address + path)), paths))
        yield row(f"tile, color, {CLIENTS} clients at once", taken)


def watching(image: np.ndarray) -> list[Row]:
    """What a fit loses while a browser looks, and when it opens the page: two rows, per cent and not milliseconds.

    Within one fit the browser is halted and let go in turn, and the steps of each span are compared with those of the
    spans before and after: machines grow slower and faster by themselves, from one fit to the next by more than this.
    Every other time the page is opened anew.
    """
    catalog, cache = FieldCatalog(), TileCache(1 << 28, single_threaded=True)
    live = LiveFit(catalog, "watched", image, lambda: cache.render_seconds)
    seen: list[tuple[float, int]] = []

    def watch(progress: Progress) -> None:
        live.watch(progress)
        seen.append((perf_counter(), progress.steps))

    with serve(catalog, cache, live=live) as address, ThreadPoolExecutor(1) as beside:
        spans = beside.submit(_halted_in_turn, address)
        eoren.fit(image, seconds=SPAN * (SPANS + 4), watch=watch)
        turns = spans.result()
    times, steps = np.array(seen).T
    ends = np.interp(turns, times, steps)
    rates = np.diff(ends) / np.diff(turns)  # halted, let go, halted, opened, halted ...
    lost = 100 * (1 - rates[1:-1:2] / ((rates[:-2:2] + rates[2::2]) / 2))
    whats = (
        f"steps lost while a browser watches, in {SPAN:g} s",
        f"steps lost in the {SPAN:g} s after opening the page",
    )
    rows: list[Row] = []
    for what, some in zip(whats, (lost[0::2], lost[1::2]), strict=True):
        print(f"{what}, span by span:", *some.round(1), flush=True)
        mean, error = float(some.mean()), float(some.std(ddof=1)) / len(some) ** 0.5
        numbers = {"median_ms": mean, "p5_ms": mean - error, "p95_ms": mean + error}
        what += ", in per cent (mean, and a standard error less and more)"
        rows.append({"what": what, "n": len(some), **{name: round(value, 1) for name, value in numbers.items()}})
    return rows


def _halted_in_turn(address: str) -> list[float]:
    """Look at a page, halt the browser and let it go; when each span began, and the last one ended."""
    turns: list[float] = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        sleep(2 * SPAN)  # what the first opening costs has passed
        while len(turns) < SPANS:
            turns.append(perf_counter())
            halted = len(turns) % 2 == 1
            for process in _browsers():
                os.kill(process, signal.SIGSTOP if halted else signal.SIGCONT)
            if len(turns) % 4 == 0:
                page.reload()
            sleep(turns[-1] + SPAN - perf_counter())
        for process in _browsers():
            os.kill(process, signal.SIGCONT)
    return [*turns, perf_counter()]


def _browsers() -> list[int]:
    """Chromium's processes."""
    names = {int(path.parent.name): path.read_text() for path in Path("/proc").glob("[0-9]*/comm")}
    return [process for process, name in names.items() if name.startswith("chrom")]


def main() -> None:
    """Measure and write results/viewer.tsv, or results/watching.tsv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--watching", action="store_true", help="what that costs, instead of the rest")
    given = parser.parse_args()
    picture = data() / PICTURE
    image = eoren.read_image(picture)
    side_by_side = "the browser runs on the same cores"
    if given.watching:
        write_table("watching", watching(image), [f"{picture.name}, eoren.fit by default", side_by_side])
        return
    field = eoren.fit(image, seconds=given.seconds, parameters=560_000).field
    entry = FieldEntry("field", "field", field, "field", image)
    rows = [opening(entry, given.rounds), *tiles(entry, given.rounds)]
    width, height = field.size
    note = f"{picture.name}, {width} x {height}, {field.parameters:,} parameters, fitted in {given.seconds:g} s"
    write_table("viewer", rows, [note, side_by_side])


if __name__ == "__main__":
    main()
