"""Feed damaged files to the readers, within limits of time and memory, and count the outcomes.

    python -m tests.fuzz --seconds 60                  # all readers, in turn
    python -m tests.fuzz --seconds 3600 --only field   # one of them
    python -m tests.fuzz --engine atheris --seconds 3600 --only tiff

An input that fails is written to ``tests/fuzz/kept/`` under the target's name. Fix the reader and keep the file:
``tests/test_fuzz.py`` reads it from then on.
"""

import argparse
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.machinery import PathFinder
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
KEPT = Path(__file__).parent / "kept"
MAX_CPU_SECONDS = 5
"""Processor time per input, which does not depend on the load of the machine."""
MAX_WALL_SECONDS = 300
"""Wall-clock time per input, for readers that block."""
MAX_MEMORY = 1 << 30
"""Bytes that an input may allocate beyond those of the process before the first input."""


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="total time")
    parser.add_argument("--only", metavar="READER", action="append", help="fuzz this reader only; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=["mutations", "atheris"], default="mutations")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return _work(options.only[0], options.seconds, options.seed, Path(options.worker), options.engine)
    from tests.fuzz.targets import TARGETS

    names = options.only or [*TARGETS]
    if not set(names) <= TARGETS.keys():
        parser.error(f"--only must be one of {', '.join(TARGETS)}")
    failures = sum(_fuzz(name, options.seconds / len(names), options.seed, options.engine) for name in names)
    return min(failures, 1)


def _fuzz(name: str, seconds: float, seed: int, engine: str) -> int:
    """Run workers until the time is over, and return the number of failures: inputs that ended a worker."""
    end, total, failures = time.monotonic() + seconds, Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        while (left := end - time.monotonic()) > 1 or not total:
            command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz", "--worker", folder, "--engine", engine]
            command += ["--only", name, "--seconds", str(max(left, 1)), "--seed", str(seed)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads slow down networks of a few units
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if (path / "count").exists():
                total.update(_counts(path / "count"))
            if done.returncode == 0:
                break
            failures += 1
            seed += 1_000_000
            total.setdefault("read", 0)
            _keep(name, path / "input", done)
    outcomes = ", ".join(f"{n:,} {outcome}" for outcome, n in total.items())
    print(f"{name:12} {sum(total.values()):9,} inputs: {outcomes}; {failures} failed", flush=True)
    return failures


def _counts(path: Path) -> dict[str, int]:
    counts = {outcome: int(n) for outcome, n in (line.split() for line in path.read_text().splitlines())}
    path.unlink()
    return counts


def _keep(name: str, path: Path, done: "subprocess.CompletedProcess[str]") -> None:
    last = (done.stderr.strip().splitlines() or [""])[-1]
    if not path.exists():
        sys.exit(f"{name}: the worker did not start: {last}")
    data = path.read_bytes()
    KEPT.mkdir(exist_ok=True)
    kept = KEPT / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    kept.write_bytes(data)
    print(f"{name}: failed, exit status {done.returncode}: {last[:300]}\n  kept as {kept}", flush=True)


def _work(name: str, seconds: float, seed: int, folder: Path, engine: str) -> int:
    """Feed one reader, in a process that an input may end."""
    if engine == "atheris":
        import atheris

        # Atheris does not instrument modules that come from the loader of an editable installation.
        sys.path.insert(0, str(SOURCE))
        sys.meta_path.insert(0, PathFinder)
        with atheris.instrument_imports(include=["eoren", "PIL", "tifffile"]):
            from PIL import Image
            from tests.fuzz.targets import MAX_LENGTH, TARGETS

            Image.init()  # imports the modules of all formats
    else:
        from tests.fuzz.targets import MAX_LENGTH, TARGETS

    read, seeds = TARGETS[name].read, [*TARGETS[name].seeds().values()]
    for data in seeds:
        read(data)  # imports and caches do not count
    guard = _Guard(folder)
    if engine == "atheris":
        return _with_atheris(read, seeds, guard, seconds, seed, MAX_LENGTH)
    from tests.fuzz.mutations import mutate

    rng, end = random.Random(f"{name} {seed}"), time.monotonic() + seconds
    while time.monotonic() < end:
        guard(read, mutate(seeds, rng, MAX_LENGTH))
    guard.write()
    return 0


class _Guard:
    """Calls a reader with one input at a time, which is kept in a file; exceeding a limit ends the process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._counts = folder, Counter()
        self._peak = _peak() + MAX_MEMORY
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 4 * MAX_MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def __call__(self, read: object, data: bytes) -> None:
        (self.folder / "input").write_bytes(data)
        # Both signals end the process. libFuzzer handles the second itself, with the same limit.
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU_SECONDS)
        signal.alarm(MAX_WALL_SECONDS)
        try:
            self._counts[read(data)] += 1  # type: ignore[operator]
        except BaseException:
            self.write()
            raise
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        if _peak() > self._peak:
            self.write()
            sys.exit(f"took more than {MAX_MEMORY} bytes")
        if sum(self._counts.values()) % 50 == 0:  # libFuzzer ends the process without a notice
            self.write()

    def write(self) -> None:
        """Write the number of inputs by outcome."""
        (self.folder / "count").write_text("".join(f"{outcome} {n}\n" for outcome, n in self._counts.items()))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _with_atheris(read: object, seeds: list[bytes], guard: _Guard, seconds: float, seed: int, max_length: int) -> int:
    """Search with libFuzzer for inputs that reach new lines of eoren, tifffile and Pillow."""
    import atheris

    corpus = guard.folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)

    def feed(data: bytes) -> None:
        guard(read, data)

    options = [f"-max_total_time={int(seconds)}", f"-seed={seed + 1}", f"-max_len={max_length}", "-len_control=0"]
    options += [f"-timeout={MAX_WALL_SECONDS}", "-rss_limit_mb=0", "-detect_leaks=0", "-print_final_stats=1"]
    options += [f"-artifact_prefix={guard.folder}/"]
    atheris.Setup(["fuzz", *options, str(corpus)], feed)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
