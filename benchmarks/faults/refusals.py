"""Commands that cannot succeed: they must print an error in lines of their own, and lose no file."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.survival import Stage, Work, contents, lay

REFUSED = 2
# Message of glibc, when there is no memory for the local data of a new thread.
_LIBRARY = "cannot allocate memory for thread-local data: ABORT"


def _nothing(folder: Path) -> None:
    pass


@dataclass(frozen=True)
class Fault:
    """A condition in which a command cannot succeed.

    Attributes:
        name: name in the table.
        work: the command.
        spoil: change of the folder before the command.
        disk: size of a separate, full disk in megabytes; ``None`` for the usual disk.
        room: free kilobytes of that disk.
        read_only: whether that disk is read-only.
        status: expected exit status.
        check: raises AssertionError if the folder contains invalid new files; by default there may be none.
        starved: whether the C library may abort the process itself, for lack of memory.
        has: selects the user's files that exist; all by default.
        may_go: prefixes of the paths that the command may replace or remove even if it fails.
    """

    name: str
    work: Work
    spoil: Work = _nothing
    disk: int | None = None
    room: int = 0
    read_only: bool = False
    status: int = REFUSED
    check: Work | None = None
    has: Callable[[Mapping[str, bytes]], Mapping[str, bytes]] = dict
    starved: bool = False
    may_go: tuple[str, ...] = ()


def endure(fault: Fault, before: Mapping[str, bytes], *, stage: Stage) -> str | None:
    """Run a command that must fail; AssertionError unless its message is as documented, and no file is lost.

    Args:
        fault: the condition.
        before: files of the user, by path.
        stage: runner of the processes.

    Returns:
        The last line of output, or ``None`` if such a disk cannot be mounted here.
    """
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "folder")
        folder.mkdir()
        if fault.disk is not None and not _mounted("-t", "tmpfs", "-o", f"size={fault.disk}m", "none", folder):
            return None
        try:
            lay(fault.has(before))(folder)
            fault.spoil(folder)
            if fault.read_only:
                assert _mounted("-o", "remount,ro", folder)
            elif fault.disk is not None:
                _fill(folder / "filler", fault.room)
            kept = contents(folder)
            ended = stage.run(fault.work, folder)
            lines = ended.output.splitlines()
            if not (fault.starved and _LIBRARY in ended.output):
                assert ended.status == fault.status, (fault.name, ended)
                assert lines, (fault.name, ended)
                assert all(line.startswith("eoren: ") for line in lines), (fault.name, ended.output)
            after = contents(folder)
            lost = [
                name for name, data in kept.items() if not name.startswith(fault.may_go) and after.get(name) != data
            ]
            assert not lost, (fault.name, lost)
            if fault.check is None:
                new = [name for name in after.keys() - kept.keys() if not name.startswith(fault.may_go)]
                assert not new, (fault.name, new)
            else:
                fault.check(folder)
            return lines[-1]
        finally:
            if fault.disk is not None:
                subprocess.run(["umount", str(folder)], check=True)


def _mounted(*arguments: str | Path) -> bool:
    try:
        return subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _fill(path: Path, room: int) -> None:
    free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize
    path.write_bytes(bytes(free - (room << 10)))
