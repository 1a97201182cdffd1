"""The backend is chosen in one place."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from eoren.backends import dispatch
from eoren.backends.base import Backend
from eoren.backends.dispatch import BACKENDS, backend_info, choose_backend, choose_coder
from eoren.backends.native import NativeBackend
from eoren.backends.native_library import library
from eoren.backends.torch import TorchBackend
from eoren.errors import BackendWarning, EorenError
from eoren.model.siren import Siren

SOURCES = Path(dispatch.__file__).parents[1]

needs_library = pytest.mark.skipif(library() is None, reason="the native library is not built here")


@pytest.fixture(autouse=True)
def unforced(monkeypatch):
    for variable in ("EOREN_BACKEND", "EOREN_ENGINE"):
        monkeypatch.delenv(variable, raising=False)
    dispatch._warn_once.cache_clear()
    yield
    dispatch._warn_once.cache_clear()


def siren(width=16):
    return Siren.init(1, width=width, depth=2, channels=1, generator=torch.Generator())


def modules_with(pattern):
    return {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.py")
        if re.search(pattern, path.read_text(encoding="utf-8"))
    }


def test_one_module_reads_the_environment_and_makes_backends():
    assert modules_with(r"EOREN_(BACKEND|ENGINE)") == {"backends/dispatch.py"}
    assert modules_with(r"(Torch|Native)Backend\(\)") == {"backends/dispatch.py"}
    readers = {
        name for name in modules_with(r"os\.environ|getenv") if name.startswith(("backends", "model", "field"))
    }
    assert readers == {"backends/dispatch.py", "backends/native_library.py"}  # the latter its instruction set


def test_both_backends_satisfy_the_protocol():
    for backend in (TorchBackend(), NativeBackend()):
        assert isinstance(backend, Backend)
    assert {TorchBackend.name, NativeBackend.name} == {*BACKENDS}


@needs_library
def test_native_is_chosen_where_it_can_compute():
    assert choose_backend(siren()).name == "native"
    assert choose_backend(siren(6)).name == "torch"
    assert choose_backend(siren(), differentiable=True).name == "torch"
    assert choose_backend(siren().to(torch.float64)).name == "torch"


@pytest.mark.parametrize("variable", ["EOREN_BACKEND", "EOREN_ENGINE"])
def test_the_environment_forces_a_backend(monkeypatch, variable):
    monkeypatch.setenv(variable, "torch")
    assert choose_backend(siren()).name == backend_info().backend == "torch"
    assert backend_info().reason == f"the environment forces it ({variable}=torch)"
    monkeypatch.setenv(variable, "native")
    with pytest.raises(EorenError, match=r"^EOREN_BACKEND is native, but .*; unset it to compute with PyTorch$"):
        choose_backend(siren(6))
    monkeypatch.setenv(variable, "cuda")
    with pytest.raises(
        EorenError, match=rf"^{variable} must be one of native, torch, got 'cuda'; set one, or unset it$"
    ):
        choose_backend(siren())


def test_the_current_variable_goes_before_the_earlier_one(monkeypatch):
    monkeypatch.setenv("EOREN_ENGINE", "native")
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    assert choose_backend(siren()).name == "torch"


def test_a_slower_backend_warns_once_per_reason():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        choose_backend(siren(6))  # without a warning unless requested
        for width in (6, 6, 7, 6):
            choose_backend(siren(width), warn=True)
    messages = [str(warning.message) for warning in caught]
    assert {warning.category for warning in caught} == {BackendWarning}
    assert all(message.startswith("PyTorch does the work, several times slower") for message in messages)
    assert len(messages) == len({*messages}) == (1 if library() is None else 2)


def test_a_forced_backend_does_not_warn(monkeypatch):
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose_backend(siren(6), warn=True)


def test_the_coder_follows_the_backend(monkeypatch):
    assert choose_coder().name == ("numpy" if library() is None else "native")
    monkeypatch.setenv("EOREN_BACKEND", "torch")
    assert choose_coder().name == "numpy"
    monkeypatch.setenv("EOREN_BACKEND", "native")
    monkeypatch.setattr(dispatch, "library", lambda: None)
    with pytest.raises(EorenError, match=r"^EOREN_BACKEND is native, but .*; unset it to compute with NumPy$"):
        choose_coder()
    monkeypatch.setenv("EOREN_BACKEND", "")
    assert choose_coder().name == "numpy"


def test_a_slower_coder_warns_with_the_backend_that_replaces_it(monkeypatch):
    monkeypatch.setattr(dispatch, "library", lambda: None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        choose_coder()  # without a warning unless requested
        choose_coder(warn=True)
        choose_coder(warn=True)
    assert [warning.category for warning in caught] == [BackendWarning]
    assert str(caught[0].message).startswith("PyTorch does the work, several times slower than the native backend: ")


@pytest.mark.skipif(sys.platform != "linux", reason="address spaces are limited")
@needs_library
def test_a_library_that_finds_no_memory_is_not_replaced_by_slower_code():
    code = """import resource
from eoren.backends.native_library import library
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20),) * 2)  # the library has more
try:
    library()
except MemoryError as error:
    print("no memory")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("no memory\n", 0), done.stderr
