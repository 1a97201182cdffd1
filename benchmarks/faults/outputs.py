"""The other commands that write files: gradients, composition, exports, reports, experiments.

The output of every command exists, and the command has the option to replace it.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.faults.refusals import Fault
from benchmarks.faults.survival import Scene, contents, eoren

_IMAGE, _OTHER, _MASK, _FIELD = "picture.npy", "other.npy", "mask.npy", "field.eoren"
_FIT = ("--preset", "fast", "--steps", "3", "--quiet")
_OLD = b"what was there before"

# By name: the files that a command writes, and its arguments.
_COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **{
        f"gradient, {suffix}": ((f"old.{suffix}",), ("gradient", _IMAGE, "-o", f"old.{suffix}"))
        for suffix in ("npy", "tiff", "png", "jpg", "webp")
    },
    "mix": (("old.png",), ("mix", _IMAGE, _OTHER, "-o", "old.png")),
    "mix, fitted": (("old.eoren",), ("mix", _IMAGE, _OTHER, "-o", "old.eoren", *_FIT)),
    "clone": (("old.png",), ("clone", _OTHER, _IMAGE, "--mask", _MASK, "-o", "old.png")),
    "clone, fitted": (("old.eoren",), ("clone", _OTHER, _IMAGE, "--mask", _MASK, "-o", "old.eoren", *_FIT)),
    "fill": (("old.tiff",), ("fill", _IMAGE, "--mask", _MASK, "-o", "old.tiff")),
    "fill, fitted": (("old.eoren",), ("fill", _IMAGE, "--mask", _MASK, "-o", "old.eoren", *_FIT)),
    "retouch": (("old.jpg",), ("retouch", _IMAGE, "--boost-detail", "2", "-o", "old.jpg")),
    "retouch, fitted": (("old.eoren",), ("retouch", _IMAGE, "--flatten-light", "-o", "old.eoren", *_FIT)),
    "render, .jpg": (("old.jpg",), ("render", _FIELD, "-o", "old.jpg", "--size", "300x300")),
    "render, .tiff": (("old.tiff",), ("render", _FIELD, "-o", "old.tiff", "--size", "300x300")),
    "export, onnx": (("old.onnx",), ("export", _FIELD, "--to", "onnx", "-o", "old.onnx")),
    "export, glsl": (("old.glsl", "old.glsl.bin"), ("export", _FIELD, "--to", "glsl", "-o", "old.glsl")),
    "export, html": (("old.html",), ("export", _FIELD, "--to", "html", "-o", "old.html")),
    "compare": (
        ("old.html", "old.json"),
        ("compare", _IMAGE, "-o", "old.html", "-o", "old.json", "--epochs=1", "--size=16", "--seconds=.05"),
    ),
}


def prepare_files() -> dict[str, bytes]:
    """Make the files of a user: two images, a mask, a field, and an older file for every output."""
    import matplotlib.font_manager  # noqa: F401  writes a cache in the user's folder, and complains where it cannot

    from eoren.field.serialization import save
    from eoren.training.fit import fit

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        for name in (_IMAGE, _OTHER):
            np.save(folder / name, random.random((40, 56), np.float32))
        mask = np.zeros((40, 56), np.float32)
        mask[10:30, 10:30] = 1
        np.save(folder / _MASK, mask)
        save(fit(folder / _IMAGE, steps=3, seed=1, preset="mosaic-fast").field, folder / _FIELD)
        for outputs, _ in _COMMANDS.values():
            for name in outputs:
                (folder / name).write_bytes(_OLD)
        return contents(folder)


def scenes(files: dict[str, bytes]) -> list[Scene]:
    """Return no scenes: each of these commands writes once, at its end, as ``save`` does."""
    return []


def faults() -> list[Fault]:
    """List the faults: every command on a full disk, on a read-only disk, and with a limit on file sizes."""
    faults = []
    for name, (_, arguments) in _COMMANDS.items():
        command = partial(eoren, *arguments, "--overwrite")
        faults += [
            Fault(f"file limit of 400 bytes: {name}", command(file_size=400)),
            Fault(f"full disk: {name}", command(), disk=1),
            Fault(f"read-only disk: {name}", command(), disk=1, read_only=True),
        ]
    # The larger of the two files fits on the disk, but not the other one.
    faults += [
        Fault(f"room for one of two files: {name}", eoren(*_COMMANDS[name][1], "--overwrite"), disk=1, room=room)
        for name, room in (("export, glsl", 64), ("compare", 208))
    ]
    reproduce = partial(eoren, "reproduce", "gma", "-o", ".", "--quiet")
    faults += [
        Fault("file limit of 400 bytes: reproduce", reproduce(file_size=400)),
        Fault("file limit of 9000 bytes: reproduce", reproduce(file_size=9000), may_go=("gma.csv",)),
        Fault("full disk: reproduce", reproduce(), disk=1),
        Fault("read-only disk: reproduce", reproduce(), disk=1, read_only=True),
    ]
    return faults
