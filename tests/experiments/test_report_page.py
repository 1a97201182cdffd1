"""The report in a browser: first screen, enlarged images, print, accessibility."""

import contextlib
import re
import zlib

import numpy as np
import pytest

from eoren.experiments.comparison import compare
from eoren.experiments.report import report
from eoren.image.io import SourceImage


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    y, x = np.mgrid[:24, :32]
    pixels = np.float32(0.5 + 0.4 * np.sin(x[..., None] / [3, 5, 7] + y[..., None] / [6, 3, 4]))
    comparison = compare(SourceImage(pixels, 8, "f" * 64, "waves.png"), epochs=2.0, seconds=0.02, seed=0)
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report(comparison), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def opened(browser, address):
    """Function that opens the report; errors fail."""
    contexts, problems = [], []

    def open_page(**options):
        contexts.append(
            browser.new_context(**{"viewport": {"width": 1440, "height": 900}, "offline": True, **options})
        )
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: message.type == "error" and problems.append(message.text))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def test_the_first_screen_shows_images_and_the_conclusion(opened):
    page = opened()
    in_view = page.locator(".first img").evaluate_all(
        "images => images.map((image) => image.getBoundingClientRect().bottom <= innerHeight)"
    )
    assert in_view == [True] * 8
    names = page.locator(".first figcaption b").all_text_contents()[:4]
    assert names == ["the image", "EoREN (paper)", "this library, mosaic", "this library, compact field"]
    assert page.locator(".conclusion").bounding_box()["y"] < page.locator(".first").bounding_box()["y"]
    assert "ours" not in page.locator("body").inner_text().split()


def test_images_enlarge_by_click_and_by_enter(opened):
    page = opened()
    picture = page.locator(".first .enlarge").first
    picture.focus()
    page.keyboard.press("Enter")
    shown = page.locator("#picture img")
    assert shown.bounding_box()["height"] > 2 * picture.bounding_box()["height"]
    assert shown.get_attribute("src") == picture.locator("img").get_attribute("src")
    assert page.locator("#picture-name").text_content() == "the image"
    page.keyboard.press("ArrowRight")
    assert page.locator("#picture-name").text_content() == "EoREN (paper)"
    assert page.locator("#picture-value").text_content().startswith("PSNR")
    page.get_by_role("button", name="Previous image").click()
    page.keyboard.press("ArrowLeft")  # from the first to the last
    assert shown.get_attribute("src") == page.locator(".first img").last.get_attribute("src")
    page.keyboard.press("Escape")
    assert page.locator("dialog").is_hidden()
    page.locator(".run .images").first.locator(".enlarge").nth(1).click()
    assert page.locator("#picture-name").text_content() == "SIREN + pixels"
    page.get_by_role("button", name="Close").click()
    assert page.locator("dialog").is_hidden()


@pytest.mark.parametrize(
    ("width", "colors"), [(390, {}), (1440, {"color_scheme": "dark"}), (1440, {"forced_colors": "active"})]
)
def test_axe_finds_no_violation(opened, axe, colors, width):
    page = opened(viewport={"width": width, "height": 844}, **colors)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for key in (None, "Enter"):
        if key:
            page.locator(".first .enlarge").first.focus()
            page.keyboard.press(key)
        passes, violations = axe(page)
        assert violations == []
        assert passes > 15
    page.keyboard.press("Escape")
    page.evaluate("document.querySelector('.first img').removeAttribute('alt')")
    assert "image-alt" in [rule for rule, *_ in axe(page)[1]]  # it does find something


def test_dots_and_strokes_are_printed(opened):
    """Browsers leave out backgrounds by default, not borders and strokes."""
    page = opened()
    page.emulate_media(media="print")
    dot = page.evaluate(
        """(() => { const style = getComputedStyle(document.querySelector(".run figure.eoren .name"), "::before");
        return [parseFloat(style.borderTopWidth), style.borderTopColor, style.backgroundColor]; })()"""
    )
    assert dot[0] > 2
    assert dot[1] == "rgb(11, 105, 176)"
    assert dot[2] == "rgba(0, 0, 0, 0)"


@pytest.mark.parametrize("format", ["A4", "Letter"])
def test_no_plot_is_split_over_pages(opened, format):
    """A part of a page that is split is drawn on both sheets of the paper."""
    page = opened()
    page.evaluate(  # a colour of its own for each plot
        """document.querySelectorAll("svg.plot").forEach((plot) => plot.insertAdjacentHTML("beforeend",
        '<path d="M0 100H300" style="stroke: #ff00ff"/>'))"""
    )
    drawn = 0
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", page.pdf(format=format), re.DOTALL):
        with contextlib.suppress(zlib.error):
            # The checksum at the end is left out: its last byte may look like the end of a line.
            content = zlib.decompressobj().decompress(stream)
            drawn += len(re.findall(rb"^1 0 1 RG", content, re.MULTILINE))
    assert drawn == page.locator("svg.plot").count() > 10
