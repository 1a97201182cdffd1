import json
import threading
import time

import numpy as np
import pytest

import eoren
from eoren.field.serialization import dumps
from eoren.viewer import live as module
from eoren.viewer.catalog import FieldCatalog
from eoren.viewer.live import LiveFit
from eoren.viewer.server import serve
from eoren.viewer.session import Session
from eoren.viewer.tile_cache import TileCache

SMALL = {"preset": "mosaic", "width": 16, "depth": 2, "tile": 12, "seed": 1}


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests advance."""
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def fit_with(live, image, clock, *, every=1.0, steps=40, **more):
    """Fit with a clock that advances by ``every`` seconds at each call of ``watch``."""

    def watch(progress):
        clock[0] += every
        live.watch(progress)

    return eoren.fit(image, steps=steps, watch=watch, **{**SMALL, **more})


def fit_with_real_clock(live, image):
    eoren.fit(image, steps=20, watch=live.watch, **SMALL)


def test_a_fit_is_the_same_whether_watched_or_not(image, clock):
    for objective in ("sobolev", "gradient"):
        plain = eoren.fit(image, steps=30, objective=objective, **SMALL)
        catalog = FieldCatalog()
        live = LiveFit(catalog, "a", image, lambda: 0.0)

        def watch(progress, live=live):
            clock[0] += 1
            live.request_copy()
            live.watch(progress)

        seen = eoren.fit(image, steps=30, objective=objective, watch=watch, **SMALL)
        assert catalog.entries()
        for one, other in zip(
            plain.field.representation.siren.tensors(), seen.field.representation.siren.tensors(), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_nothing_is_copied_while_no_page_polls(image, clock):
    catalog = FieldCatalog()
    fit_with(LiveFit(catalog, "a", image, lambda: 0.0), image, clock)
    assert catalog.entries() == []


def test_copies_cost_at_most_three_hundredths_of_the_processors(image, clock, monkeypatch):
    monkeypatch.setattr(module, "_PROCESSORS", 2)
    drawn, copies = [0.0], []
    live = LiveFit(FieldCatalog(), "a", image, lambda: drawn[0])
    display = live._display

    def record(field):
        copies.append(clock[0])
        display(field)
        drawn[0] += 0.3  # seconds that drawing this copy takes

    monkeypatch.setattr(live, "_display", record)

    def watch(progress):
        clock[0] += 0.25
        live.request_copy()
        live.watch(progress)

    eoren.fit(image, steps=300, watch=watch, **SMALL)
    between = np.diff(copies)
    assert len(between) > 2
    # 0.3 s of one of two processors.
    assert 5.0 <= between.min() <= between.max() <= 5.5
    assert 0.3 / 2 / between.min() <= 0.03


def test_cheap_copies_are_made_every_four_seconds(image, clock):
    catalog = FieldCatalog()
    live = LiveFit(catalog, "a", image, lambda: 0.0)
    seen = []

    def watch(progress):
        clock[0] += 0.25
        live.request_copy()
        live.watch(progress)
        seen.append((clock[0], len(catalog.entries()) and catalog.entries()[-1].name))

    eoren.fit(image, steps=120, watch=watch, **SMALL)
    first = {name: at for at, name in reversed(seen) if name}
    assert len(first) > 5
    np.testing.assert_allclose(np.diff(sorted(first.values())), 4.0, atol=0.3)


def test_a_page_waits_for_the_copy_that_is_due(image, monkeypatch):
    """The image on the page is then as old as the page's own drawing, not as the time between two polls."""
    # On a busy machine as well a copy is due every second, and made before the wait for it ends.
    monkeypatch.setattr(module, "_INTERVAL", 1.0)
    monkeypatch.setattr(module, "_SHARE", 1.0)
    monkeypatch.setattr(module, "_LONGEST_WAIT", 60.0)
    live = LiveFit(FieldCatalog(), "a", image, lambda: 0.0)
    answers = []

    def poll():
        for _ in range(3):
            answers.append(live.status())
            time.sleep(answers[-1]["poll_after"])

    polling = threading.Thread(target=poll)
    polling.start()
    while polling.is_alive():
        fit_with_real_clock(live, image)
    names = [answer["entry"] for answer in answers]
    assert None not in names
    assert len({*names}) == 3
    assert 0.5 < answers[-1]["poll_after"] <= 1


def test_the_copy_holds_its_step(image, clock):
    catalog = FieldCatalog()
    live = LiveFit(catalog, "a", image, lambda: 0.0)
    steps = []

    def watch(progress):
        clock[0] += 3
        live.request_copy()
        live.watch(progress)
        if progress.steps:
            assert catalog.entries()[-1].field.provenance.steps == progress.steps
            steps.append(progress.steps)

    eoren.fit(image, steps=8, watch=watch, **SMALL)
    assert {*steps} >= {1, 8}


def test_the_page_stops_a_fit_and_lets_it_go_on(image, clock):
    live = LiveFit(FieldCatalog(), "a", image, lambda: 0.0)
    live.go_on()  # without effect: nothing was stopped

    def watch(progress):
        clock[0] += 1
        if progress.steps == 5:
            live.stop()
        return live.watch(progress)

    stopped = eoren.fit(image, steps=40, watch=watch, **SMALL)
    assert stopped.ended == "interrupted"
    assert 5 <= stopped.steps <= 6
    live.finish(stopped.field, "stopped", can_go_on=True)
    status = live.status()
    assert (status["ended"], status["can_go_on"], live.is_stopping) == ("stopped", True, True)
    live.go_on()
    assert not live.is_stopping
    assert live.status()["ended"] is None
    live.finish(stopped.field, "budget")
    live.stop()
    assert not live.is_stopping


def test_the_latest_two_copies_are_displayed(image, clock):
    catalog = FieldCatalog()
    live = LiveFit(catalog, "a", image, lambda: 0.0)
    names = []

    def watch(progress):
        clock[0] += 2
        live.request_copy()
        live.watch(progress)
        names.append(catalog.entries()[-1].name if catalog.entries() else None)
        assert len(catalog.entries()) <= 2

    result = eoren.fit(image, steps=10, watch=watch, **SMALL)
    assert len(set(names)) > 5
    live.finish(result.field, result.ended)
    last = catalog.find(live.status()["entry"])
    assert last is catalog.entries()[-1]
    assert dumps(last.field) == dumps(result.field)
    assert live.status()["ended"] == "budget"


def test_copies_follow_the_progress_of_the_fit(image, clock):
    catalog = FieldCatalog()
    live = LiveFit(catalog, "a", image, lambda: 0.0)
    psnrs = []

    def watch(progress):
        clock[0] += 2
        live.request_copy()
        live.watch(progress)
        if progress.steps and catalog.entries():
            shown = catalog.entries()[-1].field
            psnrs.append(eoren.evaluation.metrics.psnr(shown.render(), image))

    result = eoren.fit(image, steps=200, watch=watch, bits=32, **SMALL)
    assert psnrs[-1] > psnrs[0] + 5
    assert psnrs[-1] == pytest.approx(result.metrics.psnr, abs=0.6)


def test_status_is_json_with_tiles_and_curves(image, clock, monkeypatch):
    monkeypatch.setattr(module, "_CURVE_INTERVAL", 0.0)
    live = LiveFit(FieldCatalog(), "a", image, lambda: 0.0)
    before = live.status()
    assert (before["entry"], before["ended"], before["tiles"], before["curves"]) == (None, None, [], "")
    result = fit_with(live, image, clock, steps=120)
    status = json.loads(json.dumps(live.status(), allow_nan=False))
    assert status["steps"] == result.steps
    assert status["psnr"] == pytest.approx(result.metrics.psnr, abs=1.5)  # an estimate, over recent steps
    assert status["gradient_psnr"] == pytest.approx(result.metrics.gradient_psnr, abs=1.5)
    boxes = np.array(status["tiles"])
    assert len(boxes) == result.field.representation.tiling.count
    # Boxes cover the image without overlap.
    assert ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum() == 600
    assert len(status["activity"]) == len(boxes)
    assert all(0 < activity <= 1 for activity in status["activity"])
    assert status["curves"].count("<polyline") == 2
    assert "dB" in status["curves"]


def test_activity_follows_the_trained_tiles(clock):
    # One half is flat and needs little training.
    image = np.full((64, 128, 1), 0.5, np.float32)
    image[:, :64, 0] = np.random.default_rng(0).random((64, 64))
    live = LiveFit(FieldCatalog(), "a", image, lambda: 0.0)
    fit_with(live, image, clock, steps=150, tile=16)
    status = live.status()
    activity = np.array(status["activity"])
    rough = np.array([box[0] < 64 for box in status["tiles"]])
    assert activity[rough].mean() > activity[~rough].mean()


def test_long_curves_are_thinned(image, clock, monkeypatch):
    monkeypatch.setattr(module, "_MAX_CURVE_POINTS", 10)
    monkeypatch.setattr(module, "_CURVE_INTERVAL", 0.0)
    live = LiveFit(FieldCatalog(), "a", image, lambda: 0.0)
    fit_with(live, image, clock, steps=100)
    assert 5 <= len(live._curve) <= 20
    assert live._curve[0].steps == 0


def test_over_the_web(image, clock, connect):
    catalog, cache = FieldCatalog(), TileCache(1 << 20)
    live = LiveFit(catalog, "a", image, lambda: cache.render_seconds)
    with serve(Session(catalog, live), cache) as address:
        server = connect(address)
        assert json.loads(server.request("/api/catalog").content) == {"entries": [], "live": True, "workbench": False}
        result = []
        fitting = threading.Thread(target=lambda: result.append(fit_with(live, image, clock, steps=300)))
        fitting.start()
        while fitting.is_alive():
            name = json.loads(server.request("/api/live").content)["entry"]
            if name:
                assert server.request(f"/iiif/{name}/full/max/0/default.png").status in (200, 404)
        live.finish(result[0].field, "budget")
        status = json.loads(server.request("/api/live").content)
        assert status["ended"] == "budget"
        assert server.request(f"/iiif/{status['entry']}/full/max/0/default.png").status == 200
    with serve(Session(catalog), TileCache(1)) as address:
        assert connect(address).request("/api/live").status == 404
