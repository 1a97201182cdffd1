"""The page of ``eoren fit --watch`` in a real browser."""

import json
import signal

import numpy as np
import pytest
from PIL import Image
from tests.viewer.commands import printed_address

import eoren


@pytest.fixture
def waves(tmp_path):
    y, x = np.mgrid[:64, :96]
    pixels = 0.5 + 0.4 * np.sin(x[..., None] / [3, 5, 7] + y[..., None] / [6, 3, 4])
    Image.fromarray(np.uint8(255 * pixels)).save(tmp_path / "waves.png")
    return (
        "fit",
        "waves.png",
        "--preset",
        "mosaic",
        "--set",
        "width=16",
        "--set",
        "tile=24",
        "--watch",
        "--no-browser",
    )


def test_the_image_follows_the_fit(started, visit, waves):
    started_fit = started(*waves, "--seconds", "60")
    page = visit(printed_address(started_fit))
    page.until("panes.left.sheet && fit.status?.steps > 0")
    caption = page.page.evaluate("""() => new Promise((go) => {
        const seen = [];
        const look = () => {
          const at = panes.left.sheet.choice.entry.steps;
          const text = $("left-name").textContent;
          if (at !== seen.at(-1)?.step) seen.push({ step: at, time: performance.now(), text });
          seen.length < 3 ? setTimeout(look, 50) : go(seen);
        };
        look(); })""")
    steps = [look["step"] for look in caption]
    assert steps == sorted({*steps})
    assert [look["text"] for look in caption] == [f"Field, as of step {step:,}" for step in steps]
    # About four seconds, on a machine without other work.
    assert np.diff([look["time"] for look in caption]).max() < 8000
    # While nothing changes, the page leaves the processor to the fit.
    frames = page.page.evaluate(
        """new Promise((go) => { let count = 0; const update = viewer.viewport.update.bind(viewer.viewport);
        viewer.viewport.update = (...given) => { count += 1; return update(...given); };
        setTimeout(() => { viewer.viewport.update = update; go(count); }, 4000); })"""
    )
    assert frames < 120  # sixty a second otherwise; some after an image
    # One image of each layer, no tiles.
    assert page.page.evaluate("viewer.world.getItemCount()") <= 4
    urls = page.page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    drawn = [url for url in urls if url.endswith((".png", ".jpg"))]
    assert drawn
    assert all("/0,0,6144,4096/512,341/" in url for url in drawn)
    # Zoomed in, one more image of the part in view.
    page.page.evaluate("zoom(4)")
    page.until("panes.left.sheet?.part?.getFullyLoaded() && panes.left.sheet.part.getBoundsNoRotate().width < 0.5")
    page.errors.clear()


def test_stop_and_go_on(started, visit, waves, tmp_path):
    process = started(*waves, "--seconds", "12", "--json")
    page = visit(printed_address(process))
    page.until("!$('stop').disabled && !$('stop').hidden")
    page.page.click("#stop")
    page.until("$('fit').dataset.ended === 'stopped'")
    assert page.page.inner_text("#status").startswith("Stopped, the file is written. Step ")
    stopped = eoren.load(tmp_path / "waves.eoren").provenance.steps
    assert stopped > 0
    assert (tmp_path / "waves.eoren.resume").exists()
    page.page.click("#go-on")
    page.until("$('fit').dataset.ended === 'budget'")
    page.settled()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["steps"] > stopped
    page.errors.clear()


def test_only_the_page_of_the_server_stops_a_fit(image, connect):
    from eoren.viewer.catalog import FieldCatalog
    from eoren.viewer.live import LiveFit
    from eoren.viewer.server import serve
    from eoren.viewer.session import Session
    from eoren.viewer.tile_cache import TileCache

    live = LiveFit(FieldCatalog(), "a", image, lambda: 0.0)
    with serve(Session(FieldCatalog(), live), TileCache(1 << 20)) as address:
        server = connect(address)
        for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
            assert server.request("/api/live/stop", "POST", **origin).status == 403
        assert not live.is_stopping
        own = {"Origin": address.rstrip("/")}
        assert server.request("/api/live/other", "POST", **own).status == 422
        assert server.request("/api/live/stop", "GET").status == 405
        assert server.request("/api/live/stop", "POST", **own).status == 204
        assert live.is_stopping
    with serve(Session(FieldCatalog()), TileCache(1)) as address:
        assert connect(address).request("/api/live/stop", "POST", Origin=address.rstrip("/")).status == 404
