"""What is installed: pinned versions, and the oldest that are said to do, are those that pyproject.toml names."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def pins(name):
    lines = (line.split(";")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return dict(re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups() for line in lines if line and line[0] != "#")


def lowest():
    """Lower bounds of all that the library and its tests need."""
    text = (ROOT / "pyproject.toml").read_text().split("[project.scripts]")[0].split("dependencies = [")
    return dict(re.findall(r'"([\w-]+)>=([\w.]+)[",]', "".join(text[1:])))


def number(version):
    return [*map(int, [*version.split("."), "0", "0"][:3])]


def test_every_dependency_is_pinned_above_its_lower_bound():
    pinned = {name.lower(): version for name, version in pins("constraints.txt").items()}
    assert len(lowest()) >= 15
    for name, version in lowest().items():
        assert number(pinned[name.lower()]) >= number(version), name


def test_the_oldest_versions_are_the_lower_bounds():
    oldest = pins("constraints-oldest.txt")
    bounds = {name: version for name, version in lowest().items() if name not in ("ruff", "mypy")}
    assert oldest.keys() == bounds.keys()
    for name, version in bounds.items():
        found = number(oldest[name])
        assert found[: len(version.split("."))] == number(version)[: len(version.split("."))], name
