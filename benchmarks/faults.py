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
_CHECKPOINT = f"{_OUTPUT}.resume"
# Kills fall a little after the end, too.
_BEYOND = 1.1
_STEPS = 150
_SETTINGS = {"width": "16", "depth": "2", "tile": "20"}


def eoren(*arguments: str, keep_every: float = 0.0, memory: int | None = None) -> Work:
    """A command of eoren, inside the folder.

    Args:
        arguments: of the command line.
        keep_every: seconds between checkpoints; those of users are 30 s apart.
        memory: megabytes of address space beyond what is in use; none for no limit.
    """
    return partial(_command, arguments, keep_every, memory)


def _command(arguments: Sequence[str], keep_every: float, memory: int | None, folder: Path) -> None:
    import torch

    from eoren import running
    from eoren.cli import main

    running.CHECKPOINT_EVERY = keep_every
    torch.set_num_threads(1)
    os.chdir(folder)
    if memory is not None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (memory << 20),) * 2)
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


def scenes() -> list[Scene]:
    """A fit over an older file, the same taken up again, and files saved over each other."""
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
        before = {_PICTURE: (folder / _PICTURE).read_bytes(), _OUTPUT: (folder / "old").read_bytes()}
        new = fit(folder / _PICTURE, steps=20, seed=2, **settings).field
        save(new, folder / "new")
        half_way = {**before, _CHECKPOINT: stopped.read_bytes()}
        two = {**before, "new": (folder / "new").read_bytes()}
    whole = partial(_check, before[_OUTPUT])
    return [
        Scene("fit", partial(_lay, before), fit_command("--overwrite"), _go_on, whole, field_bytes),
        Scene("fit --resume", partial(_lay, half_way), fit_command("--resume"), _go_on, whole, field_bytes),
        Scene("save", partial(_lay, two), _save_in_turn, lambda _: _save_in_turn, _check_saved, _saved),
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

    fields = [load(folder / "new"), loads((folder / _OUTPUT).read_bytes())]
    for turn in range(100):
        save(fields[turn % 2], folder / _OUTPUT)
    save(fields[0], folder / _OUTPUT)


def _check_saved(folder: Path) -> None:
    from eoren.storage import load

    load(folder / _OUTPUT)


def _saved(folder: Path) -> bytes:
    return (folder / _OUTPUT).read_bytes()


# What is refused.


@dataclass(frozen=True)
class Fault:
    """A machine or a folder in which a command cannot do its work.

    Attributes:
        name: for the table.
        work: the command.
        break_: what goes wrong beforehand, in a folder with a picture, an older output and a stopped fit.
    """

    name: str
    work: Work
    break_: Work = lambda _: None


def faults(folder: Path) -> list[Fault]:
    """Some."""
    return [
        Fault("source vanished", fit_command("--overwrite"), lambda at: (at / _PICTURE).unlink()),
        Fault("source vanished before --resume", fit_command("--resume"), lambda at: (at / _PICTURE).unlink()),
    ]


def main() -> None:
    """Kill everything, print and store a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=200, help="at which every scene is killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="faults", help="of the table under results/")
    given = parser.parse_args()
    stage = Stage()
    rows = []
    for scene in scenes():
        found = survive(scene, given.moments, stage=stage, seed=given.seed)
        rows.append(
            {
                "killed": scene.name,
                "moments": given.moments,
                "hit": found.kills,
                "finished afterwards": found.unfinished,
                "lost": 0,
                "other results": 0,
                "seconds": found.seconds,
            }
        )
    write_table(given.name, rows, ["a trial that loses something, or ends with other bytes, ends the benchmark"])


if __name__ == "__main__":
    main()
