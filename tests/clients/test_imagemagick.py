import shutil
import subprocess

import numpy as np
import pytest

import eoren
from eoren.field.grid import WHOLE
from eoren.visualization.derivatives import write_field


def is_imagemagick(name):
    """Whether a program is ImageMagick: others are called "convert", too, such as one of Windows for disks."""
    if shutil.which(name) is None:
        return False
    return b"ImageMagick" in subprocess.run([name, "-version"], capture_output=True, timeout=60, check=False).stdout


PROGRAM = next(filter(is_imagemagick, ("magick", "convert")), "magick")

KINDS = [("png", 8), ("png", 16), ("tif", 8), ("tif", 16), ("tif", 32), ("webp", 8)]


@pytest.mark.parametrize(("suffix", "bit_depth"), KINDS)
def test_rendered_files(picture, tmp_path, program, suffix, bit_depth):
    field, path = eoren.load(picture[1]), tmp_path / f"a.{suffix}"
    write_field(path, field, 48, 40, region=WHOLE, show="color", bit_depth=bit_depth)
    shown = np.frombuffer(program(PROGRAM, path, "-depth", "8", "rgb:-"), np.uint8).reshape(40, 48, 3)
    assert np.abs(shown.astype(int) - field.render_image(48, 40)).max() <= (0 if bit_depth == 8 else 1)


def test_a_pipe(picture, program, eoren_command):
    """A field is rendered, halved and fitted again without a file between."""
    parts = [
        f"{eoren_command} render {picture[1]} -o - --scale 2",
        f"{PROGRAM} - -resize 50% png:-",
        f"{eoren_command} fit - -o - -q --preset fast",
    ]
    program(PROGRAM, "-version")
    field = eoren.load(program("sh", "-c", " | ".join(parts)))
    assert field.size == (24, 20)
    assert np.abs(field.render() - eoren.load(picture[1]).render()).mean() < 0.05
