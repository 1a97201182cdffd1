import html.parser
import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import imagecodecs
import numpy as np
import pytest

from eoren.experiments.comparison import compare
from eoren.experiments.report import report
from eoren.image.io import SourceImage

NAME = "<script>alert('x')</script> & \"y\".png"


class Page(html.parser.HTMLParser):
    """Every element with its attributes, and every text."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, content):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(" ".join(text.split()))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def comparison():
    pixels = np.random.default_rng(0).random((24, 30, 3), np.float32)
    return compare(SourceImage(pixels, 8, "f" * 64, NAME), epochs=3.0, seconds=0.02, side=16, seed=7)


@pytest.fixture(scope="module")
def content(comparison):
    return report(comparison)


@pytest.fixture(scope="module")
def page(content):
    return Page(content)


def test_the_report_is_self_contained(page, content):
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:image/png;base64,", "#"))
    assert "@import" not in content
    for address in re.findall(r"url\(([^)]*)\)", content):
        assert address.startswith("#")


def test_file_names_are_escaped(page):
    assert f"{NAME}: ways to fit an image" in page.texts
    assert page.all("script") == [{}]  # the page's own


def test_file_names_that_are_not_utf8_or_look_like_options(comparison):
    for name, shown in (("caf\udce9.png", "caf\\udce9.png"), ("-o.png", "-o.png")):
        page = Page(report(replace(comparison, source=replace(comparison.source, name=name))))
        assert f"{shown}: ways to fit an image" in page.texts
    assert any(text.startswith("eoren compare ./-o.png -o report.html") for text in page.texts)


def test_links_and_labels_have_targets(page):
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(names)) == len(names)
    targets = {link["href"][1:] for link in page.all("a")}
    targets |= {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert targets <= set(names)


def test_every_image_and_plot_has_a_description(comparison, page):
    files = len(comparison.rates.stored)
    assert len(page.all("img")) == 8 + 2 * (5 + 5 + 4 + 6 + 1) + files * 3 + 3
    assert all(image["alt"].strip() and int(image["width"]) and int(image["height"]) for image in page.all("img"))
    plots = [drawing for drawing in page.all("svg") if drawing.get("class") == "plot"]
    assert len(plots) == 2 * (8 + 8) + 6 + 2
    assert all(drawing["aria-label"].strip() and drawing["role"] == "img" for drawing in plots)
    assert all("aria-label" in drawing or drawing["aria-hidden"] == "true" for drawing in page.all("svg"))


def test_headings_descend_one_level_at_a_time(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_scrolling_regions_are_reachable_by_keyboard(page):
    regions = [attributes for _, attributes in page.elements if attributes.get("class") == "scroll"]
    assert len(regions) == 3
    assert all(region["tabindex"] == "0" and region["aria-label"] for region in regions)


def test_plots_take_the_colours_of_the_page(content):
    """Otherwise they would be wrong in dark mode."""
    for drawing in re.findall(r"<svg.*?</svg>", content, re.DOTALL):
        ElementTree.fromstring(drawing)
        assert not re.search(r"(fill|stroke)=|style=|rgb", drawing)
    style = content.split("<style>")[1].split("</style>")[0]
    light, dark = (set(re.findall(r"(--[a-z]+):", part)) for part in style.split(":root {")[1:3])
    assert {"--page", "--text"} <= dark
    assert dark == light
    assert set(re.findall(r"var\((--[a-z]+)", style)) <= light | {"--own"}


def test_tables_hold_the_numbers(comparison, content):
    tables = re.findall(r"<table>(.*?)</table>", content, re.DOTALL)
    for table, trials in zip(tables[:2], (comparison.equal_epochs, comparison.equal_time), strict=True):
        rows = re.findall(r'<tr class="(\w+)">(.*?)</tr>', table, re.DOTALL)
        assert [key for key, _ in rows] == [trial.method.key for trial in trials]
        for (_, row), trial in zip(rows, trials, strict=True):
            cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", row)]
            last = trial.final
            assert cells[:2] == [f"{last.psnr:.2f}", f"{last.gradient_psnr:.2f}"]
            assert cells[2] == f"{last.ssim:.4f}"
            assert cells[5] == f"{trial.field.parameters:,}"
        best = max(trials, key=lambda trial: trial.final.psnr)
        assert f"<b>{best.final.psnr:.2f}</b>" in dict(rows)[best.method.key]
    rows = re.findall(r'<tr class="(\w+)">(.*?)</tr>', tables[2], re.DOTALL)
    assert [key for key, _ in rows] == [stored.key for stored in comparison.rates.stored]
    for (_, row), stored in zip(rows, comparison.rates.stored, strict=True):
        cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", row)]
        measured = stored.measurement
        assert cells[:3] == [f"{measured.psnr:.2f}", f"{measured.gradient_psnr:.2f}", f"{measured.bytes:,}"]


def test_the_conditions_are_stated(comparison, page):
    text = " ".join(page.texts)
    ours, paper = (f"{comparison.equal_time[k].final.psnr:.2f} dB" for k in (3, 2))
    assert f"this library's mosaic reaches {ours} and EoREN (paper) {paper}, in" in text
    assert f"in {comparison.rates.stored[0].measurement.bytes:,} bytes." in text
    assert "reduced to 16 x 13" in text
    assert "Every method saw every pixel 3 times" in text
    assert "--scale small --seed 7 --size 16 --epochs 3 --seconds 0.02" in text
    assert "f" * 64 in text
    for value in comparison.machine.values():
        assert str(value) in text
    best = max(comparison.equal_epochs, key=lambda trial: trial.final.psnr)
    assert f"After 3 epochs each, {best.method.label} has the best colours" in text


def test_exact_and_unknown_numbers(comparison):
    first, *rest = comparison.equal_epochs
    exact = replace(first.samples[-1], psnr=float("inf"), ssim=float("nan"))
    odd = replace(comparison, equal_epochs=(replace(first, samples=(*first.samples[:-1], exact)), *rest))
    cells = re.findall(r"<td>(.*?)</td>", report(odd))
    assert cells[0] == "<b>exact</b>"
    assert cells[2] == "–"


def test_missing_codecs_are_named(comparison):
    rates = replace(comparison.rates, missing={"avif6psnr": "Pillow is built without AVIF"})
    assert "AVIF is missing: Pillow is built without AVIF." in report(replace(comparison, rates=rates))


@pytest.mark.parametrize(("height", "width", "coarse"), [(9, 12, True), (3, 200, False)])
def test_small_images_are_shown_as_squares(height, width, coarse):
    pixels = np.random.default_rng(0).random((height, width, 1), np.float32)
    comparison = compare(SourceImage(pixels, 8, "", "a.png"), epochs=1.0, seconds=0.001)
    assert ('class="coarse"' in report(comparison)) == coarse
    assert "fitted at its own size" in report(comparison)


def test_the_profile_of_the_colours_is_named(comparison):
    profile = imagecodecs.cms_profile("adobergb")
    named = replace(comparison, source=replace(comparison.source, profile=profile))
    assert "in the profile Adobe RGB (compatible)" in report(named)
    assert named.as_dict()["picture"]["profile"] == "Adobe RGB (compatible)"
    assert "in the profile" not in report(comparison)
    assert comparison.as_dict()["picture"]["profile"] == ""
