"""The page of a compact field in Chromium, opened from a file without a network."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from tests.compact import picture, rounded_field
from tests.export import pages
from tests.export.pages import eight_bits, page_opener
from tests.fields import compact_field

import eoren
from eoren.export.html import write_html
from eoren.field.field import Field
from eoren.model.latents.edge_prior import VERSION

WINDOW = {"width": 420, "height": 260}
TIMEOUT = 120_000  # milliseconds, to decode and draw

done, pixels, enlarged = (
    partial(function, timeout=TIMEOUT) for function in (pages.done, pages.pixels, pages.enlarged)
)


def without_prior(field):
    return replace(field, representation=replace(field.representation, prior=0))


@pytest.fixture
def opened(browser, tmp_path):
    """Function that opens the page of a field."""
    with page_opener(browser, tmp_path, viewport=WINDOW, timeout=TIMEOUT) as opener:
        yield opener


@pytest.mark.parametrize(("channels", "siren_width"), [(1, 0), (3, 0), (3, 16), (1, 32)])
def test_shows_the_field_pixel_for_pixel(opened, channels, siren_width):
    field = compact_field(75, 51, channels, siren_width=siren_width)
    assert np.abs(pixels(opened(field), field) - eight_bits(field.render())).max() <= 1


@pytest.mark.parametrize("size", [(40, 1), (1, 33), (2, 90), (5, 7), (1, 1)], ids=str)
def test_any_size(opened, size):
    field = compact_field(*size, 3, siren_width=16)
    assert np.abs(pixels(opened(field), field) - eight_bits(field.render())).max() <= 1


@pytest.mark.parametrize("channels", [2, 4])
def test_transparent_images_lie_on_a_checkerboard(opened, channels):
    image = picture(40, 56, channels)
    image[..., -1] = np.linspace(0, 1, 56)
    field = Field(rounded_field(image, 0.002))
    shown, (*_, alpha) = pixels(opened(field), field), np.moveaxis(np.clip(field.render(), 0, 1), -1, 0)
    solid = alpha > 0.99
    colors = eight_bits(field.render()[..., :-1])[solid]
    assert np.abs(shown[solid] - colors).max() <= 3
    clear = shown[:, :2]
    assert {int(np.rint(v / 51)) for v in np.unique(clear)} == {3, 4}


def test_cell_averages_are_drawn_sharpened(opened):
    image = picture(48, 64, 3)
    field = eoren.fit(image, preset="fast", pixel_model="cell_average", until_psnr=45.0).field
    assert np.abs(pixels(opened(field), field) - eight_bits(field.render())).max() <= 1


@pytest.mark.parametrize(("channels", "siren_width"), [(1, 0), (3, 0), (3, 16)])
def test_an_edge_prior_adds_details_between_the_pixels(opened, channels, siren_width):
    image = picture(51, 75, channels)
    field = Field(replace(rounded_field(image, 0.02), prior=VERSION))
    if siren_width:
        field = compact_field(75, 51, channels, siren_width=siren_width, amplitude=1, prior=VERSION)
    width, height = field.size
    shown, expected = enlarged(opened(field), field, 2), eight_bits(field.render(2 * width, 2 * height))
    assert np.abs(shown - expected).max() <= 1
    spline = eight_bits(without_prior(field).render(2 * width, 2 * height))
    assert np.abs(spline - expected).max() > 4


@pytest.mark.parametrize("size", [(200, 9), (9, 200), (1, 33), (1, 1)], ids=str)
def test_details_at_any_size(browser, tmp_path, size):
    """Also of more than one tile of the page's computation, and shorter than its splines reach."""
    field = compact_field(*size, 3, amplitude=1, prior=VERSION)
    width, height = (2 * side for side in size)
    expected = eight_bits(field.render(width, height))
    window = {"width": 420, "height": max(200, height + 160)}
    with page_opener(browser, tmp_path, viewport=window, timeout=TIMEOUT) as opened:
        assert np.abs(enlarged(opened(field), field, 2) - expected).max() <= 1


# The fences of the network of the details never come; those of drawing do.
HOLD_DETAILS = """
const wait = WebGL2RenderingContext.prototype.clientWaitSync;
WebGL2RenderingContext.prototype.clientWaitSync = function (fence, flags, timeout) {
  return flags || window.released ? wait.call(this, fence, flags, timeout) : this.TIMEOUT_EXPIRED;
};
"""


def test_the_field_is_shown_before_its_details(browser, tmp_path):
    field = Field(replace(rounded_field(picture(51, 75, 3), 0.02), prior=VERSION))
    write_html(tmp_path / "a.html", field, title="a")
    page = browser.new_page(viewport=WINDOW)
    page.add_init_script(HOLD_DETAILS)
    page.goto((tmp_path / "a.html").as_uri())
    page.wait_for_function(
        "() => drawings.at(-1)?.coarseness === 1 && drawings.at(-1).done === drawings.at(-1).height"
    )
    assert "adding details: 0 %" in page.locator(".about").text_content()
    assert page.locator("canvas[aria-busy=true]").count() == 1
    spline = pages.screenshot(page)
    page.evaluate("window.released = true")
    done(page)
    assert not np.array_equal(pages.screenshot(page), spline)
    assert page.locator(".about").text_content() == "75 × 51 pixels"
    page.close()


def test_a_device_that_cannot_compute_details_shows_the_spline(browser, tmp_path):
    field = Field(replace(rounded_field(picture(51, 75, 3), 0.02), prior=VERSION))
    write_html(tmp_path / "a.html", field, title="a")
    page = browser.new_page(viewport=WINDOW)
    page.add_init_script("WebGL2RenderingContext.prototype.getExtension = () => null")
    page.goto((tmp_path / "a.html").as_uri())
    done(page)
    expected = eight_bits(without_prior(field).render(150, 102))
    assert np.abs(enlarged(page, field, 2) - expected).max() <= 1
    assert "without details between the pixels" in page.locator(".about").text_content()
    page.close()


def test_layers_and_zoom(opened):
    page = opened(compact_field(75, 51, 3))
    before = page.evaluate("view.scale")
    page.keyboard.press("2")
    done(page)
    inside = pages.screenshot(page)[80:90, 200:210]
    assert (inside[..., 0] == inside[..., 1]).all()
    page.keyboard.press("+")
    done(page)
    assert page.evaluate("view.scale") == pytest.approx(2 * before)


def test_a_field_that_the_device_cannot_hold_is_reported(browser, tmp_path):
    write_html(tmp_path / "a.html", compact_field(64, 48, 3), title="a")
    page = browser.new_page()
    page.add_init_script("WebGL2RenderingContext.prototype.getParameter = () => 60")
    page.goto((tmp_path / "a.html").as_uri())
    page.wait_for_selector("#failure:not([hidden])")
    assert page.get_by_role("alert").text_content().startswith("This field is too large")
    page.close()


def test_damaged_data_are_reported(browser, tmp_path):
    write_html(tmp_path / "a.html", compact_field(64, 48, 3), title="a")
    text = (tmp_path / "a.html").read_bytes()
    middle = text.index(b'id="decisions">') + 500
    (tmp_path / "a.html").write_bytes(text[:middle] + b"~~~~" + text[middle + 4 :])
    page = browser.new_page()
    page.goto((tmp_path / "a.html").as_uri())
    page.wait_for_selector("#failure:not([hidden])")
    assert "data of the field" in page.get_by_role("alert").text_content()
    page.close()


@pytest.mark.parametrize("newlines", [b"\r\n", b"\r"])
def test_other_newlines_do_no_harm(opened, browser, tmp_path, newlines):
    """As version control and editors may write them: parsers of HTML read all of them as one character."""
    field = compact_field(64, 48, 3)
    write_html(tmp_path / "a.html", field, title="a")
    text = (tmp_path / "a.html").read_bytes()
    (tmp_path / "b.html").write_bytes(text.replace(b"\n", newlines))
    page = browser.new_page(viewport=WINDOW)
    page.goto((tmp_path / "b.html").as_uri())
    done(page)
    assert np.abs(pixels(page, field) - eight_bits(field.render())).max() <= 1
    page.close()


def test_the_page_is_little_larger_than_the_file(tmp_path):
    """The promise of docs/exporting.md, on a picture of 0.1 megapixels."""
    field = Field(rounded_field(picture(256, 400, 3), 0.02))
    field.save(tmp_path / "a.eoren")
    write_html(tmp_path / "a.html", field, title="a")
    assert (tmp_path / "a.html").stat().st_size < 1.2 * (tmp_path / "a.eoren").stat().st_size + 60_000
