"""One image: fit, resumed fit, save, render."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.refusals import Fault
from benchmarks.faults.survival import Scene, Work, eoren, is_scrap, lay

IMAGE = "picture.npy"
OUTPUT = "out.eoren"
_NEW = "new.eoren"
CHECKPOINT = f"{OUTPUT}.resume"
_STEPS = 150
_SETTINGS = {"width": "16", "depth": "2", "tile": "20"}
_RENDER = ("render", OUTPUT, "-o", "large.png", "--size", "3000x3000")
# A row is rendered at once; one of this length does not fit into memory that the allocator has kept.
_RENDER_WIDE = (*_RENDER[:-1], "9000000x1")


def prepare_files() -> dict[str, bytes]:
    """Make the files of a user: an image, an older field, a stopped fit, and another field."""
    from eoren.field.serialization import save
    from eoren.training.fit import fit

    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        _write_image(folder)
        settings: dict[str, Any] = {"preset": "mosaic"} | {name: int(value) for name, value in _SETTINGS.items()}
        old = fit(folder / IMAGE, steps=20, seed=1, **settings).field
        save(old, folder / "old")
        stopped = folder / CHECKPOINT
        fit(folder / IMAGE, steps=_STEPS, watch=lambda at: at.steps > 50, checkpoint=stopped, **settings)
        new = fit(folder / IMAGE, steps=20, seed=2, **settings).field
        save(new, folder / _NEW)
        (folder / "old").rename(folder / OUTPUT)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def scenes(files: dict[str, bytes]) -> list[Scene]:
    """List the scenes: a fit over an older file, a resumed fit, and files saved over each other."""

    def with_files(*names: str) -> Work:
        return lay({name: files[name] for name in names})

    whole = partial(check, files[OUTPUT])
    resume = fit_command("--resume")
    return [
        Scene("fit", with_files(IMAGE, OUTPUT), fit_command("--overwrite"), _finish, whole, field_bytes),
        Scene("fit --resume", with_files(IMAGE, OUTPUT, CHECKPOINT), resume, _finish, whole, field_bytes),
        Scene("save", with_files(_NEW, OUTPUT), _save_in_turn, lambda _: _save_in_turn, _check_saved, _saved),
    ]


def fit_command(*more: str, steps: int = _STEPS, **limits: Any) -> Work:
    """Build the command that fits a small image in tiles."""
    settings = [word for name, value in _SETTINGS.items() for word in ("--set", f"{name}={value}")]
    options = ("--quiet", "--preset", "mosaic", "--steps", str(steps), *settings)
    return eoren("fit", IMAGE, "-o", OUTPUT, *options, *more, **limits)


def field_bytes(folder: Path) -> bytes:
    """Read the file of a fit, without the seconds that it took."""
    from eoren.field.serialization import dumps, load

    field = load(folder / OUTPUT)
    return dumps(replace(field, provenance=replace(field.provenance, seconds=0.0)))


def _write_image(folder: Path) -> None:
    rows, columns = np.mgrid[:40, :56]
    waves = 0.5 + 0.2 * np.sin(columns / 3 + rows / 5) + np.random.default_rng(0).uniform(-0.2, 0.2, rows.shape)
    np.save(folder / IMAGE, waves.astype(np.float32))


def _finish(folder: Path) -> Work:
    return fit_command("--resume" if (folder / CHECKPOINT).exists() else "--overwrite")


def check(old: bytes, folder: Path, *, others: Sequence[str] = ()) -> None:
    """Check that every file is complete and expected; ``others`` are files that the work does not change."""
    from safetensors import safe_open

    assert (folder / OUTPUT).read_bytes() == old or field_bytes(folder)
    if (folder / CHECKPOINT).exists():
        with safe_open(folder / CHECKPOINT, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118
                stored.get_tensor(name)
    known = {IMAGE, OUTPUT, CHECKPOINT, *others}
    left = [path.name for path in folder.iterdir() if path.name not in known]
    assert all(is_scrap(name) for name in left), left


def _save_in_turn(folder: Path) -> None:
    from eoren.field.serialization import load, loads, save

    fields = [load(folder / _NEW), loads((folder / OUTPUT).read_bytes())]
    for turn in range(100):
        save(fields[turn % 2], folder / OUTPUT)
    save(fields[0], folder / OUTPUT)


def _check_saved(folder: Path) -> None:
    from eoren.field.serialization import load

    load(folder / OUTPUT)


def _saved(folder: Path) -> bytes:
    return (folder / OUTPUT).read_bytes()


def faults() -> list[Fault]:
    """List the faults, in a folder with an image, an older output and a stopped fit."""
    fit, resume = partial(fit_command, "--overwrite"), partial(fit_command, "--resume")
    render = partial(eoren, *_RENDER)
    # A new fit removes the checkpoint of the previous one, as --overwrite says.
    overwriting = partial(Fault, may_go=(CHECKPOINT,))
    short = {f"{limit} MB of memory": limit for limit in (1, 4, 16, 24, 32)}
    return [
        *(
            overwriting(f"file limit of {size} bytes: {name}", command(file_size=size))
            for size in (1500, 3000)
            for name, command in (("fit", fit), ("fit --resume", resume), ("render", render))
        ),
        overwriting("full disk: fit", fit(), _delete_checkpoint, disk=1),
        overwriting("full disk: fit --resume", resume(), disk=1),
        Fault("full disk: render", render(), disk=1),
        Fault("read-only disk: fit", fit(), disk=1, read_only=True),
        Fault("read-only disk: render", render(), disk=1, read_only=True),
        Fault("source vanished: fit", fit(), _delete_image),
        Fault("source vanished: fit --resume", resume(), _delete_image),
        Fault("field vanished: render", render(), _delete_field),
        *(overwriting(f"{what}: fit", fit(steps=2, memory=limit), _enlarge) for what, limit in short.items()),
        *(Fault(f"{what}: render", eoren(*_RENDER_WIDE, memory=limit)) for what, limit in short.items()),
    ]


def _delete_image(folder: Path) -> None:
    (folder / IMAGE).unlink()


def _delete_field(folder: Path) -> None:
    (folder / OUTPUT).unlink()


def _delete_checkpoint(folder: Path) -> None:
    (folder / CHECKPOINT).unlink()  # a new fit would use the space of the old checkpoint


def _enlarge(folder: Path) -> None:
    np.save(folder / IMAGE, np.random.default_rng(0).random((1500, 1500), dtype=np.float32))
