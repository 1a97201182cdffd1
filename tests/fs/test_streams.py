import io
import os
import threading

import pytest

from eoren.errors import EorenError
from eoren.fs import streams
from eoren.fs.streams import open_input, open_output, read_stream, stream_name, write_output

CONTENT = bytes(range(256)) * 9000  # more than two blocks


class Trickle:
    """A file object without a position, which gives a few bytes at a time, as a socket."""

    def __init__(self, content):
        self.rest, self.name = content, 7

    def read(self, size=-1):
        part, self.rest = self.rest[:70_000], self.rest[70_000:]
        return part


class Sink(io.RawIOBase):
    """A raw file that takes a part of what it is given."""

    def __init__(self):
        self.content = b""

    def writable(self):
        return True

    def write(self, data):
        self.content += bytes(data[:1000])
        return len(data[:1000])


def read(source):
    with open_input(source) as (file, size, name):
        content = file.read()
        file.seek(0)
        assert (len(content), file.tell()) == (size, 0)
        return content, name


def test_every_kind_of_input_is_read(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    for source in (path, str(path)):
        assert read(source) == (CONTENT, str(path))
    for kind in (bytes, bytearray, memoryview):
        assert read(kind(CONTENT)) == (CONTENT, kind.__name__)
    assert read(io.BytesIO(CONTENT)) == (CONTENT, "BytesIO")
    assert read(Trickle(CONTENT)) == (CONTENT, "Trickle")
    for buffering in (0, -1):
        with path.open("rb", buffering) as file:
            file.seek(300)
            assert read(file) == (CONTENT[300:], str(path))
            assert not file.closed
            assert file.tell() == len(CONTENT)


def test_pipes_are_read_to_their_end():
    receiver, sender = os.pipe()

    def send():
        with os.fdopen(sender, "wb") as file:
            file.write(CONTENT)

    thread = threading.Thread(target=send)
    thread.start()
    with os.fdopen(receiver, "rb") as file:
        assert read(file)[0] == CONTENT
    thread.join()


@pytest.mark.usefixtures("unchecked")
def test_other_inputs_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(b"\xff\n")
    closed = io.BytesIO()
    closed.close()
    with (tmp_path / "a.txt").open(encoding="utf-8") as text, (tmp_path / "b").open("wb") as other:
        for source, message in {
            text: r"a\.txt: must be a path, bytes or a file opened with 'rb', got TextIOWrapper",
            io.StringIO(): "StringIO: must be a path, bytes or a file opened with 'rb', got StringIO",
            5: "int: must be a path, bytes or a file opened with 'rb', got int",
            closed: r"BytesIO: cannot be read \(I/O operation on closed file.*\); check the file",
            other: r"b: cannot be read \(read\); check the file",
        }.items():
            with pytest.raises(EorenError, match=f"{message}$"):
                read_stream(source)
    monkeypatch.setattr(streams, "MAX_STREAM", 100_000)
    assert len(read_stream(Trickle(CONTENT[:100_000])).getvalue()) == 100_000
    with pytest.raises(EorenError, match="must have at most 100,000 bytes; write them to a file"):
        read_stream(Trickle(CONTENT))


@pytest.mark.parametrize("raw", [False, True])
def test_file_objects_get_everything_and_stay_open(raw):
    target = Sink() if raw else io.BytesIO(b"before")
    if not raw:
        target.seek(0, io.SEEK_END)
    write_output(target, CONTENT[:5000])
    with open_output(target) as path:
        path.write_bytes(CONTENT)
    written = target.content if raw else target.getvalue().removeprefix(b"before")
    assert written == CONTENT[:5000] + CONTENT
    assert not target.closed


def test_an_error_leaves_a_file_object_as_it_was():
    target, paths = io.BytesIO(), []

    def fail():
        with open_output(target) as path:
            paths.append(path)
            path.write_bytes(CONTENT)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert target.getvalue() == b""
    assert not paths[0].parent.exists()


def test_paths_are_written_atomically(tmp_path):
    target = tmp_path / "a.bin"
    write_output(target, b"old")
    with open_output(str(target)) as path:
        path.write_bytes(CONTENT)
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == CONTENT


@pytest.mark.usefixtures("unchecked")
def test_other_outputs_are_refused(tmp_path):
    (tmp_path / "a").touch()
    with (tmp_path / "a").open("rb") as file:
        for target, message in {
            io.StringIO(): "StringIO: must be a path or a file opened with 'wb', got StringIO",
            7: "int: must be a path or a file opened with 'wb', got int",
            file: r"a: cannot be written \(write\); check the file",
        }.items():
            with pytest.raises(EorenError, match=f"{message}$"):
                write_output(target, b"1")


def test_a_stopped_reader_is_not_an_error_of_the_file():
    receiver, sender = os.pipe()
    os.close(receiver)
    with os.fdopen(sender, "wb", buffering=0) as file, pytest.raises(BrokenPipeError):
        write_output(file, CONTENT)


def test_missing_space_for_temporary_files_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    message = r"temporary files cannot be written \(No such file or directory\); free space, or set TMPDIR"
    with pytest.raises(EorenError, match=message), open_output(io.BytesIO()):
        pass


def test_names():
    assert [stream_name(value) for value in ("a//b", Trickle(b""), io.BytesIO())] == ["a/b", "Trickle", "BytesIO"]
