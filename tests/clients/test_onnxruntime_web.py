"""ONNX Runtime in a browser, on WebAssembly."""

import os
from pathlib import Path

import numpy as np
import pytest
from tests.clients.conftest import assert_close

ROOT = Path(__file__).parents[2]
PACKAGE = Path(os.environ.get("EOREN_ONNXRUNTIME_WEB", ROOT / "node_modules" / "onnxruntime-web")) / "dist"
ADDRESS = "http://graph.test/"
PAGE = """<script type="module">
import * as ort from "/ort.wasm.min.mjs";
ort.env.wasm.numThreads = 1;
window.run = async (points) => {
  const session = await ort.InferenceSession.create("/field.onnx");
  const xy = new ort.Tensor("float64", Float64Array.from(points.flat()), [points.length, 2]);
  const { color, gradient } = await session.run({ xy });
  return { color: Array.from(color.data), gradient: Array.from(gradient.data) };
};
</script>"""


def test_colors_and_gradients(browser, graph):
    if not PACKAGE.exists():
        pytest.skip("onnxruntime-web is not installed; npm install onnxruntime-web")
    path, points, color, gradient = graph
    page = browser.new_page()

    def serve(route):
        name = route.request.url.removeprefix(ADDRESS)
        if not name:
            return route.fulfill(body=PAGE, content_type="text/html")
        file = path if name == path.name else PACKAGE / name
        return route.fulfill(path=file) if file.exists() else route.fulfill(status=404)

    page.route("**/*", serve)
    page.goto(ADDRESS)
    page.wait_for_function("() => window.run", timeout=60_000)
    values = page.evaluate("(points) => run(points)", points.tolist())
    assert_close(np.reshape(values["color"], color.shape), color)
    assert_close(np.reshape(values["gradient"], gradient.shape), gradient)
    page.close()
