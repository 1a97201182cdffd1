"""The installed native library: it exists, runs on old and new processors, and exports only its interface."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eoren.backends import native_library

SOURCES = Path(__file__).parent.parent / "src" / "native"
LIBRARY = native_library.library()
INTERFACE = set(re.findall(r"^EOREN_API .*?(\w+)\(", (SOURCES / "eoren.h").read_text(), re.MULTILINE))
KERNELS = re.findall(r"^ *add_kernel\((\w+)(.*)\)", (SOURCES / "CMakeLists.txt").read_text(), re.MULTILINE)
ON_X86 = platform.machine() == "x86_64"

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the tools of Linux")

# Plain Python, because NumPy and PyTorch are slow on an emulated processor.
SINES = """
import ctypes, math, sys
library = ctypes.CDLL(sys.argv[1])
library.eoren_target.restype = ctypes.c_char_p
n = 1003
x, sin, cos = ((ctypes.c_float * n)() for _ in range(3))
x[:] = [0.37 * (k - 500) for k in range(n)]
library.eoren_sincos(x, ctypes.c_int64(n), sin, cos)
print(library.eoren_target().decode())
print(max(max(abs(s - math.sin(a)), abs(c - math.cos(a))) for a, s, c in zip(x, sin, cos)))
"""


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tool(name):
    return shutil.which(name) or pytest.skip(f"needs {name}")


def symbols(*options):
    """Return (kind, name) of each symbol that ``nm`` lists."""
    return {tuple(line.split()[-2:]) for line in run(tool("nm"), *options).splitlines()}


def library():
    """Return the path of the installed library, or skip the test."""
    if LIBRARY is None or any("__asan" in name for _, name in symbols("-D", LIBRARY._name)):
        pytest.skip("the native library is not built, or is built with sanitizers")
    return LIBRARY._name


def test_library_is_built_if_required():
    assert LIBRARY is not None or os.environ.get("EOREN_NATIVE", "0") in ("", "0")


def test_interface_and_kernels_are_declared():
    assert {"eoren_version", "eoren_sincos", "eoren_gradients"} <= INTERFACE
    assert {"generic", "avx2", "avx512"} <= dict(KERNELS).keys()


@needs_linux
def test_only_the_interface_is_exported():
    assert symbols("-D", "--defined-only", library()) == {("T", name) for name in INTERFACE}


@needs_linux
@pytest.mark.parametrize(("name", "flags"), KERNELS, ids=list(dict(KERNELS)))
def test_kernel_exports_only_its_table(name, flags, tmp_path):
    # The linker keeps any one of several definitions of an inline function or a template. If it kept the one compiled
    # for AVX-512, an old processor would crash. -O0 keeps functions from being inlined, so that nm lists all.
    if flags and not ON_X86:
        pytest.skip("for x86-64")
    out, table = tmp_path / "kernel.o", f"eoren_kernel_{name}"
    options = ["-std=c++17", "-O0", "-fPIC", f"-DEOREN_KERNEL={table}", *flags.split()]
    run(tool(os.environ.get("CXX", "c++")), *options, "-c", SOURCES / "kernel.cpp", "-o", out)
    shared = {(kind, name) for kind, name in symbols(out) if kind.isupper() or kind in "uvw"}
    assert {name for kind, name in shared if kind != "U"} == {table}
    assert not [name for kind, name in shared if kind == "U" and name.startswith("_Z")]  # the C++ library's


@needs_linux
@pytest.mark.skipif(not ON_X86, reason="emulates x86-64 on x86-64")
@pytest.mark.parametrize(
    ("processor", "target"), [("Nehalem", "generic"), ("SandyBridge", "generic"), ("Haswell", "avx2"), ("max", None)]
)
def test_other_processors_select_their_kernel(processor, target, tmp_path):
    path, qemu = library(), tool("qemu-x86_64")
    version = re.search(r"version (\d+)\.(\d+)", run(qemu, "--version"))
    if tuple(map(int, version.groups())) < (7, 2):
        pytest.skip("needs qemu 7.2, which supports AVX")
    program = tmp_path / "sines.py"
    program.write_text(SINES)
    selected, error = run(qemu, "-cpu", processor, Path(sys.executable).resolve(), "-IS", program, path).split()
    assert target in (None, selected)
    assert float(error) < 1e-7
