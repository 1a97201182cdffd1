import asyncio
import itertools
import threading

import pytest

from eoren.cancellation import Cancelled
from eoren.viewer.tile_cache import TileCache


async def connected():
    return True


async def disconnected():
    return False


def run(work, max_bytes=1000):
    async def main():
        cache = TileCache(max_bytes)
        try:
            return await work(cache)
        finally:
            cache.close()

    return asyncio.run(main())


def test_cached_tiles_are_not_drawn_again():
    drawn = []

    async def work(cache):
        for _ in range(3):
            assert await cache.get("a", lambda _: drawn.append(1) or b"a", connected) == b"a"
        assert cache.render_seconds > 0

    run(work)
    assert drawn == [1]


@pytest.mark.parametrize(("single_threaded", "cores"), [(True, 1), (False, 8)])
def test_time_of_drawing_counts_every_core_that_may_draw(monkeypatch, single_threaded, cores):
    monkeypatch.setattr("eoren.viewer.tile_cache.os.cpu_count", lambda: 8)
    ticks = itertools.count()
    monkeypatch.setattr("eoren.viewer.tile_cache.thread_time", lambda: next(ticks))

    async def draw():
        cache = TileCache(1000, single_threaded=single_threaded)
        await cache.get("a", lambda _: b"a", connected)
        cache.close()
        return cache.render_seconds

    assert asyncio.run(draw()) == cores


def test_concurrent_requests_share_one_drawing():
    drawn, go = [], threading.Event()

    def render(_):
        drawn.append(1)
        assert go.wait(60)
        return b"a"

    async def work(cache):
        requests = [asyncio.create_task(cache.get("a", render, connected)) for _ in range(10)]
        await asyncio.sleep(0.05)
        go.set()
        return await asyncio.gather(*requests)

    assert run(work) == [b"a"] * 10
    assert drawn == [1]


def test_the_least_recently_used_tiles_are_evicted_first():
    drawn = []

    def renderer(name, size=200):
        def render(_):
            drawn.append(name)
            return bytes(size)

        return render

    async def work(cache):
        for name in "abcde":
            await cache.get(name, renderer(name), connected)
            assert cache.bytes <= 1000
        await cache.get("a", renderer("a"), connected)  # used again, so b is the oldest now
        await cache.get("f", renderer("f"), connected)
        assert cache.bytes == 1000
        for name in "acdef":
            await cache.get(name, renderer(name), connected)
        assert drawn == list("abcdef")
        await cache.get("b", renderer("b"), connected)
        assert drawn == list("abcdefb")
        # A tile that would evict too many others is not cached.
        await cache.get("huge", renderer("huge", 251), connected)
        assert cache.bytes == 1000
        await cache.get("huge", renderer("huge", 251), connected)
        assert drawn.count("huge") == 2

    run(work)


def test_tiles_of_disconnected_clients_are_not_drawn():
    drawn = []

    async def work(cache):
        with pytest.raises(Cancelled):
            await cache.get("a", lambda _: drawn.append("a") or b"a", disconnected)
        # Unless another client waits for the same tile.
        requests = [
            asyncio.create_task(cache.get("b", lambda _: drawn.append("b") or b"b", client))
            for client in (disconnected, connected)
        ]
        assert await asyncio.gather(*requests) == [b"b", b"b"]
        assert await cache.get("a", lambda _: drawn.append("a") or b"a", connected) == b"a"

    run(work)
    assert drawn == ["b", "a"]


def test_a_stopped_cache_cancels_its_drawings():
    started = threading.Event()

    def endless(token):
        started.set()
        while True:
            token.raise_if_cancelled()

    async def work(cache):
        request = asyncio.create_task(cache.get("a", endless, connected))
        while not started.is_set():
            await asyncio.sleep(0.01)
        cache.stop()
        for pending in (request, cache.get("b", lambda _: b"b", connected)):
            with pytest.raises(Cancelled):
                await pending

    run(work)


def test_errors_are_raised_and_not_cached():
    def fail(_):
        raise ValueError("no memory")

    async def work(cache):
        with pytest.raises(ValueError, match="no memory"):
            await cache.get("a", fail, connected)
        assert await cache.get("a", lambda _: b"a", connected) == b"a"

    run(work)


def test_drawing_beside_a_fit_uses_one_thread(python):
    code = (
        "import asyncio, torch; from eoren.viewer.tile_cache import TileCache; torch.get_num_threads()\n"
        "async def connected(): return True\n"
        "async def main():\n"
        "    counts = []\n"
        "    for single_threaded in (True, False):\n"
        "        torch.set_num_threads(3)\n"
        "        cache = TileCache(1000, single_threaded=single_threaded)\n"
        "        tile = await cache.get('a', lambda _: b'%d' % torch.get_num_threads(), connected)\n"
        "        counts.append([int(tile), torch.get_num_threads()])\n"
        "        cache.close()\n"
        "    print(counts)\n"
        "asyncio.run(main())"
    )
    assert python(code, None) == [[1, 3], [3, 3]]  # the thread that draws, and the one that fits
