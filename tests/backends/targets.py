"""The targets of the native library, for the tests of the backends."""

import pytest

from eoren.backends import native_library

needs_library = pytest.mark.skipif(native_library.library() is None, reason="the native library is not built here")


def choose(name):
    return native_library.library().eoren_choose_target(name.encode()) == 1


def targets():
    """What the library was compiled for that this processor has."""
    if native_library.library() is None:
        return []
    before = native_library.target()
    found = [name for name in ("avx512", "avx2", "neon", "generic") if choose(name)]
    choose(before)
    return found
