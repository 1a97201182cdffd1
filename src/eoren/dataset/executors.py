"""Executors run the jobs of a store: threads of this process, or a Ray cluster, with the same results."""

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from mmap import mmap
from threading import Barrier, BrokenBarrierError
from typing import Any, Protocol, runtime_checkable

import torch

from eoren.cancellation import Cancelled, CancelToken
from eoren.checks import check_choice
from eoren.dataset.shards import FitPlan, Job
from eoren.errors import EorenError, format_error
from eoren.model.devices import choose_device

_logger = logging.getLogger(__name__)

EXECUTORS = ("local", "ray")

ProgressCallback = Callable[[float], None]
"""Callback that receives, a few times a second, the completed parts of running jobs, in images. May raise to stop."""

_TICK_SECONDS = 0.2
# Jobs that wait beyond one per worker. Their images are in memory, so there are few.
_WAITING = 1
# Memory that a thread needs to start, mostly for its stack.
_THREAD_BYTES = 16 << 20
_START_SECONDS = 60.0
_RETRIES = 3


@runtime_checkable
class Executor(Protocol):
    """Interface of an executor, which runs several jobs at a time."""

    def run(self, plan: FitPlan, jobs: Iterator[Job], on_progress: ProgressCallback) -> Iterator[Any]:
        """Run jobs and yield their results in the order of completion.

        Jobs are taken from the iterator when a worker is free. Closing the returned iterator, or an exception in
        ``on_progress``, stops the running jobs.
        """


class LocalExecutor:
    """An executor with one thread per core: the native engine and PyTorch release the interpreter lock.

    By default it runs as many jobs at a time as PyTorch has threads, or one on a GPU. If there are fewer jobs than
    cores, a job uses several cores.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers

    def run(self, plan: FitPlan, jobs: Iterator[Job], on_progress: ProgressCallback) -> Iterator[Any]:
        """Run jobs in threads."""
        threads = torch.get_num_threads()
        on_cpu = choose_device(plan.device).type == "cpu"
        workers = self._workers or (threads if on_cpu else 1)
        ready = [*islice(jobs, workers)]
        if not ready:
            return
        workers = len(ready)
        token, all_started = CancelToken(), Barrier(workers + 1)
        images_done: dict[int, float] = {}

        def start_thread() -> None:
            torch.get_num_threads()  # a later first call would replace this thread's own number
            torch.set_num_threads(max(1, threads // workers))
            with suppress(BrokenBarrierError):  # the work was stopped
                all_started.wait()

        def run_job(job: Job) -> Any:
            def watch(share: float) -> bool:
                images_done[id(job)] = share * job.images
                return token.is_cancelled()

            return job.run(plan, watch)

        try:
            # A thread that runs out of memory at its start dies silently. So memory is checked first, and no thread
            # begins before all of them exist.
            _check_memory(workers * _THREAD_BYTES)
            with ThreadPoolExecutor(workers, initializer=start_thread) as pool:
                try:
                    running: dict[Future[Any], Job] = {pool.submit(run_job, job): job for job in ready}
                    del ready
                    all_started.wait(_START_SECONDS)
                    torch.set_num_threads(threads)  # threads that others start inherit the last setting
                    while running:
                        done, _ = wait(running, timeout=_TICK_SECONDS, return_when=FIRST_COMPLETED)
                        for future in done:
                            images_done.pop(id(running.pop(future)), None)
                            yield future.result()
                        on_progress(float(sum(images_done.values())))
                        while len(running) < workers + _WAITING and (job := next(jobs, None)) is not None:
                            running[pool.submit(run_job, job)] = job
                except BaseException:
                    token.cancel()
                    all_started.abort()
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise
        except Cancelled:
            raise KeyboardInterrupt from None
        except BrokenBarrierError:
            raise MemoryError(f"a thread did not start within {_START_SECONDS:g} s") from None
        finally:
            torch.set_num_threads(threads)


def _check_memory(size: int) -> None:
    """Raise MemoryError if the system cannot provide so much new memory at once."""
    try:
        mmap(-1, size).close()
    except OSError as error:
        raise MemoryError(f"{size} bytes") from error


class RayExecutor:
    """An executor on a Ray cluster: each job is a Ray task, which is retried on a node that works if it is lost.

    Images travel with the task and networks with its result, so workers need no access to the images or the store. A
    task takes one core, or one GPU, and has the name of its shard in Ray's dashboard. Nodes may join and leave the
    cluster under way. Without an address, :meth:`run` starts a cluster on this machine, with all cores
    or as many as ``workers``.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        try:
            with _ray_environment():
                import ray
                import ray.exceptions
                import ray.util.scheduling_strategies
        except ImportError:
            raise EorenError("the executor 'ray' needs Ray; pip install 'eoren[ray]'") from None
        self._ray: Any = ray
        self._address, self._workers = address, workers

    def run(self, plan: FitPlan, jobs: Iterator[Job], on_progress: ProgressCallback) -> Iterator[Any]:
        """Run jobs as tasks of the cluster, which is joined first."""
        ray = self._ray
        with _ray_environment():
            self._connect()
        try:
            # With "auto", the results would depend on the node, and all processes of a node would share one GPU.
            plan = replace(plan, device="cpu") if plan.device == "auto" else plan
            on_gpu = plan.device == "cuda"
            # Ray would retry a lost task on the node that lost it, whose disk may be full.
            remote = ray.remote(num_cpus=1, num_gpus=int(on_gpu), max_retries=0)(_run_alone)
            running: dict[Any, tuple[Job, int]] = {}
            lost: list[tuple[Job, int]] = []  # to be fitted again, once a node is known to work
            working = ""  # the node of the last result

            def submit(job: Job, losses: int) -> None:
                options: dict[str, Any] = {"name": job.name}
                if losses and working:
                    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
                    options["scheduling_strategy"] = affinity(working, soft=True)
                running[remote.options(**options).remote(job, plan)] = job, losses

            while True:
                # Nodes come and go. The images of waiting jobs are in memory, so there are few of them.
                slots = int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 0))
                workers = slots if self._workers is None else self._workers
                # A job that waits for one of fewer workers would find a free node.
                capacity = workers if workers < slots else slots + _WAITING
                while lost and (working or not running):
                    submit(*lost.pop())
                while len(running) + len(lost) < capacity and (job := next(jobs, None)) is not None:
                    submit(job, 0)
                if not running:
                    return
                done, _ = ray.wait([*running], timeout=_TICK_SECONDS)
                for reference in done:
                    job, losses = running.pop(reference)
                    try:
                        working, result = ray.get(reference)
                    except ray.exceptions.RayTaskError as error:
                        raise error.cause if isinstance(error.cause, Exception) else error from None
                    except ray.exceptions.RayError as error:
                        _check_losses(job, losses + 1, error)
                        lost.append((job, losses + 1))
                        continue
                    yield result
                on_progress(0.0)
        finally:
            ray.shutdown()

    def _connect(self) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        # Without "local" Ray would join a cluster that another program has started on this machine.
        local = {"address": "local", "include_dashboard": False, "num_cpus": self._workers}
        options |= {"address": self._address} if self._address else local
        # A new cluster may start too slowly on a busy machine, so a second attempt is made.
        for is_last in (bool(self._address), True):
            try:
                self._ray.init(**options)
                return
            except Exception as error:
                self._ray.shutdown()
                if is_last:
                    cluster = self._address or "on this machine"
                    raise EorenError(f"the Ray cluster {cluster} cannot be joined ({format_error(error)})") from None


def _check_losses(job: Job, losses: int, error: Exception) -> None:
    """Raise an error if the worker of a job was lost too often: the job itself may be the reason."""
    reason = f"{format_error(error):.120}"
    if losses > _RETRIES:
        raise EorenError(f"{job.name}: a worker was lost {losses} times ({reason}); run the same again") from None
    _logger.info("%s: its worker was lost, fitted again (%s)", job.name, reason)


@contextmanager
def _ray_environment() -> Iterator[None]:
    """Set variables for Ray where the user did not: without a warning about GPUs and without usage statistics."""
    variables = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    added = variables.keys() - os.environ.keys()
    os.environ.update({name: variables[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def make_executor(name: str, *, address: str | None = None, workers: int | None = None) -> Executor:
    """Create an executor by its name; raise :class:`EorenError` for invalid arguments or if Ray is not installed."""
    check_choice("executor", name, EXECUTORS)
    if address is not None and name != "ray":
        raise EorenError(f"address {address!r} is for a Ray cluster; use it with the executor 'ray'")
    if workers is not None and workers < 1:
        raise EorenError(f"workers must be 1 or more, got {workers}")
    return RayExecutor(address, workers) if name == "ray" else LocalExecutor(workers)


def _run_alone(job: Job, plan: FitPlan) -> tuple[str, Any]:
    """Run a job with one thread, the number that Ray reserves, and return its node and its result."""
    import ray

    torch.set_num_threads(1)
    return ray.get_runtime_context().get_node_id(), job.run(plan, lambda share: False)
