"""The page in Chromium, opened from a file without a network."""

import re

import numpy as np
import pytest
from tests.export.pages import done, eight_bits, page_opener, pixels, screenshot
from tests.fields import TILINGS, field_of, with_parts

import eoren
from eoren.export.html import write_html
from eoren.model.quantization import rounded

WINDOW = {"width": 420, "height": 300}


@pytest.fixture
def opened(browser, tmp_path):
    """Function that opens the page of a field."""
    with page_opener(browser, tmp_path, viewport=WINDOW) as opener:
        yield opener


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_shows_the_field_pixel_for_pixel(opened, bits):
    field = field_of(TILINGS["grid"], 3, width=10)
    field = with_parts(field, siren=rounded(field.representation.siren, bits), bits=bits)
    assert np.abs(pixels(opened(field), field) - eight_bits(field.render())).max() <= 1


def test_gray_and_transparent_images(opened):
    gray = field_of(TILINGS["tree"], 1)
    assert np.abs(pixels(opened(gray), gray) - eight_bits(gray.render())).max() <= 1
    clear = field_of(TILINGS["tree"], 4)
    assert np.ptp(pixels(opened(clear), clear)) > 0


def test_layers(opened):
    field = field_of(TILINGS["grid"])
    page = opened(field)
    color = screenshot(page)
    page.keyboard.press("2")
    done(page)
    gradient = screenshot(page)
    assert page.get_by_role("radio", name="Gradient").is_checked()
    inside = gradient[80:90, 200:210]
    assert (inside[..., 0] == inside[..., 1]).all()
    page.get_by_text("Direction").click()
    done(page)
    direction = screenshot(page)
    assert not np.array_equal(color, gradient)
    assert not np.array_equal(direction, gradient)


def test_directions_are_those_of_the_colours_without_alpha(opened):
    """Gray rises downwards, alpha rises three times as fast to the right."""
    ramp = np.linspace(0, 1, 32)
    image = np.stack(np.broadcast_arrays(0.3 + 0.3 * ramp[:, None], ramp), -1)
    page = opened(eoren.fit(image, preset="fast", seed=0).field)
    page.keyboard.press("3")
    done(page)
    red, green, blue = np.median(screenshot(page)[140:160, 200:220].reshape(-1, 3), axis=0)
    assert green > red > blue


# Fences pass one at a time, as the test allows: each is a strip of rows.
HOLD_STRIPS = """
window.allowed = 0;
const wait = WebGL2RenderingContext.prototype.clientWaitSync;
WebGL2RenderingContext.prototype.clientWaitSync = function (fence, flags, timeout) {
  if (!window.allowed) return this.TIMEOUT_EXPIRED;
  const state = wait.call(this, fence, flags, timeout);
  if (state !== this.TIMEOUT_EXPIRED) window.allowed -= 1;
  return state;
};
"""


def test_the_whole_image_is_there_at_once(browser, tmp_path):
    """From the first strip of rows on, nothing but the picture shows where it is: no background, and no line."""
    flat = eoren.fit(np.full((20, 30, 3), [0.8, 0.2, 0.1]), preset="mosaic", steps=2, width=8, depth=1, seed=0).field
    write_html(tmp_path / "a.html", flat, title="a")
    page = browser.new_page(viewport={"width": 300, "height": 280})
    page.add_init_script(HOLD_STRIPS)
    page.goto((tmp_path / "a.html").as_uri())
    page.wait_for_function("() => inProgress")
    assert page.locator("#waiting").text_content() == "Preparing"
    page.evaluate("restart(), window.allowed = 1")  # a strip of an earlier drawing may be on its way
    page.wait_for_function("() => window.allowed === 0")
    for number in range(100):
        page.evaluate("window.allowed = 1")
        page.wait_for_function("() => window.allowed === 0 || canvas.getAttribute('aria-busy') === 'false'")
        if number == 7:
            page.keyboard.press("2")
            page.keyboard.press("1")
            page.mouse.wheel(0, 100)
            page.keyboard.press("ArrowRight")
        page.evaluate("new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
        left, top, right, bottom = page.evaluate(
            """[0, 0, field.width, field.height].map((side, k) => k % 2
            ? (side - view.y) * view.scale + canvas.height / 2 : (side - view.x) * view.scale + canvas.width / 2)"""
        )
        inside = screenshot(page)[max(0, int(top)) + 2 : int(bottom) - 2, max(0, int(left)) + 2 : int(right) - 2]
        assert inside.size > 10_000
        assert np.abs(inside - [204, 51, 25]).max() <= 3, number
        if page.locator("canvas[aria-busy=false]").count():
            break
        assert page.locator("#work").is_visible() or number < 3
    assert number > 10
    assert page.locator("#work").is_hidden()
    assert page.locator("#waiting").is_hidden()
    page.close()


@pytest.mark.parametrize("colors", [{}, {"color_scheme": "dark"}, {"forced_colors": "active"}])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_no_violation(opened, axe, colors, width):
    page = opened(field_of(TILINGS["grid"]), **colors)
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    passes, violations = axe(page)
    assert violations == []
    assert passes > 10
    page.evaluate("canvas.removeAttribute('aria-label')")
    page.evaluate("document.getElementById('in').removeAttribute('aria-label')")
    page.evaluate("document.getElementById('in').title = document.getElementById('in').textContent = ''")
    assert axe(page)[1] == [["button-name", "#in"]]  # it does find something


def test_keys_are_those_of_the_viewer(opened):
    page = opened(field_of(TILINGS["grid"]))
    for key, layer in (("3", "Direction"), ("2", "Gradient"), ("1", "Colour")):
        page.keyboard.press(key)
        assert page.get_by_role("radio", name=layer).is_checked()
    whole = view_of(page)
    page.keyboard.press("+")
    assert view_of(page)["scale"] == 2 * whole["scale"]
    page.keyboard.press("0")
    assert view_of(page) == whole
    page.keyboard.press("f")
    page.wait_for_function("() => document.fullscreenElement")
    page.keyboard.press("f")
    page.wait_for_function("() => !document.fullscreenElement")


def view_of(page):
    return page.evaluate("view")


def test_zoom_and_pan(opened):
    page = opened(field_of(TILINGS["grid"]))
    whole = view_of(page)
    # The point under the pointer stays in place.
    page.mouse.move(100, 80)
    under = "[view.x + (100 - canvas.width / 2) / view.scale, view.y + (80 - canvas.height / 2) / view.scale]"
    before = page.evaluate(under)
    page.mouse.wheel(0, -500)
    page.wait_for_function("scale => view.scale > 2 * scale", arg=whole["scale"])
    np.testing.assert_allclose(page.evaluate(under), before, atol=1e-6)
    page.mouse.down()
    page.mouse.move(120, 90)
    page.mouse.up()
    after = page.evaluate(under)
    scale = view_of(page)["scale"]
    np.testing.assert_allclose(np.subtract(before, after), [20 / scale, 10 / scale], atol=1e-6)
    page.mouse.down(button="right")
    page.mouse.move(90, 90)
    page.mouse.up(button="right")
    assert page.evaluate(under) == after
    page.keyboard.press("0")
    assert view_of(page) == whole
    page.keyboard.press("+")
    page.get_by_role("button", name="Zoom in").click()
    assert view_of(page)["scale"] == pytest.approx(4 * whole["scale"])
    page.keyboard.press("ArrowRight")
    assert view_of(page)["x"] > whole["x"]
    for _ in range(60):
        page.keyboard.press("+")
    assert view_of(page)["scale"] == 20000
    done(page)
    # At this zoom, nearly all is one colour.
    assert np.ptp(screenshot(page)[80:120, 190:230].reshape(-1, 3), axis=0).max() <= 1


def test_pinch(opened):
    page = opened(field_of(TILINGS["grid"]), has_touch=True)
    before = view_of(page)["scale"]
    touch = page.context.new_cdp_session(page)

    def fingers(kind, *points):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})

    fingers("touchStart", (130, 80), (150, 80))
    fingers("touchMove", (120, 80), (160, 80))
    fingers("touchEnd")
    assert view_of(page)["scale"] == pytest.approx(2 * before)


def test_the_window_may_be_resized(opened):
    page = opened(field_of(TILINGS["grid"]))
    page.set_viewport_size({"width": 200, "height": 300})
    page.wait_for_function("() => canvas.width === 200")
    done(page)
    width, height = page.evaluate("[canvas.width, canvas.height]")
    assert view_of(page)["scale"] == pytest.approx(min(width / 37, height / 23) * 0.96)


def test_dark_and_light(opened):
    field = field_of(TILINGS["grid"])
    corners = [screenshot(opened(field, color_scheme=scheme))[0, 0].mean() for scheme in ("light", "dark")]
    assert corners[0] > 200
    assert corners[1] < 50


def test_a_missing_webgl_is_reported(browser, tmp_path):
    write_html(tmp_path / "a.html", field_of(TILINGS["single"]), title="a")
    page = browser.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto((tmp_path / "a.html").as_uri())
    assert page.get_by_role("alert").text_content().startswith("This page needs WebGL 2")
    page.close()


def test_an_old_browser_is_reported(browser, tmp_path):
    write_html(tmp_path / "a.html", field_of(TILINGS["single"]), title="a")
    page = browser.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto((tmp_path / "a.html").as_uri())
    assert page.get_by_role("alert").text_content() == "This page needs a browser of 2023 or later."
    assert not page.locator("#waiting").is_visible()
    assert not page.locator("#work").is_visible()
    page.close()


def test_the_page_is_small_and_self_contained(tmp_path):
    field = field_of(TILINGS["found"], width=48, depth=4)
    field = with_parts(field, siren=rounded(field.representation.siren, 16), bits=16)
    write_html(tmp_path / "a.html", field, title="</title><script>")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    # Two bytes per parameter, in base64, and the page itself.
    assert len(page) < field.parameters * 2 * 4 / 3 * 1.1 + 40_000
    assert "<title>&lt;/title&gt;&lt;script&gt;</title>" in page
    assert not re.search(r"(src|href)=|https?://(?!www.w3.org)|@import", page)
