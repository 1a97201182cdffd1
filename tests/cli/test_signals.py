import signal

import pytest

from eoren.cancellation import CancelToken
from eoren.cli import signals

NUMBERS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def _handlers():
    """Handlers of a foreground process, checked and restored after the test."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in NUMBERS}
    yield
    assert [signal.getsignal(number) for number in NUMBERS] == [signal.default_int_handler] * 2
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_without_a_token_the_first_signal_interrupts(number):
    with pytest.raises(KeyboardInterrupt), signals.handle_signals():
        signal.raise_signal(number)


@pytest.mark.parametrize("first", NUMBERS)
@pytest.mark.parametrize("second", NUMBERS)
def test_the_first_signal_cancels_the_token_and_the_second_interrupts(first, second):
    token = CancelToken()
    with signals.handle_signals(token):
        assert not token.is_cancelled()
        signal.raise_signal(first)
        assert token.is_cancelled()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(second)


def test_nested_handlers_are_restored():
    token = CancelToken()
    with signals.handle_signals():
        outer = signal.getsignal(signal.SIGTERM)
        with signals.handle_signals(token):
            pass
        assert signal.getsignal(signal.SIGTERM) is outer


def test_explanation(capsys):
    with pytest.raises(KeyboardInterrupt), signals.explain_interruption("a.png is kept"):
        raise KeyboardInterrupt
    with signals.explain_interruption("a.png is kept"):
        pass
    assert capsys.readouterr() == ("", "eoren: interrupted; a.png is kept\n")


@pytest.mark.parametrize("number", NUMBERS)
def test_waiting_ends_with_a_signal(capsys, monkeypatch, number):
    monkeypatch.setattr(signals, "sleep", lambda seconds: signal.raise_signal(number))
    signals.wait_for_interruption("Ctrl-C ends it")
    assert capsys.readouterr() == ("", "eoren: Ctrl-C ends it\n")
