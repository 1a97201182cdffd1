"""Documents: relative links exist, command lines parse, Python code runs."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from eoren.cli import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
PYTHON = [
    pytest.param(block, id=f"{path.name}-{number}")
    for path in DOCUMENTS
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL))
]


def commands(text):
    """Yield the arguments of every `eoren ...` command line of a document."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            found = re.search(r"(?:^|/bin/)eoren (.*)$", line)
            if found:
                yield shlex.split(found[1], comments=True)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_exist(path):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_options_exist(path):
    known = typer.main.get_command(app).commands
    for name, *words in commands(path.read_text()):
        options = {
            option for parameter in known[name].params for option in [*parameter.opts, *parameter.secondary_opts]
        }
        used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= options, f"{path.name}: eoren {name} {' '.join(words)}"


def test_readme_has_commands():
    assert len(list(commands((ROOT / "README.md").read_text()))) >= 6


@pytest.mark.parametrize("code", PYTHON)
def test_python_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "import eoren" in code
    exec(compile(re.sub(r"seconds=\d+", "steps=2", code), "document", "exec"), {})


def without_comments(text):
    """Return the code blocks of a document without their comments."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    return [(kind, re.sub(r" +# .*", "", code)) for kind, code in blocks]


def test_korean_readme_matches_the_english_one():
    """Both have the same code blocks in the same order and link to the same documents."""
    english, korean = ((ROOT / name).read_text() for name in ("README.md", "README.ko.md"))
    assert without_comments(korean) == without_comments(english)
    assert len(without_comments(english)) >= 4
    headings = [len(re.findall(r"^## ", text, re.MULTILINE)) for text in (english, korean)]
    assert headings[0] == headings[1]
    last = [set(re.findall(r"\]\(([^)]+)\)", text[text.rindex("\n## ") :])) for text in (english, korean)]
    assert last[0] == last[1]
    own = [set(re.findall(r"[가-힣]", text)) for text in (english, korean)]
    assert len(own[0]) < 5 < 100 < len(own[1])
