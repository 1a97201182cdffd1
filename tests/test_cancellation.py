from threading import Thread

import pytest

from eoren.cancellation import Cancelled, CancelToken


def test_a_token_stays_cancelled():
    token = CancelToken()
    token.raise_if_cancelled()
    assert not token.is_cancelled()
    token.cancel()
    token.cancel()
    assert token.is_cancelled()
    with pytest.raises(Cancelled):
        token.raise_if_cancelled()


def test_cancelling_a_child_leaves_its_parent_and_siblings():
    parent = CancelToken()
    child, sibling = CancelToken(parent), CancelToken(parent)
    child.cancel()
    assert (child.is_cancelled(), sibling.is_cancelled(), parent.is_cancelled()) == (True, False, False)
    parent.cancel()
    assert sibling.is_cancelled()


def test_threads_see_the_cancellation():
    token = CancelToken()

    def work():
        while not token.is_cancelled():
            pass

    thread = Thread(target=work)
    thread.start()
    token.cancel()
    thread.join(timeout=60)
    assert not thread.is_alive()
