import os

import pytest

from eoren.fs.names import as_line, as_utf8


@pytest.mark.parametrize("text", ["", "plain.png", "日本 é", "two\nlines", "\x1b[2J"])
def test_text_that_utf8_can_encode_is_kept(text):
    assert as_utf8(text) == text


def test_bytes_that_are_not_utf8_are_escaped():
    name = os.fsdecode(b"a\xff.png")
    assert as_utf8(name) == as_line(name) == r"a\udcff.png"
    assert as_utf8("\ud800") == as_line("\ud800") == r"\ud800"


def test_every_character_becomes_printable():
    """All of Unicode, line breaks, controls and directions of writing included; what is printable is kept."""
    for start in range(0, 0x110000, 0x1000):
        text = "".join(map(chr, range(start, start + 0x1000)))
        line = as_line(text)
        assert line.isprintable()
        assert line.isascii() or not {*line} - {*text} - {*"\\xuU0123456789abcdefnrt"}
        line.encode()
    assert as_line("é日 ~") == "é日 ~"
