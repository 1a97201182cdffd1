"""What the stage shows while something loads, fails or changes."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from eoren.viewer import server as server_module
from eoren.viewer.catalog import FieldCatalog
from eoren.viewer.server import serve
from eoren.viewer.session import Session
from eoren.viewer.tile_cache import TileCache


@pytest.fixture
def catalog(catalog_of_one):
    return catalog_of_one


@pytest.fixture
def slow(monkeypatch):
    """Function that sets how long every drawing takes, in seconds."""
    seconds, usual = [0.0], server_module.render

    def render(*given):
        time.sleep(seconds[0])
        return usual(*given)

    monkeypatch.setattr(server_module, "render", render)
    return lambda value: seconds.__setitem__(0, value)


@pytest.fixture
def failing(monkeypatch):
    """Set of the layers that cannot be drawn; for the layer "tiles", images of parts only."""
    names, usual = set(), server_module.render

    def render(view, request, token):
        is_part = request.region.width < view.size[0]
        if view.layer.name in names or ("tiles" in names and is_part):
            raise ZeroDivisionError
        return usual(view, request, token)

    monkeypatch.setattr(server_module, "render", render)
    return names


def background_seen(page):
    """Share of the picture's area on the stage that has the colour of the page behind it."""
    box = page.page.locator("#stage").bounding_box()
    before = [*page.at(0, 0), *page.at(1, 1)]
    shot = Image.open(io.BytesIO(page.page.locator("#stage").screenshot())).convert("RGB")
    after = [*page.at(0, 0), *page.at(1, 1)]
    # Where the image was before and is after the screenshot, it is in it.
    left, top = (int(max(0, before[k] - box["xy"[k]], after[k] - box["xy"[k]])) + 3 for k in (0, 1))
    right, bottom = (int(min(before[k] - box["xy"[k - 2]], after[k] - box["xy"[k - 2]])) - 3 for k in (2, 3))
    inside = np.asarray(shot).astype(int)[top:bottom, left:right]
    assert inside.size > 30_000
    return (np.abs(inside - [255, 0, 255]).max(-1) < 8).mean()


def test_no_hole_shows_while_zooming_and_panning(visit, server, slow):
    page = visit(server.address)
    page.page.add_style_tag(content="#stage { background: #ff00ff !important }")  # no colour of the image
    page.settled()
    assert background_seen(page) == 0
    slow(0.12)
    box = page.page.locator("#stage").bounding_box()
    x, y = box["x"] + 0.4 * box["width"], box["y"] + 0.5 * box["height"]
    page.page.mouse.move(x, y)
    for by in (-400, -400, -400, 300):
        page.page.mouse.wheel(0, by)
        assert background_seen(page) == 0
    page.page.mouse.down()
    page.page.mouse.move(x - 150, y - 60, steps=3)
    assert background_seen(page) == 0
    page.page.mouse.up()
    assert background_seen(page) == 0
    page.page.click("#home")
    assert background_seen(page) == 0
    page.settled()


def test_the_last_layer_is_dimmed_until_the_new_one_is_drawn(page, slow):
    slow(0.5)
    page.page.select_option("#right", "")
    lightness = page.pixels()[200:300, 400:500].mean()
    page.page.select_option("#left", "small~gradient")
    opacity = "panes.left.sheet.items.map((item) => item.getOpacity())"
    assert set(page.page.evaluate(opacity)) == {0.35}
    assert page.page.evaluate("panes.left.sheet.choice.layer.name") == "color"
    assert abs(page.pixels()[200:300, 400:500].mean() - lightness) > 20
    page.until("panes.left.sheet.choice.layer.name === 'gradient'")
    assert set(page.page.evaluate(opacity)) == {1}
    # Tiles of one layer only: those of the other one are gone.
    assert page.page.evaluate("viewer.world.getItemCount() === panes.left.sheet.items.length")


def test_a_layer_that_fails_leaves_the_choice_as_it_was(page, failing):
    failing.add("gradient")
    page.page.select_option("#left", "small~gradient")
    page.until("!$('banner').hidden")
    assert "Gradient magnitude cannot be shown" in page.page.inner_text("#banner-text")
    assert page.layers() == ["color", "original"]
    assert page.page.input_value("#left") == "small~color"
    assert page.page.inner_text("#left-name") == "Field"
    page.settled()
    failing.clear()
    page.page.click("#retry")
    page.until("panes.left.sheet.choice.layer.name === 'gradient'")
    assert page.page.locator("#banner").is_hidden()
    assert page.page.input_value("#left") == "small~gradient"
    page.errors.clear()  # the browser logs the status 500


def test_tiles_that_fail_are_reported_and_loaded_again(visit, server, failing):
    failing.add("tiles")
    page = visit(server.address)
    page.until("!$('banner').hidden")
    assert "Parts of" in page.page.inner_text("#banner-text")
    failing.clear()
    page.page.click("#retry")
    page.settled()
    assert page.page.locator("#banner").is_hidden()
    page.errors.clear()


def test_a_server_that_is_gone_is_reported_at_the_next_reading(visit, catalog):
    with serve(Session(catalog), TileCache(1 << 24)) as address:
        page = visit(address)
        page.settled()
    page.page.mouse.move(*page.at(0.3, 0.3))
    page.until("!$('banner').hidden")
    assert "start eoren view again" in page.page.inner_text("#banner-text")
    assert page.page.inner_text("#readout") == ""
    port = int(address.rstrip("/").rpartition(":")[2])
    with serve(Session(catalog), TileCache(1 << 24), port=port):
        page.page.click("#retry")
        page.page.mouse.move(*page.at(0.3, 0.35))
        page.until("$('readout').textContent.includes('field')")
        assert page.page.locator("#banner").is_hidden()
    page.errors.clear()


def test_values_are_those_of_the_side_of_the_wipe(visit, make_image, field, image):
    import eoren

    flat = eoren.fit(np.full((20, 30, 3), 0.25, np.float32), preset="mosaic", steps=5, width=8, depth=1, seed=0).field
    catalog = FieldCatalog()
    catalog.add("waves", field, digest="a", image=image)
    catalog.add("flat", flat, digest="b", image=np.full((20, 30, 3), 0.25, np.float32))
    with serve(Session(catalog), TileCache(1 << 24)) as address:
        page = visit(address)
        page.settled()
        for x, file, expected in ((0.2, "waves", field), (0.8, "flat", flat)):
            page.page.mouse.move(*page.at(x, 0.4))
            page.until(f"$('readout').textContent.includes('{file}')")
            point = page.page.evaluate("(({ x, y }) => [x, y])(currentProbe())")
            color = [float(value) for value in page.value_of("field").split()]
            np.testing.assert_allclose(color, expected.color(np.array(point)), atol=0.002)
        assert page.value_of("file on the right") == "flat"
        # Both sides name their file.
        assert page.page.inner_text("#left-name") == "Field · waves"
        assert page.page.evaluate("$('right').selectedOptions[0].textContent") == "Field · flat"


def test_another_image_than_that_of_the_fit_is_named(visit, image):
    import eoren

    fitted = eoren.fit(image, preset="mosaic", steps=2, width=8, depth=1, seed=0).field
    catalog = FieldCatalog()
    catalog.add("same", fitted, digest="a", image=image, image_sha256="0" * 64)  # its values agree
    catalog.add("other", fitted, digest="b", image=1 - image, image_sha256="0" * 64)
    with serve(Session(catalog), TileCache(1 << 24)) as address:
        page = visit(address)
        page.settled()
        assert page.page.inner_text("#banner-text").startswith("other was fitted to another file")
        page.page.click("#dismiss")
        assert page.page.locator("#banner").is_hidden()


def test_alpha_is_drawn_once(visit, make_image):
    """Through half-transparent tiles, the image of the whole below them would be seen as well."""
    import eoren

    image = np.full((20, 30, 4), 0.5, np.float32)
    image[..., :3] = 0.0
    translucent = eoren.fit(image, preset="mosaic", steps=3, width=8, depth=1, seed=0).field
    catalog = FieldCatalog()
    catalog.add("glass", translucent, digest="a", image=image)
    with serve(Session(catalog), TileCache(1 << 24)) as address:
        page = visit(address)
        page.page.add_style_tag(content="#stage { background: #ffffff !important }")
        page.settled()
        for x in (0.2, 0.8):
            across, down = page.at(x, 0.5)
            box = page.page.locator("#stage").bounding_box()
            np.testing.assert_allclose(page.pixels()[int(down - box["y"]), int(across - box["x"])], 127.5, atol=4)
