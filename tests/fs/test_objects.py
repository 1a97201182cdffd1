"""Objects, in the memory of the process and with a client that fails. tests/dataset/test_object_storage.py has S3."""

import errno
import io
import secrets

import fsspec
import numpy as np
import pytest

from eoren.errors import EorenError
from eoren.fs import objects
from eoren.fs.objects import MissingObjectError, ObjectPath, is_address, local_path, read_objects


@pytest.fixture
def folder():
    return ObjectPath(f"memory://{secrets.token_hex(8)}")


def test_addresses_have_a_scheme():
    assert is_address("s3://bucket/a")
    assert is_address("gs://bucket")
    assert not any(is_address(path) for path in ("a", "/a", "C:/a", "a://b"[:1], b"s3://a", "-", "./s3://a"))
    assert local_path("file:///tmp/a b") == "/tmp/a b"
    assert local_path("s3://a") is None


def test_parts_of_an_address():
    path = ObjectPath("s3://bucket/train/0001.tar.gz/")
    assert (str(path), path.name, path.suffix) == ("s3://bucket/train/0001.tar.gz", "0001.tar.gz", ".gz")
    assert str(path.with_name("a")) == "s3://bucket/train/a"
    assert str(ObjectPath("s3://bucket") / "a") == "s3://bucket/a"


def test_objects_are_written_read_and_removed(folder):
    path = folder / "a"
    assert (path.read_existing(), path.exists()) == (None, False)
    path.write(b"one")
    path.write(b"second")
    assert (path.read(), path.read(1, 3), path.size(), path.exists()) == (b"second", b"ec", 6, True)
    path.remove()
    path.remove()
    with pytest.raises(MissingObjectError, match="there is no such object"):
        path.read()


def test_an_object_is_created_once(folder):
    path = folder / "a"
    assert path.create(b"mine")
    assert path.create(b"mine")  # the answer to the first request may have been lost
    assert not path.create(b"other")
    assert path.read() == b"mine"


def test_without_conditions_the_object_is_looked_up_first(folder, monkeypatch):
    monkeypatch.setattr(objects, "_CONDITIONAL", set())
    test_an_object_is_created_once(folder)


def test_files_come_in_the_order_of_their_paths(folder):
    names = ["a/0.png", "a.png", "a/b/c.png", "a-b/x.png", "z", "a/b.png", "Z/1"]
    for name in names:
        (folder / name).write(name.encode())
    assert [*folder.files()] == [(name, len(name)) for name in sorted(names)]
    assert folder.size() is None
    assert [*(folder / "nothing").files()] == []


def test_files_are_read_as_a_local_one(folder, monkeypatch):
    monkeypatch.setattr(objects, "_BLOCK", 100)
    random = np.random.default_rng(0)
    content = random.bytes(5000)
    (folder / "a").write(content)
    expected = io.BytesIO(content)
    with (folder / "a").file() as file:
        for _ in range(200):
            if random.random() < 0.5:
                position = int(random.integers(0, 5500))
                assert file.seek(position) == expected.seek(position)
            size = int(random.integers(0, 300))
            assert file.read(size) == expected.read(size)
        assert file.seek(-10, io.SEEK_END) == 4990
        assert file.read() == content[-10:]
    with pytest.raises(EorenError, match="is a folder"):
        folder.file()


def test_many_objects_are_read_with_an_error_for_each_that_is_missing(folder):
    for name in "ab":
        (folder / name).write(2 * name.encode())
    contents = read_objects([folder / name for name in ("a", "missing", "b")])
    assert contents[::2] == [b"aa", b"bb"]
    assert isinstance(contents[1], MissingObjectError)
    assert read_objects([folder / "a"], limit=1) == [b"a"]
    assert read_objects([]) == []


class Client:
    """A client of which the first requests fail."""

    def __init__(self, *errors):
        self.errors = [*errors]

    def cat_file(self, *_, **__):
        if self.errors:
            raise self.errors.pop(0)
        return b"content"


class EndpointConnectionError(Exception):
    """Has the name of an error of botocore."""


PASSING = [
    OSError(errno.EBUSY, "Please reduce your request rate"),
    ConnectionResetError("reset"),
    TimeoutError(),
    EndpointConnectionError("Could not connect"),
]


@pytest.fixture
def client(monkeypatch):
    def install(*errors):
        client = Client(*errors)
        monkeypatch.setattr(ObjectPath, "_system", lambda self: client)
        return client

    monkeypatch.setattr(objects, "_PAUSES", (0.0, 0.0))
    return install


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_errors_that_pass_are_repeated(client, error):
    client(error, error)
    assert ObjectPath("s3://bucket/a").read() == b"content"
    client(error, error, error)
    with pytest.raises(EorenError, match=r"^s3://bucket/a: the service does not answer .*; run the same again"):
        ObjectPath("s3://bucket/a").read()


def with_code(code, error):
    cause = RuntimeError()
    cause.response = {"Error": {"Code": code}}
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            with_code("ExpiredToken", PermissionError("The provided token has expired.")),
            "the credentials have expired",
        ),
        (with_code("AccessDenied", PermissionError("Access Denied")), "no permission .AccessDenied: Access Denied."),
        (with_code("NoSuchBucket", FileNotFoundError("The specified bucket ...")), "there is no such bucket"),
        (type("NoCredentialsError", (Exception,), {})("Unable to locate"), "there are no credentials"),
        (FileNotFoundError("a"), "there is no such object"),
        (OSError(errno.EINVAL, "Bad Request"), "cannot be read or written .*Bad Request"),
        (ValueError("two\nlines"), "cannot be read or written .two lines."),
    ],
    ids=str,
)
def test_errors_that_last_are_one_line(client, error, message):
    client(error, AssertionError("it was repeated"))
    with pytest.raises(EorenError, match=f"^s3://bucket/a: {message}[^\n]*$"):
        ObjectPath("s3://bucket/a").read()


def test_missing_packages_are_named(monkeypatch):
    def missing(*_, **__):
        raise ImportError

    monkeypatch.setattr(fsspec, "filesystem", missing)
    objects.client.cache_clear()
    with pytest.raises(EorenError, match=r"addresses of s3:// need s3fs; pip install 'eoren\[s3\]'"):
        ObjectPath("s3://bucket/a").read()
    with pytest.raises(EorenError, match="addresses of gs:// need gcsfs; pip install gcsfs"):
        ObjectPath("gs://bucket/a").read()
    with pytest.raises(EorenError, match="hf:// need huggingface-hub; pip install huggingface-hub"):
        ObjectPath("hf://datasets/a").read()
    monkeypatch.undo()
    with pytest.raises(EorenError, match="steam:// is not known"):
        ObjectPath("steam://bucket/a").read()
