"""Many images: fitted, fitted on, one of them in pieces; and a store that is exported."""

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

# Six shards of small images, one of which is a mosaic; and an image of three groups of tiles.
_SMALL = {"steps": 20, "shard": 4}
_PIECES = {"steps": 2, "shard": 1, "tile": 6}
_SIZES = [(8, 8, 1), (10, 12, 3), (9, 7, 1), (8, 8, 1)]
_MOSAIC = (48, 60, 1)
_LARGE = (160, 160, 1)
_OPTIONS = ("steps", "shard")
SOME_FAILED = 3

_KNOWN = re.compile(
    r"store\.json|shards/\d{7}\.safetensors|index/\d{7}\.parquet|pieces/\d{7}-\d{5}\.safetensors|(.*/)?\.eoren-.*|\.lock"
)


def belongings() -> dict[str, bytes]:
    """What a user has: images in folders, a large one, and stores of either that were interrupted (``many``,
    ``cut``); and a whole store (``whole``).
    """
    from eoren.dataset.fit_many import fit_many

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place, chdir(place):
        for number in range(23):
            size = _MOSAIC if number == 9 else _SIZES[number % 4]
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
        return contents(Path(place))


def scenes(files: dict[str, bytes]) -> list[Scene]:
    """Both sources, from the first image and from a store that an interrupted run left; and an export."""

    def some(source: str, store: str | None = None) -> Work:
        return lay(chosen(files, source, store))

    many, pieces = fit_command(), large_command()
    parts: dict[str, Any] = {"result": lambda folder: contents(folder / STORE), "check": check_store}
    return [
        Scene("fit-many", some(PICTURES), many, lambda _: many, **parts),
        Scene("fit-many, resumed", some(PICTURES, "many"), many, lambda _: many, **parts),
        Scene("fit-many of one in pieces", some(LARGE), pieces, lambda _: pieces, **parts),
        Scene("fit-many of one in pieces, resumed", some(LARGE, "cut"), pieces, lambda _: pieces, **parts),
        *(
            Scene(
                f"export of a store, {to}",
                some(PICTURES, "whole"),
                export_command(to),
                partial(_export_again, to),
                check_exported,
                _exported,
            )
            for to in ("images", "fields")
        ),
    ]


def chosen(files: Mapping[str, bytes], source: str, store: str | None = None) -> dict[str, bytes]:
    """A source, and one of the stores under the name that all commands give it."""
    found = {name: data for name, data in files.items() if name.split("/")[0] == source}
    for name, data in files.items():
        if name.split("/")[0] == store:
            found[f"{STORE}{name.removeprefix(str(store))}"] = data
    return found


def fit_command(*more: str, **limits: Any) -> Work:
    """Many small images, two shards at a time."""
    return _command(PICTURES, _SMALL, "--workers", "2", *more, **limits)


def large_command(*more: str, **limits: Any) -> Work:
    """One image in pieces."""
    return _command(LARGE, _PIECES, *more, **limits)


def export_command(to: str, *more: str, **limits: Any) -> Work:
    """A store as files of other kinds."""
    return eoren("export", STORE, "-o", OUT, "--quiet", "--to", to, *more, **limits)


def _command(source: str, settings: dict[str, int], *more: str, **limits: Any) -> Work:
    words = [(f"--{name}", str(value)) for name, value in settings.items() if name in _OPTIONS]
    words += [("--set", f"{name}={value}") for name, value in settings.items() if name not in _OPTIONS]
    given = [word for pair in words for word in pair]
    return eoren("fit-many", source, "-o", STORE, "--quiet", *given, *more, **limits)


def check_store(folder: Path) -> None:
    """Every file is one that somebody meant to write, and what the index names is there."""
    from safetensors import safe_open

    from eoren.dataset.store import Store, is_store
    from eoren.dataset.tile_jobs import TileGroupResult

    store = folder / STORE
    if not store.exists():
        return
    there = contents(store)
    assert all(_KNOWN.fullmatch(name) for name in there), [*there]
    for name in there:
        if name.startswith("shards/") and not is_scrap(name):
            with safe_open(store / name, framework="pt") as file:
                assert all(file.get_tensor(each).isfinite().all() for each in file.keys())  # noqa: SIM118
    if not is_store(store):
        assert all(is_scrap(name) for name in there), [*there]
        return
    opened = Store(store)
    for shard in opened.shards():
        for row in opened.rows(shard).to_pylist():
            if row["status"] == "done":
                field = opened.networks(shard, row["group"], row["offset"], 1)
                assert (field.size, field.channels) == ((row["width"], row["height"]), row["channels"])
    for name, data in there.items():
        if name.startswith("pieces/") and not is_scrap(name):
            assert TileGroupResult.loads(data).siren is not None


def check_exported(folder: Path) -> None:
    """Every file of an export is whole."""
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
    """Those that are tried: on nothing, on a store that an interrupted run left, and on pieces of one image."""
    anew = ("fit-many", fit_command, _having(PICTURES))
    resumed = ("fit-many, resumed", fit_command, _having(PICTURES, "many"))
    pieces = ("fit-many of one in pieces, resumed", large_command, _having(LARGE, "cut"))
    every = (anew, resumed, pieces)
    return [
        *(
            Fault(f"file limit of {size} bytes: {name}", command(file_size=size), has=has, check=check_store)
            for name, command, has in every
            for size in (300, 1000, 4700, 6000)
        ),
        *(Fault(f"full disk: {name}", command(), has=has, disk=2, check=check_store) for name, command, has in every),
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
            for name, command, has in (anew, ("fit-many of one in pieces", large_command, _having(LARGE)))
            for limit in (1, 4, 16, 32)
        ),
        Fault("source vanished: fit-many", resumed[1](), _lose(PICTURES), has=resumed[2]),
        Fault("source vanished: fit-many of one in pieces, resumed", pieces[1](), _lose(LARGE), has=pieces[2]),
        Fault(
            "source vanishes at work: fit-many",
            _while(_lose(PICTURES), fit_command()),
            has=anew[2],
            check=check_store,
            may_go=(PICTURES,),
        ),
        Fault(
            "one image vanishes at work: fit-many",
            _while(_lose(_LAST), fit_command()),
            has=anew[2],
            check=check_store,
            may_go=(_LAST,),
            status=SOME_FAILED,
        ),
        Fault(
            "full disk: export of a store",
            export_command("fields"),
            has=_having(PICTURES, "whole"),
            disk=2,
            check=check_exported,
        ),
        Fault(
            "read-only disk: export of a store",
            export_command("fields"),
            has=_having(PICTURES, "whole"),
            disk=2,
            read_only=True,
        ),
        Fault(
            "file limit of 1000 bytes: export of a store",
            export_command("fields", file_size=1000),
            has=_having(PICTURES, "whole"),
            check=check_exported,
        ),
    ]


def _having(source: str, store: str | None = None) -> Callable[[Mapping[str, bytes]], Mapping[str, bytes]]:
    return partial(chosen, source=source, store=store)


def _lose(name: str) -> Work:
    return partial(_take_away, name)


def _take_away(name: str, folder: Path) -> None:
    target = folder / name
    target.rename(folder / f"{target.name} elsewhere")


def _while(deed: Work, work: Work) -> Work:
    """Do something to the folder once the first shard is in the store."""
    return partial(_do_both, deed, work)


def _do_both(deed: Work, work: Work, folder: Path) -> None:
    def wait() -> None:
        while not any((folder / STORE / "index").glob("*.parquet")):
            sleep(1e-3)
        deed(folder)

    Thread(target=wait, daemon=True).start()
    work(folder)


def _enlarge(folder: Path) -> None:
    """More than there is room for, in images or in one."""
    random = np.random.default_rng(0)
    if (folder / LARGE).exists():
        np.save(folder / LARGE, random.random((1500, 1500), np.float32))
    for path in sorted((folder / PICTURES).glob("*/*.npy")):
        np.save(path, random.random((700, 700), np.float32))
