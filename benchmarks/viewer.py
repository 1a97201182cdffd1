"""The viewer: time until a page shows its first image, time of a tile, and the cost of watching a fit.

GOMP_SPINCOUNT=20000 python -m benchmarks.viewer [--seconds S] [--rounds N]
GOMP_SPINCOUNT=20000 python -m benchmarks.viewer --watching

(The command line sets that variable itself.) Needs chromium, and EOREN_DATA for the Kodak image. The field is
fitted in S seconds. Tiles of 256 x 256 pixels are requested over HTTP, as PNG, at random positions that were not
requested before. The cost of watching, and of opening the page, is measured within one fit, during which Chromium is
suspended and resumed in turn (Linux; no other Chromium may run).
"""

import argparse
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, sleep
from typing import Any
from urllib.request import urlopen

import numpy as np

import eoren
from benchmarks.record import data, timed, write_table
from eoren.training.result import Progress
from eoren.viewer.catalog import LAYERS, MAX_MAGNIFICATION, FieldCatalog, FieldEntry
from eoren.viewer.iiif import TILE
from eoren.viewer.live import LiveFit
from eoren.viewer.server import serve
from eoren.viewer.session import Session
from eoren.viewer.tile_cache import TileCache

IMAGE = "kodak/kodim05.png"
SCALES = (128, 64, 16, 4, 1)
CLIENTS = 10
SPAN = 8.0  # seconds for which the browser is suspended, or runs
SPANS = 47  # one more suspended than running

Row = dict[str, object]


def row(what: str, seconds: list[float]) -> Row:
    """Summarise durations as a row of the table, in milliseconds."""
    limits = quantiles(seconds, n=20, method="inclusive") if len(seconds) > 1 else seconds * 19
    return {
        "what": what,
        "n": len(seconds),
        "median_ms": round(1e3 * median(seconds), 1),
        "p5_ms": round(1e3 * limits[0], 1),
        "p95_ms": round(1e3 * limits[-1], 1),
    }


@contextmanager
def chromium() -> Iterator[Any]:
    """Run a browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


# Whether a part of the image is on the screen: OpenSeadragon's canvas is no longer empty.
_DRAWN = """(() => { const canvas = document.querySelector("#viewer canvas");
  if (!canvas || !canvas.width || document.body.dataset.state !== "open") return false;
  return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((v) => v); })()"""


def opening(entry: FieldEntry, rounds: int) -> Row:
    """Measure the time from the request of the page to its first image, with a new server and an empty cache."""
    taken = []
    with chromium() as browser:
        for _ in range(rounds):
            catalog = FieldCatalog()
            catalog.add(entry.title, entry.field, digest=entry.digest, image=entry.image)
            with serve(Session(catalog), TileCache(1 << 28)) as address:
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
    """Draw the address of a random tile, whose pixels cover ``scale`` pixels of the magnified image along a side."""
    width, height = (side * MAX_MAGNIFICATION for side in entry.field.size)
    side = TILE * scale
    x, y = (int(random.integers(0, max(1, whole - side))) for whole in (width, height))
    across, down = min(side, width - x), min(side, height - y)
    return (
        f"iiif/{entry.name}~{layer}~{MAX_MAGNIFICATION}x/{x},{y},{across},{down}/"
        f"{across // scale},{down // scale}/0/default.png"
    )


def fetch(address: str) -> bytes:
    """Download the content of an address."""
    with urlopen(address, timeout=60) as answer:
        content: bytes = answer.read()
        return content


def tiles(entry: FieldEntry, rounds: int) -> Iterator[Row]:
    """Measure tiles one after the other, by layer and zoom, then with ten clients at once."""
    random = np.random.default_rng(0)
    catalog = FieldCatalog()
    catalog.add(entry.title, entry.field, digest=entry.digest, image=entry.image)
    with serve(Session(catalog), TileCache(1 << 28)) as address:
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
    """Measure the steps that a fit loses while a browser watches, and when it opens the page, in per cent.

    Within one fit the browser is suspended and resumed in turn, and the steps of a span are compared with those of
    the spans before and after: the speed of a machine drifts by more than this from one fit to the next. The page is
    opened again in every other span.
    """
    catalog, cache = FieldCatalog(), TileCache(1 << 28, single_threaded=True)
    live = LiveFit(catalog, "watched", image, lambda: cache.render_seconds)
    seen: list[tuple[float, int]] = []

    def watch(progress: Progress) -> None:
        live.watch(progress)
        seen.append((perf_counter(), progress.steps))

    with serve(Session(catalog, live), cache) as address, ThreadPoolExecutor(1) as beside:
        spans = beside.submit(_suspend_in_turn, address)
        eoren.fit(image, preset="mosaic", seconds=SPAN * (SPANS + 4), watch=watch)
        turns = spans.result()
    times, steps = np.array(seen).T
    ends = np.interp(turns, times, steps)
    rates = np.diff(ends) / np.diff(turns)  # suspended, running, suspended, opened, suspended ...
    lost = 100 * (1 - rates[1:-1:2] / ((rates[:-2:2] + rates[2::2]) / 2))
    whats = (
        f"steps lost while a browser watches, in {SPAN:g} s",
        f"steps lost in the {SPAN:g} s after opening the page",
    )
    rows: list[Row] = []
    for what, losses in zip(whats, (lost[0::2], lost[1::2]), strict=True):
        print(f"{what}, span by span:", *losses.round(1), flush=True)
        mean, error = float(losses.mean()), float(losses.std(ddof=1)) / len(losses) ** 0.5
        numbers = {"median_ms": mean, "p5_ms": mean - error, "p95_ms": mean + error}
        what += ", in per cent (mean, and a standard error less and more)"
        rows.append({"what": what, "n": len(losses), **{name: round(value, 1) for name, value in numbers.items()}})
    return rows


def _suspend_in_turn(address: str) -> list[float]:
    """Open a page, suspend and resume the browser, and return the starts of all spans and the end of the last one."""
    turns: list[float] = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        sleep(2 * SPAN)  # until the cost of the first opening has passed
        while len(turns) < SPANS:
            turns.append(perf_counter())
            suspended = len(turns) % 2 == 1
            for process in _browsers():
                os.kill(process, signal.SIGSTOP if suspended else signal.SIGCONT)
            if len(turns) % 4 == 0:
                page.reload()
            sleep(turns[-1] + SPAN - perf_counter())
        for process in _browsers():
            os.kill(process, signal.SIGCONT)
    return [*turns, perf_counter()]


def _browsers() -> list[int]:
    """List Chromium's processes."""
    names = {int(path.parent.name): path.read_text() for path in Path("/proc").glob("[0-9]*/comm")}
    return [process for process, name in names.items() if name.startswith("chrom")]


def main() -> None:
    """Measure and write results/viewer.tsv, or results/watching.tsv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--watching", action="store_true", help="measure the cost of watching a fit instead")
    given = parser.parse_args()
    path = data() / IMAGE
    image = eoren.read_image(path)
    side_by_side = "the browser runs on the same cores"
    if given.watching:
        write_table("watching", watching(image), [f"{path.name}, preset mosaic", side_by_side])
        return
    field = eoren.fit(image, preset="mosaic", seconds=given.seconds, parameters=560_000).field
    entry = FieldEntry("field", "field", field, "field", image)
    rows = [opening(entry, given.rounds), *tiles(entry, given.rounds)]
    width, height = field.size
    note = f"{path.name}, {width} x {height}, {field.parameters:,} parameters, fitted in {given.seconds:g} s"
    write_table("viewer", rows, [note, side_by_side])


if __name__ == "__main__":
    main()
