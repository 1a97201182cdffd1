"""In-memory cache of encoded tiles that draws each tile once, however many clients request it."""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import thread_time

from eoren.cancellation import Cancelled, CancelToken

IsConnected = Callable[[], Awaitable[bool]]
Render = Callable[[CancelToken], bytes]

# Drawing uses every core by itself; a second thread keeps small requests from waiting for one large request.
_THREADS = 2
# Seconds between two checks whether a client still waits for the tile being drawn.
_POLL_SECONDS = 0.25


@dataclass
class _Job:
    """A tile being drawn, and the clients that wait for it."""

    token: CancelToken
    clients: list[IsConnected] = field(default_factory=list)
    task: "asyncio.Task[bytes]" = field(init=False)

    async def is_wanted(self) -> bool:
        return any([await is_connected() for is_connected in self.clients])


class TileCache:
    """Least-recently-used cache of encoded tiles.

    All members but ``render_seconds``, ``stop`` and ``close`` belong to one event loop. ``max_bytes`` limits the size
    of all tiles together. ``single_threaded`` draws with one thread instead of all, for use beside a fit: OpenMP
    threads that two parts of a program start wait less actively for each other ever after, and each parallel
    operation of the fit takes some 25 us longer.
    """

    def __init__(self, max_bytes: int = 256 << 20, *, single_threaded: bool = False) -> None:
        self.render_seconds = 0.0  # processor time of drawing so far, at most
        self.bytes = 0  # size of all cached tiles together
        self._max_bytes = max_bytes
        self._tiles: OrderedDict[str, bytes] = OrderedDict()
        self._jobs: dict[str, _Job] = {}
        self._cores = 1 if single_threaded else os.cpu_count() or 1
        initializer = _limit_to_one_thread if single_threaded else None
        self._threads = ThreadPoolExecutor(_THREADS, "eoren-tiles", initializer=initializer)
        self._free_threads = asyncio.Semaphore(_THREADS)
        self._session = CancelToken()

    async def get(self, key: str, render: Render, is_connected: IsConnected) -> bytes:
        """Return a cached tile, or draw it in another thread.

        Raises:
            Cancelled: every client of the tile has disconnected, or the cache was stopped.
        """
        if key in self._tiles:
            self._tiles.move_to_end(key)
            return self._tiles[key]
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = _Job(CancelToken(self._session))
            job.task = asyncio.create_task(self._run(key, job, render))
            # Without a client left, nothing else retrieves the exception, and asyncio would log it.
            job.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        job.clients.append(is_connected)
        return await asyncio.shield(job.task)

    def stop(self) -> None:
        """Cancel all drawing, now and from now on."""
        self._session.cancel()

    @property
    def stopped(self) -> bool:
        """Whether the cache was stopped."""
        return self._session.is_cancelled()

    def close(self) -> None:
        """Stop, and wait for the threads to end."""
        self.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _run(self, key: str, job: _Job, render: Render) -> bytes:
        try:
            async with self._free_threads:
                # A client that pans fast leaves requests behind for which it no longer waits.
                if self.stopped or not await job.is_wanted():
                    raise Cancelled
                rendering = asyncio.get_running_loop().run_in_executor(self._threads, _timed, render, job.token)
                while not (await asyncio.wait([rendering], timeout=_POLL_SECONDS))[0]:
                    if not await job.is_wanted():
                        job.token.cancel()
                tile, seconds = await rendering
            self.render_seconds += self._cores * seconds
            self._store(key, tile)
            return tile
        finally:
            del self._jobs[key]

    def _store(self, key: str, tile: bytes) -> None:
        if len(tile) > self._max_bytes // 4:  # would evict too many others
            return
        self._tiles[key] = tile
        self.bytes += len(tile)
        while self.bytes > self._max_bytes:
            self.bytes -= len(self._tiles.popitem(last=False)[1])


def _limit_to_one_thread() -> None:
    """Limit PyTorch and the native backend to the thread that calls this, and to those that it starts later."""
    import torch

    torch.set_num_threads(1)


def _timed(render: Render, token: CancelToken) -> tuple[bytes, float]:
    start = thread_time()  # of the processor: other work of the machine would count, too
    return render(token), thread_time() - start
