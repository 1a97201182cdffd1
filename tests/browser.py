"""A real browser for the tests: the system's Chromium, driven by Playwright."""

import shutil
from contextlib import contextmanager

import pytest

# WebGL by Chromium's software renderer: the same images on every machine, without a GPU. Without the list below the
# address bar, which is a page by itself: it takes a third of the time of a new window.
_FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup",
]


@contextmanager
def chromium():
    """Start Chromium without a window; skip the test if it is not installed."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("Chromium is not installed; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()
