"""The page in a real browser: Chromium without a window, driven by Playwright."""

import io
import json
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.viewer.commands import printed_address

import eoren
from eoren.viewer.catalog import FieldCatalog
from eoren.viewer.server import serve
from eoren.viewer.session import Session
from eoren.viewer.tile_cache import TileCache


@pytest.fixture
def catalog(catalog_of_one):
    return catalog_of_one


def test_it_opens_with_the_field_and_the_image(page, image, field):
    assert page.page.title() == "small – EoREN"
    assert page.layers() == ["color", "original"]
    seen = page.pixels()
    box = page.page.locator("#stage").bounding_box()
    # At the centre of a pixel: the colour of the field left of the divider, that of the image right of it.
    for column, row, expected in ((4, 9, field.color(np.array([4.5 / 30, 9.5 / 20]))), (24, 9, image[9, 24])):
        x, y = page.at((column + 0.5) / 30, (row + 0.5) / 20)
        pixel = seen[int(y - box["y"]), int(x - box["x"])]
        np.testing.assert_allclose(pixel, 255 * np.clip(expected, 0, 1), atol=4)


def test_zooming_far_past_the_pixels_shows_the_function(page, field):
    page.page.select_option("#right", "")
    for _ in range(6):
        page.page.click("#in")
        page.settled()
    seen = page.pixels()
    height, width, _ = seen.shape
    corners = page.page.evaluate(
        """[[0.5, 0.5], [$("stage").clientWidth - 0.5, $("stage").clientHeight - 0.5]].map(([x, y]) => {
          const p = toUnitSquare(panes.left.choice.entry, new OpenSeadragon.Point(x, y)); return [p.x, p.y]; })"""
    )
    (x0, y0), (x1, y1) = corners
    # Less than four pixels of the image fill the stage.
    assert (x1 - x0) * 30 < 4
    x, y = np.meshgrid(np.linspace(x0, x1, width), np.linspace(y0, y1, height))
    expected = 255 * field.color(np.stack([x, y], -1)).clip(0, 1)
    inside = np.s_[2:-2, 2:-2]  # the stage ends within a pixel of the screen
    assert np.abs(seen - expected)[inside].max() < 6
    # Smooth like the function, without the steps of squares.
    assert np.abs(np.diff(seen[inside], axis=1)).max() < 4


@pytest.mark.parametrize("layer", ["gradient", "direction", "laplacian", "original", "spline", "difference"])
def test_every_layer_shows_the_image_of_the_server(page, server, layer):
    page.page.select_option("#left", f"small~{layer}")
    page.page.select_option("#right", "")
    page.settled()
    page.page.evaluate("viewer.viewport.goHome(true)")
    page.settled()
    seen = page.pixels()
    box = page.page.locator("#stage").bounding_box()
    response = server.request(f"/iiif/small~{layer}~64x/full/max/0/default.png")
    expected = np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB")).astype(float)
    (left, top), (right, bottom) = page.at(0, 0), page.at(1, 1)
    differences = []
    for x, y in np.random.default_rng(0).uniform(0.05, 0.95, (60, 2)):
        across, down = int(left + x * (right - left) - box["x"]), int(top + y * (bottom - top) - box["y"])
        # The centre of this pixel of the screen, in pixels of the server's image.
        column = (across + 0.5 + box["x"] - left) / (right - left) * 1920
        row = (down + 0.5 + box["y"] - top) / (bottom - top) * 1280
        differences.append(np.abs(seen[down, across] - expected[int(row), int(column)]).max())
    # OpenSeadragon draws tiles up to a pixel of the screen larger, so that no gap shows between them.
    assert np.median(differences) < 8


def test_the_wipe_moves_by_pointer_and_by_key(page, image, field):
    box = page.page.locator("#stage").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 200, middle, steps=5)
    page.page.mouse.up()
    left = page.page.evaluate("parseFloat($('divider').style.left)")
    assert left == pytest.approx(200, abs=8)
    value = page.page.input_value("#wipe")
    page.page.keyboard.press("ArrowRight")  # the slider has the focus
    assert int(page.page.input_value("#wipe")) == int(value) + 1
    page.settled()
    # The image now reaches further to the left.
    x, y = page.at(10.5 / 30, 9.5 / 20)
    pixel = page.pixels()[int(y - box["y"]), int(x - box["x"])]
    np.testing.assert_allclose(pixel, 255 * image[9, 10], atol=3)
    page.page.locator("h1").click()
    page.page.keyboard.press("]")
    assert int(page.page.input_value("#wipe")) == int(value) + 26
    assert page.page.get_attribute("#wipe", "aria-label") == "Wipe between left and right"


def test_no_seams_between_tiles(visit):
    """On a flat field, any visible edge is a defect of the page."""
    flat = eoren.fit(np.full((300, 450, 3), 0.2), preset="mosaic", steps=2, width=8, depth=1, tile=400, seed=0).field
    catalog = FieldCatalog()
    catalog.add("flat", flat, digest="flat")
    with serve(Session(catalog), TileCache(1 << 24)) as address:
        for scale in (1, 1.5):
            page = visit(address, device_scale_factor=scale)
            page.page.select_option("#right", value="")
            for zoom in (1, 1.37, 3.1):
                page.page.evaluate(f"viewer.viewport.zoomTo({zoom} * viewer.viewport.getHomeZoom(), null, true)")
                page.settled()
                (x0, y0), (x1, y1) = page.at(0.02, 0.02), page.at(0.98, 0.98)
                box = page.page.locator("#stage").bounding_box()
                inside = page.pixels()[
                    :-2, :-2
                ][  # the last row of a screenshot may partly show the footer
                    int(scale * max(y0 - box["y"], 0)) : int(scale * (y1 - box["y"])),
                    int(scale * max(x0 - box["x"], 0)) : int(scale * (x1 - box["x"])),
                ]
                assert inside.size > 100_000
                assert np.abs(inside - 51).max() <= 1


def test_the_last_of_many_fast_choices_counts(page):
    page.page.evaluate("""() => {
        const layer = (name) => choices().find((choice) => choice.layer.name === name);
        choose("left", layer("laplacian")); choose("left", layer("laplacian"));
        for (let i = 0; i < 3; i++) $("swap").click();
        choose("right", layer("gradient"));
    }""")
    page.settled()  # exactly two items
    assert page.layers() == ["original", "gradient"]
    source = "sides.map((side) => panes[side].sheet.part.source.id)"
    assert page.page.evaluate(source) == [
        page.page.evaluate(f"new URL(panes.{side}.choice.layer.iiif, location).href") for side in ("left", "right")
    ]


@pytest.mark.parametrize(
    ("key", "code", "zoomed"), [("-", "Digit6", 0.5), ("+", "Digit1", 2.0), ("&", "Digit2", 1.0)]
)
def test_keys_count_by_their_character_before_their_place(page, key, code, zoomed):
    """On a French keyboard minus is where others have a 6, and digits need Shift."""
    page.page.evaluate("zoom(4)")
    page.settled()
    zoom = page.page.evaluate("viewer.viewport.getZoom()")
    page.page.evaluate("([key, code]) => dispatchEvent(new KeyboardEvent('keydown', { key, code }))", [key, code])
    page.settled()
    assert page.page.evaluate("viewer.viewport.getZoom()") == pytest.approx(zoomed * zoom)
    assert page.layers() == ["gradient" if zoomed == 1 else "color", "original"]


def test_a_choice_made_twice_is_shown(page):
    page.page.keyboard.press("4")
    page.page.keyboard.press("4")
    page.settled()
    assert page.page.evaluate("panes.left.sheet.part.source.id").endswith("laplacian~64x")


def test_keys_choose_layers_swap_and_zoom(page):
    keys = page.page.keyboard
    keys.press("2")
    assert page.layers() == ["gradient", "original"]
    keys.press("Alt+6")
    assert page.layers() == ["gradient", "spline"]
    keys.press("x")
    assert page.layers() == ["spline", "gradient"]
    assert page.page.evaluate("$('left').selectedOptions[0].textContent") == "Cubic spline"
    page.settled()
    home = page.page.evaluate("viewer.viewport.getHomeZoom()")
    keys.press("+")
    page.settled()
    assert page.page.evaluate("viewer.viewport.getZoom(true)") == pytest.approx(2 * home)
    keys.press("0")
    page.settled()
    assert page.page.evaluate("viewer.viewport.getZoom(true)") == pytest.approx(home)
    keys.press("?")
    assert page.page.locator("#panel").is_visible()
    assert page.page.locator("#facts").get_by_role("link").inner_text().endswith("/iiif/small/info.json")
    keys.press("Escape")
    assert page.page.locator("#panel").is_hidden()


def test_few_frames_are_drawn_while_nothing_moves(page):
    """OpenSeadragon by itself always draws sixty frames a second."""
    page.page.evaluate("""window.drawn = 0; const draw = viewer.viewport.update.bind(viewer.viewport);
        viewer.viewport.update = (...given) => { window.drawn += 1; return draw(...given); };""")
    page.page.evaluate("new Promise((go) => setTimeout(go, 1000))")  # all movement has ended
    idle = page.page.evaluate(
        "(() => { window.drawn = 0; return new Promise((go) => setTimeout(() => go(window.drawn), 2000)); })()"
    )
    assert 1 <= idle <= 10
    page.page.keyboard.press("+")
    page.until("window.drawn > 15")  # the zoom is drawn frame by frame
    page.settled()


def test_values_and_the_arrow_under_the_pointer(page, field, image):
    x, y = 7.3 / 30, 12.6 / 20
    position = page.at(x, y)
    page.page.mouse.move(*position)
    page.until("!$('pointer').hasAttribute('hidden')")
    page.until("/^place7\\.\\d\\d, 12\\./.test($('readout').textContent)")
    box = page.page.locator("#stage").bounding_box()
    # The mouse is at whole screen pixels.
    point = page.page.evaluate("(({ x, y }) => [x, y])(currentProbe())")
    assert point == pytest.approx([x, y], abs=0.005)
    time.sleep(0.2)
    color = [float(text) for text in page.value_of("field").split()]
    np.testing.assert_allclose(color, field.color(np.array(point)), atol=0.002)
    np.testing.assert_allclose([float(text) for text in page.value_of("image").split()], image[12, 7], atol=0.001)
    d_dx, d_dy = (field.gradient(np.array(point)) / [30, 20]).mean(0)
    shown = [float(text.replace("−", "-")) for text in page.value_of("gradient per pixel").split()]
    np.testing.assert_allclose(shown, [d_dx, d_dy], atol=0.003)
    turn = float(re.search(r"rotate\((.*)\)", page.page.get_attribute("#shaft", "transform"))[1])
    assert turn == pytest.approx(np.degrees(np.arctan2(d_dy, d_dx)), abs=4)
    at = re.search(r"translate\((\S+) (\S+)\)", page.page.get_attribute("#pointer", "transform"))
    assert [float(at[1]), float(at[2])] == pytest.approx([position[0] - box["x"], position[1] - box["y"]], abs=2)
    # Outside the image there is no arrow.
    page.page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.until("$('pointer').hasAttribute('hidden')")


def test_values_at_the_centre_while_moving_by_keys(page):
    page.page.locator("#viewer .openseadragon-canvas").focus()
    page.page.keyboard.press("ArrowLeft")
    page.until("$('spoken').textContent.startsWith('Pixel ')")


def test_touch(visit, server):
    page = visit(server.address, viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
    page.settled()
    page.page.touchscreen.tap(*page.at(10.5 / 30, 5.5 / 20))
    page.until("/^place10\\.\\d\\d, 5\\./.test($('readout').textContent)")
    # Nothing extends beyond a narrow screen, and every control is large enough for fingers.
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    for control in page.page.locator(":is(header button, header select):visible").all():
        assert min(control.bounding_box()["width"], control.bounding_box()["height"]) >= 40
    # Two fingers.
    client = page.page.context.new_cdp_session(page.page)
    before = page.page.evaluate("viewer.viewport.getZoom()")
    x, y = page.at(0.2, 0.5)

    def fingers(kind, apart):
        points = [{"x": x - apart, "y": y}, {"x": x + apart, "y": y}] if apart else []
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", 10)
    for apart in (15, 20, 25, 30):
        fingers("touchMove", apart)
        time.sleep(0.05)
    fingers("touchEnd", 0)
    page.until(f"viewer.viewport.getZoom() > 1.5 * {before}")


def test_every_control_has_a_name(page):
    for control in page.page.locator("button, select, input").all():
        name = control.evaluate("e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent")
        assert name.strip(), control.evaluate("e => e.outerHTML")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(visit, server, scheme):
    page = visit(server.address, color_scheme=scheme)
    page.settled()

    def luminance(property_name, selector):
        text = page.page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{property_name}")
        values = np.array([float(v) for v in re.findall(r"[\d.]+", text)[:3]]) / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    ground = luminance("backgroundColor", "body")
    assert (ground < 0.1) == (scheme == "dark")
    for selector in ("h1", "#hint", "label"):
        light, dark = sorted([luminance("color", selector), ground], reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 4.5


def test_two_files_side_by_side(visit, field, image):
    catalog = FieldCatalog()
    catalog.add("small", field, digest="digest", image=image)
    catalog.add("small", field, digest="other")
    with serve(Session(catalog), TileCache(1 << 24)) as address:
        page = visit(address)
        page.settled()
        assert page.page.evaluate("sides.map((side) => panes[side].choice.entry.name)") == ["small", "small-2"]
        for name in ("small-2", "small"):
            page.page.select_option("#right", value=f"{name}~laplacian")
            page.settled()
            assert page.page.evaluate("[panes.right.choice.entry.name, panes.right.choice.layer.name]") == [
                name,
                "laplacian",
            ]
            assert page.page.input_value("#right") == f"{name}~laplacian"


def test_a_stopped_server_is_reported(visit, catalog):
    with serve(Session(catalog), TileCache(1 << 24)) as address:
        page = visit(address)
        page.settled()
        page.page.route("**/api/catalog", lambda route: route.abort())
        page.open(address)
        page.until("$('waiting').textContent.includes('does not answer')")
        page.page.unroute("**/api/catalog")
        page.page.click("text=Retry")
        page.settled()
        assert page.page.locator("#banner").is_hidden()
        page.errors.clear()


# From the command line.


def test_a_fit_is_followed_to_its_end(started, visit, tmp_path):
    y, x = np.mgrid[:64, :96]
    waves = 0.5 + 0.4 * np.sin(x[..., None] / [3, 5, 7] + y[..., None] / [6, 3, 4])
    Image.fromarray(np.uint8(255 * waves)).save(tmp_path / "waves.png")
    settings = ("--preset", "mosaic", "--set", "width=16", "--set", "tile=24")
    fit = ("fit", "waves.png", "--seconds", "12", *settings, "--json")
    process = started(*fit, "--watch", "--no-browser")
    page = visit(printed_address(process))
    page.until("Boolean(catalog.entries[0])")
    first = page.page.evaluate("catalog.entries[0].name")
    page.until("fit.status?.curves.includes('polyline')")
    page.settled()
    assert page.layers() == ["color", "original"]
    assert page.page.locator("#curves svg polyline").count() == 2
    # Tiles at work are outlined on demand.
    assert page.page.evaluate("fit.status.tiles.length") > 4
    drawn = "$('tiles').getContext('2d').getImageData(0, 0, $('tiles').width, $('tiles').height).data.some(v => v)"
    assert not page.page.evaluate(drawn)
    page.page.check("#show-tiles")
    page.until(drawn)
    page.page.select_option("#right", "waves~difference")
    page.until("$('fit').dataset.ended === 'budget'")
    last = page.page.evaluate("catalog.entries[0].name")
    assert last != first
    page.settled()
    assert page.layers() == ["color", "difference"]
    assert "Done" in page.page.inner_text("#status")
    assert not page.page.evaluate(drawn)
    # The file is written while the page stays; Ctrl-C then ends the command successfully.
    assert (tmp_path / "waves.eoren").exists()
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    result = json.loads(out)
    assert result["ended"] == "budget"
    metrics = page.page.evaluate("catalog.entries[0].metrics")
    assert metrics["psnr"] == pytest.approx(result["psnr"])
    assert not Path(tmp_path / "waves.eoren.resume").exists()


def test_an_interrupted_fit_with_a_page_ends_like_any_other(started, visit, tmp_path, make_image):
    Image.fromarray(np.uint8(255 * make_image(40, 30, 3))).save(tmp_path / "a.png")
    fit = ("fit", "a.png", "--preset", "mosaic", "--seconds", "60", "--set", "width=16")
    process = started(*fit, "--watch", "--no-browser")
    page = visit(printed_address(process))
    page.until("Boolean(catalog.entries[0])")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "continue with --resume" in err
    assert (tmp_path / "a.eoren").exists()
    page.until("$('status').textContent.includes('has ended')")
    page.errors.clear()  # caused by the stopped server


def test_view_from_the_command_line(started, visit, field, image, tmp_path):
    eoren.save(field, tmp_path / "small.eoren")
    eoren.write_image(tmp_path / "small.png", image)
    process = started("view", "small.eoren", "--compare", "small.png", "--no-browser")
    page = visit(printed_address(process))
    page.settled()
    assert page.layers()[1] == "original"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
