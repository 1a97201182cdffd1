"""The viewer's page in a real browser, as its tests handle it."""

import io
import time
from importlib.resources import files

import numpy as np
from PIL import Image

MODULES = sorted(
    path.stem for path in files("eoren.viewer").joinpath("static").iterdir() if path.name.endswith(".js")
)
MODULES.remove("openseadragon.min")

# Make what the page's modules export visible to expressions of the tests.
_EXPOSE = """async (names) => {
  for (const name of names) {
    const module = await import(`/static/${name}.js`);
    for (const key of Object.keys(module))
      Object.defineProperty(globalThis, key, { get: () => module[key], configurable: true });
  }
}"""


class Page:
    """A page, and helpers of these tests."""

    def __init__(self, page, address):
        self.page, self.errors = page, []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.set_default_timeout(60_000)
        self.open(address)

    def open(self, address):
        """Go to an address."""
        self.page.goto(address)
        self.page.evaluate(_EXPOSE, MODULES)

    def until(self, script, seconds=60):
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(script):
            assert time.monotonic() < deadline, f"never true: {script}; {self.errors}"
            time.sleep(0.02)

    def settled(self):
        """Wait until both layers are complete, and nothing moves."""
        still = """(() => { const shown = sides.map((side) => panes[side]).filter((pane) => pane.choice);
            const items = shown.flatMap(({ sheet }) => sheet?.items ?? []);
            return shown.length && shown.every(({ sheet, next }) => !next && sheet && (!sheet.tiled || sheet.part))
              && items.every((item) => item.getFullyLoaded()) && viewer.world.getItemCount() === items.length
              && Math.abs(viewer.viewport.getZoom(true) - viewer.viewport.getZoom(false)) < 1e-9
              && viewer.viewport.getCenter(true).distanceTo(viewer.viewport.getCenter(false)) < 1e-9
              && viewer.viewport.getContainerSize().x === viewer.container.clientWidth
              && viewer.viewport.getContainerSize().y === viewer.container.clientHeight
              && !viewer.world.needsDraw(); })()"""
        # Several times in a row: the tiles to load are known only after a frame was drawn.
        held = 0
        while held < 3:
            self.until(still)
            self.page.evaluate("wake()")
            self.page.evaluate("new Promise((go) => requestAnimationFrame(() => setTimeout(go, 60)))")
            held = held + 1 if self.page.evaluate(still) else 0

    def pixels(self):
        """Pixels of the stage, without the elements on top of the images."""
        self.page.add_style_tag(content="#stage > :not(#viewer) { visibility: hidden !important; }")
        shot = self.page.locator("#stage").screenshot()
        self.page.evaluate("document.head.lastElementChild.remove()")
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(float)

    def value_of(self, name):
        """A value shown under the pointer."""
        terms = self.page.locator("#readout > div")
        rows = terms.evaluate_all("rows => rows.map(row => [...row.children].map(child => child.textContent))")
        return dict(rows).get(name)

    def at(self, x, y):
        """Position on the page of a point of the unit square."""
        position = self.page.evaluate(
            """([x, y]) => { const box = $("stage").getBoundingClientRect();
            const p = toPixel(panes.left.choice.entry, x, y); return [p.x + box.x, p.y + box.y]; }""",
            [x, y],
        )
        return tuple(position)

    def layers(self):
        """Names of the layers that are chosen on the left and right."""
        return self.page.evaluate("sides.map((side) => panes[side].choice?.layer.name ?? null)")
