"""A Ray cluster of several nodes on this machine, of which some fail: every image is fitted once, none is missing.

    python -m benchmarks.faults.cluster [--only NAME]

After each fault the shards must equal those of the local executor, byte for byte. The nodes are processes of
``ray.cluster_utils.Cluster``; faults are done to them from here, and nothing in the library knows of them:

- ``nodes come and go``: a node joins, and one with running tasks is killed
- ``a slow node``: all processes of a node are stopped three quarters of the time
- ``a full disk``: the folder of a node, for its logs and spilled objects, is on a full disk
- ``the head restarts``: the whole cluster is lost, the command ends, and goes on with a new cluster
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread, Timer
from time import sleep
from typing import Any

from benchmarks.faults.survival import contents

IMAGES, SHARD, STEPS = 24, 2, 200
_TIMEOUT = 400.0

FIT = f"""
import sys, numpy as np, eoren
images = np.random.default_rng(3).random(({IMAGES}, 12, 14, 1), np.float32)
def watch(at):
    print(int(at.pictures), flush=True)
options = dict(executor="ray", address=sys.argv[2], watch=watch) if len(sys.argv) > 2 else dict(workers=1)
try:
    eoren.fit_many(images, store=sys.argv[1], steps={STEPS}, shard={SHARD}, **options)
except eoren.EorenError as error:
    sys.exit(f"eoren: {{error}}")
"""


@contextmanager
def cluster() -> Iterator[tuple[Any, Any]]:
    """Start a cluster with a head, which takes no work, and a node; yield the cluster and the node."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        yield started, started.add_node(num_cpus=1)
    finally:
        with suppress(Exception):  # what the fault left of it
            started.shutdown()


def fit(store: Path, address: str | None = None, at: Callable[[int], None] = lambda done: None) -> tuple[int, str]:
    """Run the fit in a process; ``at`` receives the number of fitted images. Returns its status and its last line."""
    words = [sys.executable, "-c", FIT, str(store), *([address] if address else [])]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        timer = Timer(_TIMEOUT, run.kill)
        timer.start()
        for line in run.stdout:
            if line.strip().isdecimal():
                at(int(line))
        timer.cancel()
        error = run.stderr.read().strip().splitlines()
        return run.wait(), error[-1] if error else ""


def once(action: Callable[[], object], after: int) -> Callable[[int], None]:
    """Run an action once, when some images are fitted."""
    done = Event()

    def at(pictures: int) -> None:
        if pictures >= after and not done.is_set():
            done.set()
            action()

    return at


def nodes_come_and_go(store: Path) -> None:
    """Let a node join after four images, and kill the first after eight."""
    with cluster() as (nodes, first):
        join = once(lambda: nodes.add_node(num_cpus=1), 4)
        leave = once(lambda: nodes.remove_node(first, allow_graceful=False), 8)

        def at(done: int) -> None:
            join(done)
            leave(done)

        status, error = fit(store, nodes.address, at)
    assert status == 0, error


def a_slow_node(store: Path) -> None:
    """Stop the processes of the first node three quarters of the time."""
    ended = Event()

    def slow_down(root: int) -> None:
        while not ended.is_set():
            below = _descendants(root)
            for number, seconds in ((signal.SIGSTOP, 0.15), (signal.SIGCONT, 0.05)):
                for process in below:
                    with suppress(OSError):
                        os.kill(process, number)
                sleep(seconds)

    with cluster() as (nodes, first):
        nodes.add_node(num_cpus=1)
        root = first.all_processes["raylet"][0].process.pid
        thread = Thread(target=slow_down, args=(root,))
        thread.start()
        try:
            status, error = fit(store, nodes.address)
        finally:
            ended.set()
            thread.join()
    assert status == 0, error


def a_full_disk(store: Path) -> None:
    """Fill the disk that a node writes to, before the work begins."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=True)
        try:
            with cluster() as (nodes, _):
                nodes.add_node(num_cpus=1, temp_dir=folder, object_spilling_directory=folder)
                with suppress(OSError), Path(folder, "filler").open("wb") as filler:
                    while True:
                        filler.write(bytes(1 << 16))
                status, error = fit(store, nodes.address)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)
    assert status == 0, error


def the_head_restarts(store: Path) -> None:
    """Lose the whole cluster after eight images; the command ends, and goes on with another cluster."""
    with cluster() as (nodes, _):
        status, error = fit(store, nodes.address, once(lambda: nodes.remove_node(nodes.head_node, False), 8))
    assert status != 0
    print(f"  the command ended with status {status}: {error:.200}")
    with cluster() as (nodes, _):
        status, error = fit(store, nodes.address)
    assert status == 0, error


FAULTS = {
    "nodes come and go": nodes_come_and_go,
    "a slow node": a_slow_node,
    "a full disk": a_full_disk,
    "the head restarts": the_head_restarts,
}


def _descendants(root: int) -> list[int]:
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def check(name: str) -> None:
    """Do one fault, and compare the store with an undisturbed one."""
    import eoren

    with tempfile.TemporaryDirectory() as folder:
        disturbed, undisturbed = Path(folder, "disturbed"), Path(folder, "undisturbed")
        status, error = fit(undisturbed)
        assert status == 0, error
        FAULTS[name](disturbed)
        files, expected = contents(disturbed), contents(undisturbed)
        assert {n: d for n, d in files.items() if n != ".lock"} == expected
        rows = eoren.Collection(disturbed).index.to_pylist()
        assert [row["number"] for row in rows] == [*range(IMAGES)]
        assert {row["status"] for row in rows} == {"done"}


def main() -> None:
    """Do all faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[*FAULTS], action="append")
    for name in parser.parse_args().only or FAULTS:
        check(name)
        print(f"{name}: every image fitted once, shards equal", flush=True)


if __name__ == "__main__":
    main()
