import asyncio
import threading

import pytest

from eoren.viewer.tile_cache import Abandoned, Tiles


async def yes():
    return True


async def no():
    return False


def run(work, limit=1000):
    async def main():
        tiles = Tiles(limit)
        try:
            return await work(tiles)
        finally:
            tiles.close()

    return asyncio.run(main())


def test_kept_answers_are_not_made_again():
    made = []

    async def work(tiles):
        for _ in range(3):
            assert await tiles.get("a", lambda _: made.append(1) or b"a", yes) == b"a"
        assert tiles.seconds > 0

    run(work)
    assert made == [1]


def test_all_who_ask_at_a_time_get_one_answer():
    made, go = [], threading.Event()

    def make(_):
        made.append(1)
        assert go.wait(60)
        return b"a"

    async def work(tiles):
        asked = [asyncio.create_task(tiles.get("a", make, yes)) for _ in range(10)]
        await asyncio.sleep(0.05)
        go.set()
        return await asyncio.gather(*asked)

    assert run(work) == [b"a"] * 10
    assert made == [1]


def test_the_oldest_go_first_where_memory_ends():
    made = []

    def make(name, size=200):
        def call(_):
            made.append(name)
            return bytes(size)

        return call

    async def work(tiles):
        for name in "abcde":
            await tiles.get(name, make(name), yes)
            assert tiles.bytes <= 1000
        await tiles.get("a", make("a"), yes)  # asked for again, so b is the oldest now
        await tiles.get("f", make("f"), yes)
        assert tiles.bytes == 1000
        for name in "acdef":
            await tiles.get(name, make(name), yes)
        assert made == list("abcdef")
        await tiles.get("b", make("b"), yes)
        assert made == list("abcdefb")
        # What would push out too much else is not kept.
        await tiles.get("huge", make("huge", 251), yes)
        assert tiles.bytes == 1000
        await tiles.get("huge", make("huge", 251), yes)
        assert made.count("huge") == 2

    run(work)


def test_what_nobody_waits_for_is_not_made():
    made = []

    async def work(tiles):
        with pytest.raises(Abandoned):
            await tiles.get("a", lambda _: made.append("a") or b"a", no)
        # Unless somebody else does.
        asked = [asyncio.create_task(tiles.get("b", lambda _: made.append("b") or b"b", who)) for who in (no, yes)]
        assert await asyncio.gather(*asked) == [b"b", b"b"]
        assert await tiles.get("a", lambda _: made.append("a") or b"a", yes) == b"a"

    run(work)
    assert made == ["b", "a"]


def test_an_error_is_told_and_not_kept():
    def fail(_):
        raise ValueError("no memory")

    async def work(tiles):
        with pytest.raises(ValueError, match="no memory"):
            await tiles.get("a", fail, yes)
        assert await tiles.get("a", lambda _: b"a", yes) == b"a"

    run(work)


def test_drawing_beside_a_fit_calls_up_one_thread(python):
    code = (
        "import asyncio, torch; from eoren.viewer.tile_cache import Tiles; torch.get_num_threads()\n"
        "async def yes(): return True\n"
        "async def main():\n"
        "    found = []\n"
        "    for alone in (True, False):\n"
        "        torch.set_num_threads(3)\n"
        "        tiles = Tiles(1000, alone=alone)\n"
        "        said = await tiles.get('a', lambda _: b'%d' % torch.get_num_threads(), yes)\n"
        "        found.append([int(said), torch.get_num_threads()])\n"
        "        tiles.close()\n"
        "    print(found)\n"
        "asyncio.run(main())"
    )
    assert python(code, None) == [[1, 3], [3, 3]]  # the thread that draws, and the one that fits
