"""The address of the page, and what the dialog for copying offers."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import eoren
from eoren.viewer.catalog import FieldCatalog


@pytest.fixture
def catalog(field, image):
    catalog = FieldCatalog()
    catalog.add("small", field, digest="digest", image=image, file="it's small.eoren")
    return catalog


BOUNDS = "(({ x, y, width }) => [x * 30, y * 30, width * 30])(viewer.viewport.getBoundsNoRotate())"


def test_the_address_keeps_position_layers_and_wipe(page, visit):
    assert page.page.url.endswith("#left=small~color&right=small~original")
    page.page.select_option("#left", "small~gradient")
    page.settled()
    page.page.evaluate("zoom(3)")
    page.page.evaluate("moveWipe(0.25)")
    page.settled()
    page.until("location.hash.includes('wipe=0.25')")
    page.until("location.hash.includes('xywh')")
    bounds = page.page.evaluate(BOUNDS)
    again = visit(page.page.url)
    again.settled()
    assert again.layers() == ["gradient", "original"]
    assert again.page.evaluate("wipePosition()") == 0.25
    np.testing.assert_allclose(again.page.evaluate(BOUNDS), bounds, atol=0.01)
    again.page.keyboard.press("0")
    again.settled()
    again.until("!location.hash.includes('xywh')")


def test_back_leads_to_the_layers_before(page):
    page.page.select_option("#left", "small~gradient")
    page.settled()
    page.page.evaluate("zoom(3)")
    page.settled()
    page.page.select_option("#right", "")
    page.settled()
    assert page.layers() == ["gradient", None]
    page.page.go_back()
    page.settled()
    assert page.layers() == ["gradient", "original"]
    page.page.go_back()
    page.settled()
    assert page.layers() == ["color", "original"]
    page.page.go_forward()
    page.settled()
    assert page.layers() == ["gradient", "original"]
    assert page.page.input_value("#left") == "small~gradient"
    page.page.go_forward()
    page.settled()
    assert page.layers() == ["gradient", None]
    page.page.reload()
    page.open(page.page.url)
    page.settled()
    assert page.layers() == ["gradient", None]


@pytest.mark.parametrize(
    ("fragment", "message"),
    [
        ("left=other~color", "other~color, which is not open"),
        ("xywh=1,2,0,4", "four numbers"),
        ("xywh=a", "four numbers"),
    ],
)
def test_addresses_that_do_not_fit_are_reported(visit, server, fragment, message):
    page = visit(f"{server.address}#{fragment}")
    page.settled()
    assert message in page.page.inner_text("#banner-text")
    assert page.layers() == ["color", "original"]


def test_the_command_renders_the_view(page, field, tmp_path):
    eoren.save(field, tmp_path / "it's small.eoren")
    page.page.select_option("#right", "")
    page.page.evaluate("zoom(2)")
    page.settled()
    seen = page.pixels()
    page.page.keyboard.press("c")
    command = page.page.input_value("#command")
    code = f"import sys; sys.path[:] = {sys.path!r}; from eoren.cli import main; main(sys.argv[1:])"
    subprocess.run(
        ["bash", "-c", f'eoren() {{ "{sys.executable}" -c "$CODE" "$@"; }}; {command}'],
        **{"cwd": tmp_path, "check": True, "timeout": 120, "env": {"CODE": code, "PATH": "/usr/bin:/bin"}},
    )
    with Image.open(tmp_path / "small-view.png") as rendered:
        assert rendered.size == (seen.shape[1], seen.shape[0])
        assert np.median(np.abs(np.asarray(rendered).astype(float) - seen)) < 4
    page.page.keyboard.press("Escape")
    page.page.select_option("#left", "small~direction")
    page.settled()
    page.page.keyboard.press("c")
    assert page.page.locator("#copy-command").is_disabled()
    assert page.page.locator("#no-command").is_visible()


def test_links_are_copied_and_the_view_is_saved(page):
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.page.click("#share")
    page.page.click("#copy-link")
    page.until("$('said').textContent === 'Link copied'")
    assert page.page.evaluate("navigator.clipboard.readText()") == page.page.url
    seen = page.pixels()
    with page.page.expect_download() as download:
        page.page.click("#save")
    assert download.value.suggested_filename == "Field - Image.png"
    with Image.open(download.value.path()) as saved:
        canvas = np.asarray(saved.convert("RGBA")).astype(float)
    drawn = canvas[..., 3] == 255
    assert drawn.mean() > 0.5
    page.page.keyboard.press("Escape")
    assert np.abs(canvas[..., :3] - page.pixels())[drawn].max() <= 1
    assert seen.shape[:2] == canvas.shape[:2]


def test_text_is_shown_where_the_browser_refuses_to_copy(page):
    page.page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.page.click("#share")
    page.page.click("#copy-link")
    page.until("$('copy-panel').open")
    assert page.page.input_value("#copied-text") == page.page.url
    assert page.page.evaluate("$('copied-text').selectionEnd") == len(page.page.url)


def test_full_screen(page):
    page.page.keyboard.press("f")
    page.until("document.fullscreenElement === document.documentElement")
    page.page.click("#full-screen")
    page.until("document.fullscreenElement === null")


def test_the_code_of_the_page_is_small(server):
    """Below 400 kB as it is sent: the files of the page and its modules, compressed."""
    size = 0
    for name in ("index.html", "page.css", "openseadragon.min.js"):
        size += len(
            server.request("/" if name == "index.html" else f"/static/{name}", Accept_Encoding="gzip").content
        )
    from tests.viewer.pages import MODULES

    for name in MODULES:
        answer = server.request(f"/static/{name}.js", Accept_Encoding="gzip, br")
        assert answer.headers["content-encoding"] == "gzip"
        size += len(answer.content)
    assert 50_000 < size < 150_000
    plain = server.request("/static/page.css")
    assert "content-encoding" not in plain.headers
    assert "http://" not in plain.content.decode().replace("http://www.w3.org", "")
