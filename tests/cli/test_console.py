import json
import re

import pytest

from eoren.cli import console


def test_notice_is_one_line_without_control_characters(capsys):
    console.notice("two\nlines\t\x1b[2Jand \udcff")
    assert capsys.readouterr() == ("", "eoren: two\\nlines\\t\\x1b[2Jand \\udcff\n")


def test_table_has_no_control_characters(capsys):
    console.print_result({}, {"file": "a\x1b]0;title\x07\n.eoren", "longer name": "é"}, as_json=False)
    assert capsys.readouterr() == ("file         a\\x1b]0;title\\x07\\n.eoren\nlonger name  é\n", "")


def test_json_is_json(capsys):
    console.print_result({"a": 1.5, "b": None, "c": "\udcff\n"}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"a": 1.5, "b": None, "c": "\udcff\n"}
    with pytest.raises(ValueError):
        console.print_result({"a": float("nan")}, as_json=True)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (123456, "123 kB"), (5 * 10**9, "5 GB")]
)
def test_byte_size(count, text):
    assert console.byte_size(count) == text


def test_decibels():
    assert [console.decibels(v) for v in (30.126, -1.0, None, float("inf"))] == [
        "30.13 dB",
        "-1.00 dB",
        "exact",
        "exact",
    ]


def test_metrics():
    shown = [console.format_metric(name, value) for name, value in (("psnr", 30.126), ("psnr", None), ("ssim", 0.5))]
    assert shown == ["30.13 dB", "exact", "0.5000"]


def test_channel_names():
    assert [console.channel_names(c) for c in (1, 2, 3, 4)] == ["gray", "gray and alpha", "RGB", "RGBA"]


def test_progress_without_a_terminal_prints_a_line_every_ten_seconds(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(console, "monotonic", lambda: clock[0])
    with console.progress(False) as show:
        for share in (0.1, 0.2, 0.3, 0.4):
            clock[0] += 6
            show("equal time", share)
    assert capsys.readouterr() == ("", "eoren: equal time, 20% of everything\neoren: equal time, 40% of everything\n")


def test_progress_on_a_terminal_is_a_transient_bar(capsys, monkeypatch):
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    with console.progress(False) as show:
        show("equal time", 0.5)
    out, err = capsys.readouterr()
    assert out == ""
    assert "equal time" in err
    assert "50%" in err


@pytest.mark.parametrize(("columns", "lines"), [(60, 2), (80, 1)])
def test_progress_on_a_narrow_terminal_has_two_lines(capsys, monkeypatch, columns, lines):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    description = "step  1,234, PSNR  31.4 dB, gradient  28.9 dB,  0:12 left"
    with console.progress(False, percent=False) as show:
        show(description, 0.5)
    err = capsys.readouterr().err
    shown = [line for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err).splitlines() if line.strip()]
    last = [line for line in shown if "1,234" in line or "━" in line][-lines:]
    assert " ".join(last).count("━") + " ".join(last).count("╸") + " ".join(last).count("╺") >= 19
    assert description in last[-1]
    assert all(len(line.split("\r")[-1]) <= columns for line in last)


def test_no_progress_if_quiet(capsys, monkeypatch):
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setattr(console, "LINE_EVERY", 0.0)
    with console.progress(True) as show:
        show("equal time", 0.5)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("ssim", 0.98765, "0.9877"),
        ("ssim", float("nan"), "-"),
        ("psnr", 40.123, "40.12 dB"),
        ("psnr", float("inf"), "exact"),
        ("psnr", None, "exact"),
    ],
)
def test_measures_of_quality(name, value, text):
    assert console.format_metric(name, value) == text
