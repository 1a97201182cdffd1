"""The example of docs/exporting.md for three.js, in Chromium."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from tests.fields import TILINGS, compact_field, field_of

from eoren.export.glsl import write_glsl
from eoren.model.latents.edge_prior import VERSION

ROOT = Path(__file__).parents[2]
THREE = Path(os.environ.get("EOREN_THREE", ROOT / "node_modules" / "three")) / "build"
ADDRESS = "http://field.test/"
PAGE = """<script type="importmap">{"imports": {"three": "/three.module.js"}}</script><script type="module">
%s
const scene = new THREE.Scene().add(plane);
const camera = new THREE.OrthographicCamera(-1.5, 1.5, 1, -1, -1, 1);
const renderer = new THREE.WebGLRenderer();
const target = new THREE.WebGLRenderTarget(24, 16, { type: THREE.FloatType });
renderer.setRenderTarget(target);
renderer.render(scene, camera);
const pixels = new Float32Array(24 * 16 * 4);
renderer.readRenderTargetPixels(target, 0, 0, 24, 16, pixels);
window.result = Array.from(pixels);
</script>"""


@pytest.mark.parametrize("field", [compact_field(45, 37, 3, prior=VERSION), field_of(TILINGS["grid"])], ids=str)
def test_the_example_draws_the_field(browser, tmp_path, field):
    if not THREE.exists():
        pytest.skip("three.js is not installed; npm install three, or set EOREN_THREE to its folder")
    write_glsl(tmp_path / "photo.glsl", field, function_only=True)
    blocks = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "exporting.md").read_text(encoding="utf-8"), re.DOTALL)
    (example,) = [block for block in blocks if 'from "three"' in block]
    problems, page = [], browser.new_page()

    def serve(route):
        name = route.request.url.removeprefix(ADDRESS)
        if not name:
            return route.fulfill(body=PAGE % example, content_type="text/html")
        folder = THREE if name.startswith("three") else tmp_path
        return route.fulfill(path=folder / name) if (folder / name).exists() else route.fulfill(status=404)

    page.route("**/*", serve)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(ADDRESS)
    page.wait_for_function("() => window.result", timeout=60_000)
    drawn = np.reshape(page.evaluate("result"), (16, 24, 4))[::-1, :, :3]
    expected = field.color(np.stack(np.meshgrid((np.arange(24) + 0.5) / 24, (np.arange(16) + 0.5) / 16), -1))
    assert not [problem for problem in problems if "favicon" not in problem and "404" not in problem]
    assert np.abs(drawn - expected).max() <= 1e-4 * max(1, np.abs(expected).max())
    page.close()
