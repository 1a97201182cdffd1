"""Exported pages in a browser: opened without a network, and what their canvas shows."""

import io
from contextlib import contextmanager

import numpy as np
from PIL import Image

from eoren.export.html import write_html

_TIMEOUT = 60_000  # milliseconds


@contextmanager
def page_opener(browser, folder, *, viewport, timeout=_TIMEOUT):
    """Yield a function that opens the page of a field. Requests for anything but the file, and errors, fail."""
    contexts, problems = [], []

    def open_page(field, **options):
        write_html(folder / "a.html", field, title="a <b>")
        contexts.append(browser.new_context(viewport=viewport, offline=True, **options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url) if request.url != address else None)
        address = (folder / "a.html").as_uri()
        page.goto(address)
        done(page, timeout=timeout)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def done(page, *, timeout=_TIMEOUT):
    page.wait_for_selector("canvas[aria-busy=false]", timeout=timeout)


def screenshot(page):
    """Pixels of the canvas, ``(height, width, 3)``."""
    image = Image.open(io.BytesIO(page.locator("canvas").screenshot()))
    return np.asarray(image.convert("RGB"), np.int16)


def pixels(page, field, *, timeout=_TIMEOUT):
    """The part of the canvas that shows the image, at one screen pixel per image pixel."""
    page.keyboard.press("0")
    page.get_by_role("button", name="One pixel").click()
    done(page, timeout=timeout)
    width, height = field.size
    canvas = screenshot(page)
    left, top = (round(side) for side in page.evaluate("[canvas.width / 2 - view.x, canvas.height / 2 - view.y]"))
    return canvas[top : top + height, left : left + width]


def enlarged(page, field, scale, *, timeout=_TIMEOUT):
    """The part of the canvas that shows the image, at some screen pixels per image pixel."""
    width, height = (scale * side for side in field.size)
    left, top = page.evaluate(
        f"[Math.round((canvas.width - {width}) / 2), Math.round((canvas.height - {height}) / 2)]"
    )
    x, y = f"(canvas.width / 2 - {left}) / {scale}", f"(canvas.height / 2 - {top}) / {scale}"
    page.evaluate(f"look({{ x: {x}, y: {y}, scale: {scale} }})")
    done(page, timeout=timeout)
    return screenshot(page)[top : top + height, left : left + width]


def eight_bits(values):
    return np.floor(np.clip(values, 0, 1) * 255 + 0.5)
