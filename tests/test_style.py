"""The language of the code and the documents, as far as a machine can check it."""

import ast
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "src" / "eoren").rglob("*.py"))
NATIVE = [path for path in sorted((ROOT / "src" / "native").iterdir()) if path.suffix in (".h", ".cpp", ".txt")]
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]

WORDS = [
    line.split("\t")
    for line in (ROOT / "tests" / "words.txt").read_text(encoding="utf-8").splitlines()
    if line and line[0] != "#"
]
BANNED = re.compile("|".join(rf"(?<![\w./~-])({pattern})(?![\w/~-]|\.\w)" for pattern, _ in WORDS), re.IGNORECASE)
# An entry of Args, Returns ... that is no phrase: "seed: of the random numbers".
FRAGMENT = re.compile(r"^(of|that|which|where|how) ")
SECTIONS = re.compile(r"^(Args|Arguments|Attributes|Parameters):$")
STYLE = ROOT / ".ci" / "style"


def prose_of_python(path):
    """Yield (line number, text) of comments and strings; strings of one word are names, such as keys of JSON."""
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT or tokenize.tok_name[token.type] in ("STRING", "FSTRING_MIDDLE"):
                text = re.sub(r"\{[^{}]*\}", "", token.string)
                if not re.fullmatch(r"""[a-z]*['"][\w-]+['"]""", text):
                    yield from enumerate(text.splitlines(), token.start[0])


def prose_of_document(path):
    """Yield (line number, text) of a document without its blocks of code and the targets of its links."""
    in_code = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            in_code = not in_code
        elif not in_code:
            yield number, re.sub(r"\]\([^)]*\)", "", line)


def prose(path):
    """Yield (line number, text) of what people read in a file, without code in backquotes and names of arguments."""
    for number, line in (prose_of_python if path.suffix == ".py" else prose_of_document)(path):
        yield number, re.sub(r"`+[^`]*`+|^ +\w+: ", "", line)


def remedy(word):
    return next(remedy for pattern, remedy in WORDS if re.fullmatch(pattern, word, re.IGNORECASE))


@pytest.mark.parametrize("path", [*MODULES, *NATIVE, *DOCUMENTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_words_are_plain(path):
    violations = [
        f'{path.relative_to(ROOT)}:{number}: "{match[0]}" -> {remedy(match[0])}'
        for number, line in prose(path)
        for match in BANNED.finditer(line)
    ]
    assert not violations, "\n".join(violations)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_of_tests_are_plain(path):
    names = re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    violations = [
        f"{path.relative_to(ROOT)}: {name} -> {remedy(match[0])}"
        for name in names
        for match in BANNED.finditer(name.replace("_", " "))
    ]
    assert not violations, "\n".join(violations)


def documented(tree):
    """Yield (definition, docstring) of every class and function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield node, docstring


def entries(docstring):
    """Yield (name, description) of each documented argument or attribute."""
    in_section = False
    for line in docstring.splitlines():
        if line and not line[0].isspace():
            in_section = bool(SECTIONS.match(line))
        elif in_section:
            entry = re.match(r" {4}\*{0,2}([\w, *]+)(?: \([^)]*\))?: (.+)", line)
            if entry:
                yield entry[1], entry[2]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arguments_are_described_by_phrases(path):
    fragments = [
        f'{path.relative_to(ROOT)}:{node.body[0].lineno}: {node.name}: "{name}: {text}" -> name the thing first, '
        'as in "seed: seed of the random generator"'
        for node, docstring in documented(ast.parse(path.read_text(encoding="utf-8")))
        for name, text in entries(docstring)
        if FRAGMENT.match(text)
    ]
    assert not fragments, "\n".join(fragments)


def test_the_checks_find_something():
    assert BANNED.search("Nobody lacks a picture")
    assert not BANNED.search("docs/pictures/astronaut.jpg")
    assert [remedy(word) for word in ("lack", "Pictures")] == [
        "is missing, does not have, is not supported by",
        "image, images",
    ]
    docstring = (
        "Fit.\n\nArgs:\n    seed: of the numbers\n        to come\n    steps (int): count\n\nReturns:\n    it: x"
    )
    assert [*entries(docstring)] == [("seed", "of the numbers"), ("steps", "count")]
    assert FRAGMENT.match("of the numbers")
    assert not FRAGMENT.match("whether the fit ends")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.parametrize(
    ("subject", "accepted"),
    [
        ("Field: read colours in strips", True),
        ("Command line: one meaning of --json", True),
        ("Field: " + "x" * 65, True),
        ("Field: " + "x" * 66, False),
        ("wip", False),
        ("Field: wip", False),
        ("read colours in strips", False),
        ("field: read colours in strips", False),
        ('Revert "Field: read colours in strips"', True),
    ],
)
def test_commit_subjects_are_checked(subject, accepted):
    done = subprocess.run(["sh", str(STYLE), subject], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode == 0) == accepted, done.stdout
    assert accepted or f'"{subject}"' in done.stdout
