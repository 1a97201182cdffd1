"""Answers that are worth keeping, within a limit of memory, each made once however many ask for it at a time."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from time import perf_counter

Wanted = Callable[[], Awaitable[bool]]
Make = Callable[[Callable[[], None]], bytes]

# Drawing uses every core by itself; a second drawer keeps small requests from waiting for one large.
_DRAWERS = 2
# Seconds between two looks whether somebody still waits for what is being drawn.
_LOOK = 0.25


class Abandoned(Exception):
    """Whoever asked has gone before it was done, or the server ends."""


@dataclass
class _Job:
    done: "asyncio.Future[bytes]"
    asked: list[Wanted] = field(default_factory=list)
    given_up: Event = field(default_factory=Event)

    async def wanted(self) -> bool:
        """Whether anybody who asked still waits."""
        return any([await each() for each in self.asked])


class Tiles:
    """A cache that forgets what has not been asked for longest.

    All but ``seconds``, ``stop`` and ``close`` belong to one event loop.

    Args:
        limit: of the memory for all answers together, in bytes.
        alone: one thread draws an answer, instead of all. Threads of PyTorch's that two parts of a program call up
            wait for each other less keenly ever after (OpenMP): each parallel operation of a fit then takes some
            25 us more.
    """

    def __init__(self, limit: int, *, alone: bool = False) -> None:
        """Nothing is kept yet."""
        self.seconds = 0.0
        """Spent in drawing so far. Grows only."""
        self.bytes = 0
        """Of the answers that are kept."""
        self._limit = limit
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._jobs: dict[str, _Job] = {}
        self._drawers = ThreadPoolExecutor(_DRAWERS, "eoren-tiles", initializer=_draw_alone if alone else None)
        self._turn = asyncio.Semaphore(_DRAWERS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = Event()

    async def get(self, key: str, make: Make, wanted: Wanted) -> bytes:
        """An answer, kept or made.

        Args:
            key: that no other answer has.
            make: makes the answer; called in a thread, with what it is to call every now and then, and which
                raises Abandoned when nobody waits any more.
            wanted: says whether whoever asks still waits.

        Raises:
            Abandoned: none of those who asked waits any more.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = _Job(asyncio.get_running_loop().create_future())
            # An error that nobody waits for any more is nobody's.
            job.done.add_done_callback(lambda done: done.cancelled() or done.exception())
            task = asyncio.create_task(self._work(key, job, make))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        job.asked.append(wanted)
        return await asyncio.shield(job.done)

    def stop(self) -> None:
        """Give up what is being drawn; nothing is drawn any more."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether it was stopped."""
        return self._stopped.is_set()

    def close(self) -> None:
        """End the threads, once they have noticed."""
        self.stop()
        self._drawers.shutdown(wait=True, cancel_futures=True)

    async def _work(self, key: str, job: _Job, make: Make) -> None:
        def go_on() -> None:
            if job.given_up.is_set() or self.stopped:
                raise Abandoned

        try:
            async with self._turn:
                # Who pans fast leaves requests behind that nobody waits for.
                if self.stopped or not await job.wanted():
                    raise Abandoned
                loop = asyncio.get_running_loop()
                drawing = loop.run_in_executor(self._drawers, _timed, lambda: make(go_on))
                while not (await asyncio.wait([drawing], timeout=_LOOK))[0]:
                    if not await job.wanted():
                        job.given_up.set()
                made, seconds = await drawing
            self.seconds += seconds
            self._keep(key, made)
            job.done.set_result(made)
        except BaseException as error:
            job.done.set_exception(error)
            if not isinstance(error, Exception):
                raise
        finally:
            del self._jobs[key]

    def _keep(self, key: str, made: bytes) -> None:
        if len(made) > self._limit // 4:  # would push out too much else
            return
        self._kept[key] = made
        self.bytes += len(made)
        while self.bytes > self._limit:
            self.bytes -= len(self._kept.popitem(last=False)[1])


def _draw_alone() -> None:
    import torch

    torch.set_num_threads(1)  # of this thread, and of those that begin after it


def _timed(make: Callable[[], bytes]) -> tuple[bytes, float]:
    start = perf_counter()
    return make(), perf_counter() - start
