"""Names of files as text that every reader can take.

A name that is not valid in the encoding of the file system reaches Python with lone surrogates, which open the file
again and which no encoding can write. Paths keep them; text that leaves the program is escaped here.
"""


def as_utf8(text: str) -> str:
    r"""Escape the characters that UTF-8 cannot encode, for documents, columns and JSON of other programs.

    Example:
        >>> as_utf8("caf\udce9 日本\n")
        'caf\\udce9 日本\n'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def as_line(text: str) -> str:
    r"""Escape the characters that are not printable too, line breaks and those that control a terminal among them.

    Example:
        >>> as_line("caf\udce9\x1b[2J 日本\n")
        'caf\\udce9\\x1b[2J 日本\\n'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
