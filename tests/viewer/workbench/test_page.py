"""The workbench in a browser: drop a picture, fit, stop, write; clone, fill and retouch."""

import io
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tests.viewer.commands import printed_address

import eoren
from eoren.composition.operations import clone


@pytest.fixture
def waves(tmp_path):
    """Function that draws a picture into a file."""

    def draw(width, height):
        y, x = np.mgrid[:height, :width]
        pixels = 0.5 + 0.4 * np.sin(x[..., None] / [3, 5, 7] + y[..., None] / [6, 3, 4])
        path = tmp_path / "waves.png"
        Image.fromarray(np.uint8(255 * pixels)).save(path)
        return path

    return draw


@pytest.fixture
def page(server, workbench, visit):
    return visit(f"{server.address}?token={workbench.token}")


DROP = """async ([name, bytes]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], name));
  for (const type of ["dragover", "drop"])
    $("stage").dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


def test_an_image_is_dropped_fitted_stopped_and_written(started, visit, waves, tmp_path):
    process = started("view", "--no-browser")
    address = printed_address(process)
    page = visit(address)
    page.until("!$('drop').hidden")
    assert page.page.url == address.partition("?")[0]  # the token leaves the address
    assert page.page.locator("#choose-file").is_visible()
    picture = waves(96, 64)
    with page.page.expect_navigation():
        page.page.evaluate(DROP, [picture.name, [*picture.read_bytes()]])
    page.open(page.page.url)
    page.until("!$('result').hidden")
    page.settled()
    assert page.page.evaluate("catalog.entries.map(({ name }) => name)") == ["waves"]
    assert page.page.locator("#fit").is_hidden()
    assert page.page.input_value("#path") == "waves.eoren"
    assert page.page.title() == "waves – EoREN"
    page.page.fill("#path", "../waves.eoren")
    page.page.click("#write-form button")
    page.until("$('write-note').textContent.includes('must lie in the folder')")
    page.page.fill("#path", "mine.eoren")
    page.page.keyboard.press("Enter")
    page.until("$('result').hidden")
    assert eoren.load(tmp_path / "mine.eoren").size == (96, 64)
    page.errors.clear()  # the browser logs the status 400
    # A long fit is stopped; a file that is there stays.
    with page.page.expect_navigation():
        page.page.set_input_files("#file", waves(320, 240))
    page.open(page.page.url)
    page.until("!$('stop').disabled && !$('stop').hidden")
    assert page.page.inner_text("#stop") == "Stop"
    assert page.page.locator("#open").is_hidden()
    page.page.click("#stop")
    page.until("!$('result').hidden")
    page.page.fill("#path", "mine.eoren")
    page.page.click("#write-form button")
    page.until("$('write-note').textContent.includes('--overwrite')")
    page.settled()
    assert page.page.evaluate("catalog.entries.map(({ name }) => name)") == ["waves", "waves-2"]
    assert page.page.evaluate("panes.left.choice.entry.name") == "waves-2"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    page.errors.clear()


def test_ctrl_c_ends_a_fit(started, visit, waves):
    process = started("view", "--no-browser")
    page = visit(printed_address(process))
    with page.page.expect_navigation():
        page.page.set_input_files("#file", waves(320, 240))
    page.open(page.page.url)
    page.until("fit.status?.steps > 0")
    page.page.goto("about:blank")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0


def test_without_the_token_the_page_only_shows(visit, server, two_images, waves):
    page = visit(server.address)
    page.settled()
    for control in ("#open", "#edit", "#result"):
        assert page.page.locator(control).is_hidden()
    picture = waves(9, 9)
    page.page.evaluate(DROP, [picture.name, [*picture.read_bytes()]])
    page.until("$('banner-text').textContent.includes('with its token')")
    stale = visit(f"{server.address}?token=wrong")
    stale.settled()
    stale.page.set_input_files("#file", picture)
    stale.until("$('banner-text').textContent.startsWith('the token must be that of this server')")
    stale.errors.clear()  # the browser logs the status 403


def test_an_empty_page_without_the_token_says_what_to_do(visit, server):
    page = visit(server.address)
    page.until("!$('drop').hidden")
    assert "Open the address that eoren view printed" in page.page.inner_text("#drop")
    assert page.page.locator("#choose-file").is_hidden()


def test_a_file_that_is_no_image_is_reported(page, tmp_path):
    (tmp_path / "a.txt").write_text("text")
    page.page.set_input_files("#file", tmp_path / "a.txt")
    page.until("$('banner-text').textContent.startsWith('a.txt: no image')")
    page.errors.clear()


@pytest.fixture
def editor(page, two_images):
    page.open(page.page.url)
    page.settled()
    page.page.select_option("#left", "dark~original")
    page.settled()
    page.page.keyboard.press("b")
    page.until("!$('edit-tool').hidden")
    return page


def seen_edit(page, server):
    page.until(
        "panes.left.sheet?.choice.layer.name.startsWith('edited') && $('edit-status').textContent.startsWith('Exact')"
    )
    page.settled()
    layer = page.page.evaluate("panes.left.choice.layer.iiif").replace("~64x", "")
    content = server.request(f"{layer}/full/max/0/default.png").content
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(float)


def drag(page, start, end):
    page.page.mouse.move(*page.at(*start))
    page.page.mouse.down()
    page.page.mouse.move(*page.at(*end), steps=4)
    page.page.mouse.up()


def test_clone_by_painting_and_dragging(editor, server, image, tmp_path):
    page = editor
    assert page.page.input_value("#source") == "small"
    drag(page, (0.3, 0.4), (0.5, 0.4))
    before = seen_edit(page, server)
    assert np.abs(before - 63.75).max() > 10  # waves on dark
    page.page.check("input[name=brush][value=move]", force=True)
    drag(page, (0.4, 0.4), (0.4 + 5 / 30, 0.4 + 3 / 20))
    page.until("$('offset-x').value === '5' && $('offset-y').value === '3'")
    page.until("!$('edit-status').textContent.startsWith('Solving')")
    moved = seen_edit(page, server)
    with page.page.expect_download() as download:
        page.page.click("#save-mask")
    assert download.value.suggested_filename == "dark-mask.png"
    mask = np.asarray(Image.open(download.value.path()).convert("L")) / 255
    assert mask.shape == (20, 30)
    assert 0.02 < mask.mean() < 0.5
    expected = clone(image, np.full_like(image, 0.25), mask, offset=(5, 3)).colors
    assert np.abs(moved - 255 * expected).max() <= 1
    # The command does the same.
    assert page.page.evaluate("$('stage').textContent.includes('Edited')")
    eoren.write_image(tmp_path / "small.png", image)
    eoren.write_image(tmp_path / "it's dark.png", np.full_like(image, 0.25))
    download.value.save_as(tmp_path / "dark-mask.png")
    command = page.page.input_value("#edit-command")
    code = f"import sys; sys.path[:] = {sys.path!r}; from eoren.cli import main; main(sys.argv[1:])"
    subprocess.run(
        ["bash", "-c", f'eoren() {{ "{sys.executable}" -c "$CODE" "$@"; }}; {command}'],
        **{"cwd": tmp_path, "check": True, "timeout": 120, "env": {"CODE": code, "PATH": "/usr/bin:/bin"}},
    )
    written = np.asarray(Image.open(tmp_path / "dark-clone.png").convert("RGB")).astype(float)
    # The image of dark has no 8-bit values here.
    assert np.abs(written - moved).max() <= 2


def test_fill_by_keys_alone(editor, server, image):
    page = editor
    page.page.keyboard.press("Escape")
    page.page.locator("input[name=operation]:checked").focus()
    page.page.keyboard.press("ArrowRight")
    page.until("document.querySelector('input[name=operation]:checked').value === 'fill'")
    page.page.locator("#brush").focus()
    for key in ("ArrowLeft", "Shift+ArrowLeft", "ArrowUp", "Space"):
        page.page.keyboard.press(key)
    filled = seen_edit(page, server)
    assert filled.shape == (20, 30, 3)
    assert page.page.input_value("#edit-command") == (
        "eoren fill 'it'\\''s dark.png' --mask dark-mask.png -o dark-fill.png"
    )
    assert "#" in page.page.url
    assert "edited" in page.page.url


def test_retouch(editor, server):
    page = editor
    page.page.check("input[name=operation][value=retouch]", force=True)
    assert seen_edit(page, server).shape == (20, 30, 3)
    for control in ("#source", "#brush-size", "#save-mask", "#factor"):
        assert page.page.locator(control).is_hidden(), control
    page.page.select_option("#change", "boost-detail")
    page.page.fill("#factor", "1.5")
    page.page.keyboard.press("Tab")
    page.until("$('edit-command').value.includes('--boost-detail 1.5 ')")


def test_erasing_and_panning(editor):
    page = editor
    drag(page, (0.3, 0.4), (0.5, 0.4))
    page.until("$('edit-status').textContent.startsWith('Exact')")
    selected = "size()[0]"
    assert page.page.evaluate(selected) == 30
    page.page.fill("#brush-size", "240")
    page.page.check("input[name=brush][value=erase]", force=True)
    drag(page, (0.1, 0.4), (0.9, 0.4))
    drag(page, (0.1, 0.6), (0.9, 0.6))
    page.until("$('edit-status').textContent.startsWith('the mask is empty')")
    page.page.check("input[name=brush][value=pan]", force=True)
    centre = page.page.evaluate("viewer.viewport.getCenter().x")
    drag(page, (0.3, 0.4), (0.4, 0.4))
    page.settled()
    assert page.page.evaluate("viewer.viewport.getCenter().x") < centre - 0.05
    page.page.keyboard.press("Escape")
    page.page.click("#close-edit")
    assert page.page.locator("#edit-tool").is_hidden()
    assert page.page.evaluate("!layout.isPainting")
    page.errors.clear()  # the browser logs the status 400


def test_another_image_on_the_left_ends_the_edit(editor):
    editor.page.select_option("#left", "small~color")
    editor.until("$('edit-tool').hidden")
    editor.settled()


@pytest.mark.parametrize("colors", [{}, {"color_scheme": "dark"}, {"forced_colors": "active"}])
def test_axe_finds_no_violation(visit, server, workbench, two_images, axe, colors):
    address = f"{server.address}?token={workbench.token}"
    page = visit(address, viewport={"width": 1440, "height": 900}, **colors)
    page.settled()
    page.page.keyboard.press("b")
    page.until("!$('edit-tool').hidden")
    assert page.page.locator("#result").is_visible()
    for operation in ("clone", "retouch"):
        page.page.check(f"input[name=operation][value={operation}]", force=True)
        passes, violations = axe(page.page)
        assert violations == []
        assert passes > 15
    for name in ("small", "dark"):
        two_images.remove(two_images.find(name))
    page.open(address)
    page.until("!$('drop').hidden")
    assert axe(page.page)[1] == []
    page.page.evaluate("$('choose-file').textContent = ''")
    assert axe(page.page)[1] == [["button-name", "#choose-file"]]  # it does find something
    page.errors.clear()  # the first page may have asked for a field when it was removed


@pytest.mark.parametrize("tool", [None, "#edit"])
def test_nothing_is_cut_on_a_phone(visit, server, workbench, two_images, tool):
    page = visit(
        f"{server.address}?token={workbench.token}",
        **{"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "has_touch": True, "is_mobile": True},
    )
    page.settled()
    if tool:
        page.page.tap(tool)
        page.until("!$('edit-tool').hidden")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.page.locator("#stage").bounding_box()["height"] > 200
    assert page.page.evaluate("document.documentElement.scrollHeight") <= 844
