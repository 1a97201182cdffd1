import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from eoren.errors import EorenError
from eoren.fs.files import (
    atomic_path,
    check_writable,
    is_temporary,
    locked,
    make_folder,
    remove_stale_temporaries,
    sha256,
)


def write(target, text="new"):
    with atomic_path(target) as path:
        path.write_text(text)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_mode_of_the_umask(tmp_path):
    previous = os.umask(0o027)
    try:
        write(tmp_path / "a.txt")
    finally:
        os.umask(previous)
    assert (tmp_path / "a.txt").read_text() == "new"
    assert mode(tmp_path / "a.txt") == 0o640


def test_an_existing_file_keeps_its_mode(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    target.chmod(0o604)
    write(target)
    assert target.read_text() == "new"
    assert mode(target) == 0o604


def test_temporary_files_are_hidden_and_unique(tmp_path):
    target = tmp_path / "a.png"
    with atomic_path(target) as one, atomic_path(target) as two:
        assert one != two
        for path in (one, two):
            assert path.parent == tmp_path
            assert path.suffix == ".png"
            assert path.name.startswith(".")
            assert path.read_bytes() == b""
        assert not target.exists()


def leftover(target):
    """Create the temporary file that a killed process leaves."""
    with atomic_path(target) as temporary:
        pass
    target.unlink()
    temporary.write_bytes(b"half")
    return temporary


def test_a_lock_removes_stale_temporaries_of_its_file_only(tmp_path):
    stale, other = leftover(tmp_path / "a.eoren"), leftover(tmp_path / "b.eoren")
    unrelated = [tmp_path / f"{stale.name[:-20]}xx.eoren", tmp_path / ".eoren-mine", tmp_path / "a.eoren-0123"]
    for path in unrelated:
        path.write_bytes(b"keep")
    (tmp_path / f"{stale.name[:24]}{'0' * 16}").mkdir()
    with locked(tmp_path / "a.eoren"):
        assert not stale.exists()
        assert other.read_bytes() == b"half"
        assert all(path.read_bytes() == b"keep" for path in unrelated)
        busy = leftover(tmp_path / "a.eoren")
        with pytest.raises(EorenError, match="another process"), locked(tmp_path / "a.eoren"):
            pass
        assert busy.exists()  # without the lock nothing is removed
    remove_stale_temporaries(tmp_path)
    assert not busy.exists()
    assert not other.exists()
    assert all(path.read_bytes() == b"keep" for path in unrelated)


def test_a_lock_file_with_content_is_refused(tmp_path):
    target, lock_file = tmp_path / "a.eoren", tmp_path / "a.eoren.lock"
    lock_file.write_text("my notes")
    with pytest.raises(EorenError, match=r"a\.eoren\.lock: has content, so it is not a lock file"), locked(target):
        pass
    assert lock_file.read_text() == "my notes"
    lock_file.write_text("")  # as a killed process leaves it
    with locked(target):
        pass
    assert not lock_file.exists()


def test_temporary_names_are_recognised_and_short(tmp_path):
    target = tmp_path / ("n" * 250 + ".npy")
    with atomic_path(target) as temporary:
        assert is_temporary(temporary.name)
    assert not is_temporary(".eoren-lock")
    assert not is_temporary("a.eoren")


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_a_failure_leaves_only_the_old_file(tmp_path, interruption):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail():
        with atomic_path(target) as path:
            path.write_text("half")
            raise interruption

    with pytest.raises(interruption):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_is_one_line(tmp_path):
    def fail():
        with atomic_path(tmp_path / "a.txt"):
            raise OSError(28, "No space left on device")

    with pytest.raises(EorenError, match=r"a\.txt: cannot be written \(No space left on device\)"):
        fail()


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
def test_a_disk_that_fails_is_one_line(tmp_path, number):
    def fail():
        with atomic_path(tmp_path / "a.txt"):
            raise OSError(number, os.strerror(number))

    with pytest.raises(EorenError, match=rf"a\.txt: cannot be written \({os.strerror(number)}\)"):
        fail()


@pytest.mark.parametrize(("where", "name"), [(os, "fsync"), (Path, "chmod"), (Path, "replace")])
@pytest.mark.parametrize("number", [errno.EIO, errno.EPERM, errno.ETXTBSY])
def test_errors_of_the_last_steps_are_one_line(tmp_path, monkeypatch, where, name, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    target = tmp_path / "a.txt"
    target.write_text("old")
    monkeypatch.setattr(where, name, fail)
    with pytest.raises(EorenError, match=rf"a\.txt: cannot be written \({os.strerror(number)}\)"):
        write(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_other_os_errors_pass_through(tmp_path):
    def fail():
        with atomic_path(tmp_path / "a.txt"):
            open(tmp_path / "missing")  # noqa: PTH123, SIM115

    with pytest.raises(FileNotFoundError, match="missing"):
        fail()


def test_symbolic_links_are_written_through(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write(tmp_path / "link.txt")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("a.txt")
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize("attempt", [check_writable, write])
def test_impossible_targets_are_one_line(tmp_path, attempt):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    cases = {
        tmp_path: "is a folder",
        tmp_path / "missing" / "a.png": "there is no folder",
        tmp_path / "file" / "a.png": "there is no folder",
        tmp_path / "pipe": "not a regular file",
        tmp_path / ("x" * 300): "cannot be written",
        tmp_path / "a\0b": "cannot be written",
    }
    for target, message in cases.items():
        with pytest.raises(EorenError, match=message) as caught:
            attempt(target)
        assert str(caught.value).startswith(str(target))
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pipe"]


@pytest.mark.parametrize("attempt", [check_writable, write])
def test_missing_permission(tmp_path, monkeypatch, attempt):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser is never refused
    with pytest.raises(EorenError, match="no permission"):
        attempt(tmp_path / "a.png")
    assert not any(tmp_path.iterdir())


def test_write_protected_file(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    target.write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: path != target)
    with pytest.raises(EorenError, match="no permission"):
        write(target)
    assert target.read_text() == "old"


def test_check_writable_touches_nothing(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    before = target.stat()
    check_writable(target)
    check_writable(tmp_path / "b.txt")
    assert target.stat() == before
    assert list(tmp_path.iterdir()) == [target]


def test_sha256(tmp_path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(content)
    assert sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_sha256_refuses_what_is_not_a_file(tmp_path):
    for path in (tmp_path, tmp_path / "missing", "/dev/zero", "a\0b"):
        with pytest.raises(EorenError) as caught:
            sha256(path)
        assert "\n" not in str(caught.value)


def test_make_folder(tmp_path):
    make_folder(tmp_path / "a" / "b", parents=True)
    make_folder(tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]
    (tmp_path / "file").touch()
    with pytest.raises(EorenError, match="file: is a file; choose a folder"):
        make_folder(tmp_path / "file")
    with pytest.raises(EorenError, match=r"c: cannot be created \(Not a directory\)"):
        make_folder(tmp_path / "file" / "c")
