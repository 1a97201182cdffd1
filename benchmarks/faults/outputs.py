"""The other commands that write: gradients, composition, exports, reports, experiments.

Every one is given an output that is there already, and told to replace it.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.faults.refusals import Fault
from benchmarks.faults.survival import Scene, contents, eoren

_PICTURE, _OTHER, _MASK, _FIELD = "picture.npy", "other.npy", "mask.npy", "field.eoren"
_FIT = ("--preset", "fast", "--steps", "3", "--quiet")
_OLD = b"what was there before"

# By name: the files that a command is to write, and its words.
_COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **{
        f"gradient, {suffix}": ((f"old.{suffix}",), ("gradient", _PICTURE, "-o", f"old.{suffix}"))
        for suffix in ("npy", "tiff", "png", "jpg", "webp")
    },
    "mix": (("old.png",), ("mix", _PICTURE, _OTHER, "-o", "old.png")),
    "mix, fitted": (("old.eoren",), ("mix", _PICTURE, _OTHER, "-o", "old.eoren", *_FIT)),
    "clone": (("old.png",), ("clone", _OTHER, _PICTURE, "--mask", _MASK, "-o", "old.png")),
    "clone, fitted": (("old.eoren",), ("clone", _OTHER, _PICTURE, "--mask", _MASK, "-o", "old.eoren", *_FIT)),
    "fill": (("old.tiff",), ("fill", _PICTURE, "--mask", _MASK, "-o", "old.tiff")),
    "fill, fitted": (("old.eoren",), ("fill", _PICTURE, "--mask", _MASK, "-o", "old.eoren", *_FIT)),
    "retouch": (("old.jpg",), ("retouch", _PICTURE, "--boost-detail", "2", "-o", "old.jpg")),
    "retouch, fitted": (("old.eoren",), ("retouch", _PICTURE, "--flatten-light", "-o", "old.eoren", *_FIT)),
    "render, .jpg": (("old.jpg",), ("render", _FIELD, "-o", "old.jpg", "--size", "300x300")),
    "render, .tiff": (("old.tiff",), ("render", _FIELD, "-o", "old.tiff", "--size", "300x300")),
    "export, onnx": (("old.onnx",), ("export", _FIELD, "--to", "onnx", "-o", "old.onnx")),
    "export, glsl": (("old.glsl", "old.glsl.bin"), ("export", _FIELD, "--to", "glsl", "-o", "old.glsl")),
    "export, html": (("old.html",), ("export", _FIELD, "--to", "html", "-o", "old.html")),
    "compare": (
        ("old.html", "old.json"),
        (
            "compare",
            _PICTURE,
            "-o",
            "old.html",
            "--json",
            "old.json",
            "--epochs",
            "1",
            "--size",
            "16",
            "--seconds",
            ".05",
        ),
    ),
}


def belongings() -> dict[str, bytes]:
    """What a user has: two images, a mask, a field, and an older file for every output."""
    from eoren.field.serialization import save
    from eoren.training.fit import fit

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in (_PICTURE, _OTHER):
            np.save(folder / name, random.random((40, 56), np.float32))
        mask = np.zeros((40, 56), np.float32)
        mask[10:30, 10:30] = 1
        np.save(folder / _MASK, mask)
        save(fit(folder / _PICTURE, steps=3, seed=1, preset="fast").field, folder / _FIELD)
        for outputs, _ in _COMMANDS.values():
            for name in outputs:
                (folder / name).write_bytes(_OLD)
        return contents(folder)


def scenes(files: dict[str, bytes]) -> list[Scene]:
    """None: each of these writes once, at its end, as ``save`` does."""
    return []


def faults() -> list[Fault]:
    """Every command on a full disk, on a read-only one, and where files may not grow."""
    found = []
    for name, (_, words) in _COMMANDS.items():
        command = partial(eoren, *words, "--overwrite")
        found += [
            Fault(f"file limit of 400 bytes: {name}", command(file_size=400)),
            Fault(f"full disk: {name}", command(), disk=1),
            Fault(f"read-only disk: {name}", command(), disk=1, read_only=True),
        ]
    # The larger of the two files fits, and then there is no room for the other one.
    found += [
        Fault(f"room for one of two files: {name}", eoren(*_COMMANDS[name][1], "--overwrite"), disk=1, room=room)
        for name, room in (("export, glsl", 64), ("compare", 208))
    ]
    reproduce = partial(eoren, "reproduce", "gma", "-o", ".", "--quiet")
    found += [
        Fault("file limit of 400 bytes: reproduce", reproduce(file_size=400)),
        Fault("file limit of 9000 bytes: reproduce", reproduce(file_size=9000), may_go=("gma.csv",)),
        Fault("full disk: reproduce", reproduce(), disk=1),
        Fault("read-only disk: reproduce", reproduce(), disk=1, read_only=True),
    ]
    return found
