import secrets
from threading import Event

import pytest

from eoren.errors import EorenError
from eoren.fs import leases
from eoren.fs.leases import Lease
from eoren.fs.objects import ObjectPath

BUSY = "another run is writing to it"


@pytest.fixture
def path(monkeypatch):
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.02)
    return ObjectPath(f"memory://{secrets.token_hex(8)}/.lock")


def test_a_lease_is_an_object_while_it_is_held(path):
    with Lease(path, BUSY).hold():
        assert path.exists()
    assert not path.exists()


def test_a_second_owner_is_refused_while_the_first_renews(path):
    with Lease(path, BUSY).hold():
        with pytest.raises(EorenError, match=BUSY), Lease(path, BUSY).hold():
            pass
        assert path.exists()


def test_the_lease_of_a_dead_owner_is_taken_over(path):
    path.write(b"an owner that was killed\n")
    lease = Lease(path, BUSY)
    with lease.hold():
        lease.check()
        assert b"killed" not in path.read()


def test_an_owner_that_was_held_up_notices_that_it_lost_its_lease(path):
    lease = Lease(path, BUSY)
    with lease.hold():
        path.write(b"of another owner\n")
        assert lease._lost.wait(10)
        with pytest.raises(EorenError, match=BUSY):
            lease.check()
    assert path.read() == b"of another owner\n"


def test_a_failed_renewal_is_tried_again(path, monkeypatch):
    failed, write = Event(), ObjectPath.write

    def fail_once(self, content):
        if not failed.is_set():
            failed.set()
            raise EorenError("the service does not answer")
        renewed.set()
        write(self, content)

    renewed, lease = Event(), Lease(path, BUSY)
    with lease.hold():
        monkeypatch.setattr(ObjectPath, "write", fail_once)
        assert renewed.wait(10)
        lease.check()
