"""What happens to a user's files when things go wrong: `python -m benchmarks.faults --moments 200`.

A scene is some work in a folder, and a way to finish it. It is done once in peace, which says how long it takes and
what comes out. Then it is killed (SIGKILL) at moments drawn over that time, finished, and everything that lies in
the folder is looked at: every file whole, and what comes out the same byte for byte. Work runs in processes forked
from one that has loaded PyTorch already, so that a trial takes as long as its work. POSIX only.
"""

import argparse
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np

from benchmarks.record import write_table

Work = Callable[[Path], None]

_PICTURE = "picture.npy"
_OUTPUT = "out.eoren"
_NEW = "new.eoren"
_CHECKPOINT = f"{_OUTPUT}.resume"
# Kills fall a little after the end, too.
_BEYOND = 1.1
_STEPS = 150
_SETTINGS = {"width": "16", "depth": "2", "tile": "20"}


def eoren(*arguments: str, keep_every: float = 0.0, memory: int | None = None, file_size: int | None = None) -> Work:
    """A command of eoren, inside the folder.

    Args:
        arguments: of the command line.
        keep_every: seconds between checkpoints; those of users are 30 s apart.
        memory: megabytes of address space beyond what is in use; none for no limit.
        file_size: bytes of the largest file that can be written; none for no limit.
    """
    return partial(_command, arguments, keep_every, memory, file_size)


def _command(
    arguments: Sequence[str], keep_every: float, memory: int | None, file_size: int | None, folder: Path
) -> None:
    import torch

    from eoren import running
    from eoren.cli import main

    running.CHECKPOINT_EVERY = keep_every
    torch.set_num_threads(1)
    os.chdir(folder)
    if memory is not None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (memory << 20),) * 2)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size,) * 2)
    main([*arguments])


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: exit status; negative for a signal.
        said: on stdout and stderr.
        seconds: that it took.
    """

    status: int
    said: str
    seconds: float


class Stage:
    """Runs work in forked processes."""

    def __init__(self) -> None:
        """Load once what every process needs."""
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["eoren.fitting", "eoren.storage", "eoren.cli.fit", __name__])

    def run(self, work: Work, folder: Path, *, kill_after: float | None = None) -> Ended:
        """Do some work in a folder, to its end or until it is killed, seconds after it began."""
        said = folder.parent / f"{folder.name}.said"
        ready, begin = self._context.Pipe()
        process = self._context.Process(target=_begin, args=(work, folder, said, begin))
        process.start()
        begin.close()
        ready.recv()  # the process is there, and about to begin
        start = monotonic()
        if kill_after is not None:
            sleep(kill_after)
            process.kill()
        process.join()
        status = process.exitcode
        assert status is not None
        return Ended(status, said.read_text(), monotonic() - start)


def _begin(work: Work, folder: Path, said: Path, ready: Any) -> None:
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ready.send(None)
    work(folder)


@dataclass(frozen=True)
class Scene:
    """Work that is killed.

    Attributes:
        name: for the table.
        prepare: what is in the folder beforehand.
        work: what is killed.
        finish: what a user does afterwards, given what lies there.
        check: raises AssertionError unless what lies there after a kill is whole.
        result: what has to be the same as in peace.
    """

    name: str
    prepare: Work
    work: Work
    finish: Callable[[Path], Work]
    check: Work
    result: Callable[[Path], bytes]


@dataclass(frozen=True)
class Survival:
    """What became of a scene.

    Attributes:
        kills: that hit it while it was at work.
        unfinished: kills after which there was work left to finish.
        seconds: for all of it.
    """

    kills: int
    unfinished: int
    seconds: float


def survive(scene: Scene, moments: int, *, stage: Stage, seed: int = 0) -> Survival:
    """Kill a scene at random moments; AssertionError says what was lost."""
    start, drawn = monotonic(), random.Random(seed)
    kills = unfinished = 0
    with tempfile.TemporaryDirectory() as place:

        def play(name: str) -> Path:
            folder = Path(place, name)
            folder.mkdir()
            scene.prepare(folder)
            return folder

        peace = play("peace")
        whole = stage.run(scene.work, peace)
        assert whole.status == 0, whole.said
        expected = scene.result(peace)
        for moment in range(moments):
            folder = play(str(moment))
            ended = stage.run(scene.work, folder, kill_after=drawn.uniform(0, _BEYOND * whole.seconds))
            kills += ended.status == -signal.SIGKILL
            assert ended.status in (0, -signal.SIGKILL), ended.said
            scene.check(folder)
            if ended.status != 0:
                unfinished += 1
                ended = stage.run(scene.finish(folder), folder)
                assert ended.status == 0, f"{[each.name for each in folder.iterdir()]}: {ended.said}"
                scene.check(folder)
            assert scene.result(folder) == expected, "not what comes out in peace"
    return Survival(kills, unfinished, monotonic() - start)


# What is killed.


def belongings() -> dict[str, bytes]:
    """What a user has: a picture, an older field, a stopped fit, and another field."""
    from eoren.fitting import fit
    from eoren.storage import save

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _picture(folder)
        settings: dict[str, Any] = {name: int(value) for name, value in _SETTINGS.items()}
        old = fit(folder / _PICTURE, steps=20, seed=1, **settings).field
        save(old, folder / "old")
        stopped = folder / _CHECKPOINT
        fit(folder / _PICTURE, steps=_STEPS, watch=lambda at: at.steps > 50, checkpoint=stopped, **settings)
        new = fit(folder / _PICTURE, steps=20, seed=2, **settings).field
        save(new, folder / _NEW)
        (folder / "old").rename(folder / _OUTPUT)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def scenes(files: dict[str, bytes]) -> list[Scene]:
    """A fit over an older file, the same taken up again, and files saved over each other."""

    def lay(*names: str) -> Work:
        return partial(_lay, {name: files[name] for name in names})

    whole = partial(_check, files[_OUTPUT])
    resume = fit_command("--resume")
    return [
        Scene("fit", lay(_PICTURE, _OUTPUT), fit_command("--overwrite"), _go_on, whole, field_bytes),
        Scene("fit --resume", lay(_PICTURE, _OUTPUT, _CHECKPOINT), resume, _go_on, whole, field_bytes),
        Scene("save", lay(_NEW, _OUTPUT), _save_in_turn, lambda _: _save_in_turn, _check_saved, _saved),
    ]


def fit_command(*more: str, steps: int = _STEPS, **limits: Any) -> Work:
    """A fit of a small picture in tiles."""
    settings = [word for name, value in _SETTINGS.items() for word in ("--set", f"{name}={value}")]
    return eoren("fit", _PICTURE, "-o", _OUTPUT, "--quiet", "--steps", str(steps), *settings, *more, **limits)


def field_bytes(folder: Path) -> bytes:
    """What a fit's file holds, but for how long it took."""
    from eoren.storage import dumps, load

    field = load(folder / _OUTPUT)
    return dumps(replace(field, provenance=replace(field.provenance, seconds=0.0)))


def _picture(folder: Path) -> None:
    rows, columns = np.mgrid[:40, :56]
    waves = 0.5 + 0.2 * np.sin(columns / 3 + rows / 5) + np.random.default_rng(0).uniform(-0.2, 0.2, rows.shape)
    np.save(folder / _PICTURE, waves.astype(np.float32))


def _lay(files: dict[str, bytes], folder: Path) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _go_on(folder: Path) -> Work:
    return fit_command("--resume" if (folder / _CHECKPOINT).exists() else "--overwrite")


def _check(old: bytes, folder: Path) -> None:
    """Every file is one that somebody meant to write; hidden ones are what a kill left of the writing."""
    from safetensors import safe_open

    assert (folder / _OUTPUT).read_bytes() == old or field_bytes(folder)
    if (folder / _CHECKPOINT).exists():
        with safe_open(folder / _CHECKPOINT, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118
                stored.get_tensor(name)
    known = {_PICTURE, _OUTPUT, _CHECKPOINT, f"{_OUTPUT}.lock", f"{_CHECKPOINT}.lock"}
    left = [path.name for path in folder.iterdir() if path.name not in known]
    assert all(name.startswith(".eoren-") for name in left), left


def _save_in_turn(folder: Path) -> None:
    from eoren.storage import load, loads, save

    fields = [load(folder / _NEW), loads((folder / _OUTPUT).read_bytes())]
    for turn in range(100):
        save(fields[turn % 2], folder / _OUTPUT)
    save(fields[0], folder / _OUTPUT)


def _check_saved(folder: Path) -> None:
    from eoren.storage import load

    load(folder / _OUTPUT)


def _saved(folder: Path) -> bytes:
    return (folder / _OUTPUT).read_bytes()


# What cannot be done.


def _nothing(folder: Path) -> None:
    pass


@dataclass(frozen=True)
class Fault:
    """A machine or a folder in which a command cannot do its work.

    Attributes:
        name: for the table.
        work: the command.
        spoil: what goes wrong beforehand.
        disk: megabytes of a disk of its own, and full; none for the usual one.
        read_only: that disk.
    """

    name: str
    work: Work
    spoil: Work = _nothing
    disk: int | None = None
    read_only: bool = False


_RENDER = ("render", _OUTPUT, "-o", "large.png", "--size", "3000x3000")


def faults() -> list[Fault]:
    """Those that are tried, in a folder with a picture, an older output and a stopped fit."""
    fit, resume = fit_command("--overwrite"), fit_command("--resume")
    short = {f"{limit} MB of memory": limit for limit in (1, 4, 16, 24, 32)}
    return [
        *(
            Fault(f"file limit of {size} bytes: {name}", work)
            for size in (1500, 3000)
            for name, work in _limited(size)
        ),
        Fault("full disk: fit", fit, _lose_checkpoint, disk=1),
        Fault("full disk: fit --resume", resume, disk=1),
        Fault("full disk: render", eoren(*_RENDER), disk=1),
        Fault("read-only disk: fit", fit, disk=1, read_only=True),
        Fault("read-only disk: render", eoren(*_RENDER), disk=1, read_only=True),
        Fault("source vanished: fit", fit, _lose_picture),
        Fault("source vanished: fit --resume", resume, _lose_picture),
        Fault("field vanished: render", eoren(*_RENDER), _lose_field),
        *(
            Fault(f"{what}: fit", fit_command("--overwrite", steps=2, memory=limit), _enlarge)
            for what, limit in short.items()
        ),
        *(Fault(f"{what}: render", eoren(*_RENDER, memory=limit)) for what, limit in list(short.items())[:2]),
    ]


def endure(fault: Fault, before: dict[str, bytes], *, stage: Stage) -> str | None:
    """Let something go wrong; AssertionError unless it is said in a line, with status 2, and nothing is lost.

    Returns:
        What was said, or none where such a disk cannot be had here.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "folder")
        folder.mkdir()
        if fault.disk is not None and not _mounted("-t", "tmpfs", "-o", f"size={fault.disk}m", "none", folder):
            return None
        try:
            _lay(before, folder)
            fault.spoil(folder)
            if fault.read_only:
                assert _mounted("-o", "remount,ro", folder)
            elif fault.disk is not None:
                _fill(folder / "others")
            kept = {path.name: path.read_bytes() for path in folder.iterdir()}
            ended = stage.run(fault.work, folder)
            lines = ended.said.splitlines()
            assert ended.status == 2, (fault.name, ended)
            assert all(line.startswith("eoren: ") for line in lines), (fault.name, ended.said)
            # A fit that starts anew removes the checkpoint of the one before: it was told to.
            lost = [name for name, data in kept.items() if name != _CHECKPOINT and _read(folder / name) != data]
            assert not lost, (fault.name, lost)
            new = {path.name for path in folder.iterdir()} - {*kept, _CHECKPOINT}
            assert not new, (fault.name, new)
            return lines[-1]
        finally:
            if fault.disk is not None:
                subprocess.run(["umount", str(folder)], check=True)


def _limited(size: int) -> list[tuple[str, Work]]:
    return [
        ("fit", fit_command("--overwrite", file_size=size)),
        ("fit --resume", fit_command("--resume", file_size=size)),
        ("render", eoren(*_RENDER, file_size=size)),
    ]


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _mounted(*arguments: str | Path) -> bool:
    try:
        return subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _fill(path: Path) -> None:
    free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize
    path.write_bytes(bytes(free))


def _lose_picture(folder: Path) -> None:
    (folder / _PICTURE).unlink()


def _lose_field(folder: Path) -> None:
    (folder / _OUTPUT).unlink()


def _lose_checkpoint(folder: Path) -> None:
    (folder / _CHECKPOINT).unlink()  # a fit that starts anew would have its room


def _enlarge(folder: Path) -> None:
    np.save(folder / _PICTURE, np.random.default_rng(0).random((1500, 1500), dtype=np.float32))


def main() -> None:
    """Kill everything, print and store a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=200, help="at which every scene is killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="faults", help="of the table under results/")
    given = parser.parse_args()
    stage = Stage()
    before, rows = belongings(), []
    for scene in scenes(before):
        found = survive(scene, given.moments, stage=stage, seed=given.seed)
        tried = f"killed at {given.moments} random moments, {found.kills} of them before its end"
        rows.append({"what": scene.name, "tried": tried, "lost": 0, "seconds": found.seconds})
    del before[_NEW]
    for fault in faults():
        start = monotonic()
        said = endure(fault, before, stage=stage) or "no such disk can be had here"
        rows.append({"what": fault.name, "tried": said, "lost": 0, "seconds": monotonic() - start})
    write_table(given.name, rows, ["what is lost, or not said in one line with status 2, ends the benchmark"])


if __name__ == "__main__":
    main()
