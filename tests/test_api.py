import inspect
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import eoren

HEAVY = ("torch", "numpy", "scipy", "skimage", "PIL", "jaxtyping", "rich", "typer")


def run(code):
    """In an interpreter of its own, with this one's search path."""
    code = f"import sys; sys.path[:] = {sys.path!r}; {code}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_nothing_heavy():
    loaded = f"print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run(f"import eoren; eoren.__version__; dir(eoren); eoren.EorenError; {loaded}") == "[]"


def test_names_can_be_imported_from_the_package():
    names = ", ".join(name for name in eoren.__all__ if name != "__version__")
    assert (
        run(
            f"from eoren import {names}; from eoren import *; print(fit is eoren_fit)".replace(
                "print", "from eoren.training.fit import fit as eoren_fit; print"
            )
        )
        == "True"
    )


@pytest.mark.parametrize("name", [name for name in eoren.__all__ if name != "__version__"])
def test_public_names_are_there_and_explained(name):
    thing = getattr(eoren, name)
    assert thing.__name__ == name
    assert thing.__module__.startswith("eoren.")
    assert thing.__doc__
    first = inspect.getdoc(thing).splitlines()[0]
    assert first.endswith(".")
    assert not first.startswith(f"{name}(")  # what a dataclass without a docstring says
    # The module's own object, not a copy: `except eoren.EorenError` must catch what modules raise.
    assert getattr(sys.modules[thing.__module__], name) is thing


def test_public_methods_are_explained():
    for name in eoren.__all__:
        thing = getattr(eoren, name)
        if inspect.isclass(thing):
            for member, value in vars(thing).items():
                if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                    assert value.__doc__, f"{name}.{member}"


def test_names_are_listed_once_and_few():
    assert len(set(eoren.__all__)) == len(eoren.__all__) <= 23
    assert dir(eoren) == sorted(eoren.__all__)
    assert "__version__" in eoren.__all__


def test_version_is_the_distributions():
    assert eoren.__version__ == version("eoren")


def test_unknown_names_say_so():
    with pytest.raises(AttributeError, match="module 'eoren' has no attribute 'nonsense'"):
        _ = eoren.nonsense
    assert not hasattr(eoren, "__wrapped__")


def test_one_exception_is_enough_for_callers():
    assert issubclass(eoren.EorenError, Exception)
    with pytest.raises(eoren.EorenError):
        eoren.load("/nowhere/at/all.eoren")


def test_public_names_are_on_the_reference_page():
    page = (Path(__file__).parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"auto\w+:: eoren\.(\w+)$", page, re.MULTILINE))
    assert documented == {*eoren.__all__} - {"__version__"}
