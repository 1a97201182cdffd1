"""Shaders of fields, run in Chromium's WebGL."""

import re
from base64 import b64encode
from pathlib import Path

import numpy as np

from eoren.export.glsl import write_glsl

COLOR, MAGNITUDE, DIRECTION, BY_X, BY_Y = range(5)
_RUN = (Path(__file__).parent / "run_shader.js").read_text()


class ShaderRunner:
    """Function that draws layers of a field from its two files: ``(layers, height, width, 4)``, rows from the top."""

    def __init__(self, browser, folder):
        self.page, self.file = browser.new_page(), folder / "a.glsl"

    def __call__(self, field, layers, *, size=(13, 11), base=(0, 0), offset=(0.0, 0.0), step=None):
        data = write_glsl(self.file, field)
        source = self.file.read_text()
        width, height = size
        given = {
            "source": source,
            "data": b64encode(data.read_bytes()).decode(),
            "textures": _textures(source),
            "base": base,
            "offset": offset,
            "step": step or (field.size[0] / width, field.size[1] / height),
            "width": width,
            "height": height,
            "layers": layers,
        }
        return np.array(self.page.evaluate(_RUN, given), np.float32).reshape(len(layers), height, width, 4)


def _textures(source):
    """Names and sizes of the textures, from the comment at the start of a shader."""
    found = re.findall(r"^// sampler2D(?:Array)? (\w+): (\d+) x (\d+)(?: x (\d+))?$", source, re.MULTILINE)
    return [{"name": n, "width": int(w), "rows": int(h), "layers": int(layers or 0)} for n, w, h, layers in found]
