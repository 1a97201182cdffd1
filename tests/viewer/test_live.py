import json
import threading

import numpy as np
import pytest

import eoren
from eoren.field.serialization import dumps
from eoren.training.loop import Progress
from eoren.viewer import live as module
from eoren.viewer.catalog import FieldCatalog
from eoren.viewer.live import Live
from eoren.viewer.server import serving
from eoren.viewer.tile_cache import Tiles

SMALL = {"width": 16, "depth": 2, "tile": 12, "seed": 1}


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set."""
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def watched(live, picture, clock, *, every=1.0, steps=40, **more):
    """A fit of which every call of ``watch`` comes so much later."""

    def watch(progress):
        clock[0] += every
        live.watch(progress)

    return eoren.fit(picture, steps=steps, watch=watch, **{**SMALL, **more})


def test_a_fit_is_the_same_whether_watched_or_not(picture, clock):
    for objective in ("sobolev", "gradient"):
        plain = eoren.fit(picture, steps=30, objective=objective, **SMALL)
        gallery = FieldCatalog()
        live = Live(gallery, "a", picture, lambda: 0.0)

        def watch(progress, live=live):
            clock[0] += 1
            live.standing()
            live.watch(progress)

        seen = eoren.fit(picture, steps=30, objective=objective, watch=watch, **SMALL)
        assert gallery.exhibits()
        for one, other in zip(
            plain.field.representation.siren.tensors(), seen.field.representation.siren.tensors(), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_if_nobody_looks_nothing_is_made(picture, clock):
    gallery = FieldCatalog()
    watched(Live(gallery, "a", picture, lambda: 0.0), picture, clock)
    assert gallery.exhibits() == []


def test_a_copy_waits_until_the_last_one_was_cheap(picture, clock, monkeypatch):
    drawn, copies = [0.0], []
    live = Live(FieldCatalog(), "a", picture, lambda: drawn[0])
    show = live._show

    def noted(field):
        copies.append(clock[0])
        show(field)
        drawn[0] += 0.3  # drawing this one takes so long

    monkeypatch.setattr(live, "_show", noted)

    def watch(progress):
        clock[0] += 0.25
        live.standing()
        live.watch(progress)

    eoren.fit(picture, steps=300, watch=watch, **SMALL)
    between = np.diff(copies)
    assert len(between) > 2
    assert 100 * 0.3 <= between.min() <= between.max() <= 100 * 0.3 + 0.5
    assert 0.3 / between.min() < 0.05


@pytest.mark.parametrize(
    ("seconds", "done", "again"),
    [
        (0.0, 0.0, 2),
        (10.0, 0.1, 2),
        (35.0, 0.1, 3.5),
        (600.0, 0.1, 6),
        (96.0, 0.96, 4),
        (99.0, 0.99, 2),
        (100.0, 1.0, 2),
    ],
)
def test_a_page_asks_less_often_as_a_fit_goes_on_and_is_there_at_its_end(seconds, done, again, clock):
    live = Live(FieldCatalog(), "a", np.zeros((2, 2, 1)), lambda: 0.0)
    live._progress = Progress(seconds=seconds, done=done)
    assert live.standing()["again"] == pytest.approx(again)


def test_who_asks_as_told_by_a_hidden_page_is_there(picture, clock):
    gallery = FieldCatalog()
    live = Live(gallery, "a", picture, lambda: 0.0)
    live.standing()
    clock[0] += 2 * 6.0
    watched(live, picture, clock, every=0.5, steps=2)
    assert gallery.exhibits()


def test_the_newest_two_are_on_show(picture, clock):
    gallery = FieldCatalog()
    live = Live(gallery, "a", picture, lambda: 0.0)
    names = []

    def watch(progress):
        clock[0] += 2
        live.watch(progress)
        names.append(live.standing()["exhibit"])
        assert len(gallery.exhibits()) <= 2

    result = eoren.fit(picture, steps=10, watch=watch, **SMALL)
    assert len(set(names)) > 5
    live.finish(result.field, result.ended)
    last = gallery.find(live.standing()["exhibit"])
    assert last is gallery.exhibits()[-1]
    assert dumps(last.field) == dumps(result.field)
    assert live.standing()["ended"] == "budget"


def test_what_is_shown_is_what_the_fit_has_come_to(picture, clock):
    gallery = FieldCatalog()
    live = Live(gallery, "a", picture, lambda: 0.0)
    found = []

    def watch(progress):
        clock[0] += 2
        live.standing()
        live.watch(progress)
        if progress.steps and gallery.exhibits():
            shown = gallery.exhibits()[-1].field
            found.append(eoren.evaluation.metrics.psnr(shown.render(), picture))

    result = eoren.fit(picture, steps=200, watch=watch, bits=32, **SMALL)
    assert found[-1] > found[0] + 5
    assert found[-1] == pytest.approx(result.metrics.psnr, abs=0.6)


def test_standing_is_json_and_tells_of_tiles_and_curves(picture, clock, monkeypatch):
    monkeypatch.setattr(module, "_CURVE_EVERY", 0.0)
    live = Live(FieldCatalog(), "a", picture, lambda: 0.0)
    before = live.standing()
    assert (before["exhibit"], before["ended"], before["tiles"], before["curves"]) == (None, None, [], "")
    result = watched(live, picture, clock, steps=120)
    said = json.loads(json.dumps(live.standing(), allow_nan=False))
    assert said["steps"] == result.steps
    assert said["psnr"] == pytest.approx(result.metrics.psnr, abs=1.5)  # an estimate, over recent steps
    assert said["gradient_psnr"] == pytest.approx(result.metrics.gradient_psnr, abs=1.5)
    boxes = np.array(said["tiles"])
    assert len(boxes) == result.field.representation.tiling.count
    # Boxes cover the image, once.
    assert ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum() == 600
    assert len(said["busy"]) == len(boxes)
    assert all(0 < busy <= 1 for busy in said["busy"])
    assert said["curves"].count("<polyline") == 2
    assert "dB" in said["curves"]


def test_tiles_that_rest_fade(clock):
    # Half of it flat: little to learn there.
    picture = np.full((64, 128, 1), 0.5, np.float32)
    picture[:, :64, 0] = np.random.default_rng(0).random((64, 64))
    live = Live(FieldCatalog(), "a", picture, lambda: 0.0)
    watched(live, picture, clock, steps=150, tile=16)
    said = live.standing()
    busy = np.array(said["busy"])
    rough = np.array([box[0] < 64 for box in said["tiles"]])
    assert busy[rough].mean() > busy[~rough].mean()


def test_a_long_curve_is_thinned(picture, clock, monkeypatch):
    monkeypatch.setattr(module, "_MOST_POINTS", 10)
    monkeypatch.setattr(module, "_CURVE_EVERY", 0.0)
    live = Live(FieldCatalog(), "a", picture, lambda: 0.0)
    watched(live, picture, clock, steps=100)
    assert 5 <= len(live._curve) <= 20
    assert live._curve[0].steps == 0


def test_over_the_web(picture, clock, asking):
    gallery, tiles = FieldCatalog(), Tiles(1 << 20)
    live = Live(gallery, "a", picture, lambda: tiles.seconds)
    with serving(gallery, tiles, live=live) as address:
        server = asking(address)
        assert json.loads(server.ask("/api/gallery").content) == {"exhibits": [], "live": True}
        result = []
        fitting = threading.Thread(target=lambda: result.append(watched(live, picture, clock, steps=300)))
        fitting.start()
        while fitting.is_alive():
            name = json.loads(server.ask("/api/live").content)["exhibit"]
            if name:
                assert server.ask(f"/iiif/{name}/full/max/0/default.png").status in (200, 404)
        live.finish(result[0].field, "budget")
        said = json.loads(server.ask("/api/live").content)
        assert said["ended"] == "budget"
        assert server.ask(f"/iiif/{said['exhibit']}/full/max/0/default.png").status == 200
    with serving(gallery, Tiles(1)) as address:
        assert asking(address).ask("/api/live").status == 404
