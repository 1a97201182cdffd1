"""Compact fields: fit, fit --resume, exports, rendering, composition, and stores of many images."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.faults import fits, stores
from benchmarks.faults.fits import CHECKPOINT, IMAGE, OUTPUT
from benchmarks.faults.refusals import Fault
from benchmarks.faults.stores import LARGE, PICTURES, STORE
from benchmarks.faults.survival import Scene, Work, contents, eoren, lay

_OTHER, _MASK, _FIELD = "other.npy", "mask.npy", "field.eoren"
_COUNT, _SHARD = 7, 2
_OLD = b"what was there before"
_TICK_SECONDS = 0.001  # between looks at a run: these fits take less than the usual ones
_DISK = 4  # megabytes
_MEGABYTES = (1, 4, 16, 32)
# A row is rendered at once; one of this length does not fit into memory that the allocator has kept.
_RENDER_WIDE = ("render", _FIELD, "-o", "old.png", "--size", "9000000x1", "--overwrite")

# By name: the files that a command writes, and its arguments.
_COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "render": (("old.png",), ("render", _FIELD, "-o", "old.png", "--size", "700x500")),
    "export, onnx": (("old.onnx",), ("export", _FIELD, "-o", "old.onnx", "--quiet")),
    "export, glsl": (("old.glsl", "old.glsl.bin"), ("export", _FIELD, "-o", "old.glsl", "--quiet")),
    "export, html": (("old.html",), ("export", _FIELD, "-o", "old.html", "--quiet")),
}
# By name: the arguments of compositions that write a field.
_COMPOSITIONS = {
    "clone": ("clone", _OTHER, IMAGE, "--mask", _MASK, "-o", OUTPUT, "--quiet"),
    "retouch": ("retouch", IMAGE, "--boost-detail", "2", "-o", OUTPUT, "--quiet"),
}


def prepare_files() -> dict[str, bytes]:
    """Make the files of a user: images, a mask, fields, a stopped fit, older outputs, and stores.

    ``many`` is an interrupted store of the pictures, ``cut`` one of the large image.
    """
    from eoren.dataset.fit_many import fit_many
    from eoren.field.serialization import save
    from eoren.training.fit import fit

    with tempfile.TemporaryDirectory() as root, chdir(root):
        np.save(IMAGE, _image(0, 64, 96))
        np.save(_OTHER, _image(1, 64, 96))
        np.save(LARGE, _image(2, 96, 120))
        mask = np.zeros((64, 96), np.float32)
        mask[15:45, 20:60] = 1
        np.save(_MASK, mask)
        Path(PICTURES).mkdir()
        for number in range(_COUNT):
            np.save(Path(PICTURES, f"{number}.npy"), _image(number, 24, 40 - 2 * number))
        save(fit(IMAGE, preset="fast", seed=1).field, _FIELD)
        save(fit(IMAGE, preset="fast", seed=1, bits_per_pixel=1).field, OUTPUT)
        fit(IMAGE, preset="balanced", watch=lambda at: at.steps > 3, checkpoint=CHECKPOINT)
        with mock.patch("eoren.dataset.executors._TICK_SECONDS", _TICK_SECONDS):
            with suppress(KeyboardInterrupt):
                options: Any = {"preset": "fast", "shard": _SHARD, "workers": 1}
                fit_many(PICTURES, store="many", **options, watch=lambda at: at.pictures >= 3)
            with suppress(KeyboardInterrupt):
                options = {"preset": "balanced", "shard": 1, "workers": 1}
                fit_many(LARGE, store="cut", **options, watch=lambda at: at.pictures >= 0.3)
        assert not [*Path("cut", "shards").iterdir()]
        for outputs, _ in _COMMANDS.values():
            for name in outputs:
                Path(name).write_bytes(_OLD)
        return contents(Path(root))


def scenes(files: dict[str, bytes]) -> list[Scene]:
    """List the scenes: fits, new and resumed; commands that write one or two files; stores, new and resumed."""

    def with_files(*names: str) -> Work:
        return lay({name: files[name] for name in names})

    def fitting(name: str, first: str, work: Callable[..., Work], *more: str) -> Scene:
        """Kill a fit, which is resumed if it has a checkpoint."""
        return Scene(
            f"compact {name}",
            with_files(IMAGE, _OTHER, _MASK, OUTPUT, *more),
            work(first),
            lambda folder: work("--resume" if (folder / CHECKPOINT).exists() else "--overwrite"),
            partial(fits.check, files[OUTPUT], others=(_OTHER, _MASK)),
            fits.field_bytes,
        )

    def replacing(name: str) -> Scene:
        """Kill a command that replaces its outputs."""
        outputs, work = _COMMANDS[name][0], command(name)
        prepare = with_files(_FIELD, *outputs)
        return Scene(f"compact {name}", prepare, work, lambda _: work, None, partial(_read, outputs))

    def storing(name: str, work: Work, source: str, store: str | None = None) -> Scene:
        """Kill a run that fills a store."""
        prepare = lay(stores.chosen(files, source, store))
        return Scene(f"compact {name}", prepare, work, lambda _: work, stores.check_store, partial(_read, None))

    many, one = fit_many_command(), fit_one_command()
    return [
        fitting("fit, fast", "--overwrite", partial(fit_command, "fast")),
        fitting("fit", "--overwrite", partial(fit_command, "balanced")),
        fitting("fit --resume", "--resume", partial(fit_command, "balanced"), CHECKPOINT),
        *(fitting(name, "--overwrite", partial(compose, name)) for name in _COMPOSITIONS),
        *map(replacing, _COMMANDS),
        storing("fit-many", many, PICTURES),
        storing("fit-many, resumed", many, PICTURES, "many"),
        storing("fit-many of one image", one, LARGE),
        storing("fit-many of one image, resumed", one, LARGE, "cut"),
    ]


def fit_command(preset: str, *more: str, **limits: Any) -> Work:
    """Build the command that fits the image by a preset of compact fields."""
    return eoren("fit", IMAGE, "-o", OUTPUT, "--quiet", "--preset", preset, *more, **limits)


def fit_many_command(**limits: Any) -> Work:
    """Build the command that fits the pictures, two shards at a time."""
    options = ("--preset", "fast", "--shard", str(_SHARD), "--workers", "2", "--quiet")
    return eoren("fit-many", PICTURES, "-o", STORE, *options, **limits)


def fit_one_command(**limits: Any) -> Work:
    """Build the command that fits one image, with a checkpoint."""
    return eoren("fit-many", LARGE, "-o", STORE, "--preset", "balanced", "--shard", "1", "--quiet", **limits)


def compose(name: str, *more: str, **limits: Any) -> Work:
    """Build a composition that is fitted by the default preset."""
    return eoren(*_COMPOSITIONS[name], *more, **limits)


def command(name: str, **limits: Any) -> Work:
    """Build a command that replaces its outputs."""
    return eoren(*_COMMANDS[name][1], "--overwrite", **limits)


def _read(names: Sequence[str] | None, folder: Path) -> dict[str, bytes]:
    """Read some files, or those of the store."""
    return contents(folder / STORE) if names is None else {name: (folder / name).read_bytes() for name in names}


def faults() -> list[Fault]:
    """List the faults: every command on full and read-only disks, with limits on sizes, and with little memory."""
    overwriting = partial(Fault, may_go=(CHECKPOINT,))
    fit, resume = (partial(fit_command, "balanced", option) for option in ("--overwrite", "--resume"))
    in_store = partial(Fault, check=stores.check_store, may_go=(stores.PROGRESS,))
    every: dict[str, tuple[Callable[..., Fault], Callable[..., Work]]] = {
        "fit": (overwriting, fit),
        "fit --resume": (overwriting, resume),
        **{name: (overwriting, partial(compose, name, "--overwrite")) for name in _COMPOSITIONS},
        **{name: (partial(Fault, has=_without_stores), partial(command, name)) for name in _COMMANDS},
        "fit-many": (partial(in_store, has=_select(PICTURES)), fit_many_command),
        "fit-many, resumed": (partial(in_store, has=_select(PICTURES, "many")), fit_many_command),
        "fit-many of one image, resumed": (partial(in_store, has=_select(LARGE, "cut")), fit_one_command),
    }
    starved: dict[str, tuple[Callable[..., Fault], Callable[..., Work]]] = {
        **{name: every[name] for name in ("fit", "fit-many")},
        "render": (partial(Fault, has=_without_stores), partial(eoren, *_RENDER_WIDE)),
    }
    return [
        *(
            build(f"file limit of 400 bytes: compact {name}", work(file_size=400))
            for name, (build, work) in every.items()
        ),
        *(build(f"full disk: compact {name}", work(), disk=_DISK) for name, (build, work) in every.items()),
        *(
            build(f"read-only disk: compact {name}", work(), disk=_DISK, read_only=True)
            for name, (build, work) in every.items()
        ),
        *(
            build(f"{limit} MB of memory: compact {name}", work(memory=limit), _enlarge, starved=True)
            for name, (build, work) in starved.items()
            for limit in _MEGABYTES
        ),
    ]


def _image(seed: int, height: int, width: int) -> np.ndarray:
    """Draw waves, an edge and noise, in 8 bits."""
    rows, columns = np.mgrid[:height, :width]
    waves = 0.5 + 0.2 * np.sin(columns / 5 + rows / 7) + 0.1 * (columns > rows + 10 * seed)
    image = 255 * (waves[..., None] + np.random.default_rng(seed).uniform(-0.1, 0.1, (height, width, 3)))
    return np.asarray(image, np.uint8)


def _without_stores(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if "/" not in name}


def _select(source: str, store: str | None = None) -> Callable[[Mapping[str, bytes]], Mapping[str, bytes]]:
    return partial(stores.chosen, source=source, store=store)


def _enlarge(folder: Path) -> None:
    """Enlarge the images beyond the available memory."""
    for path in (folder / IMAGE, *(folder / PICTURES).glob("*.npy")):
        if path.exists():
            np.save(path, _image(0, 1200, 1200))
