"""Reading, pinning and measuring on the page."""

import csv
import io
import re

import numpy as np
import pytest
from PIL import Image

from eoren.viewer.edge_profile import edge_profile


@pytest.fixture
def catalog(catalog_of_one):
    return catalog_of_one


@pytest.fixture
def copied(page):
    """Function that returns the text that was copied last."""
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    return lambda: page.page.evaluate("navigator.clipboard.readText()")


def rows_of(page, selector):
    terms = page.page.locator(f"{selector} dt").all_inner_texts()
    return dict(zip(terms, page.page.locator(f"{selector} dd").all_text_contents(), strict=True))


def test_the_edge_tool_shows_the_edge_of_the_server(page, entry, copied):
    page.page.keyboard.press("e")
    page.until("document.querySelectorAll('#edge-plot polyline').length === 5")
    assert page.page.get_attribute("#edge", "aria-pressed") == "true"
    # Draw a line: the image stays where it is.
    home = page.page.evaluate("viewer.viewport.getCenter().x")
    ends = page.at(0.2, 0.35), page.at(0.42, 0.6)
    page.page.mouse.move(*ends[0])
    page.page.mouse.down()
    page.page.mouse.move(*ends[1], steps=4)
    page.page.mouse.up()
    length = np.hypot(0.22 * 30, 0.25 * 20)
    page.until(f"Math.abs(parseFloat($('edge-values').textContent.slice(4)) - {length}) < 0.1")
    assert page.page.evaluate("viewer.viewport.getCenter().x") == home
    page.page.click("#copy-edge")
    page.until("$('said').textContent === 'Table copied'")
    table = list(csv.DictReader(io.StringIO(copied())))
    columns = {name: np.array([float(row[name]) for row in table]) for name in table[0]}
    line = (*(columns[f"{axis}_px"][0] / side for axis, side in zip("xy", (30, 20), strict=True)),)
    line += (*(columns[f"{axis}_px"][-1] / side for axis, side in zip("xy", (30, 20), strict=True)),)
    np.testing.assert_allclose(line, [0.2, 0.35, 0.42, 0.6], atol=0.002)
    profile = edge_profile(entry, line)
    np.testing.assert_allclose(columns["field_derivative_per_px"], profile["curves"]["field"]["slope"], atol=1e-4)
    np.testing.assert_allclose(
        columns["spline_1"], np.array(profile["curves"]["spline"]["channels"])[:, 1], atol=1e-4
    )
    np.testing.assert_allclose(
        columns["pixels_2"], np.array(profile["curves"]["pixels"]["channels"])[:, 2], atol=1e-6
    )
    shown = rows_of(page, "#edge-values")
    for name in ("field", "spline"):
        edge = profile["edges"][name]
        assert [float(v) for v in re.findall(r"[xy] ([\d.]+)", shown[f"edge of the {name}"])] == pytest.approx(
            [edge["x"], edge["y"]], abs=0.011
        )
        # Its mark lies there on the stage.
        box = page.page.locator("#stage").bounding_box()
        x, y = page.at(edge["x"] / 30, edge["y"] / 20)
        at = re.search(r"translate\((\S+) (\S+)\)", page.page.get_attribute(f"#ruler-{name}", "transform"))
        assert [float(at[1]), float(at[2])] == pytest.approx([x - box["x"], y - box["y"]], abs=0.5)
    difference = profile["edges"]["field"]["s"] - profile["edges"]["spline"]["s"]
    assert float(shown["field − spline"].split()[0].replace("−", "-")) == pytest.approx(difference, abs=0.011)
    page.page.keyboard.press("e")
    assert page.page.locator("#edge-tool").is_hidden()
    assert page.page.locator("#ruler").is_hidden()


def test_the_line_is_moved_by_keys(page):
    page.page.keyboard.press("e")
    page.until("$('edge-values').textContent.includes('px')")
    before = rows_of(page, "#edge-values")["line"]
    page.page.focus("#ruler-to")
    x = float(re.search(r"translate\((\S+)", page.page.get_attribute("#ruler-to", "transform"))[1])
    for key in ("ArrowRight", "Shift+ArrowRight", "ArrowDown"):
        page.page.keyboard.press(key)
    moved = re.search(r"translate\((\S+) (\S+)\)", page.page.get_attribute("#ruler-to", "transform"))
    assert float(moved[1]) == pytest.approx(x + 11, abs=0.01)
    page.until(f"!$('edge-values').textContent.includes({before!r})")


def test_points_are_pinned_copied_and_removed(page, field, image, copied):
    x, y = 7.3 / 30, 12.6 / 20
    page.page.mouse.click(*page.at(x, y))
    page.until("document.querySelectorAll('#points li').length === 1")
    page.page.mouse.move(*page.at(0.8, 0.2))
    page.page.keyboard.press("p")
    page.until("document.querySelectorAll('#points li').length === 2")
    shown = rows_of(page, "#points li:first-child")
    place = [float(value) for value in shown["place"].split(", ")]
    assert place == pytest.approx([7.3, 12.6], abs=0.05)
    point = np.array(place) / [30, 20]
    color = field.color(point)
    levels = np.floor(color.clip(0, 1) * 255 + 0.5)
    assert [int(value) for value in shown["8 bits"].split()] == pytest.approx(levels, abs=1)
    assert [int(shown["hex"][k : k + 2], 16) for k in (1, 3, 5)] == pytest.approx(levels, abs=1)
    difference = [float(value.replace("−", "-")) for value in shown["field − image"].split()]
    assert difference == pytest.approx(color - image[12, 7], abs=0.003)
    gradient = (field.gradient(point) / [30, 20]).mean(0)
    assert [float(shown[f"d/d{axis}"].replace("−", "-")) for axis in "xy"] == pytest.approx(gradient, abs=0.003)
    # The mark stays at its place in the image.
    page.page.evaluate("zoom(2)")
    page.settled()
    box = page.page.locator("#stage").bounding_box()
    at = re.search(r"translate\((\S+) (\S+)\)", page.page.locator(".mark").first.get_attribute("transform"))
    expected = page.at(*point)
    assert [float(at[1]) + box["x"], float(at[2]) + box["y"]] == pytest.approx(expected, abs=1)
    page.page.click("#copy-points")
    page.until("$('said').textContent === 'Points copied'")
    table = list(csv.DictReader(io.StringIO(copied()), delimiter="\t"))
    assert [row["point"] for row in table] == ["1", "2"]
    assert table[0]["hex"] == shown["hex"]
    assert float(table[0]["d/dx"]) == pytest.approx(gradient[0], abs=0.003)
    page.page.get_by_role("button", name="Remove point 1").click()
    page.page.click("#remove-points")
    assert page.page.locator("#pinned").is_hidden()
    assert page.page.locator(".mark").count() == 0


def test_two_clicks_zoom_and_pin_nothing(page):
    home = page.page.evaluate("viewer.viewport.getHomeZoom()")
    page.page.mouse.dblclick(*page.at(0.3, 0.4))
    page.settled()
    assert page.page.evaluate("viewer.viewport.getZoom()") == pytest.approx(2 * home)
    assert page.page.locator("#points li").count() == 0


def test_the_scale_bar_has_the_length_that_it_names(page):
    for by in (1, 3, 5):
        page.page.evaluate(f"zoom({by})")
        page.settled()
        pixels = float(page.page.inner_text("#bar-length").removesuffix(" px"))
        (x0, _), (x1, _) = page.at(0, 0), page.at(1, 1)
        assert page.page.locator("#bar").bounding_box()["width"] == pytest.approx(pixels * (x1 - x0) / 30, rel=0.02)
        assert float(page.page.inner_text("#zoom").removesuffix("×")) == pytest.approx((x1 - x0) / 30, rel=0.05)


def test_keys_show_the_meaning_of_colours(page):
    assert page.page.locator("#left-key").is_hidden()
    page.page.select_option("#left", "small~laplacian")
    page.settled()
    assert page.page.inner_text("#left-key").split() == ["−0.5", "0.5", "per", "pixel²"]
    page.page.select_option("#left", "small~direction")
    page.settled()
    assert "rim: 0.25 per pixel" in page.page.inner_text("#left-key")
    # The wheel's colour to the right is red, and green down and left, as the layer's description says.
    shot = page.page.locator(".wheel").screenshot()
    with Image.open(io.BytesIO(shot)) as wheel:
        side = wheel.width
        right = wheel.getpixel((round(0.93 * side), side // 2))
        down_left = wheel.getpixel((round(side * (0.5 - 0.43 * 0.5)), round(side * (0.5 + 0.43 * 0.866))))
    assert right[0] > 150 > 2 * min(right[1:3])
    assert down_left[1] > 150 > max(down_left[0], down_left[2])


def test_the_line_of_the_wipe_is_dragged_anywhere(page):
    box = page.page.locator("#stage").bounding_box()
    page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 250, box["y"] + 60, steps=3)
    page.page.mouse.up()
    assert page.page.evaluate("parseFloat($('divider').style.left)") == pytest.approx(250, abs=2)
    assert page.page.get_attribute("#wipe", "aria-valuetext") == "27 % Field, 73 % Image"


def test_plus_doubles_the_zoom_of_the_focused_image_as_well(page):
    home = page.page.evaluate("viewer.viewport.getHomeZoom()")
    page.page.focus("#viewer .openseadragon-canvas")
    page.page.keyboard.press("+")
    page.settled()
    assert page.page.evaluate("viewer.viewport.getZoom()") == pytest.approx(2 * home)


def test_values_end_where_the_pointer_leaves_the_image(page):
    page.page.mouse.move(*page.at(0.3, 0.3))
    page.until("$('readout').textContent.includes('field')")
    page.page.locator("h1").hover()
    page.until("$('readout').textContent === ''")
    assert page.page.locator("#hint").is_visible()


def test_the_whole_image_stays_in_view_beside_a_panel(page):
    page.page.keyboard.press("e")
    page.until("$('edge-values').textContent.includes('px')")
    page.settled()
    box = page.page.locator("#stage").bounding_box()
    (x0, y0), (x1, y1) = page.at(0, 0), page.at(1, 1)
    assert x0 >= box["x"] - 1
    assert y0 >= box["y"] - 1
    assert x1 <= box["x"] + box["width"] + 1
    assert y1 <= box["y"] + box["height"] + 1
    assert x1 - x0 > 0.95 * box["width"]
