"""A command where it cannot do its work: it says so in lines of its own, and takes nothing from anybody."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.survival import Stage, Work, contents, lay

REFUSED = 2
# Of glibc, where a new thread has no room for what is its own.
_LIBRARY = "cannot allocate memory for thread-local data: ABORT"


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
        room: kilobytes that are left on it.
        read_only: that disk.
        status: that the command ends with.
        check: raises AssertionError unless what is new in the folder may be there; by default nothing may.
        starved: of memory so much that the C library may end the process itself, in words of its own.
        has: which of a user's files are there; all by default.
        may_go: how paths of files begin that the command was told to replace or remove, whatever comes of it.
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
    """Let something go wrong; AssertionError unless it is said as documented, and nothing is lost.

    Args:
        fault: what goes wrong.
        before: what a user has.
        stage: where it happens.

    Returns:
        What was said last, or none where such a disk cannot be had here.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "folder")
        folder.mkdir()
        if fault.disk is not None and not _mounted("-t", "tmpfs", "-o", f"size={fault.disk}m", "none", folder):
            return None
        try:
            lay(fault.has(before))(folder)
            fault.spoil(folder)
            if fault.read_only:
                assert _mounted("-o", "remount,ro", folder)
            elif fault.disk is not None:
                _fill(folder / "others", fault.room)
            kept = contents(folder)
            ended = stage.run(fault.work, folder)
            lines = ended.said.splitlines()
            if not (fault.starved and _LIBRARY in ended.said):
                assert ended.status == fault.status, (fault.name, ended)
                assert lines, (fault.name, ended)
                assert all(line.startswith("eoren: ") for line in lines), (fault.name, ended.said)
            there = contents(folder)
            lost = [
                name for name, data in kept.items() if not name.startswith(fault.may_go) and there.get(name) != data
            ]
            assert not lost, (fault.name, lost)
            if fault.check is None:
                new = [name for name in there.keys() - kept.keys() if not name.startswith(fault.may_go)]
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
