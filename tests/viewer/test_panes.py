"""Two panes beside each other, the navigator, and the view that a page opens with."""

import time

import numpy as np
import pytest


@pytest.fixture
def catalog(catalog_of_one):
    return catalog_of_one


def halves(page):
    seen = page.pixels()
    middle = seen.shape[1] // 2
    return seen[:, :middle], seen[:, middle : 2 * middle]


def test_panes_show_the_same_part_of_both_layers(page, image, field):
    page.page.select_option("#right", "small~color")
    page.page.keyboard.press("s")
    page.settled()
    assert page.page.get_attribute("#split", "aria-pressed") == "true"
    assert page.page.locator("#wipe").is_hidden()
    for zoom in (1, 3):  # the whole image, then a part of it
        page.page.evaluate(f"viewer.viewport.zoomTo({zoom} * viewer.viewport.getHomeZoom(), null, true)")
        page.settled()
        left, right = halves(page)
        assert np.ptp(left.reshape(-1, 3), axis=0).max() > 50
        # At the ends of tiles, a position may be rounded to either side.
        assert (np.abs(left - right).max(-1) > 8).mean() < 0.01
    # The wheel zooms about the pointer in the right pane, too.
    box = page.page.locator("#stage").bounding_box()
    pixel = [0.8 * box["width"], 0.4 * box["height"]]
    under = f"(({{ x, y }}) => [x, y])(toUnitSquare(panes.right.choice.entry, new Point(...{pixel}), 'right'))"
    before = page.page.evaluate(under)
    page.page.mouse.move(box["x"] + pixel[0], box["y"] + pixel[1])
    page.page.mouse.wheel(0, -300)
    page.until("viewer.viewport.getZoom() > 3.5 * viewer.viewport.getHomeZoom()")
    page.settled()
    np.testing.assert_allclose(page.page.evaluate(under), before, atol=0.004)


def test_values_and_points_are_those_of_the_pane(page, image):
    page.page.keyboard.press("s")
    page.settled()
    corner = page.page.locator("#stage").bounding_box()
    for side, column in (("left", 4), ("right", 20)):
        place = f"(({{ x, y }}) => [x, y])(toPixel(panes.left.choice.entry, {column + 0.5} / 30, 9.5 / 20, '{side}'))"
        at = page.page.evaluate(place)
        page.page.mouse.move(corner["x"] + at[0], corner["y"] + at[1])
        page.until(f"/^place{column}\\.\\d\\d, 9\\./.test($('readout').textContent)")
        assert page.page.evaluate("currentProbe().side") == side
    page.page.keyboard.press("p")
    page.until("document.querySelector('#points li')")
    page.settled()  # the stage is narrower
    at = page.page.evaluate(place)
    assert at[0] > page.page.evaluate("paneWidth()")
    mark = page.page.locator("#overlay .mark path").bounding_box()
    assert mark["x"] + mark["width"] / 2 == pytest.approx(corner["x"] + at[0], abs=2)


def test_panes_are_part_of_the_address(page, visit):
    page.page.keyboard.press("s")
    page.settled()
    assert "view=panes" in page.page.url
    again = visit(page.page.url)
    again.settled()
    assert again.page.evaluate("layout.isSplit")
    np.testing.assert_allclose(
        again.page.evaluate("viewer.viewport.getZoom()"), page.page.evaluate("viewer.viewport.getHomeZoom()")
    )
    again.page.select_option("#right", "")
    again.settled()
    assert not again.page.evaluate("layout.isSplit")  # nothing to be beside
    assert again.page.locator("#split").is_disabled()
    again.page.select_option("#right", "small~gradient")
    again.page.keyboard.press("s")
    again.settled()
    assert "view=panes" not in again.page.url
    assert again.page.locator("#wipe").is_visible()


def test_the_navigator_is_there_while_a_part_is_in_view(page):
    opacity = "Number(getComputedStyle($('navigator')).opacity)"
    page.until(f"{opacity} === 0")
    page.page.keyboard.press("+")
    page.page.keyboard.press("+")
    page.settled()
    page.until(f"{opacity} === 1")
    navigator = page.page.locator("#navigator").bounding_box()
    assert navigator["width"] / navigator["height"] == pytest.approx(1.5, abs=0.02)
    # A click moves the view there.
    page.page.mouse.click(navigator["x"] + 0.2 * navigator["width"], navigator["y"] + 0.3 * navigator["height"])
    page.settled()
    centre = page.page.evaluate("(({ x, y }) => [x, y * 1.5])(viewer.viewport.getCenter())")
    np.testing.assert_allclose(centre, [0.2, 0.3], atol=0.02)
    page.page.keyboard.press("0")
    page.settled()
    page.until(f"{opacity} === 0")


def test_a_phone_has_no_navigator(visit, server):
    page = visit(server.address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.settled()
    page.page.evaluate("zoom(4)")
    page.settled()
    assert page.page.locator("#navigator").is_hidden()


def is_whole(page):
    (left, top), (right, bottom) = page.at(0, 0), page.at(1, 1)
    box = page.page.locator("#stage").bounding_box()
    inside = left >= box["x"] - 1 and top >= box["y"] - 1
    return inside and right <= box["x"] + box["width"] + 1 and bottom <= box["y"] + box["height"] + 1


def test_the_whole_image_is_in_view_if_one_side_comes_late(visit, server):
    """OpenSeadragon takes the clipped left half for the whole while it is alone."""
    page = visit(server.address)
    page.page.route("**/small~original~64x/**", lambda route: (time.sleep(0.7), route.continue_()))
    page.open(server.address)
    page.settled()
    assert is_whole(page)


def test_the_whole_image_stays_in_view_in_a_window_of_another_shape(page):
    for size in ({"width": 500, "height": 700}, {"width": 1300, "height": 420}, {"width": 420, "height": 900}):
        page.page.set_viewport_size(size)
        page.settled()
        assert is_whole(page), size
        assert page.page.evaluate("isHome()")
