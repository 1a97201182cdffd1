"""The page for everyone: names, roles, contrast, forced colours, small screens."""

import time

import pytest

from eoren.training.result import Progress
from eoren.viewer.catalog import FieldCatalog
from eoren.viewer.live import LiveFit
from eoren.viewer.server import serve
from eoren.viewer.session import Session
from eoren.viewer.tile_cache import TileCache


@pytest.fixture
def catalog(catalog_of_one):
    return catalog_of_one


@pytest.mark.parametrize("colors", [{}, {"color_scheme": "dark"}, {"forced_colors": "active"}])
def test_axe_finds_no_violation(visit, server, axe, colors):
    page = visit(server.address, viewport={"width": 1440, "height": 900}, **colors)
    page.page.select_option("#left", "small~direction")
    page.settled()
    page.page.keyboard.press("e")
    page.page.keyboard.press("p")
    page.until("document.querySelector('#points li') && $('edge-values').textContent.includes('px')")
    page.page.evaluate("import('/static/notices.js').then(({ notify }) => notify('a', 'A notice', () => {}))")
    for key in (None, "c", "?"):
        if key:
            page.page.keyboard.press(key)
        passes, violations = axe(page.page)
        assert violations == []
        assert passes > 15
        page.page.keyboard.press("Escape")
    page.page.evaluate("$('wipe').removeAttribute('aria-label')")
    assert axe(page.page)[1] == [["label", "#wipe"]]  # it does find something


@pytest.mark.parametrize("colors", [{}, {"color_scheme": "dark"}, {"forced_colors": "active"}])
def test_axe_finds_no_violation_while_a_fit_runs(visit, field, image, axe, colors):
    catalog = FieldCatalog()
    live = LiveFit(catalog, "a", image, lambda: 0.0)
    for steps in (10, 20):
        live.watch(Progress(steps, float(steps), 0.5, psnr=20.0 + steps, gradient_psnr=15.0 + steps))
        time.sleep(0.11)  # it takes ten looks a second
    live.finish(field, "stopped", can_go_on=True)
    with serve(Session(catalog, live), TileCache(1 << 24)) as address:
        page = visit(address, viewport={"width": 1440, "height": 900}, **colors)
        page.settled()
        page.until("document.querySelector('#curves svg') && !$('go-on').hidden")
        passes, violations = axe(page.page)
        assert violations == []
        assert passes > 15
        page.page.evaluate("$('go-on').textContent = ''")
        assert axe(page.page)[1] == [["button-name", "#go-on"]]  # it does find something
        page.page.close()  # before its server


def test_swatches_keep_their_colour_where_the_system_sets_colours(visit, server):
    page = visit(server.address, forced_colors="active")
    page.settled()
    page.page.mouse.move(*page.at(0.3, 0.4))
    page.until("$('readout').textContent.includes('field')")
    color = page.page.evaluate("getComputedStyle(document.querySelector('.swatch')).backgroundColor")
    assert color == page.page.evaluate(
        "(() => { const box = document.createElement('i'); box.style.forcedColorAdjust = 'none';"
        " box.style.background = document.querySelector('.swatch').style.background;"
        " document.body.append(box); return getComputedStyle(box).backgroundColor; })()"
    )


def test_every_part_of_the_stage_has_a_name(page):
    image = page.page.locator("#viewer .openseadragon-canvas")
    assert image.get_attribute("role") == "application"
    assert "arrow keys" in image.get_attribute("aria-label")
    assert page.page.get_attribute("#viewer canvas", "aria-hidden") == "true"
    assert page.page.get_attribute("#wipe", "aria-valuetext") == "50 % Field, 50 % Image"


@pytest.mark.parametrize("tool", [None, "#edge"])
def test_nothing_is_cut_on_a_phone(visit, server, tool):
    page = visit(
        server.address, viewport={"width": 390, "height": 844}, device_scale_factor=3, has_touch=True, is_mobile=True
    )
    page.settled()
    if tool:
        page.page.tap(tool)
        page.until("$('edge-values').textContent.includes('px')")
        plot = page.page.locator("#edge-plot svg").bounding_box()
        assert plot["x"] >= 0
        assert plot["x"] + plot["width"] <= 390
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    # The longest label fits the selector, beside its arrow.
    page.page.select_option("#right", "small~gradient")
    width = page.page.evaluate(
        """(() => { const draw = document.createElement("canvas").getContext("2d");
        draw.font = getComputedStyle($("right")).font; return draw.measureText("Gradient magnitude").width; })()"""
    )
    assert width + 24 <= page.page.locator("#right").bounding_box()["width"]


def test_nothing_stands_beside_an_empty_stage(visit, server):
    """Before the first image there is nothing to choose or wipe."""
    page = visit(server.address)
    page.settled()
    page.page.route("**/*.png", lambda route: None)  # never answered
    page.open(server.address)
    page.until("panes.left.choice")
    for selector in (".choices", ".tools", "#wipe", "#divider", "#scale"):
        assert page.page.locator(selector).is_hidden(), selector
    assert page.page.inner_text("#waiting") == "Loading"
