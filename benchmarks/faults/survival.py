"""Work that is killed, finished, and looked at.

A scene is some work in a folder, and a way to finish it. It is done once in peace, which says how long it takes and
what comes out. Then it is killed (SIGKILL) at moments drawn over that time, finished, and everything that lies in
the folder is looked at: every file whole, and what comes out the same byte for byte. Work runs in processes forked
from one that has loaded PyTorch already, so that a trial takes as long as its work. POSIX only.
"""

import faulthandler
import multiprocessing
import os
import random
import resource
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

Work = Callable[[Path], None]

# The command line first: it says how threads wait, which has to be said before PyTorch is loaded.
_LOADED = (
    *(
        "eoren.cli",
        "eoren.training.fit",
        "eoren.field.serialization",
        "eoren.dataset.fit_many",
        "eoren.dataset.collection",
    ),
    *("rich.progress", "filelock", "pydantic", "PIL.PngImagePlugin", "pyarrow.parquet", "pyarrow.compute"),
)

# Kills fall a little after the end, too.
_BEYOND = 1.1
# What takes so many seconds, hangs.
_PATIENCE = 300.0


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

    from eoren.cli import main
    from eoren.training import loop as running

    running.CHECKPOINT_EVERY = keep_every
    torch.set_num_threads(1)
    os.chdir(folder)
    if memory is not None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (memory << 20),) * 2)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size,) * 2)
    main([*arguments])


def lay(files: Mapping[str, bytes]) -> Work:
    """Put files into the folder."""
    return partial(_lay, files)


def _lay(files: Mapping[str, bytes], folder: Path) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path inside."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def is_scrap(name: str) -> bool:
    """Whether a path is that of a hidden file, which a kill leaves of the writing, or of a lock that nobody holds."""
    return Path(name).name.startswith(".eoren-") or name.endswith(".lock")


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
        self._context.set_forkserver_preload([*_LOADED, __name__])

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
        process.join(_PATIENCE)
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGABRT)  # it says where all its threads are
            process.join()
        status = process.exitcode
        assert status not in (None, -signal.SIGABRT), f"no end after {_PATIENCE} s: {said.read_text()}"
        return Ended(status, said.read_text(), monotonic() - start)


def _begin(work: Work, folder: Path, said: Path, ready: Any) -> None:
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    faulthandler.enable(all_threads=True)
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
    result: Callable[[Path], Any]


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
