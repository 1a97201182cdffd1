"""What a number was measured on: without it no time means anything."""

import platform
from pathlib import Path

import torch

from eoren._version import __version__
from eoren.backends.dispatch import backend_info


def machine() -> dict[str, str | int]:
    """Versions, processor, threads and engine, under the names that reports and tables use.

    Example:
        >>> list(machine())
        ['eoren', 'python', 'pytorch', 'system', 'processor', 'threads', 'engine']
    """
    found = backend_info()
    return {
        "eoren": __version__,
        "python": platform.python_version(),
        "pytorch": str(torch.__version__),
        "system": platform.system(),
        "processor": _processor(),
        "threads": found.threads,
        "engine": f"native, {found.target}" if found.backend == "native" else found.backend,
    }


def _processor() -> str:
    """The name that Linux gives it; other systems have less to say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
