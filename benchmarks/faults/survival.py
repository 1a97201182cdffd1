"""Run work in separate processes, kill it at random moments, finish it, and compare the results.

A scene is work in a folder and a way to finish it. It runs once without kills, for its duration and its result. Then
it is killed (SIGKILL) at random moments within that time and finished: every file must be complete, and the result
the same byte for byte. Processes are forked from one that has imported PyTorch, so that a run takes as long as its
work. POSIX only.
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

# The command line first: it sets how threads wait, which must happen before PyTorch is loaded.
_LOADED = (
    *(
        "eoren.cli",
        "eoren.training.fit",
        "eoren.field.serialization",
        "eoren.dataset.fit_many",
        "eoren.dataset.collection",
        "eoren.export",
        "eoren.composition.retouching",
    ),
    *(
        "rich.progress",
        "filelock",
        "pydantic.main",
        "pydantic.type_adapter",
        "PIL.PngImagePlugin",
        "pyarrow.parquet",
        "pyarrow.compute",
        "onnx",
    ),
)

# Some kills come shortly after the end.
_BEYOND = 1.1
# Seconds after which a process counts as hanging.
_PATIENCE = 300.0


def eoren(*arguments: str, keep_every: float = 0.0, memory: int | None = None, file_size: int | None = None) -> Work:
    """Build a run of an eoren command in a folder.

    Args:
        arguments: arguments of the command line.
        keep_every: seconds between checkpoints; 30 s by default for users.
        memory: limit of the address space in megabytes beyond what is in use; ``None`` for no limit.
        file_size: limit of the size of a file in bytes; ``None`` for no limit.
    """
    return partial(_command, arguments, keep_every, memory, file_size)


def _command(
    arguments: Sequence[str], keep_every: float, memory: int | None, file_size: int | None, folder: Path
) -> None:
    import torch

    from eoren.cli import main
    from eoren.training import loop as mosaic_loop
    from eoren.training.compact import loop as compact_loop

    for loop in (mosaic_loop, compact_loop):
        vars(loop)["CHECKPOINT_EVERY"] = keep_every
    torch.set_num_threads(1)
    os.chdir(folder)
    if memory is not None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (memory << 20),) * 2)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size,) * 2)
    main([*arguments])


def lay(files: Mapping[str, bytes]) -> Work:
    """Build the work that writes files into a folder."""
    return partial(_lay, files)


def _lay(files: Mapping[str, bytes], folder: Path) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder, by its relative path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def is_scrap(name: str) -> bool:
    """Check whether a path is a temporary file that a kill leaves, or a stale lock."""
    return Path(name).name.startswith(".eoren-") or name.endswith(".lock")


@dataclass(frozen=True)
class Ended:
    """The end of a process.

    Attributes:
        status: exit status; negative for a signal.
        output: text on stdout and stderr.
        seconds: run time.
    """

    status: int
    output: str
    seconds: float


class Stage:
    """Runs work in forked processes."""

    def __init__(self) -> None:
        """Start a server of processes with the common modules imported."""
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*_LOADED, __name__])

    def run(self, work: Work, folder: Path, *, kill_after: float | None = None) -> Ended:
        """Run work in a folder, to its end or until a kill, seconds after its start."""
        output = folder.parent / f"{folder.name}.output"
        ready, begin = self._context.Pipe()
        process = self._context.Process(target=_begin, args=(work, folder, output, begin))
        process.start()
        begin.close()
        ready.recv()  # the process is about to start the work
        start = monotonic()
        if kill_after is not None:
            sleep(kill_after)
            process.kill()
        process.join(_PATIENCE)
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGABRT)  # prints the stacks of all threads
            process.join()
        status = process.exitcode
        assert status not in (None, -signal.SIGABRT), f"no end after {_PATIENCE} s: {output.read_text()}"
        return Ended(status, output.read_text(), monotonic() - start)


def _begin(work: Work, folder: Path, output: Path, ready: Any) -> None:
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
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
        name: name in the table.
        prepare: writes the files of the user.
        work: the work that is killed.
        finish: chooses the work that the user does after a kill, given the folder.
        check: raises AssertionError if a file in the folder is incomplete. None if every file must be as before the
            work, or as after it.
        result: reads the part of the folder that must be the same as without kills.
    """

    name: str
    prepare: Work
    work: Work
    finish: Callable[[Path], Work]
    check: Work | None
    result: Callable[[Path], Any]


@dataclass(frozen=True)
class Survival:
    """The outcome of a scene.

    Attributes:
        kills: number of kills during the work, each of which left work to finish.
        seconds: time for all runs.
    """

    kills: int
    seconds: float


def survive(scene: Scene, moments: int, *, stage: Stage, seed: int = 0, least: int = 0) -> Survival:
    """Kill a scene at random moments; AssertionError if a file is lost.

    Args:
        scene: the work.
        moments: number of runs that are killed, if they have not ended by then.
        stage: runs the work.
        seed: of the moments.
        least: number of kills before the end of the work, for which up to ten times as many moments are tried.
    """
    start, drawn = monotonic(), random.Random(seed)
    kills = 0
    with tempfile.TemporaryDirectory() as root:

        def prepare(name: str) -> Path:
            folder = Path(root, name)
            folder.mkdir()
            scene.prepare(folder)
            return folder

        reference = prepare("reference")
        before = contents(reference)
        whole = stage.run(scene.work, reference)
        assert whole.status == 0, whole.output
        expected = scene.result(reference)
        check = scene.check or partial(_check_whole, before, contents(reference))
        for moment in range(10 * moments):
            if moment >= moments and kills >= least:
                break
            folder = prepare(str(moment))
            ended = stage.run(scene.work, folder, kill_after=drawn.uniform(0, _BEYOND * whole.seconds))
            assert ended.status in (0, -signal.SIGKILL), ended.output
            check(folder)
            if ended.status != 0:
                kills += 1
                ended = stage.run(scene.finish(folder), folder)
                assert ended.status == 0, f"{[path.name for path in folder.iterdir()]}: {ended.output}"
                check(folder)
            assert scene.result(folder) == expected, "not the result without kills"
    return Survival(kills, monotonic() - start)


def _check_whole(before: Mapping[str, bytes], after: Mapping[str, bytes], folder: Path) -> None:
    """Check that every file is as it was before the work or as it is after it, and that none is missing."""
    files = {name: data for name, data in contents(folder).items() if not is_scrap(name)}
    assert before.keys() <= files.keys() <= after.keys(), [*files]
    for name, data in files.items():
        assert data in (before.get(name), after[name]), name
