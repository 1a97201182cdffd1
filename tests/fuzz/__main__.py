"""Feed a reader with damaged files for a while, within limits of time and memory, and count what became of them.

    python -m tests.fuzz --seconds 60                  # all readers, in turn
    python -m tests.fuzz --seconds 3600 --only field   # one of them
    python -m tests.fuzz --engine atheris --seconds 3600 --only tiff

An input that makes trouble is written to ``tests/fuzz/kept/`` under the target's name: mend the reader, leave the
file, and ``tests/test_fuzz.py`` reads it ever after.
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
MOST_SECONDS = 5
"""Of the processor: an input is not to blame for what else the machine does."""
MOST_WAITING = 300
"""Seconds of the clock, for what waits without working."""
MOST_MEMORY = 1 << 30
"""Bytes that one input may take beyond what the process had before the first."""


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="in all")
    parser.add_argument("--only", metavar="READER", action="append", help="one of the readers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=["mutations", "atheris"], default="mutations")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        return _work(given.only[0], given.seconds, given.seed, Path(given.worker), given.engine)
    from tests.fuzz.targets import TARGETS

    names = given.only or [*TARGETS]
    if not set(names) <= TARGETS.keys():
        parser.error(f"--only is one of {', '.join(TARGETS)}")
    troubled = 0
    for name in names:
        troubled += _fuzz(name, given.seconds / len(names), given.seed, given.engine)
    return min(troubled, 1)


def _fuzz(name: str, seconds: float, seed: int, engine: str) -> int:
    """Keep workers fed until the time is over: one that dies leaves the input that it died of."""
    end, total, troubles = time.monotonic() + seconds, Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        while (left := end - time.monotonic()) > 1 or not total:
            command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz", "--worker", folder, "--engine", engine]
            command += ["--only", name, "--seconds", str(max(left, 1)), "--seed", str(seed)]
            # Threads cost more than they bring to fields of a few units.
            alone = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, env=alone, capture_output=True, text=True, check=False)
            if (place / "count").exists():
                total.update(_counts(place / "count"))
            if done.returncode == 0:
                break
            troubles += 1
            seed += 1_000_000
            total.setdefault("read", 0)
            _keep(name, place / "input", done)
    print(f"{name:12} {sum(total.values()):9,} inputs: " + ", ".join(f"{n:,} {what}" for what, n in total.items()),
          f"; {troubles} made trouble", flush=True)  # fmt: skip
    return troubles


def _counts(path: Path) -> dict[str, int]:
    found = {what: int(n) for what, n in (line.split() for line in path.read_text().splitlines())}
    path.unlink()
    return found


def _keep(name: str, path: Path, done: "subprocess.CompletedProcess[str]") -> None:
    last = (done.stderr.strip().splitlines() or [""])[-1]
    if not path.exists():
        sys.exit(f"{name}: the worker does not start: {last}")
    data = path.read_bytes()
    KEPT.mkdir(exist_ok=True)
    kept = KEPT / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    kept.write_bytes(data)
    print(f"{name}: trouble, exit status {done.returncode}: {last[:300]}\n  kept as {kept}", flush=True)


def _work(name: str, seconds: float, seed: int, place: Path, engine: str) -> int:
    """Feed one reader for a while, in a process that may die of it."""
    if engine == "atheris":
        import atheris

        # Modules that an editable installation's own loader brings are not instrumented.
        sys.path.insert(0, str(SOURCE))
        sys.meta_path.insert(0, PathFinder)
        with atheris.instrument_imports(include=["eoren", "PIL", "tifffile"]):
            from PIL import Image
            from tests.fuzz.targets import LONGEST, TARGETS

            Image.init()  # every format's module
    else:
        from tests.fuzz.targets import LONGEST, TARGETS

    read, seeds = TARGETS[name].read, [*TARGETS[name].seeds().values()]
    for each in seeds:
        read(each)  # what is loaded once does not count
    guard = _Guard(place)
    if engine == "atheris":
        return _with_atheris(read, seeds, guard, seconds, seed, LONGEST)
    from tests.fuzz.mutations import mutated

    chance, end = random.Random(f"{name} {seed}"), time.monotonic() + seconds
    while time.monotonic() < end:
        guard(read, mutated(seeds, chance, LONGEST))
    guard.write()
    return 0


class _Guard:
    """Feeds one input at a time, which stands in a file meanwhile, and dies where a limit is passed."""

    def __init__(self, place: Path) -> None:
        """Set the limits of the process."""
        self._place, self._counts = place, Counter()
        self._peak = _peak() + MOST_MEMORY
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 4 * MOST_MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def __call__(self, read: object, data: bytes) -> None:
        """Feed one input."""
        (self._place / "input").write_bytes(data)
        # Either ends the process, whatever it is at. libFuzzer has a handler for the second, and the same limit.
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        signal.alarm(MOST_WAITING)
        try:
            self._counts[read(data)] += 1  # type: ignore[operator]
        except BaseException:
            self.write()
            raise
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        if _peak() > self._peak:
            self.write()
            sys.exit(f"took more than {MOST_MEMORY} bytes")
        if sum(self._counts.values()) % 50 == 0:  # libFuzzer ends the process without a word
            self.write()

    def write(self) -> None:
        """Tell how many inputs there were so far."""
        (self._place / "count").write_text("".join(f"{what} {n}\n" for what, n in self._counts.items()))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _with_atheris(read: object, seeds: list[bytes], guard: _Guard, seconds: float, seed: int, longest: int) -> int:
    """Let libFuzzer look for inputs that reach new lines of eoren, tifffile and Pillow."""
    import atheris

    corpus = guard._place / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)

    def feed(data: bytes) -> None:
        guard(read, data)

    options = [f"-max_total_time={int(seconds)}", f"-seed={seed + 1}", f"-max_len={longest}", "-len_control=0"]
    options += [f"-timeout={MOST_WAITING}", "-rss_limit_mb=0", "-detect_leaks=0", "-print_final_stats=1"]
    options += [f"-artifact_prefix={guard._place}/"]
    atheris.Setup(["fuzz", *options, str(corpus)], feed)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
