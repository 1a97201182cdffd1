"""Who works: threads of this process, or a Ray cluster. Jobs and results are the same."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from mmap import mmap
from threading import Event
from typing import Any, Protocol, runtime_checkable

import torch

from eoren.cancellation import Cancelled
from eoren.dataset.shards import Job, Work
from eoren.errors import EorenError
from eoren.model.devices import choose_device

ENGINES = ("local", "ray")

Tick = Callable[[float], None]
"""Called a few times a second with the number of shards that are done so far in parts; may raise to end the work."""

_TICK_EVERY = 0.2
# Tasks beyond one a worker that wait at hand: images that are read, not more.
_WAITING = 1
# What a thread takes before it does anything: its stack, most of all.
_ROOM = 16 << 20
_RETRIES = 3


@runtime_checkable
class Engine(Protocol):
    """Does jobs, several at a time."""

    def run(self, work: Work, jobs: Iterator[Job], tick: Tick) -> Iterator[Any]:
        """What came of every job, in the order in which they end.

        Jobs are taken as there is room for them. Closing the iterator, or raising in ``tick``, gives up what is
        under way.
        """


class Local:
    """Threads of this process, one a core: the native engine and PyTorch let go of the interpreter lock.

    A thread that fits a shard works alone on it, so nothing waits; where there are fewer shards than cores, a shard
    has several.

    Args:
        workers: how many shards at a time, at most; by default as many as PyTorch has threads, one on a GPU.
    """

    def __init__(self, workers: int | None = None) -> None:
        """Nothing starts yet."""
        self._workers = workers

    def run(self, work: Work, jobs: Iterator[Job], tick: Tick) -> Iterator[Any]:
        """See :class:`Engine`."""
        threads = torch.get_num_threads()
        on_cpu = choose_device(work.device).type == "cpu"
        workers = self._workers or (threads if on_cpu else 1)
        ready = [*islice(jobs, workers)]
        workers = max(1, len(ready))
        stop, begin = Event(), Event()
        shares: dict[int, float] = {}

        def do(job: Job) -> Any:
            begin.wait()
            torch.set_num_threads(max(1, threads // workers))

            def watch(share: float) -> bool:
                shares[id(job)] = share * job.share
                return stop.is_set()

            return job.run(work, watch)

        try:
            # A thread that finds no memory when it starts dies in silence, and who started it waits for ever. So ask
            # for room first, and let none begin to work before all are there.
            _check_room(workers * _ROOM)
            with ThreadPoolExecutor(workers) as pool:
                try:
                    running: dict[Future[Any], Job] = {pool.submit(do, job): job for job in ready}
                    del ready
                    begin.set()
                    while running:
                        done, _ = wait(running, timeout=_TICK_EVERY, return_when=FIRST_COMPLETED)
                        for future in done:
                            shares.pop(id(running.pop(future)), None)
                            yield future.result()
                        tick(float(sum(shares.values())))
                        while len(running) < workers + _WAITING and (job := next(jobs, None)) is not None:
                            running[pool.submit(do, job)] = job
                except BaseException:
                    stop.set()
                    begin.set()
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise
        except Cancelled:
            raise KeyboardInterrupt from None
        finally:
            # New threads take over what was set last.
            torch.set_num_threads(threads)


def _check_room(size: int) -> None:
    """Fail now if the system would not give so much memory at once; what this process has free already is no help.

    Raises:
        MemoryError: it would not.
    """
    try:
        mmap(-1, size).close()
    except OSError as error:
        raise MemoryError(f"{size} bytes") from error


class Ray:
    """A Ray cluster: a shard is a task, retried elsewhere if its worker is lost.

    Images go with the task and networks come back with the result, so workers need neither the images' files nor
    the store's folder. On CPUs a task takes one core; on GPUs, one GPU.

    Args:
        address: of the cluster; none starts one on this machine, for as long as the work takes.
        workers: cores of that one; all by default.

    Raises:
        EorenError: ray is not installed, or there is no cluster.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        """Look whether ray is there; the cluster is joined later."""
        self._ray = _import_ray()
        self._address, self._workers = address, workers

    def run(self, work: Work, jobs: Iterator[Job], tick: Tick) -> Iterator[Any]:
        """See :class:`Engine`."""
        ray = self._ray
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        options |= {"address": self._address} if self._address else {"include_dashboard": False}
        if not self._address:
            options["num_cpus"] = self._workers
        for last in (bool(self._address), True):
            try:
                ray.init(**options)
                break
            except Exception as error:  # a cluster that starts too slowly, on a busy machine, is no more than that
                ray.shutdown()
                if last:
                    where, reason = self._address or "here", " ".join(str(error).split())
                    raise EorenError(f"the Ray cluster {where} cannot be joined ({reason:.200})") from None
        try:
            on_gpu = work.device == "cuda"
            needs = {"num_cpus": 1, "num_gpus": 1 if on_gpu else 0}
            # What fails in a task is ours to tell; a lost worker is Ray's to replace.
            remote = ray.remote(**needs, max_retries=_RETRIES)(_do_alone)
            resources = ray.cluster_resources()
            room = int(resources.get("GPU" if on_gpu else "CPU", 1)) + _WAITING
            running: list[Any] = []
            while True:
                while len(running) < room and (job := next(jobs, None)) is not None:
                    running.append(remote.remote(job, work))
                if not running:
                    return
                done, running = ray.wait(running, timeout=_TICK_EVERY)
                for each in done:
                    yield _result(ray, each)
                tick(0.0)
        finally:
            ray.shutdown()


def engine_of(name: str, *, address: str | None = None, workers: int | None = None) -> Engine:
    """The engine of a name.

    Raises:
        EorenError: an unknown one, or ray is not installed.
    """
    if name not in ENGINES:
        raise EorenError(f"engine {name!r} is unknown; choose one of {', '.join(ENGINES)}")
    if address is not None and name != "ray":
        raise EorenError(f"address {address!r} is that of a Ray cluster; use it with engine 'ray'")
    if workers is not None and workers < 1:
        raise EorenError(f"workers is {workers}, but must be 1 or more")
    return Ray(address, workers) if name == "ray" else Local(workers)


def _do_alone(job: Job, work: Work) -> Any:
    """One core, one thread: what Ray reckons with."""
    torch.set_num_threads(1)
    return job.run(work, lambda share: False)


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())
        raise EorenError(f"a worker was lost {_RETRIES + 1} times ({reason:.120}); run the same again") from None


def _import_ray() -> Any:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise EorenError("the engine 'ray' needs Ray; pip install 'eoren[ray]'") from None
    return ray
