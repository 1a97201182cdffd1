"""The hardware and software versions that a measurement belongs to."""

import platform
from pathlib import Path

import torch

from eoren._version import __version__
from eoren.backends.dispatch import backend_info


def machine() -> dict[str, str | int]:
    """Describe versions, processor, threads and backend, under the names that reports and tables use."""
    backend = backend_info()
    return {
        "eoren": __version__,
        "python": platform.python_version(),
        "pytorch": str(torch.__version__),
        "system": platform.system(),
        "processor": _processor(),
        "threads": backend.threads,
        "engine": f"native, {backend.target}" if backend.backend == "native" else backend.backend,
    }


def _processor() -> str:
    """Read the model name on Linux; elsewhere use what the ``platform`` module reports."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
