import json

import pytest

from eoren.cli import terminal
from eoren.errors import EorenError


def test_notice_is_one_line_that_steers_no_terminal(capsys):
    terminal.notice("two\nlines\t\x1b[2Jand \udcff")
    assert capsys.readouterr() == ("", "eoren: two lines ?[2Jand ?\n")


def test_table_steers_no_terminal(capsys):
    terminal.print_table({"file": "a\x1b]0;title\x07\n.eoren", "longer name": "é"})
    assert capsys.readouterr() == ("file         a?]0;title??.eoren\nlonger name  é\n", "")


def test_json_is_json(capsys):
    terminal.print_json({"a": 1.5, "b": None, "c": "\udcff\n"})
    assert json.loads(capsys.readouterr().out) == {"a": 1.5, "b": None, "c": "\udcff\n"}
    with pytest.raises(ValueError):
        terminal.print_json({"a": float("nan")})


def test_check_output(folder):
    old, new = folder / "old", folder / "new"
    old.write_text("precious")
    terminal.check_output(new, "sample:astronaut", False)
    terminal.check_output(old, new, True)
    with pytest.raises(EorenError, match="old: exists; give --overwrite"):
        terminal.check_output(old, new, False)
    with pytest.raises(EorenError, match="old: is the input"):
        terminal.check_output(old, old, True)
    with pytest.raises(EorenError, match="is a folder"):
        terminal.check_output(folder, old, True)
    assert not new.exists()


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (123456, "123 kB"), (5 * 10**9, "5 GB")]
)
def test_byte_size(count, text):
    assert terminal.byte_size(count) == text


def test_decibels():
    assert [terminal.decibels(v) for v in (30.126, -1.0, None, float("inf"))] == [
        "30.13 dB",
        "-1.00 dB",
        "exact",
        "exact",
    ]


def test_channel_names():
    assert [terminal.channel_names(c) for c in (1, 2, 3, 4)] == ["gray", "gray and alpha", "RGB", "RGBA"]


def test_progress_away_from_a_terminal_is_a_line_now_and_then(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(terminal, "monotonic", lambda: clock[0])
    with terminal.progress(False) as show:
        for share in (0.1, 0.2, 0.3, 0.4):
            clock[0] += 6
            show("equal time", share)
    assert capsys.readouterr() == ("", "eoren: equal time, 20% of everything\neoren: equal time, 40% of everything\n")


def test_progress_on_a_terminal_is_a_bar_that_goes_away(capsys, monkeypatch):
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    with terminal.progress(False) as show:
        show("equal time", 0.5)
    out, err = capsys.readouterr()
    assert out == ""
    assert "equal time" in err
    assert "50%" in err


def test_no_progress_if_quiet(capsys, monkeypatch):
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setattr(terminal, "LINE_EVERY", 0.0)
    with terminal.progress(True) as show:
        show("equal time", 0.5)
    assert capsys.readouterr() == ("", "")


def test_seeds():
    terminal.check_seed(0)
    terminal.check_seed(2**32 - 1)
    for seed in (-1, 2**32):
        with pytest.raises(EorenError, match=f"--seed is {seed}, but must lie between"):
            terminal.check_seed(seed)
