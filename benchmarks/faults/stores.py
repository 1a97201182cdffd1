"""Many images: fit-many, resumed runs, one image in parts; and exports of a store."""

import io
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import chdir, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.faults.refusals import Fault
from benchmarks.faults.survival import Scene, Work, contents, eoren, is_scrap, lay

PICTURES, LARGE, STORE, OUT = "pictures", "large.npy", "store", "out"
PROGRESS = f"{STORE}/progress.json"  # written anew by every run

# Six shards of small images, one of which has tiles; and an image of three groups of tiles.
_SMALL = {"steps": 20, "shard": 4}
_PIECES = {"steps": 2, "shard": 1, "tile": 6}
_SIZES = [(8, 8, 1), (10, 12, 3), (9, 7, 1), (8, 8, 1)]
_TILED = (48, 60, 1)
_LARGE = (160, 160, 1)
_OPTIONS = ("steps", "shard")
SOME_FAILED = 3

_KNOWN = re.compile(
    r"store\.json|progress\.json|shards/\d{7}\.safetensors|index/\d{7}\.parquet|profiles/[0-9a-f]{64}\.icc|pieces/\d{7}-\d{5}\.safetensors|"
    r"pieces/\d{7}-[0-9a-f]{64}\.resume(\.lock)?|(.*/)?\.eoren-.*|\.lock"
)


def prepare_files() -> dict[str, bytes]:
    """Make the files of a user: images in folders, a large image, and stores.

    ``many`` and ``cut`` are interrupted stores of both, ``whole`` is a complete one.
    """
    from eoren.dataset.fit_many import fit_many

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as root, chdir(root):
        for number in range(23):
            size = _TILED if number == 9 else _SIZES[number % 4]
            pixels = random.integers(0, 256, size, np.uint8)
            path = Path(PICTURES, "ab"[number % 2], f"{number:02}.{'npy' if number % 3 else 'png'}")
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".npy":
                np.save(path, pixels)
            else:
                Image.fromarray(pixels.squeeze()).save(path)
        np.save(LARGE, random.random(_LARGE, np.float32))
        settings: list[tuple[str, str, dict[str, Any], Callable[[Any], bool]]] = [
            (PICTURES, "many", _SMALL, lambda at: at.pictures >= 8),
            (LARGE, "cut", _PIECES, lambda at: at.pictures >= 0.3),
            (PICTURES, "whole", _SMALL, lambda at: False),
        ]
        for source, store, given, stop in settings:
            with suppress(KeyboardInterrupt):
                fit_many(source, store=store, workers=1, watch=stop, **given)
        return contents(Path(root))


def scenes(files: dict[str, bytes]) -> list[Scene]:
    """List the scenes: both sources, new and resumed; and exports."""

    def with_files(source: str, store: str | None = None) -> Work:
        return lay(chosen(files, source, store))

    many, pieces = fit_command(), large_command()
    parts: dict[str, Any] = {"result": lambda folder: contents(folder / STORE), "check": check_store}
    return [
        Scene("fit-many", with_files(PICTURES), many, lambda _: many, **parts),
        Scene("fit-many, resumed", with_files(PICTURES, "many"), many, lambda _: many, **parts),
        Scene("fit-many of one in pieces", with_files(LARGE), pieces, lambda _: pieces, **parts),
        Scene("fit-many of one in pieces, resumed", with_files(LARGE, "cut"), pieces, lambda _: pieces, **parts),
        *(
            Scene(
                f"export of a store, {to}",
                with_files(PICTURES, "whole"),
                export_command(to),
                partial(_export_again, to),
                check_exported,
                _exported,
            )
            for to in ("images", "fields")
        ),
    ]


def chosen(files: Mapping[str, bytes], source: str, store: str | None = None) -> dict[str, bytes]:
    """Select a source, and one of the stores under the name that all commands use."""
    selected = {name: data for name, data in files.items() if name.split("/")[0] == source}
    for name, data in files.items():
        if name.split("/")[0] == store:
            selected[f"{STORE}{name.removeprefix(str(store))}"] = data
    return selected


def fit_command(*more: str, **limits: Any) -> Work:
    """Build the command that fits many small images, two shards at a time."""
    return _command(PICTURES, _SMALL, "--workers", "2", *more, **limits)


def large_command(*more: str, **limits: Any) -> Work:
    """Build the command that fits one image in parts."""
    return _command(LARGE, _PIECES, *more, **limits)


def export_command(to: str, *more: str, **limits: Any) -> Work:
    """Build the command that exports a store."""
    return eoren("export", STORE, "-o", OUT, "--quiet", "--to", to, *more, **limits)


def _command(source: str, settings: dict[str, int], *more: str, **limits: Any) -> Work:
    words = [(f"--{name}", str(value)) for name, value in settings.items() if name in _OPTIONS]
    words += [("--set", f"{name}={value}") for name, value in settings.items() if name not in _OPTIONS]
    given = [word for pair in words for word in pair]
    return eoren("fit-many", source, "-o", STORE, "--quiet", *given, *more, **limits)


def check_store(folder: Path) -> None:
    """Check that every file is complete and expected, and that the networks of the index exist."""
    from safetensors import safe_open
    from safetensors.torch import load

    from eoren.dataset.store import Store, is_store
    from eoren.dataset.tile_jobs import TileGroupResult

    store = folder / STORE
    if not store.exists():
        return
    files = contents(store)
    assert all(_KNOWN.fullmatch(name) for name in files), [*files]
    for name in files:
        if name.startswith("shards/") and not is_scrap(name):
            with safe_open(store / name, framework="pt") as file:
                assert all(file.get_tensor(key).isfinite().all() for key in file.keys())  # noqa: SIM118
    if not is_store(store):
        assert all(is_scrap(name) for name in files), [*files]
        return
    opened = Store(store)
    for shard in opened.shards():
        for row in next(opened.rows([shard])).to_pylist():
            if row["status"] == "done":
                field = opened.representation(shard, row["group"], row["offset"])
                assert (field.size, field.channels) == ((row["width"], row["height"]), row["channels"])
    for name, data in files.items():
        if name.startswith("pieces/") and not is_scrap(name):
            assert load(data) if name.endswith(".resume") else TileGroupResult.loads(data).siren is not None


def check_exported(folder: Path) -> None:
    """Check that every file of an export is complete."""
    from eoren.field.serialization import loads

    for name, data in contents(folder / OUT).items():
        if is_scrap(name):
            continue
        if name.endswith(".png"):
            Image.open(io.BytesIO(data)).load()
        else:
            loads(data)


def _export_again(to: str, folder: Path) -> Work:
    return export_command(to, "--overwrite")


def _exported(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder / OUT).items() if not is_scrap(name)}


_LAST = f"{PICTURES}/b/21.png"


def faults() -> list[Fault]:
    """List the faults: without a store, with an interrupted store, and with parts of one image."""
    new = ("fit-many", fit_command, _select(PICTURES))
    resumed = ("fit-many, resumed", fit_command, _select(PICTURES, "many"))
    pieces = ("fit-many of one in pieces, resumed", large_command, _select(LARGE, "cut"))
    every = (new, resumed, pieces)
    return [
        *(
            Fault(
                f"file limit of {size} bytes: {name}",
                command(file_size=size),
                has=has,
                check=check_store,
                may_go=(PROGRESS,),
            )
            for name, command, has in every
            for size in (300, 1000, 4700, 6000)
        ),
        *(
            Fault(f"full disk: {name}", command(), has=has, disk=2, check=check_store, may_go=(PROGRESS,))
            for name, command, has in every
        ),
        *(
            Fault(f"read-only disk: {name}", command(), has=has, disk=2, read_only=True)
            for name, command, has in every
        ),
        *(
            Fault(
                f"{limit} MB of memory: {name}",
                command(memory=limit),
                _enlarge,
                has=has,
                check=check_store,
                starved=True,
            )
            for name, command, has in (new, ("fit-many of one in pieces", large_command, _select(LARGE)))
            for limit in (1, 4, 16, 32)
        ),
        Fault("source vanished: fit-many", resumed[1](), _move_away(PICTURES), has=resumed[2]),
        Fault("source vanished: fit-many of one in pieces, resumed", pieces[1](), _move_away(LARGE), has=pieces[2]),
        Fault(
            "source vanishes at work: fit-many",
            _during(_move_away(PICTURES), fit_command()),
            has=new[2],
            check=check_store,
            may_go=(PICTURES,),
        ),
        Fault(
            "one image vanishes at work: fit-many",
            _during(_move_away(_LAST), fit_command()),
            has=new[2],
            check=check_store,
            may_go=(_LAST,),
            status=SOME_FAILED,
        ),
        Fault(
            "full disk: export of a store",
            export_command("fields"),
            has=_select(PICTURES, "whole"),
            disk=2,
            check=check_exported,
        ),
        Fault(
            "read-only disk: export of a store",
            export_command("fields"),
            has=_select(PICTURES, "whole"),
            disk=2,
            read_only=True,
        ),
        Fault(
            "file limit of 1000 bytes: export of a store",
            export_command("fields", file_size=1000),
            has=_select(PICTURES, "whole"),
            check=check_exported,
        ),
    ]


def _select(source: str, store: str | None = None) -> Callable[[Mapping[str, bytes]], Mapping[str, bytes]]:
    return partial(chosen, source=source, store=store)


def _move_away(name: str) -> Work:
    return partial(_rename, name)


def _rename(name: str, folder: Path) -> None:
    target = folder / name
    target.rename(folder / f"{target.name} elsewhere")


def _during(event: Work, work: Work) -> Work:
    """Run work, and change the folder once the first shard is in the store."""
    return partial(_run_with_event, event, work)


def _run_with_event(event: Work, work: Work, folder: Path) -> None:
    def wait() -> None:
        while not any((folder / STORE / "index").glob("*.parquet")):
            sleep(1e-3)
        event(folder)

    Thread(target=wait, daemon=True).start()
    work(folder)


def _enlarge(folder: Path) -> None:
    """Enlarge the images beyond the available memory."""
    random = np.random.default_rng(0)
    if (folder / LARGE).exists():
        np.save(folder / LARGE, random.random((1500, 1500), np.float32))
    for path in sorted((folder / PICTURES).glob("*/*.npy")):
        np.save(path, random.random((700, 700), np.float32))
