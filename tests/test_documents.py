"""The documents: links, options and tests exist, the glossary is linked, both languages say the same."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from eoren.cli import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def commands(text):
    """Yield the words after `eoren` of every command line of a document."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            command = re.search(r"(?:^|/bin/)eoren (.*)$", line)
            if command:
                yield shlex.split(command[1], comments=True)


def anchors(text):
    """Return the anchors of the headings of a document, as GitHub and MyST form them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_have_targets(path):
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", path.read_text()):
        if "://" not in target:
            linked = path.parent / target if target else path
            assert linked.exists(), f"{path.name} links to {target}"
            if anchor:
                assert anchor in anchors(linked.read_text()), f"{path.name} links to {target}#{anchor}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_options_exist(path):
    known = typer.main.get_command(app).commands
    for name, *words in commands(path.read_text()):
        options = {
            option for parameter in known[name].params for option in [*parameter.opts, *parameter.secondary_opts]
        }
        used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= options, f"{path.name}: eoren {name} {' '.join(words)}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_named_tests_exist(path):
    for arguments in re.findall(r"`pytest ([^`]+)`", path.read_text()):
        words = shlex.split(arguments)
        selected = words[words.index("-k") + 1].split(" or ") if "-k" in words else []
        files = [
            file
            for name in words
            if name.startswith("tests/")
            for file in ([ROOT / name] if name.endswith(".py") else [*(ROOT / name).rglob("test_*.py")])
        ]
        assert files, f"{path.name}: pytest {arguments}"
        assert all(file.exists() for file in files), f"{path.name}: pytest {arguments}"
        tests = " ".join(re.findall(r"def (test_\w+)", "".join(file.read_text() for file in files)))
        for word in selected:
            assert word in tests, f"{path.name}: pytest {arguments}: no test has {word!r} in its name"
    for name in re.findall(r"`(tests/[\w/.]+)`", path.read_text()):
        assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_pages_link_the_glossary():
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"glossary"}
    assert not [name for name in sorted(pages) if "(glossary.md" not in (ROOT / "docs" / f"{name}.md").read_text()]


def test_there_are_commands_to_check():
    assert len(list(commands((ROOT / "README.md").read_text()))) >= 6


def without_comments(text):
    """Return the blocks of code of a document, without comments."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    return [(kind, re.sub(r" +# .*", "", code)) for kind, code in blocks]


def test_korean_readme_matches():
    """Both have the same commands and Python in the same order, and link the same documents."""
    english, korean = ((ROOT / name).read_text() for name in ("README.md", "README.ko.md"))
    assert without_comments(korean) == without_comments(english)
    assert len(without_comments(english)) >= 4
    headings = [len(re.findall(r"^## ", text, re.MULTILINE)) for text in (english, korean)]
    assert headings[0] == headings[1]
    last = [set(re.findall(r"\]\(([^)]+)\)", text[text.rindex("\n## ") :])) for text in (english, korean)]
    assert last[0] == last[1]
    letters = [set(re.findall(r"[가-힣]", text)) for text in (english, korean)]
    assert len(letters[0]) < 5 < 100 < len(letters[1])


def test_citations_have_the_version():
    import eoren

    for name, form in (("CITATION.cff", "version: {}"), ("docs/index.md", "version = {{{}}}")):
        assert form.format(eoren.__version__) in (ROOT / name).read_text(), name


def test_the_job_for_kuberay_runs_a_command_that_exists():
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((ROOT / "examples" / "kuberay.yaml").read_text())
    assert job["kind"] == "RayJob"
    name, *words = shlex.split(job["spec"]["entrypoint"])[1:]
    known = typer.main.get_command(app).commands[name]
    options = {option for parameter in known.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options
