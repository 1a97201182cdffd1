import secrets

import pytest

from eoren.errors import EorenError
from eoren.fs.folders import LOCK, open_folder

BUSY = "another run is writing to it"
SUBFOLDERS = ("shards", "index")


@pytest.fixture
def remote():
    """A folder of objects, which is empty."""
    return open_folder(f"memory://{secrets.token_hex(8)}")


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_a_folder_with_files_in_subfolders_is_not_free(remote, tmp_path, kind):
    folder = remote if kind == "remote" else open_folder(tmp_path)
    assert folder.is_free(SUBFOLDERS)
    with folder.locked(BUSY):
        folder.prepare(SUBFOLDERS)
        assert folder.is_free(SUBFOLDERS)
        folder.write("shards/0", b"fields")
        assert not folder.is_free(SUBFOLDERS)
        folder.remove("shards/0")
        assert folder.is_free(SUBFOLDERS)
        folder.write("other", b"x")
        assert not folder.is_free(SUBFOLDERS)


def test_a_writer_that_lost_its_lease_changes_nothing(remote):
    """It was suspended and goes on before it renews: ten seconds later, longer than this test."""
    with remote.locked(BUSY):
        remote.write("index/0", b"its own")
        (remote.address / LOCK).write(b"of another owner")
        open_folder(str(remote)).write("index/0", b"of another")
        for change in (
            lambda: remote.write("index/0", b"its own"),
            lambda: remote.add("index/1", b"its own"),
            lambda: remote.remove("index/0"),
        ):
            with pytest.raises(EorenError, match=BUSY):
                change()
        assert remote.names("index") == ["0"]
        assert remote.read("index/0", 100) == b"of another"
    assert (remote.address / LOCK).read() == b"of another owner"
